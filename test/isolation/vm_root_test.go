package isolation

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// No frame that a machine can make gets where it must not, and each is counted under its reason: from a machine with an NSG and from one without,
// on both hosts.
func TestFramesFromMachines(t *testing.T) {
	l := theLab(t)
	for _, name := range []string{"contoso/a1", "contoso/b1", "contoso/a2", "fabrikam/c1"} {
		t.Run(name, func(t *testing.T) {
			w := l.begin(t)
			m := l.vms[name]
			w.malice(m)
			out := openWire(t, m.netns, "eth0")
			for _, p := range w.probes {
				if err := out.send(p.frame); err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
			}
			w.settle()
			w.checkVerdicts(m)
			w.checkCounters()
			w.checkPlaces()
			w.checkTags(m)
			t.Logf("%d frames, %d sights", len(w.probes), len(w.sights))
		})
	}
}

// checkTags: a tag inside the frame arrives at the host beside it, as one that a device adds does. Both ways are the same to the programs then, and
// the second tag of two stays inside.
func (w *trial) checkTags(m *vm) {
	inside, beside := 0, 0
	for _, s := range w.sights {
		if !strings.HasPrefix(w.named(s.mark), "tag ") {
			continue
		}
		if s.ns == m.netns && !s.vlan {
			inside++
		}
		if s.dev == portDevice(m) && s.vlan {
			beside++
		}
	}
	if inside != tags || beside != tags {
		w.t.Errorf("%d tags sent inside the frame and %d seen beside it, want %d", inside, beside, tags)
	}
}

// internet says whether the tag Internet holds an address: of what the test tries, the lab's Internet and the hosts' ends of it.
func (w *trial) internet(a netip.Addr) bool {
	return netip.MustParsePrefix("203.0.113.0/24").Contains(a) || netip.MustParsePrefix("2000::/3").Contains(a)
}

// checkVerdicts: the specification says of every probe what the test says.
func (w *trial) checkVerdicts(m *vm) {
	w.forget()
	for _, p := range w.probes {
		tag := p.frame[12] == 0x81 && p.frame[13] == 0 || p.frame[12] == 0x88 && p.frame[13] == 0xa8
		v, _ := w.judgeVM(m, sight{frame: p.frame, vlan: tag})
		switch want := p.want.(type) {
		case observe.Reason:
			if v.Action != model.Drop || v.Reason != want {
				w.t.Errorf("%s: the specification says %s %s, want %s", p.name, v.Action, v.Reason, want)
			}
		case model.Action:
			if v.Action != want {
				w.t.Errorf("%s: the specification says %s %s, want %s", p.name, v.Action, v.Reason, want)
			}
		}
	}
	w.judge()
}

// add notes a probe; make puts the mark into a frame.
func (w *trial) add(from string, want any, name string, make func(mark []byte) []byte) {
	n, b := number()
	w.probes = append(w.probes, &probe{name: name, frame: make(b), from: from, mark: n, want: want})
}

// malice is what a machine could try.
func (w *trial) malice(m *vm) {
	from := w.place(w.l.host(m.host), portDevice(m))
	w.spoofs(m, from)
	w.neighbours(m, from)
	w.fabricFrames(m, from)
	w.everywhere(m, from)
	w.forbidden(m, from)
	w.wrapped(m, from)
	w.crafted(m, from)
	w.welcome(m, from)
}

// neighbour is a machine of the same network, stranger one of the other tenant.
func (w *trial) neighbour(m *vm) *vm {
	switch m.name {
	case "contoso/a2", "contoso/b1":
		return w.l.vms["contoso/a1"]
	case "contoso/a1":
		return w.l.vms["contoso/a2"]
	}
	return w.l.vms["fabrikam/a1"]
}

func (w *trial) stranger(m *vm) *vm {
	if m.name == "fabrikam/c1" {
		return w.l.vms["contoso/b1"]
	}
	return w.l.vms["fabrikam/c1"]
}

func (w *trial) spoofs(m *vm, from string) {
	near, far := w.neighbour(m), w.stranger(m)
	for _, mac := range []goal.MAC{near.port.MAC, far.port.MAC, gateway, {}, everybody, {2, 0, 0, 0, 0, 1}, deviceMAC(w.t, w.l.host(m.host), "under0"), deviceMAC(w.t, w.l.host(m.host), portDevice(m))} {
		w.add(from, observe.GuardMAC, "spoofed MAC "+mac.String(), func(mark []byte) []byte {
			return packet(gateway, mac, m.ip, near.ip, goal.UDP, udp(4000, 4000, mark))
		})
	}
	for _, a := range []netip.Addr{near.ip, far.ip, addr("10.0.9.9"), addr("0.0.0.0"), addr("127.0.0.1"), addr("255.255.255.255"), addr("168.63.129.16"), addr("198.18.0.11"),
		near.v6, far.v6, addr("::"), addr("::1"), addr("fe80::1"), addr("fe80::1234:5678:9abc"), addr("ff02::1"), netip.AddrFrom16(m.ip.As16())} {
		to := near.ip
		if a.Is6() {
			to = near.v6
		}
		w.add(from, observe.GuardSource, "spoofed source "+a.String(), func(mark []byte) []byte {
			return packet(gateway, m.port.MAC, a, to, goal.UDP, udp(4001, 4001, mark))
		})
		w.add(from, observe.GuardSource, "spoofed source of a connection "+a.String(), func(mark []byte) []byte {
			return packet(near.port.MAC, m.port.MAC, a, to, goal.TCP, tcp(4001, 80, model.SYN, mark))
		})
	}
}

// neighbours: ARP and neighbour discovery that would turn others' heads.
func (w *trial) neighbours(m *vm, from string) {
	near, mac := w.neighbour(m), m.port.MAC
	none := goal.MAC{}
	for _, c := range []struct {
		name           string
		op             uint16
		senderMAC      goal.MAC
		sender, target netip.Addr
	}{
		{"ARP reply", 2, mac, m.ip, near.ip}, {"gratuitous ARP", 1, mac, m.ip, m.ip}, {"gratuitous ARP reply", 2, mac, m.ip, m.ip}, {"gratuitous ARP for another", 1, mac, near.ip, near.ip},
		{"ARP in another's name", 1, mac, near.ip, m.port.Addresses[0].Subnet.Addr().Next()}, {"ARP of another's MAC", 1, near.port.MAC, m.ip, near.ip}, {"ARP reply for the gateway", 2, mac, m.port.Addresses[0].Subnet.Addr().Next(), near.ip},
		{"ARP out of the subnet", 1, mac, m.ip, addr("198.18.0.12")}, {"RARP", 3, mac, m.ip, near.ip},
	} {
		w.add(from, observe.GuardARP, c.name, func(mark []byte) []byte {
			return arp(everybody, mac, c.op, c.senderMAC, c.sender, none, c.target, mark)
		})
	}
	w.add(from, observe.GuardARP, "truncated ARP", func(mark []byte) []byte { return ether(everybody, mac, 0x0806, join(be16(1, 0x0800), mark)) })
	w.add(from, model.Answer, "ARP that is answered", func(mark []byte) []byte {
		return arp(everybody, mac, 1, mac, m.ip, none, m.port.Addresses[0].Subnet.Addr().Next(), mark)
	})
	all := addr("ff02::1")
	nd := func(kind byte, flags byte, target netip.Addr) func([]byte) []byte {
		return func(mark []byte) []byte { return icmp(kind, 0, join([]byte{flags, 0, 0, 0}, target.AsSlice(), mark)) }
	}
	for _, c := range []struct {
		name     string
		want     observe.Reason
		src, dst netip.Addr
		hops     byte
		message  func([]byte) []byte
	}{
		{"neighbour advertisement", observe.GuardND, m.v6, all, 255, nd(136, 0x60, near.v6)},
		{"neighbour advertisement of itself", observe.GuardND, m.v6, near.v6, 255, nd(136, 0x20, m.v6)},
		{"solicitation in another's name", observe.GuardND, near.v6, addr("ff02::1:ff00:1"), 255, nd(135, 0, addr("fe80::1234:5678:9abc"))},
		{"solicitation through a router", observe.GuardND, m.v6, addr("ff02::1:ff00:1"), 64, nd(135, 0, near.v6)},
		{"solicitation for itself", observe.GuardND, m.v6, addr("ff02::1:ff00:1"), 255, nd(135, 0, m.v6)},
		{"duplicate address detection", observe.GuardND, addr("::"), addr("ff02::1:ff00:1"), 255, nd(135, 0, near.v6)},
		{"router advertisement", observe.GuardRA, addr("fe80::1"), all, 255, nd(134, 64, addr("::"))},
		{"router advertisement to a neighbour", observe.GuardRA, m.v6, near.v6, 255, nd(134, 64, addr("::"))},
		{"redirect", observe.GuardRA, addr("fe80::1234:5678:9abc"), near.v6, 255, nd(137, 0, m.v6)},
		{"multicast listener report", observe.GuardMulticast, m.v6, addr("ff02::16"), 1, nd(143, 0, all)},
		{"multicast listener query", observe.GuardMulticast, addr("fe80::1"), all, 1, nd(130, 0, all)},
	} {
		w.add(from, c.want, c.name, func(mark []byte) []byte {
			return ether(everybody, mac, 0x86dd, ip6(c.src, c.dst, 58, c.hops, c.message(mark)))
		})
	}
}

// tags is how many probes carry one.
const tags = 5

// fabricFrames: what only the fabric may say, and what it does not speak.
func (w *trial) fabricFrames(m *vm, from string) {
	near, mac := w.neighbour(m), m.port.MAC
	offer := func(mark []byte) []byte {
		return join([]byte{2, 1, 6, 0}, make([]byte, 232), []byte{99, 130, 83, 99, 53, 1, 2, 255}, mark)
	}
	for _, c := range []struct {
		name         string
		src, dst     netip.Addr
		sport, dport uint16
	}{
		{"DHCP offer", m.ip, addr("255.255.255.255"), 67, 68}, {"DHCP offer to a neighbour", m.ip, near.ip, 67, 68}, {"DHCP offer in the server's name", addr("168.63.129.16"), near.ip, 67, 68},
		{"DHCP from another port", m.ip, addr("255.255.255.255"), 1067, 67},
		{"DHCPv6 reply", m.v6, near.v6, 547, 546}, {"DHCPv6 advertisement", addr("fe80::1"), addr("ff02::1"), 547, 546}, {"DHCPv6 from another port", addr("fe80::1"), addr("ff02::1:2"), 1547, 547},
	} {
		w.add(from, observe.GuardDHCP, c.name, func(mark []byte) []byte {
			return packet(everybody, mac, c.src, c.dst, goal.UDP, udp(c.sport, c.dport, offer(mark)))
		})
	}
	// A client may have any address: one that was its own until now is told so by the service, which knows it by its port.
	w.add(from, model.Service, "DHCP in another's name", func(mark []byte) []byte {
		return packet(everybody, mac, near.ip, addr("255.255.255.255"), goal.UDP, udp(68, 67, offer(mark)))
	})
	for name, tag := range map[string][]byte{
		"802.1Q": be16(0x8100, 5), "802.1Q without a network": be16(0x8100, 0), "802.1ad": be16(0x88a8, 7), "double": be16(0x88a8, 7, 0x8100, 5),
		"double 802.1Q": be16(0x8100, 7, 0x8100, 5),
	} {
		w.add(from, observe.GuardVLAN, "tag "+name, func(mark []byte) []byte {
			p := packet(near.port.MAC, mac, m.ip, near.ip, goal.UDP, udp(4002, 4002, mark))
			return join(p[:12], tag, p[12:])
		})
	}
	for _, k := range []uint16{0x88cc, 0x0842, 0x8863, 0x8847, 0x9000, 0x6558, 0x0040, 0x8892, 0x8906} {
		w.add(from, observe.GuardEtherType, fmt.Sprintf("EtherType %#04x", k), func(mark []byte) []byte { return ether(everybody, mac, k, join(make([]byte, 52), mark)) })
	}
	w.add(from, observe.GuardEtherType, "spanning tree", func(mark []byte) []byte {
		return ether(goal.MAC{1, 0x80, 0xc2, 0, 0, 0}, mac, 0x0026, join([]byte{0x42, 0x42, 3, 0, 0, 0}, mark, make([]byte, 30)))
	})
}

// everywhere: addresses that mean many.
func (w *trial) everywhere(m *vm, from string) {
	for _, a := range []string{"255.255.255.255", "224.0.0.1", "224.0.0.251", "239.255.255.250", "240.0.0.1", "0.0.0.0", "ff02::1", "ff02::2", "ff02::fb", "ff05::1:3", "ff0e::1", "::"} {
		src := m.ip
		if addr(a).Is6() {
			src = m.v6
		}
		w.add(from, observe.GuardMulticast, "to "+a, func(mark []byte) []byte {
			return packet(everybody, m.port.MAC, src, addr(a), goal.UDP, udp(4003, 4003, mark))
		})
	}
	last := m.ip.As4()
	last[3] = 255
	w.add(from, observe.GuardMulticast, "to the subnet's broadcast", func(mark []byte) []byte {
		return packet(everybody, m.port.MAC, m.ip, netip.AddrFrom4(last), goal.UDP, udp(4003, 4003, mark))
	})
	w.add(from, observe.GuardMulticast, "IGMP", func(mark []byte) []byte {
		return packet(everybody, m.port.MAC, m.ip, addr("224.0.0.22"), 2, join([]byte{0x22, 0, 0, 0}, mark))
	})
}

// forbidden: the hosts, the underlay, the management link, the control plane, the Internet, the other tenant.
func (w *trial) forbidden(m *vm, from string) {
	outside := observe.RouteNone
	if m.port.SubnetGroup != "" {
		outside = observe.ACLDefault // a private address outside is neither VirtualNetwork nor Internet
	}
	host := w.l.host(m.host)
	far := w.stranger(m)
	macs := []goal.MAC{gateway, deviceMAC(w.t, host, "under0"), deviceMAC(w.t, host, "mgmt0"), deviceMAC(w.t, host, "uplink0"), deviceMAC(w.t, host, portDevice(m)), far.port.MAC, everybody}
	for i, a := range []string{"198.18.0.11", "198.18.0.12", "198.18.1.11", "198.18.1.1", "203.0.113.11", "203.0.113.1", "127.0.0.1", "192.168.7.7", "100.64.0.1", "100.64.0.2", far.ip.String(),
		"2001:db8:203::b", "2001:db8:203::1", "::1", "fd00:2::1"} {
		src := m.ip
		if addr(a).Is6() {
			src = m.v6
		}
		want := outside
		switch {
		case w.internet(addr(a)):
			want = observe.RouteNone // allowed by the default rules, and there is no way
		case m.name == "fabrikam/c1" && addr(a) == far.ip:
			want = observe.RouteNoEndpoint // in its own address space, too
		}
		for j, dport := range []uint16{22, 443, 2379, 4789, 7443} {
			mac := macs[(i+j)%len(macs)]
			w.add(from, want, fmt.Sprintf("to %s port %d at %s", a, dport, mac), func(mark []byte) []byte {
				if j%2 == 0 {
					return packet(mac, m.port.MAC, src, addr(a), goal.TCP, tcp(uint16(4100+i), dport, model.SYN, mark))
				}
				return packet(mac, m.port.MAC, src, addr(a), goal.UDP, udp(uint16(4100+i), dport, mark))
			})
		}
	}
	w.add(from, observe.RouteNone, "to the Internet", func(mark []byte) []byte {
		return packet(gateway, m.port.MAC, m.ip, addr("8.8.8.8"), goal.UDP, udp(4004, 53, mark))
	})
	w.add(from, observe.RouteNoEndpoint, "to nobody", func(mark []byte) []byte {
		return packet(gateway, m.port.MAC, m.ip, addr("10.0.77.7"), goal.UDP, udp(4004, 53, mark))
	})
	w.add(from, observe.RouteNoEndpoint, "to the gateway", func(mark []byte) []byte {
		return packet(gateway, m.port.MAC, m.ip, m.port.Addresses[0].Subnet.Addr().Next(), goal.UDP, udp(4004, 53, mark))
	})
	w.add(from, observe.RouteSelf, "to itself", func(mark []byte) []byte {
		return packet(gateway, m.port.MAC, m.ip, m.ip, goal.UDP, udp(4004, 53, mark))
	})
	w.add(from, observe.GuardReservedPort, "from the reserved port", func(mark []byte) []byte {
		return packet(gateway, m.port.MAC, m.ip, w.neighbour(m).ip, goal.UDP, udp(65330, 53, mark))
	})
	for _, a := range []string{"168.63.129.16", "169.254.169.254", "fe80::1234:5678:9abc"} { // served or not, nobody else sees it
		src := m.ip
		if addr(a).Is6() {
			src = m.v6
		}
		for i, port := range []uint16{53, 80, 5555} {
			w.add(from, nil, fmt.Sprintf("to the platform %s:%d", a, port), func(mark []byte) []byte {
				return packet(gateway, m.port.MAC, src, addr(a), goal.UDP, udp(uint16(4020+i), port, mark))
			})
			w.add(from, nil, fmt.Sprintf("a connection to the platform %s:%d", a, port), func(mark []byte) []byte {
				return packet(gateway, m.port.MAC, src, addr(a), goal.TCP, tcp(uint16(4020+i), port, model.SYN, mark))
			})
		}
	}
}

// wrapped: VXLAN made by a machine, towards hosts and towards machines.
func (w *trial) wrapped(m *vm, from string) {
	outside := observe.RouteNone
	if m.port.SubnetGroup != "" {
		outside = observe.ACLDefault
	}
	near := w.neighbour(m)
	for _, victim := range []*vm{near, w.stranger(m), w.l.vms["fabrikam/a2"], w.l.vms["contoso/a2"]} {
		for _, to := range []string{"198.18.0.11", "198.18.0.12"} {
			w.add(from, outside, fmt.Sprintf("VXLAN for %s to %s", victim.name, to), func(mark []byte) []byte {
				inner := packet(victim.port.MAC, gateway, addr("10.0.1.4"), victim.ip, goal.UDP, udp(4005, 4005, mark))
				return packet(gateway, m.port.MAC, m.ip, addr(to), goal.UDP, udp(4789, 4789, vxlan(victim.port.VNI, inner)))
			})
		}
		w.add(from, model.Deliver, fmt.Sprintf("VXLAN for %s to a neighbour", victim.name), func(mark []byte) []byte {
			inner := packet(victim.port.MAC, gateway, addr("10.0.1.4"), victim.ip, goal.UDP, udp(4005, 4005, mark))
			return packet(gateway, m.port.MAC, m.ip, near.ip, goal.UDP, udp(uint16(20000+len(w.probes)), 4789, vxlan(victim.port.VNI, inner)))
		})
	}
	for name, protocol := range map[string]byte{"GRE": 47, "IP in IP": 4, "IPv6 in IPv4": 41, "SCTP": 132, "OSPF": 89, "VRRP": 112, "UDP-Lite": 136, "reserved": 255} {
		w.add(from, observe.GuardProtocol, name, func(mark []byte) []byte {
			return packet(gateway, m.port.MAC, m.ip, near.ip, protocol, ip(near.ip, near.ip, goal.UDP, udp(1, 1, mark)))
		})
	}
}

// crafted: headers that contradict themselves, and what depends on the state of judging: fragments, options, ICMP errors.
func (w *trial) crafted(m *vm, from string) {
	near, far, mac := w.neighbour(m), w.stranger(m), m.port.MAC
	good := func(mark []byte) []byte { return packet(gateway, mac, m.ip, near.ip, goal.UDP, udp(4006, 4006, mark)) }
	broken := func(at int, v ...byte) func([]byte) []byte {
		return func(mark []byte) []byte {
			f := good(mark)
			copy(f[at:], v)
			return f
		}
	}
	for name, make := range map[string]func([]byte) []byte{
		"version 6 in IPv4": broken(14, 0x65), "header of 16 bytes": broken(14, 0x44), "total length below the header": broken(16, 0, 19), "total length beyond the frame": broken(16, 5, 0),
		"UDP shorter than its header": broken(38, 0, 7), "UDP beyond the packet": broken(38, 1, 0), "total length cuts UDP": broken(16, 0, 24),
		"truncated IPv4": func(mark []byte) []byte { return ether(gateway, mac, 0x0800, join([]byte{0x45}, mark)) },
		"truncated IPv6": func(mark []byte) []byte { return ether(gateway, mac, 0x86dd, join([]byte{0x60}, mark)) },
		"IPv4 as IPv6":   func(mark []byte) []byte { f := good(mark); f[12], f[13] = 0x86, 0xdd; return f },
		"TCP header too long": func(mark []byte) []byte {
			b := tcp(4006, 80, model.SYN, mark)
			b[12] = 0xf0
			return packet(gateway, mac, m.ip, near.ip, goal.TCP, b)
		},
		"TCP header too short": func(mark []byte) []byte {
			b := tcp(4006, 80, model.SYN, mark)
			b[12] = 0x40
			return packet(gateway, mac, m.ip, near.ip, goal.TCP, b)
		},
		"half a TCP header": func(mark []byte) []byte { return packet(gateway, mac, m.ip, near.ip, goal.TCP, mark) },
		"IPv6 beyond the frame": func(mark []byte) []byte {
			f := packet(gateway, mac, m.v6, near.v6, goal.UDP, udp(4006, 4006, mark))
			f[18] = 9
			return f
		},
		"IPv6 payload cuts the UDP": func(mark []byte) []byte {
			f := packet(gateway, mac, m.v6, near.v6, goal.UDP, udp(4006, 4006, mark))
			f[19] = 7
			return f
		},
	} {
		w.add(from, observe.GuardMalformed, name, make)
	}
	for name, flags := range map[string]byte{"ACK": model.ACK, "SYN+ACK": model.SYN | model.ACK, "RST": model.RST, "FIN+ACK": model.FIN | model.ACK} {
		w.add(from, observe.FlowNoSYN, "TCP of no connection: "+name, func(mark []byte) []byte {
			return packet(gateway, mac, m.ip, near.ip, goal.TCP, tcp(4007+uint16(flags), 80, flags, mark))
		})
	}
	for name, flags := range map[string]byte{"SYN+FIN": model.SYN | model.FIN, "SYN+RST": model.SYN | model.RST, "FIN": model.FIN, "nothing": 0, "everything": 0x3f} {
		w.add(from, observe.GuardTCPFlags, "TCP of crafted flags: "+name, func(mark []byte) []byte {
			return packet(gateway, mac, m.ip, near.ip, goal.TCP, tcp(4007+uint16(flags), 80, flags, mark))
		})
	}
	w.add(from, observe.FlowNoEcho, "echo reply to nothing", func(mark []byte) []byte {
		return packet(gateway, mac, m.ip, near.ip, goal.ICMP, icmp(0, 0, join(be16(77, 1), mark)))
	})
	for _, victim := range []*vm{near, far} {
		inner := func(mark []byte) []byte { return udp(4008, 4008, mark) }
		long := func(mark []byte) []byte {
			return join(udp(4008, 4008, nil), make([]byte, 24-8-8), mark, make([]byte, 4))
		}
		for name, make := range map[string]func([]byte) []byte{
			"first fragment": func(mark []byte) []byte { return ip4(m.ip, victim.ip, goal.UDP, 0x2000, nil, long(mark)) },
			"later fragment": func(mark []byte) []byte { return ip4(m.ip, victim.ip, goal.UDP, 0x0017, nil, inner(mark)) },
			"tiny first fragment": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.TCP, 0x2000, nil, join(be16(4008, 80), mark))
			},
			"fragment over the end": func(mark []byte) []byte { return ip4(m.ip, victim.ip, goal.UDP, 0x1fff, nil, long(mark)) },
			"record route": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.UDP, 0x4000, []byte{7, 7, 4, 0, 0, 0, 0, 0}, inner(mark))
			},
			"source route": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.UDP, 0x4000, join([]byte{0x83, 7, 4}, far.ip.AsSlice(), []byte{1}), inner(mark))
			},
			"hop-by-hop header": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 0, 64, join([]byte{17, 0, 1, 4, 0, 0, 0, 0}, inner(mark)))
			},
			"routing header": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 43, 64, join([]byte{17, 2, 0, 1, 0, 0, 0, 0}, far.v6.AsSlice(), inner(mark)))
			},
			"destination options": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 60, 64, join([]byte{17, 0, 1, 4, 0, 0, 0, 0}, inner(mark)))
			},
			"first IPv6 fragment": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 44, 64, join([]byte{17, 0, 0, 1, 0, 0, 0, 9}, long(mark)))
			},
			"later IPv6 fragment": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 44, 64, join([]byte{17, 0, 1, 0, 0, 0, 0, 9}, inner(mark)))
			},
			"destination unreachable": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.ICMP, 0x4000, nil, icmp(3, 3, join(be16(0, 0), ip4(victim.ip, m.ip, goal.UDP, 0, nil, udp(4009, 4009, mark)))))
			},
			"fragmentation needed": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.ICMP, 0x4000, nil, icmp(3, 4, join(be16(0, 68), ip4(victim.ip, m.ip, goal.UDP, 0, nil, udp(4009, 4009, mark)))))
			},
			"ICMP redirect": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.ICMP, 0x4000, nil, icmp(5, 1, join(m.ip.AsSlice(), ip4(victim.ip, far.ip, goal.UDP, 0, nil, udp(4009, 4009, mark)))))
			},
			"ICMP timestamp": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.ICMP, 0x4000, nil, icmp(13, 0, join(be16(1, 1), mark)))
			},
			"IPv6 packet too big": func(mark []byte) []byte {
				return ip6(m.v6, victim.v6, 58, 64, icmp(2, 0, join(be16(0, 1280), ip6(victim.v6, m.v6, 17, 64, udp(4009, 4009, mark)))))
			},
			"unreachable of no packet": func(mark []byte) []byte {
				return ip4(m.ip, victim.ip, goal.ICMP, 0x4000, nil, icmp(3, 3, join(be16(0, 0), mark)))
			},
		} {
			w.add(from, nil, name+" to "+victim.name, func(mark []byte) []byte {
				p := make(mark)
				k := uint16(0x0800)
				if p[0]>>4 == 6 {
					k = 0x86dd
				}
				return ether(victim.port.MAC, mac, k, p)
			})
		}
	}
}

// welcome: what may pass reaches the machine it is for and nobody else, however the frame is addressed.
func (w *trial) welcome(m *vm, from string) {
	near := w.neighbour(m)
	for i, mac := range []goal.MAC{gateway, near.port.MAC, everybody, w.stranger(m).port.MAC} {
		w.add(from, model.Deliver, "to a neighbour at "+mac.String(), func(mark []byte) []byte {
			return packet(mac, m.port.MAC, m.ip, near.ip, goal.UDP, udp(uint16(4010+i), 4010, mark))
		})
		w.add(from, model.Deliver, "to a neighbour over IPv6 at "+mac.String(), func(mark []byte) []byte {
			return packet(mac, m.port.MAC, m.v6, near.v6, goal.UDP, udp(uint16(4010+i), 4010, mark))
		})
	}
}
