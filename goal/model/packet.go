package model

import (
	"net/netip"

	"ringfence/goal"
)

// EtherTypes that the fabric knows.
const (
	EtherIPv4 uint16 = 0x0800
	EtherARP  uint16 = 0x0806
	EtherVLAN uint16 = 0x8100
	EtherQinQ uint16 = 0x88a8
	EtherIPv6 uint16 = 0x86dd
)

// TCP flags.
const (
	FIN uint8 = 0x01
	SYN uint8 = 0x02
	RST uint8 = 0x04
	PSH uint8 = 0x08
	ACK uint8 = 0x10
	URG uint8 = 0x20
)

// ICMP messages that the fabric carries between VMs, and the neighbour discovery that it answers or refuses.
const (
	EchoReply    uint8 = 0 // ICMP
	Unreachable  uint8 = 3
	SourceQuench uint8 = 4
	EchoRequest  uint8 = 8
	TimeExceeded uint8 = 11
	BadParameter uint8 = 12

	Unreachable6  uint8 = 1 // ICMPv6
	TooBig6       uint8 = 2
	TimeExceeded6 uint8 = 3
	BadParameter6 uint8 = 4
	EchoRequest6  uint8 = 128
	EchoReply6    uint8 = 129
	RouterSol     uint8 = 133
	RouterAdv     uint8 = 134
	NeighborSol   uint8 = 135
	NeighborAdv   uint8 = 136
	Redirect6     uint8 = 137
)

// Packet is one frame as far as the fabric looks at it. Parse makes one from bytes, Frame makes bytes from one.
type Packet struct {
	VLAN           bool   // carries an 802.1Q or 802.1ad tag
	EtherType      uint16 //
	SrcMAC, DstMAC goal.MAC

	Src, Dst netip.Addr // IP addresses; of ARP the sender's and the target's protocol address
	Protocol uint8      // IPv4 protocol or IPv6 next header
	HopLimit uint8      // time to live or hop limit

	SrcPort, DstPort   uint16     // TCP and UDP
	TCPFlags           uint8      //
	ICMPType, ICMPCode uint8      // ICMP and ICMPv6
	ICMPID             uint16     // of echo messages
	Target             netip.Addr // of a neighbour solicitation; invalid when the message is too short to hold one
	Quote              Quote      // of an ICMP error: the packet that it is about

	ARPOp     uint16   // 1 request, 2 reply
	ARPSender goal.MAC // sender's hardware address

	Malformed bool // the IP header is truncated or contradicts the frame; of ARP: no complete Ethernet/IPv4 message
	Options   bool // a source route, or IPv6 extension headers that are too many or out of place
	Short     bool // the TCP, UDP, ICMP or ICMPv6 header, or what an error quotes, is truncated or contradicts the packet

	OptionBytes int      // of IPv4 options or IPv6 extension headers, the fragment header among them
	Fragment    Fragment // a later one tells nothing of what it carries but its protocol, of IPv6 not even that
	BadFragment bool     // can be none of a packet, or is a first one without its whole transport header, or of an ICMP error

	MayFragment bool // IPv4 without the don't-fragment bit

	Len int // bytes of the frame
}

// Quote is what an ICMP error tells of the packet that it is about: its IP header and eight bytes behind it.
type Quote struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	SrcPort, DstPort uint16 // TCP and UDP
	ICMPType         uint8  // ICMP and ICMPv6
	ICMPID           uint16 // of echo messages
}

// Tuple is what a security rule sees of a packet.
type Tuple struct {
	Src, Dst         netip.Addr
	Protocol         uint8
	SrcPort, DstPort uint16 // of ICMP and ICMPv6 both are the message's type; ESP and AH have none
}

// Tuple returns what a security rule sees of p.
func (p Packet) Tuple() Tuple {
	t := Tuple{Src: p.Src, Dst: p.Dst, Protocol: p.Protocol}
	switch p.Protocol {
	case goal.TCP, goal.UDP:
		t.SrcPort, t.DstPort = p.SrcPort, p.DstPort
	case goal.ICMP, goal.ICMPv6:
		t.SrcPort, t.DstPort = uint16(p.ICMPType), uint16(p.ICMPType)
	}
	return t
}

// isEcho says whether p is an echo request and whether it is an echo reply.
func (p Packet) isEcho() (request, reply bool) {
	switch {
	case p.Protocol == goal.ICMP && p.Src.Is4():
		return p.ICMPType == EchoRequest, p.ICMPType == EchoReply
	case p.Protocol == goal.ICMPv6 && !p.Src.Is4():
		return p.ICMPType == EchoRequest6, p.ICMPType == EchoReply6
	}
	return false, false
}

// IsError says whether p is an ICMP or ICMPv6 error, which quotes a packet.
func (p Packet) IsError() bool {
	switch {
	case p.Protocol == goal.ICMP && p.Src.Is4():
		return p.ICMPType == Unreachable || p.ICMPType == SourceQuench || p.ICMPType == TimeExceeded || p.ICMPType == BadParameter
	case p.Protocol == goal.ICMPv6 && !p.Src.Is4():
		return p.ICMPType >= Unreachable6 && p.ICMPType <= BadParameter6
	}
	return false
}

// packet is as much of the quoted packet as its flow is known by.
func (q Quote) packet() Packet {
	return Packet{Src: q.Src, Dst: q.Dst, Protocol: q.Protocol, SrcPort: q.SrcPort, DstPort: q.DstPort, ICMPType: q.ICMPType, ICMPID: q.ICMPID}
}

// Error returns the ICMP error of the given type that the receiver of p, whose NIC has the given MAC, sends about it.
func (p Packet) Error(from goal.MAC, kind, code uint8) Packet {
	e := Packet{EtherType: p.EtherType, SrcMAC: from, DstMAC: Gateway, Src: p.Dst, Dst: p.Src, Protocol: goal.ICMP, HopLimit: 64, ICMPType: kind, ICMPCode: code}
	if !p.Src.Is4() {
		e.Protocol = goal.ICMPv6
	}
	e.Quote = Quote{Src: p.Src, Dst: p.Dst, Protocol: p.Protocol, SrcPort: p.SrcPort, DstPort: p.DstPort, ICMPType: p.ICMPType, ICMPID: p.ICMPID}
	return e
}

// Open returns the first packet of a conversation from a port to an address: a TCP SYN, a UDP datagram, an echo request with
// sport as identifier (for goal.ICMP of either family), or an ESP or AH packet. The source is the port's first address of the
// destination's family; it is invalid when there is none.
func Open(from *goal.Port, protocol uint8, dst netip.Addr, sport, dport uint16) Packet {
	p := Packet{EtherType: EtherIPv4, SrcMAC: from.MAC, DstMAC: Gateway, Dst: dst, Protocol: protocol, HopLimit: 64}
	for _, a := range from.Addresses {
		if a.IP.Is4() == dst.Is4() {
			p.Src = a.IP
			break
		}
	}
	if !dst.Is4() {
		p.EtherType = EtherIPv6
	}
	switch protocol {
	case goal.TCP:
		p.SrcPort, p.DstPort, p.TCPFlags = sport, dport, SYN
	case goal.UDP:
		p.SrcPort, p.DstPort = sport, dport
	case goal.ICMP, goal.ICMPv6:
		p.ICMPID, p.ICMPType, p.Protocol = sport, EchoRequest, goal.ICMP
		if !dst.Is4() {
			p.ICMPType, p.Protocol = EchoRequest6, goal.ICMPv6
		}
	}
	return p
}

// Reply returns what the receiver of p, whose NIC has the given MAC, answers: SYN and ACK, a datagram back, an echo reply.
func (p Packet) Reply(from goal.MAC) Packet {
	q := p
	q.SrcMAC, q.DstMAC = from, Gateway
	q.Src, q.Dst = p.Dst, p.Src
	q.SrcPort, q.DstPort = p.DstPort, p.SrcPort
	if p.Protocol == goal.TCP {
		q.TCPFlags = ACK
		if p.TCPFlags&SYN != 0 && p.TCPFlags&ACK == 0 {
			q.TCPFlags |= SYN
		}
	}
	if request, _ := p.isEcho(); request {
		q.ICMPType = EchoReply
		if p.Protocol == goal.ICMPv6 {
			q.ICMPType = EchoReply6
		}
	}
	return q
}
