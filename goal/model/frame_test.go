package model_test

import (
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// What a packet says, its bytes say: reading them gives the packet again.
func TestFramesSayWhatPacketsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 5))
		h := random.Hosts(r, 10)[0]
		if len(h.Ports) == 0 {
			return
		}
		for range 20 {
			p := random.Packet(r, h, h.Ports[r.IntN(len(h.Ports))].Index)
			p.Short = p.Short && (p.Protocol == goal.TCP || p.Protocol == goal.UDP)
			got := model.Parse(p.Frame())
			if got.Len < p.Len && !p.Malformed && !p.Short {
				t.Fatalf("%d bytes of %d", got.Len, p.Len)
			}
			if !p.Target.IsValid() { // padding may read as the target ::
				got.Target = netip.Addr{}
			}
			if want := visible(p); visible(got) != want {
				t.Fatalf("got  %+v\nwant %+v", visible(got), want)
			}
		}
	})
}

// visible leaves of a packet what a reader of its bytes can see.
func visible(p model.Packet) model.Packet {
	p.Len = 0
	p.MayFragment = p.MayFragment && p.EtherType == model.EtherIPv4 && !p.Malformed
	if p.VLAN {
		return model.Packet{VLAN: true, SrcMAC: p.SrcMAC, DstMAC: p.DstMAC}
	}
	ip := p.EtherType == model.EtherIPv4 || p.EtherType == model.EtherIPv6
	if p.Malformed || !ip && p.EtherType != model.EtherARP {
		return model.Packet{SrcMAC: p.SrcMAC, DstMAC: p.DstMAC, EtherType: p.EtherType, Malformed: p.Malformed && (ip || p.EtherType == model.EtherARP)}
	}
	if p.Options { // nothing is read behind them
		p.Short, p.BadFragment, p.Fragment, p.OptionBytes, p.Protocol = false, false, model.Fragment{}, 0, 0
	}
	if p.BadFragment || p.Short && p.Fragment != (model.Fragment{}) {
		p.Short, p.BadFragment, p.Fragment, p.OptionBytes = false, true, model.Fragment{}, 0
	}
	if p.Short || p.Options || p.BadFragment || p.Fragment.First > 0 {
		p.SrcPort, p.DstPort, p.TCPFlags, p.ICMPType, p.ICMPCode, p.ICMPID, p.Quote = 0, 0, 0, 0, 0, 0, model.Quote{}
	}
	v4 := p.EtherType == model.EtherIPv4
	if p.Protocol != goal.TCP {
		p.TCPFlags = 0
		if p.Protocol != goal.UDP {
			p.SrcPort, p.DstPort = 0, 0
		}
	}
	if p.EtherType == model.EtherARP {
		p.HopLimit, p.Protocol = 0, 0
	} else {
		p.ARPOp, p.ARPSender = 0, goal.MAC{}
	}
	if !(v4 && p.Protocol == goal.ICMP || !v4 && p.Protocol == goal.ICMPv6) {
		p.ICMPType, p.ICMPCode, p.ICMPID = 0, 0, 0
	}
	if !p.IsError() {
		p.Quote = model.Quote{}
	}
	if v4 || p.Protocol != goal.ICMPv6 || p.Short || p.Options || p.BadFragment || p.Fragment.First > 0 {
		p.Target = netip.Addr{}
	}
	return p
}

// A ping and a UDP datagram over IPv6, byte for byte, with checksums added up by hand.
func TestFrameBytes(t *testing.T) {
	ping := model.Packet{EtherType: model.EtherIPv4, SrcMAC: mac(1), DstMAC: model.Gateway, Src: ip("10.0.1.4"), Dst: ip("10.0.1.5"), Protocol: goal.ICMP, HopLimit: 64, ICMPType: 8, ICMPID: 7}
	want := "123456789abc" + "025246000001" + "0800" + "4500001c00004000400124d9" + "0a000104" + "0a000105" + "0800f7f800070000"
	if got := hex.EncodeToString(ping.Frame()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	udp := model.Packet{EtherType: model.EtherIPv6, SrcMAC: mac(1), DstMAC: model.Gateway, Src: ip("fd00::1"), Dst: ip("fd00::2"), Protocol: goal.UDP, HopLimit: 64, SrcPort: 1, DstPort: 2}
	want = "123456789abc" + "025246000001" + "86dd" + "60000000" + "0008" + "11" + "40" +
		"fd000000000000000000000000000001" + "fd000000000000000000000000000002" + "00010002000805d7"
	if got := hex.EncodeToString(udp.Frame()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Bytes that are wrong in one way each.
func TestParseDistrusts(t *testing.T) {
	good := func() []byte {
		return model.Packet{EtherType: model.EtherIPv4, Src: ip("10.0.1.4"), Dst: ip("10.0.1.5"), Protocol: goal.TCP, TCPFlags: model.SYN, Len: 60}.Frame()
	}
	good6 := func() []byte {
		return model.Packet{EtherType: model.EtherIPv6, Src: ip("fd00::4"), Dst: ip("fd00::5"), Protocol: goal.UDP, Len: 70}.Frame()
	}
	with := func(change func(*model.Packet)) []byte {
		p := model.Parse(good())
		change(&p)
		return p.Frame()
	}
	with6 := func(change func(*model.Packet)) []byte {
		p := model.Parse(good6())
		change(&p)
		return p.Frame()
	}
	options := func(p *model.Packet) { p.OptionBytes, p.Len = 8, 0 }
	chain := func(n int, second byte) []byte { // destination options, then second and all others alike
		b := with6(func(p *model.Packet) { p.OptionBytes = 8 * n })
		for i := range n {
			b[54+8*i], b[55+8*i] = second, 0
		}
		b[54+8*(n-1)] = goal.UDP
		return b
	}
	set := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	about := func(b []byte) []byte { // an error about what the bytes are
		p := model.Parse(b)
		kind := model.Unreachable
		if !p.Src.Is4() {
			kind = model.Unreachable6
		}
		return p.Error(mac(1), kind, 0).Frame()
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  string // the flags that are set
	}{
		{"good", good(), ""},
		{"good 6", good6(), ""},
		{"padding behind the packet", append(good(), 0, 0, 0), ""},
		{"no Ethernet header", good()[:13], "malformed"},
		{"half an IPv4 header", good()[:33], "malformed"},
		{"version 6 in an IPv4 frame", set(good(), 14, 0x65), "malformed"},
		{"header of 16 bytes", set(good(), 14, 0x44), "malformed"},
		{"total length below the header", set(good(), 17, 19), "malformed"},
		{"total length beyond the frame", set(good(), 17, 47), "malformed"},
		{"total length cuts the TCP header", set(good(), 17, 39), "short"},
		{"options", with(func(p *model.Packet) { p.OptionBytes = 40 }), "extra"},
		{"an option of length 1", set(set(with(options), 34, 7), 35, 1), "malformed extra"},
		{"an option beyond the header", set(set(with(options), 34, 7), 35, 9), "malformed extra"},
		{"an option at the last byte", set(with(options), 41, 7), "malformed extra"},
		{"a loose source route", set(set(with(options), 34, 131), 35, 7), "options extra"},
		{"a strict source route behind another option", set(set(set(set(with(options), 34, 7), 35, 4), 38, 137), 39, 3), "options extra"},
		{"a route behind the end of the options", set(set(with(options), 34, 0), 35, 131), "extra"},
		{"more fragments", set(with(func(p *model.Packet) { p.Len = 14 + 20 + 24 }), 20, 0x20), "fragment"},
		{"more fragments, not in steps of eight", set(good(), 20, 0x20), "bad fragment"},
		{"an empty fragment", set(set(good(), 20, 1), 17, 20), "bad fragment"},
		{"a first fragment without its whole header", set(set(good(), 17, 36), 20, 0x20), "bad fragment"},
		{"offset", set(good(), 21, 1), "fragment"},
		{"beyond 65,535 bytes", set(set(good(), 20, 0x1f), 21, 0xff), "bad fragment"},
		{"don't fragment and the reserved bit", set(good(), 20, 0xc0), ""},
		{"TCP header of 16 bytes", set(good(), 46, 0x40), "short"},
		{"TCP header beyond the packet", set(good(), 46, 0xf0), "short"},
		{"half an IPv6 header", good6()[:53], "malformed"},
		{"version 4 in an IPv6 frame", set(good6(), 14, 0x45), "malformed"},
		{"payload beyond the frame", set(good6(), 19, 17), "malformed"},
		{"payload cuts the UDP header", set(good6(), 19, 7), "short"},
		{"UDP length below 8", set(good6(), 59, 7), "short"},
		{"UDP length beyond the payload", set(good6(), 59, 17), "short"},
		{"extension headers", with6(func(p *model.Packet) { p.OptionBytes = 256 }), "extra"},
		{"extension headers of 264 bytes", with6(func(p *model.Packet) { p.OptionBytes = 264 }), "options"},
		{"extension headers beyond the packet", set(with6(options), 55, 5), "malformed"},
		{"six extension headers", chain(6, 60), "extra"},
		{"seven extension headers", chain(7, 60), "options extra"},
		{"hop-by-hop", set(with6(options), 20, 0), "extra"},
		{"hop-by-hop behind another header", chain(2, 0), "options extra"},
		{"a routing header that has been used up", set(set(with6(options), 20, 43), 56, 2), "extra"},
		{"a routing header with a way to go", set(set(set(with6(options), 20, 43), 56, 2), 57, 1), "options"},
		{"routing header 0", set(with6(options), 20, 43), "options"},
		{"a whole packet with a fragment header", set(with6(options), 20, 44), "extra"},
		{"two fragment headers", set(set(chain(2, 44), 20, 44), 54, 44), "options extra"},
		{"a first fragment", set(set(with6(options), 20, 44), 57, 1), "fragment extra"},
		{"a later fragment", set(set(with6(options), 20, 44), 57, 8), "fragment extra"},
		{"no next header", set(good6(), 20, 59), ""},
		{"error", about(good()), ""},
		{"error 6", about(good6()), ""},
		{"error that quotes seven bytes behind the header", set(about(good()), 17, 55), "short"},
		{"error 6 that quotes seven bytes behind the header", set(about(good6()), 19, 55), "short"},
		{"error that quotes options beyond the quote", set(about(good()), 42, 0x46), "short"},
		{"error that quotes options", set(append(set(about(good()), 17, 60), 0, 0, 0, 0), 42, 0x46), ""},
		{"error that quotes version 6", set(about(good()), 42, 0x65), "short"},
		{"error that quotes a later fragment", set(about(good()), 49, 1), "short"},
		{"error 6 that quotes version 4", set(about(good6()), 62, 0x45), "short"},
	} {
		p := model.Parse(c.frame)
		var got []string
		for _, f := range []struct {
			name string
			on   bool
		}{{"malformed", p.Malformed}, {"options", p.Options}, {"bad fragment", p.BadFragment}, {"fragment", p.Fragment.Behind > 0}, {"extra", p.OptionBytes > 0}, {"short", p.Short}} {
			if f.on {
				got = append(got, f.name)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	for _, tag := range []byte{0x81, 0x88} {
		f := set(set(good(), 12, tag), 13, map[byte]byte{0x81: 0, 0x88: 0xa8}[tag])
		if !model.Parse(f).VLAN {
			t.Errorf("tag %x is not seen", tag)
		}
	}
}

// Any bytes are read without a fault, and the model has a verdict on them.
func FuzzParse(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 6))
	h := random.Hosts(r, 5)[0]
	for len(h.Ports) == 0 {
		h = random.Hosts(r, 5)[0]
	}
	for range 40 {
		f.Add(random.Frame(r, random.Packet(r, h, h.Ports[0].Index)))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		p := model.Parse(frame)
		m := model.New(h)
		v, steps := m.Out(h.Ports[0].Index, p)
		if v.Action.String() == "next" || len(steps) == 0 {
			t.Errorf("no verdict on %x", frame)
		}
		if v.Action == model.Drop && v.Reason == 0 {
			t.Errorf("a drop without reason of %x", frame)
		}
		m.In(h.VNets[0].VNI, h.Underlay, p)
	})
}
