package model_test

import (
	"net/netip"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// limited is the fabric with one limit at every port: three at once, ten per second.
func limited(kind goal.LimitKind) map[string]*model.Model {
	return fabric(func(h *goal.Host) {
		for i := range h.Ports {
			*h.Ports[i].Limits.Of(kind) = goal.Rate{PerSecond: 10, Burst: 3}
		}
	})
}

// asks is what the VM behind port 1 sends that the limit of a kind is about.
func asks(kind goal.LimitKind, web *goal.Port, n uint16) model.Packet {
	switch kind {
	case goal.LimitARP:
		return model.Packet{EtherType: model.EtherARP, SrcMAC: web.MAC, ARPOp: 1, ARPSender: web.MAC, Src: ip("10.0.1.4"), Dst: ip("10.0.1.5")}
	case goal.LimitND:
		return model.Packet{EtherType: model.EtherIPv6, SrcMAC: web.MAC, Src: ip("fd00::1:4"), Dst: ip("ff02::1:ff01:5"), Protocol: goal.ICMPv6, HopLimit: 255,
			ICMPType: model.NeighborSol, Target: ip("fd00::1:5")}
	case goal.LimitDHCP:
		p := model.Open(web, goal.UDP, netip.AddrFrom4([4]byte{255, 255, 255, 255}), 68, 67)
		p.Src = netip.IPv4Unspecified()
		return p
	case goal.LimitDNS:
		return model.Open(web, goal.UDP, model.WireServer, 1000+n, 53)
	case goal.LimitService:
		return model.Open(web, goal.TCP, model.Metadata, 1000+n, 80)
	}
	return model.Open(web, goal.UDP, ip("10.0.1.5"), 1000+n, 53)
}

// Each limit lets a burst through at once and then its rate, drops the rest with its own reason, and concerns nothing else: neither another
// port nor another limit.
func TestLimits(t *testing.T) {
	for kind := range goal.LimitKinds {
		t.Run(kind.String(), func(t *testing.T) {
			f := limited(kind)
			_, web := portOf(t, f, 1)
			_, other := portOf(t, f, 4)
			sent, passed := uint16(0), 0
			send := func(n int) {
				t.Helper()
				for range n {
					sent++
					v := life(t, f, 1, asks(kind, web, sent))
					switch {
					case v.Action != model.Drop:
						passed++
					case v.Reason != observe.LimitARP+observe.Reason(kind) || v.Layer != "limit" || v.Port != 1 || v.Dir != model.Out:
						t.Fatalf("%+v", v)
					}
				}
			}
			want := func(n int) {
				t.Helper()
				if passed != n {
					t.Errorf("%d passed, want %d", passed, n)
				}
				passed = 0
			}
			send(5)
			want(3)
			f["host1"].Advance(99 * time.Millisecond)
			send(2)
			want(0)
			f["host1"].Advance(time.Millisecond)
			send(2)
			want(1)
			f["host1"].Advance(time.Hour)
			send(10)
			want(3) // a bucket does not hold more than a burst
			for k := range goal.LimitKinds {
				if v := life(t, f, 1, asks(k, web, 5000)); (v.Action == model.Drop) != (k == kind) {
					t.Errorf("%v while %v is used up: %+v", k, kind, v)
				}
			}
			p := asks(kind, other, 1)
			p.SrcMAC, p.ARPSender = other.MAC, other.MAC
			if kind != goal.LimitND { // it has no IPv6 address
				if v := life(t, f, 4, p); v.Layer == "limit" {
					t.Errorf("another port: %+v", v)
				}
			}
		})
	}
}

// A known flow meets no limit, the receiver's bucket is not the sender's to empty, and what is refused for another reason takes nothing.
func TestLimitOfFlowsSparesWhatIsKnown(t *testing.T) {
	f := limited(goal.LimitFlows)
	_, web := portOf(t, f, 1)
	_, web2 := portOf(t, f, 2)
	for range 10 {
		ack := model.Open(web, goal.TCP, ip("10.0.1.5"), 999, 80)
		ack.TCPFlags = model.ACK
		if v := life(t, f, 1, ack); v.Reason != observe.FlowNoSYN {
			t.Fatalf("%+v", v)
		}
	}
	p := asks(goal.LimitFlows, web, 1)
	for range 10 {
		if v := life(t, f, 1, p); v.Action != model.Deliver {
			t.Fatalf("a known flow: %+v", v)
		}
		if v := life(t, f, 2, p.Reply(web2.MAC)); v.Action != model.Deliver {
			t.Fatalf("its reply: %+v", v)
		}
	}
	for n := range uint16(2) {
		if v := life(t, f, 1, asks(goal.LimitFlows, web, 2+n)); v.Action != model.Deliver {
			t.Errorf("flow %d: %+v", 2+n, v)
		}
	}
	if v := life(t, f, 1, asks(goal.LimitFlows, web, 4)); v.Reason != observe.LimitFlows {
		t.Errorf("flow 4: %+v", v)
	}
	for n := range uint16(3) {
		if v := life(t, f, 2, model.Open(web2, goal.UDP, ip("10.0.1.4"), 1+n, 53)); v.Action != model.Deliver {
			t.Errorf("the receiver's own flow: %+v", v)
		}
	}
}

// A port that goes and comes back finds full buckets; an update of its rules refills none.
func TestLimitsOutliveUpdates(t *testing.T) {
	f := limited(goal.LimitARP)
	m := f["host1"]
	_, web := portOf(t, f, 1)
	for range 3 {
		life(t, f, 1, asks(goal.LimitARP, web, 0))
	}
	m.Update(m.Goal())
	if v := life(t, f, 1, asks(goal.LimitARP, web, 0)); v.Reason != observe.LimitARP {
		t.Errorf("after an update: %+v", v)
	}
	with := m.Goal()
	without := *with
	without.Ports = without.Ports[1:]
	m.Update(&without)
	m.Update(with)
	if v := life(t, f, 1, asks(goal.LimitARP, web, 0)); v.Action != model.Answer {
		t.Errorf("a new port: %+v", v)
	}
}
