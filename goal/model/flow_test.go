package model_test

import (
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// closed denies everything inbound from the user's rules on, so that only flows let anything in.
var closed = rules("subnet", []goal.Rule{rule("closed", false, goal.ProtocolAny, anyone, anyone, any4)}, nil)

// openTo lets one port of web2 and db1 in; everything else stays closed.
var openTo = rules("subnet", []goal.Rule{
	rule("web", true, goal.ProtocolAny, anyone, net("10.0.1.5/32", "10.0.2.4/32"), any4),
	rule("closed", false, goal.ProtocolAny, anyone, anyone, any4)}, nil)

// Replies pass by the flow that the first packet opened, on one host and across two; nothing else does.
func TestRepliesPass(t *testing.T) {
	for _, protocol := range []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP, goal.AH} {
		for to, receiver := range map[string]uint32{"10.0.1.5": 2, "10.0.2.4": 3} {
			f := fabric(openTo)
			p := open(t, f, 1, protocol, to, 80)
			_, r := portOf(t, f, receiver)
			reply := p.Reply(r.MAC)
			if v := life(t, f, receiver, reply); v.Action != model.Drop {
				t.Errorf("protocol %d: a reply to nothing was delivered", protocol)
			}
			if v := life(t, f, 1, p); v.Action != model.Deliver || v.Port != receiver {
				t.Errorf("protocol %d to %s: %+v", protocol, to, v)
			}
			if v := life(t, f, receiver, reply); v.Action != model.Deliver || v.Port != 1 {
				t.Errorf("protocol %d: reply from %s: %+v", protocol, to, v)
			}
			if v := life(t, f, 1, p); v.Action != model.Deliver {
				t.Errorf("protocol %d: second packet to %s: %+v", protocol, to, v)
			}
			if protocol == goal.TCP || protocol == goal.UDP {
				other := reply
				other.DstPort++
				if other.TCPFlags != 0 {
					other.TCPFlags = model.SYN
				}
				if v := life(t, f, receiver, other); v.Reason != observe.ACLRule {
					t.Errorf("protocol %d: to another port: %+v", protocol, v)
				}
			}
		}
	}
}

// The echo of one side is no permission for the other side's requests.
func TestEchoOpensOneDirection(t *testing.T) {
	f := fabric(openTo)
	p := open(t, f, 1, goal.ICMP, "10.0.1.5", 0)
	if v := life(t, f, 1, p); v.Action != model.Deliver {
		t.Fatalf("%+v", v)
	}
	back := open(t, f, 2, goal.ICMP, "10.0.1.4", 0)
	back.ICMPID = p.ICMPID
	if v := life(t, f, 2, back); v.Reason != observe.ACLRule {
		t.Errorf("a request with the same identifier in the other direction: %+v", v)
	}
	other := p.Reply(mac(2))
	other.ICMPID++
	if v := life(t, f, 2, other); v.Reason != observe.FlowNoEcho {
		t.Errorf("a reply with another identifier: %+v", v)
	}
}

// A packet that does not arrive leaves no flow on its host; one that leaves the host leaves the sender's.
func TestFlowsOfDeniedPackets(t *testing.T) {
	f := fabric(closed)
	if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 80)); v.Reason != observe.ACLRule || v.Group != "subnet" || v.Rule != "securityRules/closed" || v.Dir != model.In {
		t.Errorf("%+v", v)
	}
	if n := len(f["host1"].Flows()); n != 0 {
		t.Errorf("%d flows after a denial on the same host", n)
	}
	life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.2.4", 80))
	if n := len(f["host1"].Flows()); n != 1 {
		t.Errorf("%d flows at the sender", n)
	}
	if n := len(f["host2"].Flows()); n != 0 {
		t.Errorf("%d flows at the receiver", n)
	}
}

func TestFlowsAreListed(t *testing.T) {
	f := fabric()
	life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 80))
	life(t, f, 1, open(t, f, 1, goal.ICMP, "10.0.1.5", 0))
	want := []model.Flow{
		{Port: 1, Protocol: goal.ICMP, Local: ip("10.0.1.4"), Remote: ip("10.0.1.5"), LocalPort: 50000, Opened: model.Out},
		{Port: 1, Protocol: goal.TCP, Local: ip("10.0.1.4"), Remote: ip("10.0.1.5"), LocalPort: 50000, RemotePort: 80, Opened: model.Out},
		{Port: 2, Protocol: goal.ICMP, Local: ip("10.0.1.5"), Remote: ip("10.0.1.4"), RemotePort: 50000, Opened: model.In},
		{Port: 2, Protocol: goal.TCP, Local: ip("10.0.1.5"), Remote: ip("10.0.1.4"), LocalPort: 80, RemotePort: 50000, Opened: model.In},
	}
	got := f["host1"].Flows()
	if len(got) != len(want) {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("flow %d: got %+v, want %+v", i, got[i], want[i])
		}
	}
	f["host1"].Forget()
	if len(f["host1"].Flows()) != 0 {
		t.Error("flows after Forget")
	}
}

// A full table and a used share refuse new flows, both halves or none, and leave the established alone.
func TestFlowLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limit, quota int
		want         observe.Reason
	}{"table": {limit: 3, want: observe.FlowTableFull}, "share": {quota: 1, want: observe.FlowQuota}} {
		f := fabric()
		m := f["host1"]
		m.FlowLimit, m.FlowQuota = c.limit, c.quota
		first := open(t, f, 1, goal.TCP, "10.0.1.5", 80)
		if v := life(t, f, 1, first); v.Action != model.Deliver {
			t.Fatalf("%s: %+v", name, v)
		}
		if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 81)); v.Reason != c.want {
			t.Errorf("%s: one more: %+v", name, v)
		}
		if v := life(t, f, 2, open(t, f, 2, goal.TCP, "10.0.1.4", 81)); v.Reason != c.want || v.Dir != map[bool]model.Dir{true: model.Out, false: model.In}[c.limit > 0] {
			t.Errorf("%s: where there is no room: %+v", name, v)
		}
		if n := len(m.Flows()); n != 2 {
			t.Errorf("%s: %d flows", name, n)
		}
		if v := life(t, f, 2, first.Reply(mac(2))); v.Action != model.Deliver {
			t.Errorf("%s: established: %+v", name, v)
		}
		want := c.want
		if c.limit > 0 {
			want = observe.None // one entry is left, and a packet to another host needs only one here
		}
		if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.2.4", 81)); v.Reason != want {
			t.Errorf("%s: to another host: %+v", name, v)
		}
	}
}

// next returns the fabric's first host with changed rules.
func next(f map[string]*model.Model, flush bool, change ...func(*goal.Host)) *goal.Host {
	h := fabric(change...)["host1"].Goal()
	for i := range h.Groups {
		h.Groups[i].Flush = flush
	}
	return h
}

// A changed rule meets new flows only, unless the group says flush: then those it denies end and the others live.
func TestRuleChangesAndFlows(t *testing.T) {
	deny80 := rules("nic", nil, []goal.Rule{rule("deny", false, goal.TCP, anyone, anyone, ports(80, 80))})
	for _, flush := range []bool{false, true} {
		f := fabric()
		m := f["host1"]
		p80, p81 := open(t, f, 1, goal.TCP, "10.0.1.5", 80), open(t, f, 1, goal.TCP, "10.0.1.5", 81)
		life(t, f, 1, p80)
		life(t, f, 1, p81)
		for _, p := range []model.Packet{p80.Reply(mac(2)), p81.Reply(mac(2))} {
			life(t, f, 2, p)
		}
		m.Update(next(f, flush, deny80))
		for _, c := range []struct {
			p     model.Packet
			lives bool
		}{{p80, !flush}, {p81, true}} {
			ack := c.p
			ack.TCPFlags = model.ACK
			if v := life(t, f, 1, ack); (v.Action == model.Deliver) != c.lives {
				t.Errorf("flush %t: port %d: %+v", flush, c.p.DstPort, v)
			}
		}
		fresh := p80
		fresh.SrcPort++
		if v := life(t, f, 1, fresh); v.Reason != observe.ACLRule || v.Rule != "securityRules/deny" {
			t.Errorf("flush %t: a new flow: %+v", flush, v)
		}
	}
}

// A flush judges a flow in the direction that opened it: inbound rules have no say on replies.
func TestFlushKeepsReplies(t *testing.T) {
	f := fabric()
	p := open(t, f, 1, goal.TCP, "10.0.2.4", 80)
	life(t, f, 1, p)
	f["host1"].Update(next(f, true, closed))
	if v := life(t, f, 3, p.Reply(mac(3))); v.Action != model.Deliver {
		t.Errorf("%+v", v)
	}
}

// Flows end with their port and with their address.
func TestFlowsEndWithWhatTheyBelongTo(t *testing.T) {
	f := fabric()
	m := f["host1"]
	life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 80))
	life(t, f, 1, open(t, f, 1, goal.TCP, "fd00::1:5", 80))
	h := fabric()["host1"].Goal()
	h.Ports[1].Addresses = h.Ports[1].Addresses[:1] // web2 loses its IPv6 address
	m.Update(h)
	if n := len(m.Flows()); n != 3 {
		t.Errorf("%d flows after an address is gone", n)
	}
	h = fabric()["host1"].Goal()
	h.Ports = h.Ports[1:] // web1 goes
	m.Update(h)
	if n := len(m.Flows()); n != 1 {
		t.Errorf("%d flows after a port is gone", n)
	}
}

// An error passes along the flow of the packet that it quotes, to whom sent that packet and from whom received it, on one host and
// across two. It opens nothing.
func TestErrorsFollowTheirFlow(t *testing.T) {
	for _, protocol := range []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP} {
		for to, receiver := range map[string]uint32{"10.0.1.5": 2, "10.0.2.4": 3, "fd00::1:5": 2, "fd00::2:4": 3} {
			f := fabric()
			p := open(t, f, 1, protocol, to, 80)
			kind := model.Unreachable
			if !p.Src.Is4() {
				kind = model.Unreachable6
			}
			e := p.Error(mac(receiver), kind, 3)
			if v := life(t, f, receiver, e); v.Reason != observe.FlowNoError || v.Layer != "flow" || v.Dir != model.Out {
				t.Errorf("protocol %d to %s: an error about nothing: %+v", protocol, to, v)
			}
			life(t, f, 1, p)
			before := len(f["host1"].Flows()) + len(f["host2"].Flows())
			if v := life(t, f, receiver, e); v.Action != model.Deliver || v.Port != 1 {
				t.Errorf("protocol %d to %s: the receiver's error: %+v", protocol, to, v)
			}
			if v := life(t, f, 1, p.Reply(mac(receiver)).Error(mac(1), kind, 3)); v.Action != model.Deliver || v.Port != receiver {
				t.Errorf("protocol %d to %s: the opener's error about a reply: %+v", protocol, to, v)
			}
			for what, change := range map[string]func(*model.Quote){
				"of another sender":            func(q *model.Quote) { q.Src = q.Src.Next() },
				"to another receiver":          func(q *model.Quote) { q.Dst = q.Dst.Next() },
				"that the sender of it sent":   func(q *model.Quote) { q.Src, q.Dst = q.Dst, q.Src },
				"of another protocol":          func(q *model.Quote) { q.Protocol = goal.AH },
				"that was an error itself":     func(q *model.Quote) { q.Protocol, q.ICMPType, q.ICMPID = e.Protocol, kind, 0 },
				"of ICMP of the other family":  func(q *model.Quote) { q.Protocol = goal.ICMP + goal.ICMPv6 - e.Protocol },
				"of a protocol without a flow": func(q *model.Quote) { q.Protocol = 47 },
			} {
				bad := e
				change(&bad.Quote)
				if v := life(t, f, receiver, bad); v.Reason != observe.FlowNoError {
					t.Errorf("protocol %d to %s: about a packet %s: %+v", protocol, to, what, v)
				}
			}
			if n := len(f["host1"].Flows()) + len(f["host2"].Flows()); n != before {
				t.Errorf("protocol %d to %s: %d flows, %d before the errors", protocol, to, n, before)
			}
		}
	}
}

// What does not fit the tunnel is answered and opens nothing; on one host there is no tunnel.
func TestTooBigForTheTunnel(t *testing.T) {
	for _, c := range []struct {
		name, to string
		len      int
		change   func(*model.Packet)
		action   model.Action
	}{
		{"fits", "10.0.2.4", 14 + 1450, nil, model.Deliver},
		{"does not fit", "10.0.2.4", 14 + 1451, nil, model.Answer},
		{"fits 6", "fd00::2:4", 14 + 1450, nil, model.Deliver},
		{"does not fit 6", "fd00::2:4", 14 + 1451, nil, model.Answer},
		{"may be fragmented", "10.0.2.4", 14 + 1451, func(p *model.Packet) { p.MayFragment = true }, model.Deliver},
		{"may be fragmented, but fits no IP packet outside", "10.0.2.4", 14 + 65486, func(p *model.Packet) { p.MayFragment = true }, model.Answer},
		{"a later fragment", "10.0.2.4", 14 + 1480, func(p *model.Packet) { p.Fragment = model.Fragment{First: 8, Behind: 1468} }, model.Drop},
		{"stays on the host", "10.0.1.5", 14 + 1451, nil, model.Deliver},
	} {
		f := fabric()
		f["host1"].MTU = 1450
		p := open(t, f, 1, goal.UDP, c.to, 80)
		p.Len = c.len
		if c.change != nil {
			c.change(&p)
		}
		v := life(t, f, 1, p)
		if v.Action != c.action || v.Action == model.Drop && v.Reason != observe.FlowNoFirst {
			t.Errorf("%s: %+v", c.name, v)
		}
		if n := len(f["host1"].Flows()); (n == 0) == (c.action == model.Deliver) {
			t.Errorf("%s: %d flows", c.name, n)
		}
	}
	f := fabric()
	f["host1"].MTU = 1450
	p := open(t, f, 3, goal.UDP, "10.0.1.4", 80)
	life(t, f, 3, p)
	e := p.Error(mac(1), model.Unreachable, 3)
	e.Len = 14 + 1451
	if v := life(t, f, 1, e); v.Action != model.Drop || v.Reason != observe.OverlayMTU {
		t.Errorf("an error about an error: %+v", v)
	}
}
