package isolation

import (
	"encoding/binary"
	"net/netip"

	"ringfence/goal"
)

// Frames are written byte by byte here, so that the specification's own writer of frames does not judge itself. Checksums are wrong on purpose,
// or zero where that means none: no receiver's kernel answers them.

var (
	gateway   = goal.MAC{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
	everybody = goal.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func be16(v ...uint16) (out []byte) {
	for _, x := range v {
		out = binary.BigEndian.AppendUint16(out, x)
	}
	return out
}

func ether(dst, src goal.MAC, kind uint16, payload []byte) []byte {
	return join(dst[:], src[:], be16(kind), payload)
}

// ip wraps a payload in the family of its addresses.
func ip(src, dst netip.Addr, protocol byte, payload []byte) []byte {
	if src.Is4() {
		return ip4(src, dst, protocol, 0x4000, nil, payload)
	}
	return ip6(src, dst, protocol, 64, payload)
}

func ip4(src, dst netip.Addr, protocol byte, fragment uint16, options, payload []byte) []byte {
	h := join([]byte{0x45 + byte(len(options)/4), 0}, be16(uint16(20+len(options)+len(payload)), 0x5246, fragment), []byte{64, protocol, 0, 0}, src.AsSlice(), dst.AsSlice(), options)
	s := uint32(0)
	for i := 0; i < len(h); i += 2 {
		s += uint32(h[i])<<8 | uint32(h[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	binary.BigEndian.PutUint16(h[10:], ^uint16(s))
	return append(h, payload...)
}

func ip6(src, dst netip.Addr, next, hops byte, payload []byte) []byte {
	return join([]byte{0x60, 0, 0, 0}, be16(uint16(len(payload))), []byte{next, hops}, src.AsSlice(), dst.AsSlice(), payload)
}

// kind is the EtherType of an address.
func kind(a netip.Addr) uint16 {
	if a.Is4() {
		return 0x0800
	}
	return 0x86dd
}

func packet(dst, src goal.MAC, from, to netip.Addr, protocol byte, payload []byte) []byte {
	return ether(dst, src, kind(from), ip(from, to, protocol, payload))
}

func udp(sport, dport uint16, payload []byte) []byte {
	return join(be16(sport, dport, uint16(8+len(payload)), 0xdead), payload)
}

func tcp(sport, dport uint16, flags byte, payload []byte) []byte {
	return join(be16(sport, dport), make([]byte, 8), []byte{5 << 4, flags}, be16(0x2000, 0xdead, 0), payload)
}

// icmp is a message of either family; rest is what follows the checksum.
func icmp(kind, code byte, rest []byte) []byte { return join([]byte{kind, code, 0xde, 0xad}, rest) }

func arp(dst, src goal.MAC, op uint16, senderMAC goal.MAC, sender netip.Addr, targetMAC goal.MAC, target netip.Addr, trailer []byte) []byte {
	return ether(dst, src, 0x0806, join(be16(1, 0x0800), []byte{6, 4}, be16(op), senderMAC[:], sender.AsSlice(), targetMAC[:], target.AsSlice(), trailer))
}

// vxlan is the payload of an outer UDP datagram.
func vxlan(vni uint32, inner []byte) []byte {
	return join([]byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0}, inner)
}
