package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// Random walks of segments and time through the states of one connection, between two ports of this host and towards another
// host: both judges must agree at every step.
func TestTCPWalks(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		far := netip.MustParseAddr("198.18.0.12")
		h := testGoals([]*wireHost{{underlay: netip.MustParseAddr("198.18.0.11")}, {underlay: far}}, 2)[0]
		flags := []uint8{model.SYN, model.SYN, model.SYN | model.ACK, model.SYN | model.ACK, model.ACK, model.ACK, model.ACK, model.FIN | model.ACK, model.RST, model.RST | model.ACK, model.SYN | model.URG, 0xff, 0}
		seen := map[observe.Reason]int{}
		j.load(h)
		m := j.model(h)
		for seed := uint64(1); seed <= 400; seed++ {
			r := rand.New(rand.NewPCG(seed, 9))
			p := model.Open(&h.Ports[0], goal.TCP, h.Ports[1].Addresses[r.IntN(2)].IP, uint16(seed), 80)
			remote := r.IntN(2) == 0
			if remote {
				p = model.Open(&h.Ports[0], goal.TCP, netip.MustParseAddr("10.0.0.6"), uint16(seed), 80)
			}
			var walk []twinEvent
			for range 30 {
				e := twinEvent{port: 1}
				q := p
				if r.IntN(2) == 0 {
					q = p.Reply(h.Ports[1].MAC)
					if e.port = 2; remote {
						e = twinEvent{vni: 100, outer: far}
					}
				}
				q.TCPFlags = flags[r.IntN(len(flags))]
				if e.frame = q.Frame(); r.IntN(12) == 0 {
					e = twinEvent{seconds: uint64(11 * []int{1, 5, 21}[r.IntN(3)])}
				}
				walk = append(walk, e)
				want, got := j.both(m, e)
				seen[want.Reason]++
				if !same(want, got) {
					j.disagree(h, walk)
					t.Fatalf("seed %d", seed)
				}
			}
		}
		j.compareFlows(m)
		for _, r := range []observe.Reason{observe.None, observe.FlowNoSYN, observe.FlowState, observe.GuardTCPFlags} {
			if seen[r] < 100 {
				t.Errorf("%v: only %d times", r, seen[r])
			}
		}
	})
}

// Half-open connections have a share of their own: it is given back by who establishes, resets or is collected, and flows of other
// kinds do not need it.
func TestHalfOpenShare(t *testing.T) {
	inJudge(t, func(o *Options) { o.HalfOpen = 10 }, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		send := func(port uint16, from uint32, flags uint8) model.Verdict {
			p := model.Open(&h.Ports[0], goal.TCP, h.Ports[1].Addresses[0].IP, port, 80)
			if from == 2 {
				p = p.Reply(h.Ports[1].MAC)
			}
			p.TCPFlags = flags
			v, _ := j.out(from, p.Frame())
			return v
		}
		halfOpen := func(want uint32) {
			t.Helper()
			for _, port := range []uint32{1, 2} {
				var n shareValue
				if err := j.d.coll.Maps["port_flows"].Lookup(j.d.kernel.ports[port].slot, &n); err != nil || n.HalfOpen != want {
					t.Errorf("port %d: %+v, not %d half open: %v", port, n, want, err)
				}
			}
		}
		for i := range uint16(10) {
			j.want("opening", send(i, 1, model.SYN), model.Deliver, 0)
		}
		halfOpen(10)
		j.want("one more", send(10, 1, model.SYN), model.Drop, observe.FlowHalfOpen)
		halfOpen(10)
		v, _ := j.out(1, model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 7, 53).Frame())
		j.want("UDP", v, model.Deliver, 0)
		j.want("an answer", send(0, 2, model.SYN|model.ACK), model.Deliver, 0)
		halfOpen(10)
		j.want("establishing", send(0, 1, model.ACK), model.Deliver, 0)
		halfOpen(9)
		j.want("refusing", send(1, 2, model.RST|model.ACK), model.Deliver, 0)
		halfOpen(8)
		j.want("the same ports again", send(1, 1, model.SYN), model.Deliver, 0)
		halfOpen(9)
		j.want("there is room", send(10, 1, model.SYN), model.Deliver, 0)
		halfOpen(10)
		j.advance(idleOpening + 1)
		if _, err := j.d.collect(); err != nil {
			t.Fatal(err)
		}
		halfOpen(0)
		j.want("the established one", send(0, 1, model.ACK), model.Deliver, 0)
	})
}

// idleOpening is how long a half-open connection may be silent, as flow.h says, in seconds.
const idleOpening = 60

// Flows are learnt again after a loss of everything and only then, for as long as the setting says, by the rules.
func TestRelearn(t *testing.T) {
	var o Options
	inJudge(t, func(p *Options) { p.Relearn = time.Minute; o = *p }, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		n := uint16(0)
		try := func(flags uint8) model.Verdict {
			n++
			p := model.Open(&h.Ports[0], goal.TCP, h.Ports[1].Addresses[0].IP, n, 80)
			p.TCPFlags = flags
			v, _ := j.out(1, p.Frame())
			return v
		}
		j.want("ACK", try(model.ACK), model.Deliver, 0)
		for _, flags := range []uint8{model.SYN | model.ACK, model.FIN | model.ACK, model.RST} {
			j.want(fmt.Sprintf("flags %#x", flags), try(flags), model.Drop, observe.FlowNoSYN)
		}
		flows, _ := j.d.Flows()
		for _, f := range flows {
			if f.State != "established" {
				t.Errorf("%+v", f)
			}
		}
		if left, err := j.d.Relearning(); err != nil || left < 50*time.Second || left > time.Minute {
			t.Errorf("%v left, %v", left, err)
		}
		if err := j.d.configure(func(c *hostConfig) { c.Relearn -= 61 * j.d.clock.Hz }); err != nil {
			t.Fatal(err)
		}
		j.want("when it is over", try(model.ACK), model.Drop, observe.FlowNoSYN)
		if left, err := j.d.Relearning(); err != nil || left != 0 {
			t.Errorf("%v left, %v", left, err)
		}
		o.testing = true
		j.d.Close()
		j.d = openTest(t, o) // the flow table is there
		j.want("after a restart", try(model.ACK), model.Drop, observe.FlowNoSYN)
	})
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		p := model.Open(&h.Ports[0], goal.TCP, h.Ports[1].Addresses[0].IP, 1, 80)
		p.TCPFlags = model.ACK
		v, _ := j.out(1, p.Frame())
		j.want("without the setting", v, model.Drop, observe.FlowNoSYN)
	})
}

// A conversation of which only one side talks keeps both of its halves; what a NIC's address leaves behind goes at both ends.
func TestHalvesLiveAndDieTogether(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		p := model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 1000, 53)
		for range 4 {
			v, _ := j.out(1, p.Frame())
			j.want("one side", v, model.Deliver, 0)
			j.advance(defaultIdle - 20)
			if n, err := j.d.collect(); n != 0 || err != nil || j.flows() != 2 {
				t.Fatalf("%d collected, %d are left: %v", n, j.flows(), err)
			}
		}
		v, _ := j.out(2, p.Reply(h.Ports[1].MAC).Frame())
		j.want("the answer", v, model.Deliver, 0)
		gone := *h
		gone.Ports = append([]goal.Port(nil), h.Ports...)
		gone.Ports[1].Addresses = gone.Ports[1].Addresses[1:]
		gone.VNets = append([]goal.VNet(nil), h.VNets...)
		n := &gone.VNets[0]
		var kept []goal.Endpoint
		for _, e := range n.Endpoints {
			if e.IP != p.Dst {
				kept = append(kept, e)
			}
		}
		n.Endpoints = kept
		j.apply(&gone)
		if n := j.flows(); n != 0 {
			t.Errorf("%d flows of an address that is gone", n)
		}
		j.share(1, 0)
		j.share(2, 0)
	})
}
