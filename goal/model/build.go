package model

import (
	"encoding/binary"
	"net/netip"

	"ringfence/goal"
)

// Frame makes the bytes of a packet, such that Parse(p.Frame()) is p again but for Len and for fields that a broken header
// hides. Malformed, Options, BadFragment and Short are made in one way of many; whoever wants other ways breaks the bytes.
// Checksums are right. The payload of TCP and UDP is padded with zeros up to Len.
func (p Packet) Frame() []byte {
	f := append(append([]byte{}, p.DstMAC[:]...), p.SrcMAC[:]...)
	if p.VLAN {
		f = append(f, 0x81, 0x00, 0x00, 0x05)
	}
	f = binary.BigEndian.AppendUint16(f, p.EtherType)
	switch p.EtherType {
	case EtherARP:
		f = append(f, p.arp()...)
	case EtherIPv4:
		f = append(f, p.ipv4(p.Len-len(f))...)
	case EtherIPv6:
		f = append(f, p.ipv6(p.Len-len(f))...)
	}
	if pad := p.Len - len(f); pad > 0 && !p.Malformed {
		f = append(f, make([]byte, pad)...)
	}
	return f
}

func (p Packet) arp() []byte {
	b := []byte{0, 1, 8, 0, 6, 4}
	b = binary.BigEndian.AppendUint16(b, p.ARPOp)
	b = append(b, p.ARPSender[:]...)
	b = append(b, bytes4(p.Src)...)
	b = append(b, 0, 0, 0, 0, 0, 0)
	b = append(b, bytes4(p.Dst)...)
	if p.Malformed {
		b[5] = 16
	}
	return b
}

func (p Packet) ipv4(room int) []byte {
	var options []byte
	if p.Options {
		options = []byte{looseRoute, 3, 4, 1}
	}
	for len(options) < p.OptionBytes {
		options = append(options, 1) // no operation
	}
	l4 := p.piece(room - ipv4Len - len(options))
	h := append(make([]byte, ipv4Len), options...)
	h[0] = 0x40 | byte(len(h)/4)
	binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(l4)))
	binary.BigEndian.PutUint16(h[4:], uint16(p.Fragment.ID))
	at := uint16(p.Fragment.First / 8)
	if p.Fragment.Behind > 0 && !p.Fragment.Last || p.BadFragment {
		at |= 0x2000
	}
	if !p.MayFragment {
		at |= 0x4000
	}
	binary.BigEndian.PutUint16(h[6:], at)
	h[8], h[9] = p.HopLimit, p.Protocol
	copy(h[12:], bytes4(p.Src))
	copy(h[16:], bytes4(p.Dst))
	binary.BigEndian.PutUint16(h[10:], checksum(0, h))
	b := append(h, l4...)
	if p.Malformed {
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)+1)) // one byte more than the frame has
	}
	return b
}

func (p Packet) ipv6(room int) []byte {
	next, chain := p.chain6()
	l4 := append(chain, p.piece(room-ipv6Len-len(chain))...)
	h := make([]byte, ipv6Len)
	h[0] = 0x60
	binary.BigEndian.PutUint16(h[4:], uint16(len(l4)))
	h[6], h[7] = next, p.HopLimit
	copy(h[8:], p.Src.AsSlice())
	copy(h[24:], p.Dst.AsSlice())
	b := append(h, l4...)
	if p.Malformed {
		binary.BigEndian.PutUint16(b[4:], uint16(len(l4)+1))
	}
	return b
}

// chain6 makes extension headers of OptionBytes: destination options, a route, a fragment header last.
func (p Packet) chain6() (next uint8, b []byte) {
	next = p.Protocol
	pieces := p.Fragment.Behind > 0 || p.BadFragment
	if pieces {
		b = []byte{next, 0, 0, 0}
		binary.BigEndian.PutUint16(b[2:], uint16(p.Fragment.First))
		if !p.Fragment.Last {
			b[3] |= 1
		}
		b = binary.BigEndian.AppendUint32(b, p.Fragment.ID)
		next = fragment
	}
	if p.Options {
		b = append([]byte{next, 0, 0, 1, 0, 0, 0, 0}, b...)
		next = routing
	}
	if room := p.OptionBytes - len(b); room >= 8 {
		h := make([]byte, room&^7)
		h[0], h[1] = next, byte(len(h)/8-1)
		b = append(h, b...)
		next = destination
	}
	return next, b
}

// piece makes what is behind the IP header: the transport part, or what of it a fragment carries.
func (p Packet) piece(room int) []byte {
	f := p.Fragment
	switch {
	case f.later():
		return make([]byte, f.Behind-f.First)
	case f.first():
		b := p.l4(f.Behind)
		return append(b, make([]byte, max(0, f.Behind-len(b)))...)[:f.Behind]
	case p.BadFragment:
		b := p.l4(room)
		return append(b, make([]byte, 9-len(b)%8)...)
	}
	return p.l4(room)
}

// l4 makes the transport part, of at least its header and at most room bytes of payload.
func (p Packet) l4(room int) []byte {
	if p.Malformed {
		room = 0
	}
	v4 := p.EtherType == EtherIPv4
	var b []byte
	sum := -1 // offset of the checksum
	switch {
	case p.Protocol == goal.TCP:
		b = make([]byte, max(20, room))
		b[12], b[13], b[14] = 5<<4, p.TCPFlags, 0x20
		sum = 16
	case p.Protocol == goal.UDP:
		b = make([]byte, max(8, room))
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
		sum = 6
	case v4 && p.Protocol == goal.ICMP, !v4 && p.Protocol == goal.ICMPv6:
		b = p.icmp(room)
		sum = 2
	default:
		return make([]byte, max(8, room))
	}
	if p.Protocol == goal.TCP || p.Protocol == goal.UDP {
		binary.BigEndian.PutUint16(b, p.SrcPort)
		binary.BigEndian.PutUint16(b[2:], p.DstPort)
	}
	if p.Short {
		return b[:7]
	}
	c := checksum(p.pseudo(len(b)), b)
	if c == 0 && p.Protocol == goal.UDP {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[sum:], c)
	return b
}

func (p Packet) icmp(room int) []byte {
	n := max(8, room)
	if p.Target.IsValid() {
		n = max(24, room)
	}
	var quote []byte
	if p.IsError() && p.Quote.Src.IsValid() {
		quote = p.Quote.bytes()
		n = max(8+len(quote), room)
	}
	b := make([]byte, n)
	copy(b[8:], quote)
	b[0], b[1] = p.ICMPType, p.ICMPCode
	binary.BigEndian.PutUint16(b[4:], p.ICMPID)
	if p.Target.IsValid() {
		copy(b[8:], p.Target.AsSlice())
	}
	return b
}

// bytes are the quoted header and the eight bytes behind it, of a packet that was 1400 bytes long.
func (q Quote) bytes() []byte {
	var b []byte
	if q.Src.Is4() {
		b = append(b, 0x45, 0, 0x05, 0x78, 0, 0, 0x40, 0, 63, q.Protocol, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0x05, 0x50, q.Protocol, 63)
	}
	b = append(append(b, q.Src.AsSlice()...), q.Dst.AsSlice()...)
	if q.Src.Is4() {
		binary.BigEndian.PutUint16(b[10:], checksum(0, b))
	}
	if q.Protocol == goal.TCP || q.Protocol == goal.UDP {
		b = binary.BigEndian.AppendUint16(b, q.SrcPort)
		b = binary.BigEndian.AppendUint16(b, q.DstPort)
		return append(b, 0, 0, 0, 0)
	}
	b = append(b, q.ICMPType, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, q.ICMPID)
	return append(b, 0, 0)
}

// pseudo sums the pseudo header; ICMP over IPv4 has none.
func (p Packet) pseudo(length int) uint32 {
	if p.Protocol == goal.ICMP {
		return 0
	}
	s := uint32(p.Protocol) + uint32(length)
	for _, a := range [][]byte{p.Src.AsSlice(), p.Dst.AsSlice()} {
		for i := 0; i+1 < len(a); i += 2 {
			s += uint32(a[i])<<8 | uint32(a[i+1])
		}
	}
	return s
}

func checksum(s uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// bytes4 is an IPv4 address's bytes, zeros for any other.
func bytes4(a netip.Addr) []byte {
	if !a.Is4() {
		return make([]byte, 4)
	}
	b := a.As4()
	return b[:]
}
