package model

import (
	"encoding/binary"
	"net/netip"

	"ringfence/goal"
)

const (
	etherLen = 14
	ipv4Len  = 20
	ipv6Len  = 40
	arpLen   = 28
)

// Parse reads a frame as the guard does: as far as it can be trusted. What comes after the first contradiction stays zero.
// Checksums are the receiver's matter.
func Parse(frame []byte) Packet {
	p := Packet{Len: len(frame)}
	if len(frame) < etherLen {
		p.Malformed = true
		return p
	}
	p.DstMAC, p.SrcMAC = goal.MAC(frame[0:6]), goal.MAC(frame[6:12])
	p.EtherType = binary.BigEndian.Uint16(frame[12:14])
	rest := frame[etherLen:]
	switch p.EtherType {
	case EtherVLAN, EtherQinQ:
		p.VLAN = true
	case EtherARP:
		p.parseARP(rest)
	case EtherIPv4:
		p.parseIPv4(rest)
	case EtherIPv6:
		p.parseIPv6(rest)
	}
	return p
}

// parseARP wants a complete message about Ethernet and IPv4.
func (p *Packet) parseARP(b []byte) {
	if len(b) < arpLen || binary.BigEndian.Uint32(b) != 0x0001_0800 || b[4] != 6 || b[5] != 4 {
		p.Malformed = true
		return
	}
	p.ARPOp = binary.BigEndian.Uint16(b[6:8])
	p.ARPSender = goal.MAC(b[8:14])
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
}

// parseIPv4 wants version 4, a whole header, and a total length that holds the header and lies in the frame; what follows the
// total length is padding.
func (p *Packet) parseIPv4(b []byte) {
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		p.Malformed = true
		return
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:4]))
	if header < ipv4Len || total < header || total > len(b) {
		p.Malformed = true
		return
	}
	p.Src, p.Dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.HopLimit, p.Protocol = b[8], b[9]
	p.MayFragment = b[6]&0x40 == 0
	if p.parseOptions(b[ipv4Len:header]); p.Malformed || p.Options {
		return
	}
	if at := binary.BigEndian.Uint16(b[6:8]); at&0x3fff != 0 { // more fragments, or an offset
		p.place(uint32(binary.BigEndian.Uint16(b[4:6])), int(at&0x1fff)*8, total-header, at&0x2000 != 0)
	}
	if !p.endedBy() {
		p.parseL4(b[header:total])
	}
}

// parseIPv6 wants version 6 and a payload length that lies in the frame.
func (p *Packet) parseIPv6(b []byte) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		p.Malformed = true
		return
	}
	end := ipv6Len + int(binary.BigEndian.Uint16(b[4:6]))
	if end > len(b) {
		p.Malformed = true
		return
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.Protocol, p.HopLimit = b[6], b[7]
	p.parseExtensions(b[ipv6Len:end])
}

// parseL4 reads the header of a protocol that the family carries; others have none that the fabric looks at. A first fragment must
// hold it whole, and an error comes in one piece.
func (p *Packet) parseL4(b []byte) {
	p.parseHeader(b)
	if p.Fragment.first() && (p.Short || p.IsError()) {
		p.Short, p.BadFragment, p.Fragment = false, true, Fragment{}
	}
}

func (p *Packet) parseHeader(b []byte) {
	v4 := p.EtherType == EtherIPv4
	switch {
	case p.Protocol == goal.TCP:
		if len(b) < 20 || b[12]>>4 < 5 || int(b[12]>>4)*4 > len(b) {
			p.Short = true
			return
		}
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b[0:2]), binary.BigEndian.Uint16(b[2:4])
		p.TCPFlags = b[13]
	case p.Protocol == goal.UDP:
		if len(b) < 8 {
			p.Short = true
			return
		}
		if n := int(binary.BigEndian.Uint16(b[4:6])); n < 8 || n > len(b) && !p.Fragment.first() {
			p.Short = true
			return
		}
		p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b[0:2]), binary.BigEndian.Uint16(b[2:4])
	case v4 && p.Protocol == goal.ICMP, !v4 && p.Protocol == goal.ICMPv6:
		if len(b) < 8 {
			p.Short = true
			return
		}
		p.parseICMP(b)
	}
}

func (p *Packet) parseICMP(b []byte) {
	p.ICMPType, p.ICMPCode = b[0], b[1]
	if request, reply := p.isEcho(); request || reply {
		p.ICMPID = binary.BigEndian.Uint16(b[4:6])
	}
	if p.IsError() {
		p.parseQuote(b[8:])
	}
	if p.Protocol == goal.ICMPv6 && p.ICMPType == NeighborSol && len(b) >= 24 {
		p.Target = netip.AddrFrom16([16]byte(b[8:24]))
	}
}

// parseQuote wants the quoted packet's whole IP header, of the same family, with its options, and eight bytes behind them which are the
// beginning of its transport header.
func (p *Packet) parseQuote(b []byte) {
	var q Quote
	var l4 []byte
	v4 := p.EtherType == EtherIPv4
	p.Short = true
	if v4 {
		if len(b) < ipv4Len+8 || b[0]>>4 != 4 || b[0]&0xf < 5 || len(b) < int(b[0]&0xf)*4+8 || binary.BigEndian.Uint16(b[6:8])&0x1fff != 0 {
			return
		}
		q.Src, q.Dst, q.Protocol = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20])), b[9]
		l4 = b[b[0]&0xf*4:]
	} else {
		if len(b) < ipv6Len+8 || b[0]>>4 != 6 {
			return
		}
		q.Src, q.Dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		var ok bool
		if q.Protocol, l4, ok = quoted6(b); !ok {
			return
		}
	}
	p.Short = false
	switch {
	case q.Protocol == goal.TCP, q.Protocol == goal.UDP:
		q.SrcPort, q.DstPort = binary.BigEndian.Uint16(l4[0:2]), binary.BigEndian.Uint16(l4[2:4])
	case v4 && q.Protocol == goal.ICMP, !v4 && q.Protocol == goal.ICMPv6:
		q.ICMPType = l4[0]
		if request, reply := q.packet().isEcho(); request || reply {
			q.ICMPID = binary.BigEndian.Uint16(l4[4:6])
		}
	}
	p.Quote = q
}
