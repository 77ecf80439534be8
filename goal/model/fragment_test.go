package model_test

import (
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// piece is a fragment of p, in bytes of its datagram.
func piece(p model.Packet, id uint32, first, behind int, last bool) model.Packet {
	p.Fragment = model.Fragment{ID: id, First: first, Behind: behind, Last: last}
	p.Len = 0
	if !p.Src.Is4() {
		p.OptionBytes = 8
	}
	return p
}

// Fragments are judged like their first one, whatever order they come in behind it: on one host and between two, of both families.
func TestFragmentsFollowTheirFirst(t *testing.T) {
	type part struct {
		first, behind int
		last          bool
		want          observe.Reason // None: delivered
	}
	none := observe.None
	for _, c := range []struct {
		name  string
		parts []part
	}{
		{"in order", []part{{0, 64, false, none}, {64, 128, false, none}, {128, 130, true, none}}},
		{"shuffled behind the first", []part{{0, 64, false, none}, {128, 130, true, none}, {64, 128, false, none}}},
		{"before the first", []part{{64, 128, false, observe.FlowNoFirst}, {0, 64, false, none}, {64, 128, false, none}, {128, 130, true, none}}},
		{"behind the whole", []part{{0, 64, false, none}, {64, 128, true, none}, {64, 128, true, observe.FlowNoFirst}}},
		{"twice", []part{{0, 64, false, none}, {64, 128, false, none}, {64, 128, false, observe.FlowOverlap}, {128, 136, true, none}}},
		{"the first twice", []part{{0, 64, false, none}, {0, 64, false, observe.FlowOverlap}, {64, 72, true, none}}},
		{"into the header", []part{{0, 64, false, none}, {8, 72, false, observe.FlowOverlap}, {72, 80, true, observe.FlowOverlap}}},
		{"overlap", []part{{0, 64, false, none}, {128, 192, false, none}, {64, 136, false, observe.FlowOverlap}, {64, 128, false, observe.FlowOverlap}, {192, 200, true, observe.FlowOverlap}}},
		{"around what has come", []part{{0, 64, false, none}, {80, 96, false, none}, {72, 104, false, observe.FlowOverlap}, {64, 72, false, observe.FlowOverlap}}},
		{"behind the last", []part{{0, 64, false, none}, {64, 72, true, none}, {72, 80, false, observe.FlowNoFirst}}},
		{"two ends", []part{{0, 64, false, none}, {128, 136, true, none}, {72, 80, true, observe.FlowOverlap}, {64, 72, false, observe.FlowOverlap}}},
		{"an end before what has come", []part{{0, 64, false, none}, {128, 136, false, none}, {72, 80, true, observe.FlowOverlap}}},
		{"behind an end that is known", []part{{0, 64, false, none}, {80, 88, true, none}, {88, 96, false, observe.FlowOverlap}}},
	} {
		for _, to := range []string{"10.0.1.5", "10.0.2.4", "fd00::1:5", "fd00::2:4"} {
			f := fabric()
			p := open(t, f, 1, goal.UDP, to, 53)
			for i, x := range c.parts {
				v := life(t, f, 1, model.Parse(piece(p, 7, x.first, x.behind, x.last).Frame()))
				if v.Reason != x.want || (v.Action == model.Deliver) != (x.want == none) {
					t.Errorf("%s, to %s, fragment %d: %v", c.name, to, i, v)
				}
			}
		}
	}
}

// What tells one datagram from another: addresses, identification, of IPv4 the protocol; and whose it is.
func TestFragmentsOfOthers(t *testing.T) {
	f := fabric()
	p := open(t, f, 1, goal.UDP, "10.0.1.5", 53)
	send := func(name string, from uint32, q model.Packet, want observe.Reason) {
		t.Helper()
		if v := life(t, f, from, model.Parse(q.Frame())); v.Reason != want {
			t.Errorf("%s: %v", name, v)
		}
	}
	send("first", 1, piece(p, 7, 0, 64, false), observe.None)
	send("another identification", 1, piece(p, 8, 64, 72, true), observe.FlowNoFirst)
	q := p
	q.Protocol = goal.TCP
	send("another protocol", 1, piece(q, 7, 64, 72, true), observe.FlowNoFirst)
	q = p
	q.Dst = ip("10.0.2.4")
	send("another destination", 1, piece(q, 7, 64, 72, true), observe.FlowNoFirst)
	q = p
	q.Src = ip("10.0.1.44")
	send("another own source", 1, piece(q, 7, 64, 72, true), observe.FlowNoFirst)
	q.Src = ip("10.0.1.7")
	send("another's source", 1, piece(q, 7, 64, 72, true), observe.GuardSource)
	q = p
	q.Dst = ip("224.0.0.1")
	send("multicast", 1, piece(q, 7, 64, 72, true), observe.GuardMulticast)
	q = open(t, f, 4, goal.UDP, "10.0.1.5", 53)
	send("another virtual network's", 4, piece(q, 7, 64, 72, true), observe.FlowNoFirst)
	f["host1"].Advance(model.FragmentTime)
	send("too late", 1, piece(p, 7, 64, 72, true), observe.FlowNoFirst)
	send("the same again", 1, piece(p, 7, 0, 64, false), observe.None)
	f["host1"].Advance(model.FragmentTime - time.Nanosecond)
	send("just in time", 1, piece(p, 7, 64, 72, true), observe.None)
}

// A port's datagrams take each other's places, nobody else's.
func TestFragmentsHaveAShare(t *testing.T) {
	f := fabric()
	p := open(t, f, 1, goal.UDP, "10.0.2.4", 53)
	other := open(t, f, 2, goal.UDP, "10.0.2.4", 53)
	life(t, f, 2, piece(other, 1, 0, 64, false))
	for id := range uint32(model.Datagrams + 1) {
		if v := life(t, f, 1, piece(p, id, 0, 64, false)); v.Action != model.Deliver {
			t.Fatal(v)
		}
	}
	for id, want := range map[uint32]observe.Reason{0: observe.FlowNoFirst, 1: observe.None, model.Datagrams: observe.None} {
		if v := life(t, f, 1, piece(p, id, 64, 72, true)); v.Reason != want {
			t.Errorf("datagram %d: %v", id, v)
		}
	}
	v, _ := f["host1"].Out(2, piece(other, 1, 64, 72, true))
	if v.Action != model.Encap {
		t.Errorf("another port's: %v", v)
	}
}

// More gaps than are remembered: the fragment is dropped, and may come again when there is room.
func TestFragmentsWithGaps(t *testing.T) {
	f := fabric()
	p := open(t, f, 1, goal.UDP, "10.0.1.5", 53)
	life(t, f, 1, piece(p, 1, 0, 64, false))
	for i := range model.Ranges {
		at := 72 + 16*i
		want := observe.None
		if i == model.Ranges-1 {
			want = observe.FlowFragments
		}
		if v := life(t, f, 1, piece(p, 1, at, at+8, false)); v.Reason != want {
			t.Errorf("gap %d: %v", i, v)
		}
	}
	at := 72 + 16*(model.Ranges-1)
	for _, first := range []int{64, at} {
		if v := life(t, f, 1, piece(p, 1, first, first+8, false)); v.Action != model.Deliver {
			t.Errorf("at %d: %v", first, v)
		}
	}
}

// A first fragment that is denied takes the others with it; one whose flow is judged anew and denied takes those that come later.
func TestFragmentsOfDeniedPackets(t *testing.T) {
	deny := rules("nic", []goal.Rule{rule("deny", false, goal.UDP, anyone, anyone, ports(53, 53))}, nil)
	for _, to := range []string{"10.0.1.5", "10.0.2.4"} {
		f := fabric(deny)
		p := open(t, f, 1, goal.UDP, to, 53)
		if v := life(t, f, 1, piece(p, 1, 0, 64, false)); v.Reason != observe.ACLRule {
			t.Errorf("first: %v", v)
		}
		if v := life(t, f, 1, piece(p, 1, 64, 72, true)); v.Reason != observe.FlowNoFirst {
			t.Errorf("later: %v", v)
		}
	}
	f := fabric()
	p := open(t, f, 1, goal.UDP, "10.0.1.5", 53)
	life(t, f, 1, piece(p, 1, 0, 64, false))
	h := fabric(deny, func(h *goal.Host) { h.Groups[0].Flush = true })["host1"].Goal()
	f["host1"].Update(h)
	if v := life(t, f, 1, piece(p, 1, 64, 72, true)); v.Reason != observe.ACLRule {
		t.Errorf("after the rules have changed: %v", v)
	}
}

// What ends at the host comes whole and without options; but the sockets of its services take both.
func TestWhatTheHostTakes(t *testing.T) {
	f := fabric()
	_, port := portOf(t, f, 1)
	dns := open(t, f, 1, goal.UDP, "168.63.129.16", 53)
	dhcp := model.Packet{EtherType: model.EtherIPv4, SrcMAC: port.MAC, Src: ip("0.0.0.0"), Dst: ip("255.255.255.255"), Protocol: goal.UDP, SrcPort: 68, DstPort: 67, HopLimit: 64}
	nd := model.Packet{EtherType: model.EtherIPv6, SrcMAC: port.MAC, Src: ip("fd00::1:4"), Dst: ip("ff02::1:ff00:1"), Protocol: goal.ICMPv6, ICMPType: model.NeighborSol, HopLimit: 255, Target: model.Router6}
	options := func(p model.Packet) model.Packet { p.OptionBytes = 8; return p }
	for _, c := range []struct {
		name   string
		p      model.Packet
		action model.Action
		reason observe.Reason
	}{
		{"DNS with options", options(dns), model.Service, 0},
		{"DNS in fragments", piece(dns, 1, 0, 64, false), model.Service, 0},
		{"DNS's last fragment", piece(dns, 1, 64, 72, true), model.Service, 0},
		{"DHCP with options of IP", options(dhcp), model.Drop, observe.GuardOptions},
		{"DHCP in fragments", piece(dhcp, 2, 0, 64, false), model.Drop, observe.GuardFragment},
		{"a solicitation", nd, model.Answer, 0},
		{"a solicitation behind options", options(nd), model.Drop, observe.GuardOptions},
		{"a solicitation in fragments", piece(nd, 3, 0, 64, false), model.Drop, observe.GuardFragment},
	} {
		if v, _ := f["host1"].Out(1, model.Parse(c.p.Frame())); v.Action != c.action || v.Reason != c.reason {
			t.Errorf("%s: %v", c.name, v)
		}
	}
}

// A packet with options is judged by what it carries, and an error about it finds its flow.
func TestOptionsAreSeenThrough(t *testing.T) {
	deny := rules("nic", []goal.Rule{rule("deny", false, goal.TCP, anyone, anyone, ports(22, 22))}, nil)
	for _, to := range []string{"10.0.2.4", "fd00::2:4"} {
		for dport, want := range map[uint16]observe.Reason{22: observe.ACLRule, 80: observe.None} {
			f := fabric(deny)
			p := open(t, f, 1, goal.TCP, to, dport)
			p.OptionBytes = 40
			if v := life(t, f, 1, model.Parse(p.Frame())); v.Reason != want {
				t.Errorf("to %s port %d: %v", to, dport, v)
			}
		}
	}
}
