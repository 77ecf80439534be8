package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// crafted is a frame that no honest machine sends, and the reason for which it is dropped.
type crafted struct {
	name   string
	frame  []byte
	reason observe.Reason
}

// craftedFrames are of port 1 of h to port 2.
func craftedFrames(h *goal.Host) []crafted {
	a, b := &h.Ports[0], &h.Ports[1]
	make4 := func(protocol uint8) []byte {
		p := model.Open(a, protocol, b.Addresses[0].IP, 4000, 4001)
		p.Len = 14 + 60
		return p.Frame()
	}
	make6 := func(protocol uint8) []byte {
		p := model.Open(a, protocol, b.Addresses[1].IP, 4000, 4001)
		p.Len = 14 + 80
		return p.Frame()
	}
	at := func(f []byte, offset int, bytes ...byte) []byte { copy(f[offset:], bytes); return f }
	to := func(dst string) []byte {
		return model.Open(a, goal.UDP, netip.MustParseAddr(dst), 4000, 4001).Frame()
	}
	from := func(f []byte, src string) []byte {
		ip := netip.MustParseAddr(src)
		return at(f, map[bool]int{true: 26, false: 22}[ip.Is4()], ip.AsSlice()...)
	}
	about := func(v6 bool) []byte { // an error about a packet that b could have sent
		p := model.Open(b, goal.UDP, a.Addresses[0].IP, 4000, 4001)
		kind := model.Unreachable
		if v6 {
			p, kind = model.Open(b, goal.UDP, a.Addresses[1].IP, 4000, 4001), model.Unreachable6
		}
		return p.Error(a.MAC, kind, 1).Frame()
	}
	chain := func(headers ...byte) []byte { // IPv6 with headers of eight bytes each, then UDP
		f := make6(goal.UDP)
		out := append([]byte{}, f[:54]...)
		out[20] = headers[0]
		for i := range headers {
			next := goal.UDP
			if i+1 < len(headers) {
				next = headers[i+1]
			}
			out = append(out, next, 0, 0, 0, 0, 0, 0, 0)
		}
		out = append(out, f[54:]...)
		binary.BigEndian.PutUint16(out[18:], uint16(len(out)-54))
		return out
	}
	options := func(o ...byte) []byte {
		f := make4(goal.UDP)
		out := append(append(append([]byte{}, f[:34]...), o...), f[34:]...)
		out[14] = 0x45 + byte(len(o)/4)
		binary.BigEndian.PutUint16(out[16:], uint16(len(out)-14))
		return out
	}
	fragment := func(flags, offset byte, size int) []byte {
		f := at(make4(goal.UDP), 20, flags, offset)
		return at(f, 16, 0, byte(20+size))
	}
	m, o, g, none := observe.GuardMalformed, observe.GuardOptions, observe.GuardFragment, observe.None
	return []crafted{
		{"IPv4, version 0", at(make4(goal.TCP), 14, 0x05), m},
		{"IPv4, version 6", at(make4(goal.TCP), 14, 0x65), m},
		{"IPv4, no header length", at(make4(goal.TCP), 14, 0x40), m},
		{"IPv4, header of 16 bytes", at(make4(goal.TCP), 14, 0x44), m},
		{"IPv4, header beyond the packet", at(at(make4(goal.TCP), 14, 0x4f), 16, 0, 40), m},
		{"IPv4, total length 0", at(make4(goal.TCP), 16, 0, 0), m},
		{"IPv4, total length less than the header", at(make4(goal.TCP), 16, 0, 19), m},
		{"IPv4, total length beyond the frame", at(make4(goal.TCP), 16, 0, 61), m},
		{"IPv4, total length 65,535", at(make4(goal.TCP), 16, 255, 255), m},
		{"IPv4, total length cuts TCP", at(make4(goal.TCP), 16, 0, 39), m},
		{"IPv4, total length cuts UDP", at(make4(goal.UDP), 16, 0, 27), m},
		{"IPv4, total length cuts ICMP", at(make4(goal.ICMP), 16, 0, 27), m},
		{"IPv4, nothing behind the header", at(make4(goal.TCP), 16, 0, 20), m},
		{"TCP, header of 16 bytes", at(make4(goal.TCP), 46, 0x40), m},
		{"TCP, no header", at(make4(goal.TCP), 46, 0), m},
		{"TCP, header beyond the packet", at(make4(goal.TCP), 46, 0xf0), m},
		{"UDP, length 0", at(make4(goal.UDP), 38, 0, 0), m},
		{"UDP, length 7", at(make4(goal.UDP), 38, 0, 7), m},
		{"UDP, length beyond the packet", at(make4(goal.UDP), 38, 0, 41), m},
		{"IPv6, version 4", at(make6(goal.TCP), 14, 0x45), m},
		{"IPv6, payload beyond the frame", at(make6(goal.TCP), 18, 0, 41), m},
		{"IPv6, payload 65,535", at(make6(goal.TCP), 18, 255, 255), m},
		{"IPv6, no payload", at(make6(goal.TCP), 18, 0, 0), m},
		{"IPv6, a jumbogram", at(at(chain(0), 18, 0, 0), 56, 194, 4, 0, 1, 0, 0), m},
		{"IPv6, UDP length 0, which only jumbograms have", at(make6(goal.UDP), 58, 0, 0), m},
		{"IPv6, payload cuts TCP", at(make6(goal.TCP), 18, 0, 19), m},
		{"ICMP error that quotes nothing", at(about(false), 16, 0, 28), m},
		{"ICMP error that quotes half a header", at(about(false), 16, 0, 38), m},
		{"ICMP error that quotes seven bytes behind it", at(about(false), 16, 0, 55), m},
		{"ICMP error that quotes a header of 16 bytes", at(about(false), 42, 0x44), m},
		{"ICMP error that quotes options beyond itself", at(about(false), 42, 0x4f), m},
		{"ICMP error that quotes IPv6", at(about(false), 42, 0x65), m},
		{"ICMP error that quotes a later fragment", at(about(false), 48, 0, 1), m},
		{"ICMPv6 error that quotes nothing", at(about(true), 18, 0, 8), m},
		{"ICMPv6 error that quotes half a header", at(about(true), 18, 0, 30), m},
		{"ICMPv6 error that quotes a header beyond itself", at(about(true), 68, 60), m},
		{"ICMPv6 error that quotes IPv4", at(about(true), 62, 0x45), m},
		{"ICMP error about a packet that was never sent", about(false), observe.FlowNoError},
		{"ICMPv6 error about a packet that was never sent", about(true), observe.FlowNoError},
		{"an option of no length", options(7, 0, 0, 0), m},
		{"an option of length 1", options(7, 1, 0, 0), m},
		{"an option beyond the header", options(7, 5, 4, 0), m},
		{"an option at the last byte", options(1, 1, 1, 7), m},
		{"a loose source route", options(131, 7, 4, 10, 0, 0, 9, 0), o},
		{"a strict source route", options(137, 7, 4, 10, 0, 0, 9, 0), o},
		{"a source route behind another option", options(1, 68, 4, 5, 0, 131, 3, 4), o},
		{"routing header 0", chain(43), o},
		{"routing header 2 with a way to go", at(chain(43), 56, 2, 1), o},
		{"segment routing with a way to go", at(chain(43), 56, 4, 1), o},
		{"seven extension headers", chain(60, 60, 60, 60, 60, 60, 60), o},
		{"hop-by-hop options behind others", chain(60, 0), o},
		{"two fragment headers", chain(44, 44), o},
		{"an extension header beyond the packet", at(chain(60), 55, 20), m},
		{"extension headers and nothing else", at(at(chain(60), 54, 59), 18, 0, 8), observe.GuardProtocol},
		{"a fragment of nothing", fragment(0x20, 0, 0), g},
		{"a fragment not in steps of eight", fragment(0x20, 0, 31), g},
		{"a first fragment without its header", at(fragment(0x20, 0, 8), 23, goal.TCP), g},
		{"a fragment behind 65,535 bytes", fragment(0x1f, 0xff, 16), g},
		{"a fragment inside the header", fragment(0x20, 1, 32), observe.FlowNoFirst},
		{"a later fragment alone", fragment(0, 100, 32), observe.FlowNoFirst},
		{"an IPv6 fragment not in steps of eight", at(chain(44), 57, 1, 0, 0, 0, 1)[:14+87], m},
		{"an IPv6 later fragment alone", at(chain(44), 57, 8, 0, 0, 0, 1), observe.FlowNoFirst},
		{"an ICMP error in fragments", at(about(false), 20, 0x20), g},
		{"IPv4, protocol 0", at(make4(goal.UDP), 23, 0), observe.GuardProtocol},
		{"IPv4, IGMP", at(make4(goal.UDP), 23, 2), observe.GuardProtocol},
		{"IPv4 in IPv4", at(make4(goal.UDP), 23, 4), observe.GuardProtocol},
		{"IPv6 in IPv4", at(make4(goal.UDP), 23, 41), observe.GuardProtocol},
		{"GRE", at(make4(goal.UDP), 23, 47), observe.GuardProtocol},
		{"ICMPv6 over IPv4", at(make4(goal.UDP), 23, 58), observe.GuardProtocol},
		{"SCTP", at(make4(goal.UDP), 23, 132), observe.GuardProtocol},
		{"IPv4, protocol 255", at(make4(goal.UDP), 23, 255), observe.GuardProtocol},
		{"ICMP over IPv6", at(make6(goal.UDP), 20, 1), observe.GuardProtocol},
		{"IPv4 in IPv6", at(make6(goal.UDP), 20, 4), observe.GuardProtocol},
		{"mobility", at(make6(goal.UDP), 20, 135), observe.GuardProtocol},
		{"no next header", at(make6(goal.UDP), 20, 59), observe.GuardProtocol},
		{"ICMP redirect", at(make4(goal.ICMP), 34, 5), observe.GuardICMPType},
		{"ICMP timestamp", at(make4(goal.ICMP), 34, 13), observe.GuardICMPType},
		{"ICMPv6 of no known type", at(make6(goal.ICMPv6), 54, 200), observe.GuardICMPType},
		{"land", to(a.Addresses[0].IP.String()), observe.RouteSelf},
		{"land over IPv6", to(a.Addresses[1].IP.String()), observe.RouteSelf},
		{"from the receiver", from(make4(goal.UDP), b.Addresses[0].IP.String()), observe.GuardSource},
		{"from 127.0.0.1", from(make4(goal.UDP), "127.0.0.1"), observe.GuardSource},
		{"from 0.0.0.0", from(make4(goal.UDP), "0.0.0.0"), observe.GuardSource},
		{"from 255.255.255.255", from(make4(goal.UDP), "255.255.255.255"), observe.GuardSource},
		{"from 224.0.0.1", from(make4(goal.UDP), "224.0.0.1"), observe.GuardSource},
		{"from ::", from(make6(goal.UDP), "::"), observe.GuardSource},
		{"from ::1", from(make6(goal.UDP), "::1"), observe.GuardSource},
		{"from ff02::1", from(make6(goal.UDP), "ff02::1"), observe.GuardSource},
		{"from an IPv4 address written as IPv6", from(make6(goal.UDP), "::ffff:10.0.0.4"), observe.GuardSource},
		{"to 127.0.0.1", to("127.0.0.1"), none},
		{"to 0.0.0.0", to("0.0.0.0"), observe.GuardMulticast},
		{"to 224.0.0.1", to("224.0.0.1"), observe.GuardMulticast},
		{"to 240.0.0.1", to("240.0.0.1"), observe.GuardMulticast},
		{"to 255.255.255.255", to("255.255.255.255"), observe.GuardMulticast},
		{"to the subnet's broadcast", to("10.0.0.255"), observe.GuardMulticast},
		{"to ::1", to("::1"), none},
		{"to ::", to("::"), observe.GuardMulticast},
		{"to ff02::1", to("ff02::1"), observe.GuardMulticast},
		{"to an IPv4 address written as IPv6", to("::ffff:10.0.0.5"), none},
		{"TCP without flags", at(make4(goal.TCP), 47, 0), none},
		{"TCP, SYN and FIN", at(make4(goal.TCP), 47, model.SYN|model.FIN), none},
		{"TCP, SYN and RST", at(make4(goal.TCP), 47, model.SYN|model.RST), none},
		{"TCP, FIN, PSH and URG", at(make4(goal.TCP), 47, 0x29), none},
		{"TCP, all flags", at(make4(goal.TCP), 47, 0xff), none},
		{"TCP, an ACK of nothing", at(make4(goal.TCP), 47, model.ACK), none},
		{"802.1Q", at(make4(goal.UDP), 12, 0x81, 0), observe.GuardVLAN},
		{"802.1ad", at(make4(goal.UDP), 12, 0x88, 0xa8), observe.GuardVLAN},
		{"an old provider's tag", at(make4(goal.UDP), 12, 0x91, 0), observe.GuardEtherType},
		{"MPLS", at(make4(goal.UDP), 12, 0x88, 0x47), observe.GuardEtherType},
		{"PPPoE", at(make4(goal.UDP), 12, 0x88, 0x64), observe.GuardEtherType},
		{"LLDP", at(make4(goal.UDP), 12, 0x88, 0xcc), observe.GuardEtherType},
		{"802.1X", at(make4(goal.UDP), 12, 0x88, 0x8e), observe.GuardEtherType},
		{"802.3 with a length", at(make4(goal.UDP), 12, 0, 60), observe.GuardEtherType},
		{"IPv6 as IPv4", at(make6(goal.UDP), 12, 8, 0), m},
		{"IPv4 as IPv6", at(make4(goal.UDP), 12, 0x86, 0xdd), m},
		{"IPv4 as ARP", at(make4(goal.UDP), 12, 8, 6), observe.GuardARP},
		{"another's MAC", at(make4(goal.UDP), 6, b.MAC[:]...), observe.GuardMAC},
		{"a multicast MAC", at(make4(goal.UDP), 6, 1), observe.GuardMAC},
	}
}

// Every crafted frame is dropped, for the reason that it deserves where that is one of the guard's, and for the model's reason, from a
// VM and out of the tunnel.
func TestCrafted(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		m := j.model(h)
		for _, c := range craftedFrames(h) {
			want, _ := m.Out(1, model.Parse(c.frame))
			got, _ := j.out(1, c.frame)
			if !same(want, got) || got.Action != model.Drop || c.reason != observe.None && got.Reason != c.reason {
				t.Errorf("%s: %v, the model says %v, expected %v\n%x", c.name, got, want, c.reason, c.frame)
			}
			want, _ = m.In(100, netip.MustParseAddr("198.18.0.12"), model.Parse(c.frame))
			got, _ = j.in(100, netip.MustParseAddr("198.18.0.12"), c.frame)
			if !same(want, got) || got.Action != model.Drop {
				t.Errorf("%s, out of the tunnel: %v, the model says %v\n%x", c.name, got, want, c.frame)
			}
		}
	})
}

// Any bytes as a frame, from a VM or out of the tunnel: the kernel does what the model says.
func FuzzFrames(f *testing.F) {
	o := testOptions(f)
	ns := fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { netns.Delete(ns) })
	h := twoPorts(o.Underlay)
	for i, c := range craftedFrames(h) {
		f.Add(c.frame, i%4 == 0)
	}
	for _, p := range h.Ports[0].Addresses {
		for _, protocol := range []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP} {
			to := h.Ports[1].Addresses[slices.Index(h.Ports[0].Addresses, p)].IP
			f.Add(model.Open(&h.Ports[0], protocol, to, 4000, 4001).Frame(), false)
		}
	}
	var j *judge
	if err := netns.Do(ns, func() error { j = newJudge(f, ns, o); j.load(h); return nil }); err != nil {
		f.Fatal(err)
	}
	m, n := j.model(h), 0
	f.Fuzz(func(t *testing.T, frame []byte, tunnel bool) {
		if !runnable(frame) || len(frame) > 3000 {
			return
		}
		j.t = t
		if err := netns.Do(ns, func() error {
			if n++; n%1000 == 0 { // the kernel's tables have an end
				j.load(h)
				m = j.model(h)
			}
			e := twinEvent{port: 1, frame: frame}
			if tunnel {
				e = twinEvent{vni: 100, outer: netip.MustParseAddr("198.18.0.12"), frame: frame}
			}
			if want, got := j.both(m, e); !same(want, got) {
				t.Errorf("%v\n%+v\nmodel:  %+v\nkernel: %+v", e, model.Parse(frame), want, got)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}
