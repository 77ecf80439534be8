package datapath

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// asking is a frame of the kind that a limit is about.
func asking(r *rand.Rand, p *goal.Port, kind goal.LimitKind) []byte {
	v4, v6 := p.Addresses[0].IP, p.Addresses[1].IP
	switch kind {
	case goal.LimitARP:
		return model.Packet{EtherType: model.EtherARP, SrcMAC: p.MAC, ARPOp: 1, ARPSender: p.MAC, Src: v4, Dst: v4.Next()}.Frame()
	case goal.LimitND:
		return model.Packet{EtherType: model.EtherIPv6, SrcMAC: p.MAC, Src: v6, Dst: netip.MustParseAddr("ff02::1"), Protocol: goal.ICMPv6, HopLimit: 255,
			ICMPType: model.NeighborSol, Target: v6.Next()}.Frame()
	case goal.LimitDHCP:
		switch r.IntN(3) {
		case 0:
			return model.Packet{EtherType: model.EtherIPv6, SrcMAC: p.MAC, Src: v6, Dst: netip.MustParseAddr("ff02::2"), Protocol: goal.ICMPv6, HopLimit: 255,
				ICMPType: model.RouterSol}.Frame()
		case 1:
			q := model.Open(p, goal.UDP, netip.MustParseAddr("ff02::1:2"), 546, 547)
			q.Src = netip.MustParseAddr("fe80::1")
			return q.Frame()
		}
		return model.Open(p, goal.UDP, model.WireServer, 68, 67).Frame()
	case goal.LimitDNS:
		return model.Open(p, []uint8{goal.UDP, goal.TCP}[r.IntN(2)], model.WireServer, uint16(r.Uint32()), 53).Frame()
	case goal.LimitService:
		return model.Open(p, goal.TCP, []netip.Addr{model.WireServer, model.Metadata}[r.IntN(2)], uint16(r.Uint32()), 80).Frame()
	}
	return model.Open(p, goal.UDP, p.Addresses[r.IntN(2)].IP.Next(), uint16(r.IntN(60000)), uint16(r.IntN(60000))).Frame()
}

// The programs' buckets and the model's say the same of every packet, as time goes by in steps of all sizes.
func TestLimitsAsTheModelSays(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		limited := map[observe.Reason]int{}
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, 12))
			h := twoPorts(netip.MustParseAddr("198.18.0.11"))
			for k := range goal.LimitKinds {
				*h.Ports[0].Limits.Of(k) = goal.Rate{PerSecond: 1 + r.Uint32N(1000), Burst: 1 + r.Uint32N(40)}
			}
			j.load(h)
			m := j.model(h)
			for i := range 3000 {
				e := twinEvent{port: 1, frame: asking(r, &h.Ports[0], goal.LimitKind(r.IntN(int(goal.LimitKinds))))}
				if r.IntN(2) == 0 {
					e.after = time.Duration(r.IntN(1 << r.IntN(24)))
				}
				want, got := j.both(m, e)
				if !same(want, got) {
					t.Fatalf("seed %d, packet %d: %v\nmodel:  %+v\nkernel: %+v", seed, i, e, want, got)
				}
				limited[got.Reason]++
			}
		}
		for k := range goal.LimitKinds {
			if limited[observe.LimitARP+observe.Reason(k)] < 100 {
				t.Errorf("the limit of %v was hardly met: %v", k, limited)
			}
		}
	})
}

// CPUs that take from one bucket at once take exactly what it holds, and every packet is counted once.
func TestLimitIsExactAcrossCPUs(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		const burst, each, senders = 3000, 2000, 4
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		h.Ports[0].Limits.ND = goal.Rate{PerSecond: 1, Burst: burst}
		j.load(h)
		frame := asking(nil, &h.Ports[0], goal.LimitND)
		var all sync.WaitGroup
		for range senders {
			all.Go(func() {
				for range each {
					c := skb{Ifindex: uint32(j.of[1])}
					if _, err := j.d.coll.Programs["port_out"].Run(&ebpf.RunOptions{Data: frame, DataOut: make([]byte, 256), Context: &c, ContextOut: &skb{}}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		traffic, err := j.d.Traffic()
		if err != nil {
			t.Fatal(err)
		}
		var dropped uint64
		drops, err := j.d.Drops()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range drops {
			if d.Reason == observe.LimitND {
				dropped += d.Packets
			}
		}
		if a := traffic[0]; a.Sent != each*senders || a.Answered != burst || dropped != each*senders-burst {
			t.Errorf("sent %d, answered %d of %d, dropped %d: %+v", a.Sent, a.Answered, burst, dropped, drops)
		}
	})
}
