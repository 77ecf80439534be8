package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// inJudge calls fn with a judge in a namespace of its own.
func inJudge(t *testing.T, change func(*Options), fn func(*judge)) {
	t.Helper()
	o := testOptions(t)
	if change != nil {
		change(&o)
	}
	ns := fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(ns) })
	if err := netns.Do(ns, func() error { fn(newJudge(t, ns, o)); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (j *judge) want(what string, v model.Verdict, action model.Action, reason observe.Reason) {
	j.t.Helper()
	if v.Action != action || v.Reason != reason {
		j.t.Errorf("%s: %+v, not %v %v", what, v, action, reason)
	}
}

func twoPorts(underlay netip.Addr) *goal.Host {
	return testGoals([]*wireHost{{underlay: underlay}}, 2)[0]
}

func (j *judge) flows() int {
	f, err := j.d.Flows()
	if err != nil {
		j.t.Fatal(err)
	}
	return len(f)
}

// Every idle entry goes, both halves together, and its place in the port's share comes back; a live one stays.
func TestCollect(t *testing.T) {
	inJudge(t, func(o *Options) { o.Quota = o.Flows }, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		a := &h.Ports[0]
		for i := range 3000 {
			for _, ip := range []netip.Addr{h.Ports[1].Addresses[0].IP, h.Ports[1].Addresses[1].IP} {
				if i%2 == 0 && ip.Is6() {
					continue
				}
				v, _ := j.out(1, model.Open(a, goal.UDP, ip, uint16(1000+i), 53).Frame())
				j.want("opening", v, model.Deliver, 0)
			}
		}
		if n := j.flows(); n != 2*4500 {
			t.Fatalf("%d flows, not 9000", n)
		}
		if n, err := j.d.collect(); n != 0 || err != nil {
			t.Fatalf("collected %d live flows, %v", n, err)
		}
		n, err := j.d.sweepAll(func(e flowEntry) verdict {
			if e.family == 4 && e.Seen%2 == 0 {
				return idle // the program knows better: they are live
			}
			return keep
		})
		if n != 0 || err != nil || j.flows() != 9000 {
			t.Errorf("a second look did not save live flows: %d collected, %v", n, err)
		}
		if n, err := j.d.sweepAll(func(flowEntry) verdict { return force }); n != 9000 || err != nil {
			t.Errorf("collected %d flows, %v", n, err)
		}
		j.share(1, 0)
		j.share(2, 0)
	})
}

// share checks how many entries are booked for a port.
func (j *judge) share(port uint32, want uint32) {
	j.t.Helper()
	var n shareValue
	if err := j.d.coll.Maps["port_flows"].Lookup(j.d.kernel.ports[port].slot, &n); err != nil {
		j.t.Fatal(err)
	}
	if n.Flows != want {
		j.t.Errorf("port %d has %d entries booked, not %d", port, n.Flows, want)
	}
}

// A full table refuses new flows with a reason and keeps the established ones; half-made flows do not stay.
func TestFullTable(t *testing.T) {
	inJudge(t, func(o *Options) { o.Flows = 512 }, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		open := func(i int) (model.Verdict, []byte) {
			f := model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, uint16(1000+i), 53).Frame()
			v, _ := j.out(1, f)
			return v, f
		}
		_, first := open(0)
		refused := map[observe.Reason]int{}
		for i := 1; i < 2000; i++ {
			if v, _ := open(i); v.Action == model.Drop {
				refused[v.Reason]++
			}
		}
		if len(refused) == 0 || refused[observe.FlowQuota]+refused[observe.FlowTableFull] < 1700 {
			t.Errorf("refused: %v", refused)
		}
		v, _ := j.out(1, first)
		j.want("the first flow, in a full table", v, model.Deliver, 0)
		if _, err := j.d.collect(); err != nil { // halves that lost their other half are dead already
			t.Fatal(err)
		}
		n := map[uint32]int{}
		flows, _ := j.d.Flows()
		for _, f := range flows {
			n[f.Port]++
		}
		if n[1] != n[2] {
			t.Errorf("flows by port: %v", n)
		}
		j.share(1, uint32(n[1]))
		j.share(2, uint32(n[2]))
	})
}

// A closed connection's entry goes soon, an established one has the virtual network's time.
func TestTCPStates(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		h.VNets[0].IdleMinutes = 10
		j.load(h)
		a, b := &h.Ports[0], &h.Ports[1]
		syn := model.Open(a, goal.TCP, b.Addresses[0].IP, 1000, 80)
		send := func(port uint32, p model.Packet, flags uint8) {
			p.TCPFlags = flags
			v, _ := j.out(port, p.Frame())
			j.want(fmt.Sprintf("flags %#x from port %d", flags, port), v, model.Deliver, 0)
		}
		back := syn.Reply(b.MAC)
		for _, step := range []struct {
			port  uint32
			p     model.Packet
			flags uint8
			state string
			idle  uint32
		}{
			{1, syn, model.SYN, "opening", 60},
			{2, back, model.SYN | model.ACK, "opening", 60},
			{1, syn, model.ACK, "established", 600},
			{1, syn, model.FIN | model.ACK, "closing", 600},
			{2, back, model.ACK, "closing", 600},
			{2, back, model.FIN | model.ACK, "closed", 10},
			{1, syn, model.ACK, "closed", 10},
			{1, syn, model.SYN, "opening", 60},
			{2, back, model.RST, "closed", 10},
		} {
			send(step.port, step.p, step.flags)
			flows, err := j.d.Flows()
			if err != nil || len(flows) != 2 {
				t.Fatalf("%d flows, %v", len(flows), err)
			}
			for _, f := range flows {
				if f.State != step.state || uint32(f.Timeout.Seconds()) != step.idle {
					t.Errorf("after flags %#x from port %d: port %d is %s for %v, not %s for %d s", step.flags, step.port, f.Port, f.State, f.Timeout, step.state, step.idle)
				}
			}
		}
	})
}

// An entry that has been silent for its time goes with its other half; one second less and both stay.
func TestIdle(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		v, _ := j.out(1, model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 1000, 53).Frame())
		j.want("opening", v, model.Deliver, 0)
		for _, step := range []struct {
			silent uint64 // seconds
			want   int
		}{{defaultIdle - 1, 0}, {2, 2}} {
			j.advance(step.silent)
			if n, err := j.d.collect(); n != step.want || err != nil {
				t.Errorf("after %d s: %d collected, not %d: %v", step.silent, n, step.want, err)
			}
		}
		j.share(1, 0)
		if n := j.flows(); n != 0 {
			t.Errorf("%d flows are left", n)
		}
	})
}

// An error passes by the flow that it is about, but keeps it alive at neither end.
func TestErrorsKeepNothingAlive(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		p := model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 1000, 53)
		e := p.Error(h.Ports[1].MAC, model.Unreachable, 3).Frame()
		v, _ := j.out(2, e)
		j.want("an error about nothing", v, model.Drop, observe.FlowNoError)
		v, _ = j.out(1, p.Frame())
		j.want("opening", v, model.Deliver, 0)
		j.advance(defaultIdle + 1)
		v, _ = j.out(2, e)
		j.want("the receiver's error", v, model.Deliver, 0)
		if n, err := j.d.collect(); n != 2 || err != nil {
			t.Errorf("%d collected, not 2: %v", n, err)
		}
	})
}

// advance makes every entry as if so many seconds more had gone by.
func (j *judge) advance(seconds uint64) {
	j.t.Helper()
	older(j.t, j.d.coll.Maps["flows4"], flowKey4{}, seconds*j.d.clock.Hz)
	older(j.t, j.d.coll.Maps["flows6"], flowKey6{}, seconds*j.d.clock.Hz)
}

func older[K flowKey4 | flowKey6](t testing.TB, m *ebpf.Map, k K, ticks uint64) {
	t.Helper()
	var v flowValue
	all := map[K]flowValue{}
	for it := m.Iterate(); it.Next(&k, &v); {
		all[k] = v
	}
	for k, v := range all {
		v.Seen -= ticks
		if err := m.Put(k, v); err != nil {
			t.Fatal(err)
		}
	}
}

// Goals change under live flows: both judges are updated and must go on alike.
func TestTwinUpdates(t *testing.T) {
	const rounds, packets = 100, 150
	inJudge(t, func(o *Options) { o.Ports, o.Groups, o.Flows = 256, 1024, 1<<16 }, func(j *judge) {
		seen := map[string]int{}
		for seed := uint64(1); seed <= rounds && !t.Failed(); seed++ {
			r := rand.New(rand.NewPCG(seed, 1))
			hosts := random.Hosts(r, 1+r.IntN(10))
			h := hosts[0]
			if len(h.Ports) == 0 {
				continue
			}
			j.load(h)
			m := j.model(h)
			for range 4 {
				j.play(m, h, r, packets, seen)
				h = change(r, h)
				j.apply(h)
				m.Update(h)
			}
			j.play(m, h, r, packets, seen)
			j.compareFlows(m)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
		t.Log(seen)
	})
}

// apply puts a goal into force and leaves the flows.
func (j *judge) apply(h *goal.Host) {
	j.t.Helper()
	h.Generation = j.d.Generation() + 1
	j.pending = slices.DeleteFunc(j.pending, func(e twinEvent) bool {
		return e.port != 0 && !slices.ContainsFunc(h.Ports, func(p goal.Port) bool { return p.Index == e.port })
	})
	if err := j.d.Apply(j.t.Context(), h, func(p uint32) (int, bool) { i, ok := j.of[p]; return i, ok }); err != nil {
		j.t.Fatal(err)
	}
}

func (j *judge) play(m *model.Model, h *goal.Host, r *rand.Rand, n int, seen map[string]int) {
	j.t.Helper()
	var delivered []twinEvent
	for _, f := range m.Flows() { // packets of flows that live, from either end
		if f.Local.Is4() && (f.Protocol == goal.TCP || f.Protocol == goal.UDP) {
			for i := range h.Ports {
				if h.Ports[i].Index == f.Port {
					p := model.Packet{EtherType: model.EtherIPv4, SrcMAC: h.Ports[i].MAC, Src: f.Remote, Dst: f.Local, Protocol: f.Protocol, SrcPort: f.RemotePort, DstPort: f.LocalPort, HopLimit: 64, TCPFlags: model.ACK}
					delivered = append(delivered, twinEvent{port: f.Port, frame: p.Frame()})
				}
			}
		}
	}
	for range n {
		e := j.next(h, r, delivered)
		if e.seconds == 0 && !runnable(e.frame) {
			continue
		}
		want, got := j.both(m, e)
		seen[want.Action.String()+" "+want.Reason.String()]++
		if !same(want, got) {
			j.t.Errorf("%v\n%+v\nmodel:  %+v\nkernel: %+v\n%s", e, model.Parse(e.frame), want, got, goal.Text(h))
			return
		}
		if want.Action == model.Deliver && want.Port != 0 {
			delivered = append(delivered, twinEvent{port: want.Port, frame: e.frame})
		}
	}
}

// change makes another goal out of one: rules, flush, members, endpoints, ports and addresses come, go and move.
func change(r *rand.Rand, old *goal.Host) *goal.Host {
	h := *old
	h.Groups = append([]goal.Group(nil), old.Groups...)
	h.Ports = append([]goal.Port(nil), old.Ports...)
	h.VNets = append([]goal.VNet(nil), old.VNets...)
	for range 1 + r.IntN(3) {
		switch r.IntN(7) {
		case 0, 1: // the rules of a group turn round
			if len(h.Groups) > 0 {
				g := &h.Groups[r.IntN(len(h.Groups))]
				g.Flush = r.IntN(2) == 0
				g.In, g.Out = turned(r, g.In), turned(r, g.Out)
			}
		case 2: // a port gets other groups
			if len(h.Groups) > 0 {
				p := &h.Ports[r.IntN(len(h.Ports))]
				p.NICGroup, p.SubnetGroup = h.Groups[r.IntN(len(h.Groups))].ID, ""
			}
		case 3: // a port goes
			if len(h.Ports) > 1 {
				h.Ports = h.Ports[:len(h.Ports)-1]
			}
		case 4: // an endpoint goes, or moves to another host
			n := &h.VNets[r.IntN(len(h.VNets))]
			n.Endpoints = append([]goal.Endpoint(nil), n.Endpoints...)
			if i := r.IntN(len(n.Endpoints)); r.IntN(2) == 0 && len(n.Endpoints) > 1 {
				n.Endpoints = append(n.Endpoints[:i], n.Endpoints[i+1:]...)
			} else {
				n.Endpoints[i].Host = netip.AddrFrom4([4]byte{198, 18, 0, byte(50 + r.IntN(3))})
			}
		case 5: // a set loses or gets a member
			n := &h.VNets[r.IntN(len(h.VNets))]
			n.Sets = append([]goal.Set(nil), n.Sets...)
			if len(n.Sets) > 0 {
				s := &n.Sets[r.IntN(len(n.Sets))]
				if len(s.Prefixes) > 0 && r.IntN(2) == 0 {
					s.Prefixes = s.Prefixes[1:]
				} else {
					e := n.Endpoints[r.IntN(len(n.Endpoints))].IP
					s.Prefixes = append(append([]netip.Prefix(nil), s.Prefixes...), netip.PrefixFrom(e, e.BitLen()))
				}
			}
		case 6: // a port loses an address
			p := &h.Ports[r.IntN(len(h.Ports))]
			if last := len(p.Addresses) - 1; last > 0 {
				for i := range h.VNets {
					if n := &h.VNets[i]; n.VNI == p.VNI {
						n.Endpoints = slices.DeleteFunc(slices.Clone(n.Endpoints), func(e goal.Endpoint) bool { return e.IP == p.Addresses[last].IP })
					}
				}
				p.Addresses = p.Addresses[:last]
			}
		}
	}
	h.Groups = slices.DeleteFunc(h.Groups, func(g goal.Group) bool { // the compiler sends what ports refer to
		return !slices.ContainsFunc(h.Ports, func(p goal.Port) bool { return p.NICGroup == g.ID || p.SubnetGroup == g.ID })
	})
	return &h
}

func turned(r *rand.Rand, rules []goal.Rule) []goal.Rule {
	out := append([]goal.Rule(nil), rules...)
	for i := range out {
		if r.IntN(3) == 0 {
			out[i].Allow = !out[i].Allow
		}
	}
	return out
}
