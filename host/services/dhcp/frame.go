package dhcp

import (
	"encoding/binary"
	"net/netip"
)

// Lengths and numbers of the headers.
const (
	ethernetLen = 14
	ipv4Len     = 20
	ipv6Len     = 40
	udpLen      = 8

	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd

	protoUDP    = 17
	protoICMPv6 = 58

	server4, client4 = 67, 68
	server6, client6 = 547, 546
)

// Addresses of the fabric, as Azure's guests see them.
var (
	serverV4 = netip.AddrFrom4([4]byte{168, 63, 129, 16})
	router   = netip.MustParseAddr("fe80::1234:5678:9abc")
	allNodes = netip.MustParseAddr("ff02::1")
	nobody4  = netip.IPv4Unspecified()
	all4     = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	fabric   = [6]byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc} // the MAC of everything that is no VM
)

// packet is a parsed frame; the payload of UDP is the datagram's, of ICMPv6 the whole message.
type packet struct {
	src, dst     netip.Addr
	protocol     byte
	hopLimit     byte
	sport, dport uint16
	payload      []byte
}

// parse reads a frame; ok is false when a header is truncated or contradicts the frame. Other protocols have no payload here.
func parse(frame []byte) (p packet, ok bool) {
	if len(frame) < ethernetLen {
		return p, false
	}
	body := frame[ethernetLen:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case etherIPv4:
		body, ok = p.parseV4(body)
	case etherIPv6:
		body, ok = p.parseV6(body)
	}
	if !ok {
		return p, false
	}
	switch {
	case p.protocol == protoUDP:
		return p, p.parseUDP(body)
	case p.protocol == protoICMPv6 && p.src.Is6():
		p.payload = body
		return p, len(body) >= 8 && transportSum(p.src, p.dst, protoICMPv6, body) == 0
	}
	return p, true
}

func (p *packet) parseV4(b []byte) ([]byte, bool) {
	if len(b) < ipv4Len || b[0]>>4 != 4 {
		return nil, false
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	fragment := binary.BigEndian.Uint16(b[6:])&0x3fff != 0
	if head < ipv4Len || total < head || total > len(b) || fragment || checksum(b[:head], 0) != 0 {
		return nil, false
	}
	p.src, p.dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
	p.protocol, p.hopLimit = b[9], b[8]
	return b[head:total], true
}

func (p *packet) parseV6(b []byte) ([]byte, bool) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return nil, false
	}
	end := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	if end > len(b) {
		return nil, false
	}
	p.src, p.dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	p.protocol, p.hopLimit = b[6], b[7]
	return b[ipv6Len:end], true
}

// parseUDP does not judge the checksum: a guest's network card would have filled it in, a virtual one often leaves it to nobody.
func (p *packet) parseUDP(b []byte) bool {
	if len(b) < udpLen {
		return false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < udpLen || n > len(b) {
		return false
	}
	p.sport, p.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.payload = b[udpLen:n]
	return true
}

// ethernet begins a frame to the port.
func (p *port) ethernet(etherType uint16, size int) []byte {
	src := p.serviceMAC()
	b := make([]byte, 0, ethernetLen+size)
	b = append(b, p.mac[:]...)
	b = append(b, src[:]...)
	return binary.BigEndian.AppendUint16(b, etherType)
}

// udp4 is a frame from the server to the port.
func (p *port) udp4(dst netip.Addr, payload []byte) []byte {
	b := p.ethernet(etherIPv4, ipv4Len+udpLen+len(payload))
	h := [ipv4Len]byte{0: 0x45, 8: 64, 9: protoUDP}
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4Len+udpLen+len(payload)))
	copy(h[12:], serverV4.AsSlice())
	copy(h[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(h[10:], checksum(h[:], 0))
	return append(append(b, h[:]...), udp(serverV4, dst, server4, client4, payload)...)
}

// udp6 is a frame from the router's address to the port.
func (p *port) udp6(dst netip.Addr, payload []byte) []byte {
	return p.ipv6(dst, protoUDP, 64, udp(router, dst, server6, client6, payload))
}

func (p *port) ipv6(dst netip.Addr, protocol, hopLimit byte, payload []byte) []byte {
	b := p.ethernet(etherIPv6, ipv6Len+len(payload))
	h := [ipv6Len]byte{0: 0x60, 6: protocol, 7: hopLimit}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	copy(h[8:], router.AsSlice())
	copy(h[24:], dst.AsSlice())
	return append(append(b, h[:]...), payload...)
}

func udp(src, dst netip.Addr, sport, dport uint16, payload []byte) []byte {
	b := make([]byte, udpLen+len(payload))
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	copy(b[udpLen:], payload)
	sum := transportSum(src, dst, protoUDP, b)
	if sum == 0 {
		sum = 0xffff // zero would mean: not computed
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// transportSum is the checksum of a UDP datagram or ICMPv6 message with its pseudo header.
func transportSum(src, dst netip.Addr, protocol byte, b []byte) uint16 {
	var pseudo []byte
	pseudo = append(pseudo, src.AsSlice()...)
	pseudo = append(pseudo, dst.AsSlice()...)
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b)))
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	return checksum(b, uint32(^checksum(pseudo, 0)))
}

// checksum is the Internet checksum of b, added to sum.
func checksum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
