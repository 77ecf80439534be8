package isolation

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// counter is one of the hosts' counters of dropped packets.
type counter struct {
	host   string
	port   uint32 // 0: the host itself
	dir    string
	reason string
	rule   string // that decided
}

// trial is a stretch of time in which everything is watched: what is sent, who sees it, what the counters say afterwards. What a machine's own
// kernel sends meanwhile is judged like everything else.
type trial struct {
	t       *testing.T
	l       *lab
	caps    []*capture
	goals   map[string]*goal.Host
	models  map[string]*model.Model
	devices map[string]map[string]string // host, MAC → device
	base    map[counter]uint64
	sights  []sight
	probes  []*probe
	// judged
	want   map[counter]uint64
	places map[uint32]map[string]bool // by probe, where it may be seen
	must   map[uint32]string          // by probe, where it must arrive
	// of probes that are sent in VXLAN
	tunnels map[uint32]tunnel
}

// probe is one frame with what must become of it.
type probe struct {
	name  string
	frame []byte
	from  string // where it must have been seen: that it was sent
	mark  uint32
	// want is a drop's reason, a model.Action, or nil: whatever the specification says
	want any
}

var marks uint32

// begin starts listening and remembers the counters.
func (l *lab) begin(t *testing.T) *trial {
	t.Helper()
	goals, err := l.goals()
	if err != nil {
		t.Fatal(err)
	}
	w := &trial{t: t, l: l, goals: goals, models: map[string]*model.Model{}, want: map[counter]uint64{}, places: map[uint32]map[string]bool{}, tunnels: map[uint32]tunnel{}, must: map[uint32]string{}}
	for name, g := range goals {
		w.models[name] = model.New(g)
	}
	for _, ns := range l.namespaces(t) {
		c, err := listen(ns)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		w.caps = append(w.caps, c)
	}
	for quiet := false; !quiet; { // from here on every frame is both captured and counted
		w.read()
		w.sights = nil
		w.base = w.counters()
		time.Sleep(20 * time.Millisecond)
		w.read()
		quiet = len(w.sights) == 0 && maps.Equal(w.base, w.counters())
	}
	return w
}

// number gives a probe its mark.
func number() (uint32, []byte) {
	marks++
	return marks, mark(marks)
}

// read takes what was captured.
func (w *trial) read() {
	w.t.Helper()
	for _, c := range w.caps {
		w.sights = append(w.sights, c.read(w.t, w.concerns)...)
	}
}

// concerns: what a program of the hosts judges.
func (w *trial) concerns(s *sight) bool {
	if w.sandbox(s.ns) != nil {
		return s.out && s.dev == "eth0"
	}
	return !s.out && (s.dev == "uplink0" || s.dev == "rfvxlan")
}

func (w *trial) sandbox(ns string) *vm {
	for _, m := range w.l.vms {
		if m.netns == ns {
			return m
		}
	}
	return nil
}

func (w *trial) counters() map[counter]uint64 {
	w.t.Helper()
	var got struct {
		Value []struct {
			Host, Direction, Reason, Rule string
			Port                          uint32
			Packets                       uint64
		}
		Missing map[string]string
	}
	if err := w.l.ask("drops", &got); err != nil || len(got.Missing) > 0 {
		w.t.Fatalf("drops: %v %v", err, got.Missing)
	}
	out := map[counter]uint64{}
	for _, d := range got.Value {
		out[counter{d.Host, d.Port, d.Direction, d.Reason, d.Rule}] += d.Packets
	}
	return out
}

// moved are the counters that moved since the trial began.
func (w *trial) moved() map[counter]uint64 {
	now := w.counters()
	for k, n := range w.base {
		if now[k] -= n; now[k] == 0 {
			delete(now, k)
		}
	}
	return now
}

// place is how a trial calls a device of a namespace.
func (w *trial) place(ns, dev string) string {
	return strings.TrimPrefix(ns, "rf-"+w.l.name+"-") + " " + dev
}

// expect notes a drop that the counters must show.
func (w *trial) expect(host string, port uint32, dir model.Dir, r observe.Reason, rule string) {
	w.want[counter{host, port, dir.String(), r.String(), rule}]++
}

func (w *trial) allow(mark uint32, places ...string) {
	if mark == 0 {
		return
	}
	if w.places[mark] == nil {
		w.places[mark] = map[string]bool{}
	}
	for _, p := range places {
		w.places[mark][p] = true
	}
}

// judgeVM asks the specification about a frame that a machine sent: its drop, its way.
func (w *trial) judgeVM(m *vm, s sight) (model.Verdict, []model.Step) {
	p := model.Parse(s.frame)
	p.VLAN = p.VLAN || s.vlan
	v, steps := model.Send(w.models, m.host, m.port.Index, p)
	at := m.host
	if len(steps) > 0 {
		at = steps[len(steps)-1].Host
	}
	if v.Action == model.Drop {
		w.expect(at, v.Port, v.Dir, v.Reason, v.Rule)
	}
	w.allow(s.mark, w.place(m.netns, "eth0"), w.place(w.l.host(m.host), portDevice(m)))
	if v.Action == model.Service {
		w.allow(s.mark, w.place(w.l.host(m.host), "rfsvc"), w.place(w.l.host(m.host)+"-svc", "*"))
	}
	if at != m.host || v.Action == model.Encap {
		w.allow(s.mark, w.place(w.l.host("fabric"), "*"))
		for _, h := range w.l.state.Hosts {
			w.allow(s.mark, w.place(h.Netns, "rfvxlan"), w.place(h.Netns, "under0"))
		}
	}
	if v.Action == model.Deliver {
		to := w.place(w.behind(at, v.Port).netns, "eth0")
		w.allow(s.mark, to)
		if s.mark != 0 {
			w.must[s.mark] = to
		}
	}
	return v, steps
}

func (w *trial) behind(host string, port uint32) *vm {
	for _, m := range w.l.vms {
		if m.host == host && m.port.Index == port {
			return m
		}
	}
	w.t.Fatalf("nobody behind port %d of %s", port, host)
	return nil
}

func portDevice(m *vm) string { return fmt.Sprintf("rfp%x", m.port.Index) }

// forget begins the judging anew.
func (w *trial) forget() {
	clear(w.want)
	for name, g := range w.goals {
		w.models[name] = model.New(g)
	}
}

// judge asks the specification about everything that was seen where a program of the hosts judges, in order: what machines sent, what came from
// the Internet, what came out of tunnels without a machine having sent it.
func (w *trial) judge() {
	w.forget()
	for _, s := range w.byTime() {
		switch m := w.sandbox(s.ns); {
		case m != nil && s.out && s.dev == "eth0":
			w.judgeVM(m, s)
		case s.out:
		case s.dev == "uplink0" && s.ns != w.l.state.Internet:
			w.judgeUplink(s)
		case s.dev == "rfvxlan" && w.tunnels[s.mark].vni != 0:
			w.judgeTunnel(s, w.tunnels[s.mark])
		}
	}
}

// judgeUplink: nothing is open towards the Internet, and ARP is the host's own matter.
func (w *trial) judgeUplink(s sight) {
	if s.vlan || len(s.frame) < 14 || s.frame[12] != 8 || s.frame[13] != 6 {
		w.expect(w.place(s.ns, "")[:len("host1")], 0, model.In, observe.UplinkClosed, "")
	}
}

// tunnel is what a test wrapped a frame in.
type tunnel struct {
	vni   uint32
	outer netip.Addr
}

// judgeTunnel asks about a frame that came in VXLAN.
func (w *trial) judgeTunnel(s sight, by tunnel) {
	host := w.place(s.ns, "")[:len("host1")]
	p := model.Parse(s.frame)
	p.VLAN = p.VLAN || s.vlan
	v, _ := w.models[host].In(by.vni, by.outer, p)
	switch v.Action {
	case model.Drop:
		w.expect(host, v.Port, v.Dir, v.Reason, v.Rule)
	case model.Deliver:
		w.allow(s.mark, w.place(w.behind(host, v.Port).netns, "eth0"))
	}
}

// settle waits until the counters are what was expected, or long enough; then nothing is on its way any more.
func (w *trial) settle() {
	w.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w.read()
		w.judge()
		if maps.Equal(w.moved(), w.want) && w.quiet() || time.Now().After(end) {
			return
		}
	}
}

// quiet says whether nothing new was seen for a while.
func (w *trial) quiet() bool {
	n := len(w.sights)
	time.Sleep(100 * time.Millisecond)
	w.read()
	return n == len(w.sights)
}

// byTime orders what was seen, since flows have an order.
func (w *trial) byTime() []sight {
	slices.SortStableFunc(w.sights, func(a, b sight) int { return int(a.at - b.at) })
	return w.sights
}

// checkCounters: exactly the drops that were expected, at exactly their places.
func (w *trial) checkCounters() {
	w.t.Helper()
	moved := w.moved()
	keys := slices.Collect(maps.Keys(moved))
	for k := range w.want {
		if _, ok := moved[k]; !ok {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		if moved[k] != w.want[k] {
			w.t.Errorf("%s port %d %s %s %s: counted %d, sent %d", k.host, k.port, k.dir, k.reason, k.rule, moved[k], w.want[k])
		}
	}
}

// checkPlaces: every probe was sent, and nobody saw one who has no business with it.
func (w *trial) checkPlaces() {
	w.t.Helper()
	seen := map[uint32]map[string]bool{}
	for _, s := range w.sights {
		if s.mark == 0 {
			continue
		}
		if seen[s.mark] == nil {
			seen[s.mark] = map[string]bool{}
		}
		at := w.place(s.ns, s.dev)
		seen[s.mark][at] = true
		if ns, _, _ := strings.Cut(at, " "); !w.places[s.mark][at] && !w.places[s.mark][ns+" *"] {
			w.t.Errorf("%s: seen at %s by somebody it is not for: %x", w.named(s.mark), at, s.frame)
			w.places[s.mark][at] = true // said once
		}
	}
	for mark, at := range w.must {
		if !seen[mark][at] {
			w.t.Errorf("%s: did not arrive at %s", w.named(mark), at)
		}
	}
	for _, p := range w.probes {
		if !seen[p.mark][p.from] {
			w.t.Errorf("%s: was not sent: not seen at %s", p.name, p.from)
		}
	}
}

func (w *trial) named(mark uint32) string {
	for _, p := range w.probes {
		if p.mark == mark {
			return p.name
		}
	}
	return fmt.Sprintf("frame %d", mark)
}

// deviceMAC is the address of a device in a namespace.
func deviceMAC(t *testing.T, ns, dev string) (mac goal.MAC) {
	t.Helper()
	err := netns.Do(ns, func() error {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			mac = goal.MAC(i.HardwareAddr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return mac
}
