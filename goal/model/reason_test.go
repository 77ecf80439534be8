package model_test

import (
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

// Each reason, by the packet that meets it: what VM 1 sends, changed in one way. The order of the checks is the order here.
func TestReasonsOfWhatAVMSends(t *testing.T) {
	f := fabric(rules("nic", nil, []goal.Rule{rule("no-25", false, goal.TCP, anyone, anyone, ports(25, 25))}))
	_, web := portOf(t, f, 1)
	tcp := func(change func(*model.Packet)) model.Packet {
		p := model.Open(web, goal.TCP, ip("10.0.1.5"), 50000, 80)
		change(&p)
		return p
	}
	udp := func(src, dst string, sport, dport uint16) model.Packet {
		p := model.Open(web, goal.UDP, ip(dst), sport, dport)
		p.Src = ip(src)
		return p
	}
	icmp6 := func(kind uint8, change func(*model.Packet)) model.Packet {
		p := model.Packet{EtherType: model.EtherIPv6, SrcMAC: web.MAC, Src: ip("fd00::1:4"), Dst: ip("ff02::1"), Protocol: goal.ICMPv6, HopLimit: 255, ICMPType: kind}
		change(&p)
		return p
	}
	solicit := func(target string, change func(*model.Packet)) model.Packet {
		return icmp6(model.NeighborSol, func(p *model.Packet) { p.Target = ip(target); change(p) })
	}
	arp := func(op uint16, src, dst string, change func(*model.Packet)) model.Packet {
		p := model.Packet{EtherType: model.EtherARP, SrcMAC: web.MAC, ARPOp: op, ARPSender: web.MAC, Src: ip(src), Dst: ip(dst)}
		change(&p)
		return p
	}
	same := func(*model.Packet) {}
	for _, c := range []struct {
		name string
		p    model.Packet
		want any // a reason, or an action
	}{
		{"vlan", tcp(func(p *model.Packet) { p.VLAN = true }), observe.GuardVLAN},
		{"vlan before mac", tcp(func(p *model.Packet) { p.VLAN = true; p.SrcMAC = mac(2) }), observe.GuardVLAN},
		{"another NIC's mac", tcp(func(p *model.Packet) { p.SrcMAC = mac(2) }), observe.GuardMAC},
		{"arp for a neighbour", arp(1, "10.0.1.4", "10.0.1.5", same), model.Answer},
		{"arp for the gateway", arp(1, "10.0.1.4", "10.0.1.1", same), model.Answer},
		{"arp for nobody", arp(1, "10.0.1.4", "10.0.1.99", same), model.Answer},
		{"arp from the second address", arp(1, "10.0.1.44", "10.0.1.1", same), model.Answer},
		{"arp probe for another", arp(1, "0.0.0.0", "10.0.1.5", same), model.Answer},
		{"arp probe for itself", arp(1, "0.0.0.0", "10.0.1.4", same), observe.GuardARP},
		{"gratuitous arp", arp(1, "10.0.1.4", "10.0.1.4", same), observe.GuardARP},
		{"arp for its second address", arp(1, "10.0.1.4", "10.0.1.44", same), observe.GuardARP},
		{"arp reply", arp(2, "10.0.1.4", "10.0.1.5", same), observe.GuardARP},
		{"arp in another's name", arp(1, "10.0.1.5", "10.0.1.1", same), observe.GuardARP},
		{"arp with another's hardware address", arp(1, "10.0.1.4", "10.0.1.1", func(p *model.Packet) { p.ARPSender = mac(2) }), observe.GuardARP},
		{"arp outside the subnet", arp(1, "10.0.1.4", "10.0.2.4", same), observe.GuardARP},
		{"broken arp", arp(1, "10.0.1.4", "10.0.1.5", func(p *model.Packet) { p.Malformed = true }), observe.GuardARP},
		{"lldp", tcp(func(p *model.Packet) { p.EtherType = 0x88cc }), observe.GuardEtherType},
		{"malformed", tcp(func(p *model.Packet) { p.Malformed = true; p.Options = true }), observe.GuardMalformed},
		{"options", tcp(func(p *model.Packet) { p.Options = true; p.BadFragment = true }), observe.GuardOptions},
		{"fragment", tcp(func(p *model.Packet) { p.BadFragment = true; p.Short = true }), observe.GuardFragment},
		{"short", tcp(func(p *model.Packet) { p.Short = true; p.Src = ip("10.0.1.5") }), observe.GuardMalformed},
		{"dhcp discover", udp("0.0.0.0", "255.255.255.255", 68, 67), model.Service},
		{"dhcp renewal", udp("10.0.1.4", "168.63.129.16", 68, 67), model.Service},
		{"dhcp from another port", udp("0.0.0.0", "255.255.255.255", 1068, 67), observe.GuardDHCP},
		{"dhcp renewal with an address that was its own", udp("10.0.1.5", "168.63.129.16", 68, 67), model.Service},
		{"dhcp rebinding with an address that was its own", udp("10.0.1.5", "255.255.255.255", 68, 67), model.Service},
		{"dhcp server", udp("10.0.1.4", "10.0.1.5", 67, 68), observe.GuardDHCP},
		{"dhcp between VMs", udp("10.0.1.4", "10.0.1.5", 68, 67), model.Deliver},
		{"dhcp6 solicit", udp("fe80::1", "ff02::1:2", 546, 547), model.Service},
		{"dhcp6 server", udp("fd00::1:4", "fd00::1:5", 547, 546), observe.GuardDHCP},
		{"dhcp6 from a global address", udp("fd00::1:4", "ff02::1:2", 546, 547), observe.GuardDHCP},
		{"router solicitation", icmp6(model.RouterSol, same), model.Service},
		{"router advertisement", icmp6(model.RouterAdv, same), observe.GuardRA},
		{"redirect", icmp6(model.Redirect6, same), observe.GuardRA},
		{"solicitation for a neighbour", solicit("fd00::1:5", same), model.Answer},
		{"solicitation for the router", solicit("fe80::1234:5678:9abc", func(p *model.Packet) { p.Src = ip("fe80::1") }), model.Answer},
		{"solicitation for itself", solicit("fd00::1:4", same), observe.GuardND},
		{"duplicate address detection", solicit("fe80::5", func(p *model.Packet) { p.Src = ip("::") }), observe.GuardND},
		{"solicitation in another's name", solicit("fd00::1:5", func(p *model.Packet) { p.Src = ip("fd00::1:9") }), observe.GuardND},
		{"solicitation through a router", solicit("fd00::1:5", func(p *model.Packet) { p.HopLimit = 254 }), observe.GuardND},
		{"solicitation too short", icmp6(model.NeighborSol, same), observe.GuardND},
		{"neighbour advertisement", icmp6(model.NeighborAdv, same), observe.GuardND},
		{"multicast listener report", icmp6(143, same), observe.GuardMulticast},
		{"forged source", tcp(func(p *model.Packet) { p.Src = ip("10.0.1.5") }), observe.GuardSource},
		{"link-local source", tcp(func(p *model.Packet) { p.EtherType, p.Src, p.Dst = model.EtherIPv6, ip("fe80::1"), ip("fd00::1:5") }), observe.GuardSource},
		{"own IPv4 address written as IPv6", tcp(func(p *model.Packet) {
			p.EtherType, p.Src, p.Dst = model.EtherIPv6, ip("::ffff:10.0.1.4"), ip("fd00::1:5")
		}), observe.GuardSource},
		{"broadcast", udp("10.0.1.4", "255.255.255.255", 5000, 5000), observe.GuardMulticast},
		{"subnet broadcast", udp("10.0.1.4", "10.0.1.255", 5000, 5000), observe.GuardMulticast},
		{"multicast", udp("10.0.1.4", "224.0.0.251", 5353, 5353), observe.GuardMulticast},
		{"reserved class", udp("10.0.1.4", "240.0.0.1", 1, 1), observe.GuardMulticast},
		{"to 0.0.0.0", udp("10.0.1.4", "0.0.0.0", 1, 1), observe.GuardMulticast},
		{"multicast 6", udp("fd00::1:4", "ff02::fb", 5353, 5353), observe.GuardMulticast},
		{"multicast 4, written as IPv6", tcp(func(p *model.Packet) {
			p.EtherType, p.Src, p.Dst = model.EtherIPv6, ip("fd00::1:4"), ip("::ffff:229.0.0.4")
		}), observe.ACLDefault},
		{"to ::", udp("fd00::1:4", "::", 1, 1), observe.GuardMulticast},
		{"gre", tcp(func(p *model.Packet) { p.Protocol = 47 }), observe.GuardProtocol},
		{"icmp6 over IPv4", tcp(func(p *model.Packet) { p.Protocol = goal.ICMPv6 }), observe.GuardProtocol},
		{"icmp over IPv6", tcp(func(p *model.Packet) {
			p.EtherType, p.Src, p.Dst, p.Protocol = model.EtherIPv6, ip("fd00::1:4"), ip("fd00::1:5"), goal.ICMP
		}), observe.GuardProtocol},
		{"icmp timestamp", tcp(func(p *model.Packet) { p.Protocol, p.ICMPType = goal.ICMP, 13 }), observe.GuardICMPType},
		{"icmp6 node information", icmp6(139, func(p *model.Packet) { p.Dst = ip("fd00::1:5") }), observe.GuardICMPType},
		{"error that quotes too little", icmp6(2, func(p *model.Packet) { p.Dst, p.Short = ip("fd00::1:5"), true }), observe.GuardMalformed},
		{"error about nothing", model.Open(web, goal.UDP, ip("10.0.1.5"), 1, 2).Reply(mac(2)).Error(mac(1), model.Unreachable, 3), observe.FlowNoError},
		{"reserved port", udp("10.0.1.4", "10.0.1.5", 65330, 80), observe.GuardReservedPort},
		{"to itself", udp("10.0.1.4", "10.0.1.4", 1, 1), observe.RouteSelf},
		{"to its second address", udp("10.0.1.4", "10.0.1.44", 1, 1), observe.RouteSelf},
		{"another service of the platform", udp("10.0.1.4", "168.63.129.16", 5000, 123), observe.ServiceAbsent},
		{"names, from a secondary address", udp("10.0.1.44", "168.63.129.16", 5000, 53), observe.ServiceAbsent},
		{"metadata over TLS", tcp(func(p *model.Packet) { p.Dst, p.DstPort = ip("169.254.169.254"), 443 }), observe.ServiceAbsent},
		{"router's address", udp("fd00::1:4", "fe80::1234:5678:9abc", 1, 1), observe.ServiceAbsent},
		{"tcp ack of nothing", tcp(func(p *model.Packet) { p.TCPFlags = model.ACK }), observe.FlowNoSYN},
		{"tcp syn+ack of nothing", tcp(func(p *model.Packet) { p.TCPFlags = model.SYN | model.ACK }), observe.FlowNoSYN},
		{"tcp syn+fin", tcp(func(p *model.Packet) { p.TCPFlags = model.SYN | model.FIN }), observe.GuardTCPFlags},
		{"echo reply to nothing", tcp(func(p *model.Packet) { p.Protocol, p.ICMPType = goal.ICMP, model.EchoReply }), observe.FlowNoEcho},
		{"denied by a rule", tcp(func(p *model.Packet) { p.DstPort = 25 }), observe.ACLRule},
		{"rules before route", tcp(func(p *model.Packet) { p.DstPort = 25; p.Dst = ip("8.8.8.8") }), observe.ACLRule},
		{"private address outside", tcp(func(p *model.Packet) { p.Dst = ip("192.168.7.7") }), observe.ACLDefault},
		{"the internet", tcp(func(p *model.Packet) { p.Dst = ip("8.8.8.8") }), observe.RouteNone},
		{"nobody's address", tcp(func(p *model.Packet) { p.Dst = ip("10.0.7.7") }), observe.RouteNoEndpoint},
		{"a neighbour", tcp(same), model.Deliver},
		{"ESP", tcp(func(p *model.Packet) { p.Protocol = goal.ESP }), model.Deliver},
		{"echo to another host", model.Open(web, goal.ICMP, ip("fd00::2:4"), 7, 0), model.Deliver},
	} {
		v := life(t, f, 1, c.p)
		switch want := c.want.(type) {
		case observe.Reason:
			if v.Action != model.Drop || v.Reason != want || v.Layer != want.Info().Layer {
				t.Errorf("%s: got %s %s of layer %s, want %s", c.name, v.Action, v.Reason, v.Layer, want)
			}
		case model.Action:
			if v.Action != want {
				t.Errorf("%s: got %s %s, want %s", c.name, v.Action, v.Reason, want)
			}
		}
	}
}

func TestPortReasons(t *testing.T) {
	f := fabric()
	m := f["host1"]
	if v, _ := m.Out(99, open(t, f, 1, goal.TCP, "10.0.1.5", 80)); v.Reason != observe.PortUnknown {
		t.Errorf("unknown port: %s", v.Reason)
	}
	if v, _ := model.Send(f, "nowhere", 1, model.Packet{}); v.Reason != observe.PortUnknown {
		t.Errorf("unknown host: %s", v.Reason)
	}
	m.SetDown(2, true)
	if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 80)); v.Reason != observe.PortDown || v.Port != 2 || v.Dir != model.In {
		t.Errorf("receiver down: %+v", v)
	}
	if v := life(t, f, 2, open(t, f, 2, goal.TCP, "10.0.1.4", 80)); v.Reason != observe.PortDown || v.Dir != model.Out {
		t.Errorf("sender down: %+v", v)
	}
	if n := len(m.Flows()); n != 0 {
		t.Errorf("%d flows of packets that did not arrive", n)
	}
	m.SetDown(2, false)
	if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 80)); v.Action != model.Deliver || v.Port != 2 {
		t.Errorf("receiver up again: %+v", v)
	}
}

func TestReasonsOfTheOverlay(t *testing.T) {
	f := fabric()
	m := f["host2"]
	_, web := portOf(t, f, 1)
	p := model.Open(web, goal.TCP, ip("10.0.2.4"), 50000, 5432)
	with := func(change func(*model.Packet)) model.Packet { q := p; change(&q); return q }
	for _, c := range []struct {
		name  string
		vni   uint32
		outer string
		p     model.Packet
		want  observe.Reason
	}{
		{"unknown VNI", 300, "198.18.0.11", with(func(p *model.Packet) { p.VLAN = true }), observe.OverlayVNI},
		{"tag", 100, "198.18.0.11", with(func(p *model.Packet) { p.VLAN = true }), observe.GuardVLAN},
		{"arp", 100, "198.18.0.11", with(func(p *model.Packet) { p.EtherType = model.EtherARP }), observe.GuardEtherType},
		{"malformed", 100, "198.18.0.11", with(func(p *model.Packet) { p.Malformed = true }), observe.GuardMalformed},
		{"options", 100, "198.18.0.11", with(func(p *model.Packet) { p.Options = true }), observe.GuardOptions},
		{"fragment", 100, "198.18.0.11", with(func(p *model.Packet) { p.BadFragment = true }), observe.GuardFragment},
		{"short", 100, "198.18.0.11", with(func(p *model.Packet) { p.Short = true }), observe.GuardMalformed},
		{"gre", 100, "198.18.0.11", with(func(p *model.Packet) { p.Protocol = 47 }), observe.GuardProtocol},
		{"timestamp", 100, "198.18.0.11", with(func(p *model.Packet) { p.Protocol, p.ICMPType = goal.ICMP, 13 }), observe.GuardICMPType},
		{"unreachable, of another sender", 100, "198.18.0.13", p.Reply(mac(3)).Error(mac(1), model.Unreachable, 3), observe.OverlaySender},
		{"unreachable, about nothing", 100, "198.18.0.11", p.Reply(mac(3)).Error(mac(1), model.Unreachable, 3), observe.FlowNoError},
		{"sender on another host", 100, "198.18.0.13", p, observe.OverlaySender},
		{"sender that lives here", 100, "198.18.0.11", with(func(p *model.Packet) { p.Src = ip("10.0.2.4") }), observe.OverlaySender},
		{"unknown sender", 100, "198.18.0.11", with(func(p *model.Packet) { p.Src = ip("10.0.9.9"); p.Dst = ip("10.0.9.8") }), observe.OverlaySender},
		{"of another VNet", 200, "198.18.0.11", p, observe.OverlayDestination},
		{"receiver elsewhere", 100, "198.18.0.11", with(func(p *model.Packet) { p.Dst = ip("10.0.1.5") }), observe.OverlayDestination},
		{"nobody", 100, "198.18.0.11", with(func(p *model.Packet) { p.Dst = ip("10.0.2.5") }), observe.OverlayDestination},
		{"answer to nothing", 100, "198.18.0.11", with(func(p *model.Packet) { p.TCPFlags = model.ACK }), observe.FlowNoSYN},
		{"right", 100, "198.18.0.11", p, observe.None},
	} {
		v, _ := m.In(c.vni, ip(c.outer), c.p)
		if v.Reason != c.want || (v.Action == model.Deliver) != (c.want == observe.None) {
			t.Errorf("%s: got %s %s, want %s", c.name, v.Action, v.Reason, c.want)
		}
	}
}
