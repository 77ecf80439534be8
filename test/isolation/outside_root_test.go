package isolation

import (
	"fmt"
	"net/netip"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// What the Internet sends to the hosts' uplinks ends there: VXLAN with the tenants' networks and forged senders, packets to machines, to the
// platform, to the hosts themselves.
func TestFramesFromTheInternet(t *testing.T) {
	l := theLab(t)
	w := l.begin(t)
	out := openWire(t, l.state.Internet, "uplink0")
	mac := deviceMAC(t, l.state.Internet, "uplink0")
	for i, h := range l.state.Hosts {
		other := l.state.Hosts[1-i]
		to := deviceMAC(t, h.Netns, "uplink0")
		from := w.place(h.Netns, "uplink0")
		add := func(name string, make func([]byte) []byte) { w.add(from, observe.UplinkClosed, h.Name+": "+name, make) }
		for _, m := range l.vms {
			for _, dst := range []string{h.Uplink, h.Underlay, h.Management} {
				for _, src := range []string{"203.0.113.1", other.Underlay, other.Uplink} {
					add(fmt.Sprintf("VXLAN for %s from %s to %s", m.name, src, dst), func(mark []byte) []byte {
						inner := packet(m.port.MAC, gateway, addr("10.0.1.4"), m.ip, goal.UDP, udp(5000, 5000, mark))
						f := packet(to, mac, addr(src), addr(dst), goal.UDP, udp(49152, 4789, vxlan(m.port.VNI, inner)))
						f[40], f[41] = 0, 0 // no checksum: the kernel itself would take it
						return f
					})
				}
			}
			add("to "+m.name, func(mark []byte) []byte {
				return packet(to, mac, addr("203.0.113.1"), m.ip, goal.UDP, udp(5001, 5001, mark))
			})
			add("as a neighbour to "+m.name, func(mark []byte) []byte {
				return packet(to, mac, addr("10.0.1.5"), m.ip, goal.TCP, tcp(5001, 80, model.SYN, mark))
			})
			add("over IPv6 to "+m.name, func(mark []byte) []byte {
				return packet(to, mac, addr("2001:db8:203::1"), m.v6, goal.UDP, udp(5001, 5001, mark))
			})
			add("at its MAC to "+m.name, func(mark []byte) []byte {
				return packet(m.port.MAC, mac, addr("203.0.113.1"), m.ip, goal.UDP, udp(5001, 5001, mark))
			})
		}
		for _, dst := range []string{h.Uplink, h.Underlay, h.Management, other.Underlay, "198.18.1.1", "127.0.0.1", "168.63.129.16", "169.254.169.254", "100.64.0.1", "255.255.255.255", "224.0.0.1"} {
			for _, port := range []uint16{22, 443, 2379, 4789, 7443} {
				add(fmt.Sprintf("TCP to %s:%d", dst, port), func(mark []byte) []byte {
					return packet(to, mac, addr("203.0.113.1"), addr(dst), goal.TCP, tcp(5002, port, model.SYN, mark))
				})
			}
			add("echo request to "+dst, func(mark []byte) []byte {
				return packet(to, mac, addr("203.0.113.1"), addr(dst), goal.ICMP, icmp(8, 0, join(be16(1, 1), mark)))
			})
		}
		add("fragment", func(mark []byte) []byte {
			return ether(to, mac, 0x0800, ip4(addr("203.0.113.1"), addr(h.Uplink), goal.UDP, 0x2000, nil, join(make([]byte, 12), mark)))
		})
		add("source route to a machine", func(mark []byte) []byte {
			return ether(to, mac, 0x0800, ip4(addr("203.0.113.1"), addr(h.Uplink), goal.UDP, 0, join([]byte{0x83, 7, 4, 10, 0, 1, 4, 1}), udp(5003, 5003, mark)))
		})
		add("tagged ARP", func(mark []byte) []byte {
			f := arp(to, mac, 1, mac, addr("203.0.113.1"), goal.MAC{}, addr(h.Uplink), mark)
			return join(f[:12], be16(0x8100, 5), f[12:])
		})
		add("router advertisement", func(mark []byte) []byte {
			return ether(everybody, mac, 0x86dd, ip6(addr("fe80::1"), addr("ff02::1"), 58, 255, icmp(134, 0, join([]byte{64, 0, 7, 8}, make([]byte, 8), mark))))
		})
		add("LLDP", func(mark []byte) []byte { return ether(to, mac, 0x88cc, mark) })
		add("truncated", func(mark []byte) []byte { return ether(to, mac, 0x0800, join([]byte{0x45}, mark)) })
		for _, a := range []string{h.Underlay, h.Management, "10.0.1.4"} { // passes to the host, which has nothing to say about these
			w.add(from, nil, h.Name+": ARP for "+a, func(mark []byte) []byte {
				return arp(everybody, mac, 1, mac, addr("203.0.113.1"), goal.MAC{}, addr(a), mark)
			})
		}
	}
	for _, p := range w.probes {
		w.allow(p.mark, w.place(l.state.Internet, "uplink0"), w.place(l.host("fabric"), "*"), w.place(l.host("host1"), "uplink0"), w.place(l.host("host2"), "uplink0"))
		if err := out.send(p.frame); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	w.settle()
	w.checkCounters()
	w.checkPlaces()
	w.checkAnswers()
	t.Logf("%d frames, %d sights", len(w.probes), len(w.sights))
}

// checkAnswers: the hosts said nothing to the Internet but ARP about their own addresses there.
func (w *trial) checkAnswers() {
	uplinks := netip.MustParsePrefix("203.0.113.0/24")
	for _, s := range w.sights {
		if s.ns != w.l.state.Internet || s.out || len(s.frame) < 42 {
			continue
		}
		switch p := model.Parse(s.frame); {
		case p.EtherType == model.EtherARP && uplinks.Contains(p.Src):
		case s.mark != 0, p.EtherType == model.EtherARP, p.EtherType == model.EtherIPv4:
			w.t.Errorf("%s: answered: %x", w.named(s.mark), s.frame)
		}
	}
}

// What a host that was taken over could send through the underlay: networks that are not the other host's, senders that it is not, machines that
// are not there. Only what a machine of that host could have sent itself arrives.
func TestFramesFromAHost(t *testing.T) {
	l := theLab(t)
	w := l.begin(t)
	out := openWire(t, l.host("host1"), "under0")
	mac, to := deviceMAC(t, l.host("host1"), "under0"), deviceMAC(t, l.host("host2"), "under0")
	one, two := addr(l.state.Hosts[0].Underlay), addr(l.state.Hosts[1].Underlay)
	a1, a2, b1, c1 := l.vms["contoso/a1"], l.vms["contoso/a2"], l.vms["contoso/b1"], l.vms["fabrikam/c1"]
	vni := a1.port.VNI
	plain := func(src, dst netip.Addr) func([]byte) []byte {
		return func(mark []byte) []byte {
			return packet(a2.port.MAC, gateway, src, dst, goal.UDP, udp(uint16(6000+len(w.probes)), 6000, mark))
		}
	}
	for _, c := range []struct {
		name  string
		want  observe.Reason
		vni   uint32
		outer netip.Addr
		inner func([]byte) []byte
	}{
		{"unknown network", observe.OverlayVNI, 0xabcdef, one, plain(a1.ip, a2.ip)},
		{"a network that is nowhere", observe.OverlayVNI, vni + 1000, one, plain(a1.ip, a2.ip)},
		{"forged host", observe.OverlaySender, vni, addr("198.18.0.99"), plain(a1.ip, a2.ip)},
		{"forged host, over IPv6", observe.OverlaySender, vni, addr("198.18.0.99"), plain(a1.v6, a2.v6)},
		{"in the receiver's own name", observe.OverlaySender, vni, one, plain(a2.ip, a2.ip)},
		{"in nobody's name", observe.OverlaySender, vni, one, plain(addr("10.0.9.9"), a2.ip)},
		{"in the platform's name", observe.OverlaySender, vni, one, plain(addr("168.63.129.16"), a2.ip)},
		{"from the other network's machine", observe.OverlaySender, vni, one, plain(c1.ip, a2.ip)},
		{"to the other network", observe.OverlaySender, c1.port.VNI, one, plain(b1.ip, a2.ip)},
		{"to a machine of the sender", observe.OverlayDestination, vni, one, plain(a1.ip, b1.ip)},
		{"to nobody", observe.OverlayDestination, vni, one, plain(a1.ip, addr("10.0.9.9"))},
		{"to the platform", observe.OverlayDestination, vni, one, plain(a1.ip, addr("168.63.129.16"))},
		{"to everybody", observe.OverlayDestination, vni, one, plain(a1.ip, addr("255.255.255.255"))},
		{"tagged", observe.GuardVLAN, vni, one, func(mark []byte) []byte { f := plain(a1.ip, a2.ip)(mark); return join(f[:12], be16(0x8100, 5), f[12:]) }},
		{"ARP", observe.GuardEtherType, vni, one, func(mark []byte) []byte {
			return arp(everybody, a1.port.MAC, 2, a1.port.MAC, a1.ip, goal.MAC{}, a2.ip, mark)
		}},
		{"LLDP", observe.GuardEtherType, vni, one, func(mark []byte) []byte { return ether(everybody, a1.port.MAC, 0x88cc, join(make([]byte, 40), mark)) }},
		{"version 6 in IPv4", observe.GuardMalformed, vni, one, func(mark []byte) []byte { f := plain(a1.ip, a2.ip)(mark); f[14] = 0x65; return f }},
		{"beyond the frame", observe.GuardMalformed, vni, one, func(mark []byte) []byte { f := plain(a1.ip, a2.ip)(mark); f[16] = 5; return f }},
		{"half a UDP header", observe.GuardMalformed, vni, one, func(mark []byte) []byte { f := plain(a1.ip, a2.ip)(mark); f[17] = 24; return f }},
		{"GRE", observe.GuardProtocol, vni, one, func(mark []byte) []byte { return packet(a2.port.MAC, gateway, a1.ip, a2.ip, 47, mark) }},
		{"TCP of no connection", observe.FlowNoSYN, vni, one, func(mark []byte) []byte {
			return packet(a2.port.MAC, gateway, a1.ip, a2.ip, goal.TCP, tcp(6001, 80, model.ACK, mark))
		}},
	} {
		w.add(w.place(l.host("host2"), "rfvxlan"), c.want, c.name, func(mark []byte) []byte {
			f := packet(to, mac, c.outer, two, goal.UDP, udp(50000, 4789, vxlan(c.vni, c.inner(mark))))
			f[40], f[41] = 0, 0
			return f
		})
		w.tunnels[w.probes[len(w.probes)-1].mark] = tunnel{c.vni, c.outer}
	}
	refused := w.place(l.host("host2"), "under0")
	w.add(refused, nil, "truncated", func(mark []byte) []byte { // the kernel's tunnel refuses it
		f := packet(to, mac, one, two, goal.UDP, udp(50000, 4789, vxlan(vni, ether(a2.port.MAC, gateway, 0x0800, join([]byte{0x45}, mark)))))
		f[40], f[41] = 0, 0
		return f
	})
	for _, flags := range []byte{0, 0x88, 0x0c, 0xff} { // no network, or extensions that nobody agreed on: the kernel's to refuse
		w.add(refused, nil, fmt.Sprintf("VXLAN flags %#x", flags), func(mark []byte) []byte {
			v := vxlan(0xabcdef, plain(a1.ip, a2.ip)(mark))
			v[0] = flags
			f := packet(to, mac, one, two, goal.UDP, udp(50000, 4789, v))
			f[40], f[41] = 0, 0
			return f
		})
		w.tunnels[w.probes[len(w.probes)-1].mark] = tunnel{0xabcdef, one}
	}
	for _, p := range w.probes {
		w.allow(p.mark, w.place(l.host("host1"), "under0"), w.place(l.host("fabric"), "*"), w.place(l.host("host2"), "under0"), w.place(l.host("host2"), "rfvxlan"))
		if err := out.send(p.frame); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
	}
	w.settle()
	w.checkTunnels()
	w.checkCounters()
	w.checkPlaces()
	t.Logf("%d frames, %d sights", len(w.probes), len(w.sights))
}

// checkTunnels: the specification says of every probe what the test says.
func (w *trial) checkTunnels() {
	w.forget()
	for _, p := range w.probes {
		want, ok := p.want.(observe.Reason)
		by := w.tunnels[p.mark]
		if inner := p.frame[50:]; ok {
			if v, _ := w.models["host2"].In(by.vni, by.outer, model.Parse(inner)); v.Reason != want {
				w.t.Errorf("%s: the specification says %s %s, want %s", p.name, v.Action, v.Reason, want)
			}
		}
	}
	w.judge()
}
