package model

import (
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/observe"
)

// reservedPort is a UDP source port that the platform keeps for itself.
const reservedPort = 65330

var (
	dhcpServers6 = netip.MustParseAddr("ff02::1:2")
	broadcast    = netip.MustParseAddr("255.255.255.255")
)

// guard lets a VM send only what is its own: its MAC, its addresses, whole packets of the protocols that VNets carry. ARP, DHCP
// and neighbour discovery end here.
func (w *walk) guard(port *goal.Port) Verdict {
	p := w.p
	switch {
	case p.VLAN:
		return w.drop(observe.GuardVLAN)
	case p.SrcMAC != port.MAC:
		return w.drop(observe.GuardMAC)
	case p.EtherType == EtherARP:
		if !answersARP(port, p) {
			return w.drop(observe.GuardARP)
		}
		if v := w.limit(port, goal.LimitARP, 1); v.Action != next {
			return v
		}
		return w.end(Answer)
	}
	if r := parsed(p); r != observe.None {
		return w.drop(r)
	}
	if r := ownLater(port, p); r != observe.None {
		return w.drop(r)
	}
	if v := w.follow(end{port.Index, Out}); v.Action != next {
		return v
	}
	p = w.p
	if v := w.dhcp(port); v.Action != next {
		return v
	}
	if v := w.discovery(port); v.Action != next {
		return v
	}
	if r := addressed(port, p); r != observe.None {
		return w.drop(r)
	}
	if r := carried(p); r != observe.None {
		return w.drop(r)
	}
	switch {
	case p.Protocol == goal.UDP && p.SrcPort == reservedPort:
		return w.drop(observe.GuardReservedPort)
	case own(port, p.Dst):
		return w.drop(observe.RouteSelf)
	}
	return Verdict{}
}

// answersARP: the fabric answers a complete request from the NIC's own MAC and address (or from 0.0.0.0) for any other address
// of the NIC's subnet.
func answersARP(port *goal.Port, p Packet) bool {
	return !p.Malformed && p.ARPOp == 1 && p.ARPSender == port.MAC &&
		(p.Src == netip.IPv4Unspecified() || own(port, p.Src)) &&
		!own(port, p.Dst) &&
		slices.ContainsFunc(port.Addresses, func(a goal.Address) bool { return a.Subnet.Contains(p.Dst) })
}

// parsed: an IP packet whose headers are complete, consistent, and simple enough to be judged.
func parsed(p Packet) observe.Reason {
	switch {
	case p.EtherType != EtherIPv4 && p.EtherType != EtherIPv6:
		return observe.GuardEtherType
	case p.Malformed:
		return observe.GuardMalformed
	case p.Options:
		return observe.GuardOptions
	case p.BadFragment:
		return observe.GuardFragment
	case p.Short:
		return observe.GuardMalformed
	}
	return observe.None
}

// dhcp hands a client's messages to the host's service and refuses to let a VM be a server or speak DHCP in another form. A client
// whose address was changed asks from the old one, to be told that it is not its own: the answer finds the port, not the address.
func (w *walk) dhcp(port *goal.Port) Verdict {
	p := w.p
	if p.Protocol != goal.UDP {
		return Verdict{}
	}
	if p.Src.Is4() {
		client := p.SrcPort == 68 && p.DstPort == 67 && (p.Dst == broadcast || p.Dst == WireServer)
		switch {
		case client:
			return w.serve(port, goal.LimitDHCP)
		case p.SrcPort == 67 && p.DstPort == 68, p.DstPort == 67 && p.Dst == broadcast:
			return w.drop(observe.GuardDHCP)
		}
		return Verdict{}
	}
	client := p.SrcPort == 546 && p.DstPort == 547 && linkLocal6(p.Src) && p.Dst == dhcpServers6
	switch {
	case client:
		return w.serve(port, goal.LimitDHCP)
	case p.SrcPort == 547 && p.DstPort == 546, p.DstPort == 547 && multicast6(p.Dst):
		return w.drop(observe.GuardDHCP)
	}
	return Verdict{}
}

// discovery answers neighbour solicitations, hands router solicitations to the host's service and refuses the rest.
func (w *walk) discovery(port *goal.Port) Verdict {
	p := w.p
	if p.Protocol != goal.ICMPv6 || p.EtherType != EtherIPv6 {
		return Verdict{}
	}
	switch p.ICMPType {
	case RouterSol:
		return w.serve(port, goal.LimitDHCP)
	case RouterAdv, Redirect6:
		return w.drop(observe.GuardRA)
	case NeighborSol:
		if p.HopLimit != 255 || !(own(port, p.Src) || linkLocal6(p.Src)) || !p.Target.IsValid() || own(port, p.Target) {
			return w.drop(observe.GuardND) // also duplicate address detection (source ::): silence means the address is free
		}
		if r := whole(p); r != observe.None {
			return w.drop(r)
		}
		if v := w.limit(port, goal.LimitND, 1); v.Action != next {
			return v
		}
		return w.end(Answer)
	case NeighborAdv:
		return w.drop(observe.GuardND)
	case 130, 131, 132, 143: // multicast listener messages
		return w.drop(observe.GuardMulticast)
	}
	return Verdict{}
}

// addressed: from an address of the NIC to one that a single VM can have.
func addressed(port *goal.Port, p Packet) observe.Reason {
	switch {
	case !own(port, p.Src):
		return observe.GuardSource
	case p.Dst.Is4() && p.Dst.As4()[0] >= 224, multicast6(p.Dst), p.Dst.IsUnspecified(), subnetBroadcast(port, p.Dst):
		return observe.GuardMulticast
	}
	return observe.None
}

// carried: a protocol and a message that virtual networks carry.
func carried(p Packet) observe.Reason {
	v4 := p.EtherType == EtherIPv4
	switch {
	case p.Protocol == goal.TCP:
		if !flagsKnown(p.TCPFlags) {
			return observe.GuardTCPFlags
		}
	case p.Protocol == goal.UDP, p.Protocol == goal.ESP, p.Protocol == goal.AH:
	case v4 && p.Protocol == goal.ICMP, !v4 && p.Protocol == goal.ICMPv6:
		if request, reply := p.isEcho(); !request && !reply && !p.IsError() {
			return observe.GuardICMPType
		}
	default:
		return observe.GuardProtocol
	}
	return observe.None
}

// inner: what the guard of the sending host has let through, asked again of what arrives in VXLAN.
func inner(p Packet) observe.Reason {
	if p.VLAN {
		return observe.GuardVLAN
	}
	if r := parsed(p); r != observe.None {
		return r
	}
	if p.Fragment.later() { // its first one has been asked
		return observe.None
	}
	return carried(p)
}

func own(port *goal.Port, ip netip.Addr) bool {
	return slices.ContainsFunc(port.Addresses, func(a goal.Address) bool { return a.IP == ip })
}

// multicast6 and linkLocal6 look at the IPv6 address itself: one that an IPv4 address is written into is neither.
func multicast6(ip netip.Addr) bool { return ip.Is6() && ip.As16()[0] == 0xff }

func linkLocal6(ip netip.Addr) bool {
	return ip.Is6() && ip.As16()[0] == 0xfe && ip.As16()[1]&0xc0 == 0x80
}

// subnetBroadcast: the last address of a subnet that the port is in.
func subnetBroadcast(port *goal.Port, ip netip.Addr) bool {
	return ip.Is4() && slices.ContainsFunc(port.Addresses, func(a goal.Address) bool {
		return a.Subnet.Contains(ip) && (!ip.Next().IsValid() || !a.Subnet.Contains(ip.Next()))
	})
}

// ask hands the packet to a socket of the host's services.
func (w *walk) ask(port *goal.Port, kind goal.LimitKind) Verdict {
	if v := w.limit(port, kind, 1); v.Action != next {
		return v
	}
	w.remember(end{port.Index, Out})
	return w.end(Service)
}

// serve hands the packet to the host's services, as often as the port may ask.
func (w *walk) serve(port *goal.Port, kind goal.LimitKind) Verdict {
	if r := whole(w.p); r != observe.None {
		return w.drop(r)
	}
	return w.ask(port, kind)
}

// end finishes the walk at the guard with an action other than a drop.
func (w *walk) end(a Action) Verdict {
	w.step("guard", a.String())
	return Verdict{Action: a, Dir: w.dir, Port: w.port}
}
