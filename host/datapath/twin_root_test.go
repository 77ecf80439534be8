package datapath

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// The slow twin: goal/model against the loaded programs, random policy × random packet. Compared are the action, the reason, the
// direction and the port at which it was decided, the receiving host and VNI, and the deciding group and rule.

const (
	twinPackets  = 1_000_000 // as root of make test; a tenth otherwise
	twinPerHost  = 700
	twinMaxRules = 40
)

func twinSize() int {
	if n, err := strconv.Atoi(os.Getenv("RINGFENCE_TWIN_PACKETS")); err == nil {
		return n
	}
	if os.Getenv("RINGFENCE_ROOT") == "1" {
		return twinPackets
	}
	return twinPackets / 10
}

// judge runs programs on frames without sending anything.
type judge struct {
	t       testing.TB
	d       *Datapath
	devices []int
	of      map[uint32]int // port → ifindex
	pending []twinEvent    // fragments of one packet
	now     uint64         // the clock of test runs, in nanoseconds
}

func newJudge(t testing.TB, ns string, o Options) *judge {
	j := &judge{t: t, of: map[uint32]int{}}
	if err := netdev.With(ns, func(c *netdev.Conn) error {
		for i := range 20 {
			if _, _, err := c.EnsureVeth(netdev.Veth{Name: fmt.Sprintf("a%d", i), Peer: netdev.Peer{Namespace: ns, Name: fmt.Sprintf("b%d", i)}}); err != nil {
				return err
			}
		}
		all, err := c.List("")
		for _, l := range all {
			if l.Index > 1 {
				j.devices = append(j.devices, l.Index)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	o.testing = true
	j.d = openTest(t, o)
	return j
}

// model is the other judge.
func (j *judge) model(h *goal.Host) *model.Model {
	m := model.New(h)
	m.MTU = j.d.opts.UnderlayMTU - encapsulation
	return m
}

// load puts a goal into force and forgets all flows.
func (j *judge) load(h *goal.Host) {
	j.t.Helper()
	clear(j.of)
	for i, p := range h.Ports {
		j.of[p.Index] = j.devices[i]
	}
	h.Generation = j.d.Generation() + 1
	j.d.opts.Underlay = h.Underlay
	if err := j.d.Apply(context.Background(), h, func(p uint32) (int, bool) { i, ok := j.of[p]; return i, ok }); err != nil {
		j.t.Fatal(err)
	}
	if _, err := j.d.sweepAll(func(flowEntry) verdict { return force }); err != nil {
		j.t.Fatal(err)
	}
	j.forgetFragments()
	j.now = 0
	for slot := range j.d.coll.Maps["port_buckets"].MaxEntries() {
		if err := j.d.coll.Maps["port_buckets"].Put(slot, bucketRecord{}); err != nil {
			j.t.Fatal(err)
		}
	}
}

// forgetFragments empties what is remembered of the datagrams of every port.
func (j *judge) forgetFragments() {
	j.t.Helper()
	j.pending = nil
	m := j.d.coll.Maps["fragments"]
	for _, p := range j.d.kernel.ports {
		for dir := range uint32(2) {
			if err := m.Put(p.slot*2+dir, make([]byte, m.ValueSize())); err != nil {
				j.t.Fatal(err)
			}
		}
	}
}

func (j *judge) run(program string, frame []byte, c skb) (model.Verdict, []byte) {
	c.TStamp = j.now
	out, data := skb{}, make([]byte, len(frame)+256)
	opts := ebpf.RunOptions{Data: frame, DataOut: data, Context: &c, ContextOut: &out}
	ret, err := j.d.coll.Programs[program].Run(&opts)
	if err != nil {
		j.t.Fatalf("test run of %x: %v", frame, err)
	}
	return j.verdict(out, ret), opts.DataOut
}

func (j *judge) verdict(out skb, ret uint32) model.Verdict {
	actions := map[uint32]model.Action{1: model.Drop, 2: model.Deliver, 3: model.Encap, 4: model.Service, 5: model.Answer}
	v := model.Verdict{Action: actions[out.CB[0]&0xff], Reason: observe.Reason(out.CB[0] >> 8 & 0xffff), Dir: model.Dir(out.CB[0] >> 24), Port: out.CB[1]}
	if want := map[bool]uint32{true: 2, false: 7}[v.Action == model.Drop]; ret != want {
		j.t.Fatalf("action %v returned %d, not %d", v.Action, ret, want)
	}
	if v.Action == model.Encap {
		v.Host = netip.AddrFrom4([4]byte{byte(out.CB[2]), byte(out.CB[2] >> 8), byte(out.CB[2] >> 16), byte(out.CB[2] >> 24)})
		v.VNI = out.Mark
	}
	if v.Action == model.Drop {
		v.Layer = v.Reason.Info().Layer
		name := j.d.names.of(uint64(out.CB[4])<<32 | uint64(out.CB[3]))
		v.Group, v.Rule = name.group, name.rule
	}
	return v
}

func (j *judge) out(port uint32, frame []byte) (model.Verdict, []byte) {
	return j.run("port_out", frame, skb{Ifindex: uint32(j.of[port])})
}

func (j *judge) in(vni uint32, outer netip.Addr, frame []byte) (model.Verdict, []byte) {
	b := outer.As4()
	c := skb{Ifindex: uint32(j.devices[0])}
	c.CB[0], c.CB[1] = vni, uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24
	return j.run("overlay_in", frame, c)
}

// twinEvent is one frame that enters the host.
type twinEvent struct {
	after time.Duration // since the one before
	port  uint32        // out of this port, or
	vni   uint32
	outer netip.Addr
	frame []byte

	seconds uint64 // or so much time goes by
}

func (e twinEvent) String() string {
	if e.seconds != 0 {
		return fmt.Sprintf("%d s go by", e.seconds)
	}
	if e.port != 0 {
		return fmt.Sprintf("+%v out %d %s", e.after, e.port, hex.EncodeToString(e.frame))
	}
	return fmt.Sprintf("+%v in %d %v %s", e.after, e.vni, e.outer, hex.EncodeToString(e.frame))
}

func (j *judge) both(m *model.Model, e twinEvent) (want, got model.Verdict) {
	if e.seconds != 0 {
		m.Advance(time.Duration(e.seconds) * time.Second)
		j.now += e.seconds * uint64(time.Second)
		j.advance(e.seconds)
		if _, err := j.d.collect(); err != nil {
			j.t.Fatal(err)
		}
		return want, got
	}
	m.Advance(e.after)
	j.now += uint64(e.after)
	p := model.Parse(e.frame)
	if e.port != 0 {
		want, _ = m.Out(e.port, p)
		got, _ = j.out(e.port, e.frame)
		return want, got
	}
	want, _ = m.In(e.vni, e.outer, p)
	got, _ = j.in(e.vni, e.outer, e.frame)
	return want, got
}

// comparable leaves out what only one of the two says.
func same(want, got model.Verdict) bool {
	if want.Action != model.Drop {
		want.Layer, want.Group, want.Rule, want.Reason = "", "", "", 0
	}
	if want.Action == model.Deliver {
		want.Host, want.VNI = netip.Addr{}, 0
	}
	return want == got
}

func TestSlowTwin(t *testing.T) {
	o := testOptions(t)
	o.Flows, o.Ports, o.Groups, o.UnderlayMTU = 1<<16, 256, 1024, 1500
	ns := fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(ns) })
	if err := netns.Do(ns, func() error { twin(t, ns, o); return nil }); err != nil {
		t.Fatal(err)
	}
}

func twin(t *testing.T, ns string, o Options) {
	j := newJudge(t, ns, o)
	start := time.Now()
	packets, policies, goals := 0, 0, 0
	seen := map[string]int{}
	var applying time.Duration
	for seed := uint64(1); packets < twinSize(); seed++ {
		r := rand.New(rand.NewPCG(seed, 0))
		size := 1 + r.IntN(twinMaxRules)
		if r.IntN(40) == 0 {
			size = 1000
		}
		for _, h := range random.Hosts(r, size) {
			if len(h.Ports) == 0 {
				continue
			}
			at := time.Now()
			j.load(h)
			applying += time.Since(at)
			goals++
			policies += len(h.Groups)
			n := j.duel(h, r, twinPerHost, seen)
			packets += n
			if t.Failed() {
				t.Fatalf("seed %d, host %s", seed, h.Name)
			}
		}
	}
	t.Logf("%d packets over %d groups of %d goals in %v, of which %v to apply them", packets, policies, goals, time.Since(start).Round(time.Millisecond), applying.Round(time.Millisecond))
	t.Log(seen)
	if packets >= twinPackets && policies < 1000 {
		t.Errorf("only %d policies", policies)
	}
}

// duel lets both judge n frames, some of which answer earlier ones, and compares the flow tables at the end.
func (j *judge) duel(h *goal.Host, r *rand.Rand, n int, seen map[string]int) int {
	m := j.model(h)
	var history []twinEvent
	var delivered []twinEvent
	for i := range n {
		e := j.next(h, r, delivered)
		if r.IntN(3) == 0 {
			e.after = time.Duration(r.IntN(1 << r.IntN(24)))
		}
		if e.seconds == 0 && !runnable(e.frame) {
			continue
		}
		history = append(history, e)
		want, got := j.both(m, e)
		seen[want.Action.String()+" "+want.Reason.String()]++
		if !same(want, got) {
			j.disagree(h, history)
			return i
		}
		if want.Action == model.Deliver && want.Port != 0 {
			delivered = append(delivered, twinEvent{port: want.Port, frame: e.frame})
		}
		if want.Action == model.Encap {
			delivered = append(delivered, twinEvent{vni: want.VNI, outer: want.Host, frame: e.frame})
		}
	}
	j.compareFlows(m)
	return len(history)
}

// runnable says whether a test run takes the frame: the kernel refuses one that ends within its network header. TestTruncated sends those.
func runnable(f []byte) bool {
	if len(f) < 14 {
		return false
	}
	switch uint16(f[12])<<8 | uint16(f[13]) {
	case model.EtherIPv4:
		return len(f) >= 14+20
	case model.EtherIPv6:
		return len(f) >= 14+40
	}
	return true
}

// next is a frame: an answer to one that was delivered, or a new one; now and then with several bytes changed.
// Time goes by in steps that take longer than the test itself, and no sum of which is within some seconds before an idle time.
func (j *judge) next(h *goal.Host, r *rand.Rand, delivered []twinEvent) twinEvent {
	if r.IntN(100) == 0 {
		return twinEvent{seconds: uint64(11 * []int{1, 1, 5, 5, 21}[r.IntN(5)])}
	}
	if n := len(j.pending); n > 0 && r.IntN(3) > 0 {
		e := j.pending[0]
		j.pending = j.pending[1:]
		return e
	}
	e := j.sane(h, r, delivered)
	if len(j.pending) == 0 && r.IntN(40) == 0 {
		for _, p := range random.Pieces(r, model.Parse(e.frame)) {
			j.pending = append(j.pending, twinEvent{port: e.port, vni: e.vni, outer: e.outer, frame: p.Frame()})
		}
	}
	if n := len(e.frame); n > 14 && r.IntN(12) == 0 {
		for range 1 + r.IntN(6) {
			e.frame[12+r.IntN(min(n-12, 60))] = byte(r.Uint32())
		}
	}
	return e
}

func (j *judge) sane(h *goal.Host, r *rand.Rand, delivered []twinEvent) twinEvent {
	if len(delivered) > 0 && r.IntN(4) == 0 { // the receiver answers, or somebody goes on
		d := delivered[r.IntN(len(delivered))]
		p, mac := model.Parse(d.frame), model.Gateway
		for _, q := range h.Ports {
			if q.Index == d.port {
				mac = q.MAC
			}
		}
		if r.IntN(4) == 0 && !p.IsError() {
			d.frame = random.Frame(r, random.Error(r, p, mac))
			return d
		}
		p = p.Reply(mac)
		if p.Protocol == goal.TCP && r.IntN(4) == 0 {
			p.TCPFlags = []uint8{model.RST, model.FIN | model.ACK, model.ACK, model.SYN}[r.IntN(4)]
		}
		d.frame = p.Frame()
		return d
	}
	if r.IntN(3) == 0 {
		vni, outer, p := random.Overlay(r, h)
		if outer.Is4() {
			return twinEvent{vni: vni, outer: outer, frame: random.Frame(r, p)}
		}
	}
	port := h.Ports[r.IntN(len(h.Ports))].Index
	return twinEvent{port: port, frame: random.Frame(r, random.Packet(r, h, port))}
}

// compareFlows compares the keys of the two flow tables.
func (j *judge) compareFlows(m *model.Model) {
	j.t.Helper()
	type key struct {
		port          uint32
		protocol      uint8
		local, remote netip.Addr
		lport, rport  uint16
	}
	want := map[key]bool{}
	for _, f := range m.Flows() {
		want[key{f.Port, f.Protocol, f.Local, f.Remote, f.LocalPort, f.RemotePort}] = true
	}
	flows, err := j.d.Flows()
	if err != nil {
		j.t.Fatal(err)
	}
	for _, f := range flows {
		k := key{f.Port, f.Protocol, f.Local, f.Remote, f.LocalPort, f.RemotePort}
		if !want[k] {
			j.t.Errorf("flow %+v is in the kernel only", k)
		}
		delete(want, k)
	}
	for k := range want {
		j.t.Errorf("flow %+v is in the model only", k)
	}
}

// disagree makes the history as short as it still disagrees, and prints it with the goal.
func (j *judge) disagree(h *goal.Host, history []twinEvent) {
	fails := func(es []twinEvent) bool {
		j.load(h)
		m := j.model(h)
		for i, e := range es {
			if want, got := j.both(m, e); !same(want, got) {
				return i == len(es)-1
			}
		}
		return false
	}
	if fails(history) {
		for i := len(history) - 2; i >= 0; i-- {
			shorter := append(append([]twinEvent(nil), history[:i]...), history[i+1:]...)
			if fails(shorter) {
				history = shorter
			}
		}
	} else {
		j.t.Log("not repeatable from an empty flow table")
	}
	j.load(h)
	m := j.model(h)
	for _, e := range history {
		want, got := j.both(m, e)
		j.t.Logf("%v\n%+v\nmodel:  %+v\nkernel: %+v", e, model.Parse(e.frame), want, got)
	}
	j.t.Errorf("model and kernel disagree under this goal:\n%s", goal.Text(h))
}
