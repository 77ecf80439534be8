package cli

import (
	"encoding/binary"
	"net/netip"
)

// frame is as much of an Ethernet frame as a line of a capture shows.
type frame struct {
	name         string // arp, tcp, udp, icmp, or what the EtherType or protocol is called otherwise
	src, dst     netip.Addr
	sport, dport uint16
	hasPorts     bool
}

// readFrame reads the beginning of a frame; what is not there stays empty.
func readFrame(b []byte) (f frame) {
	if len(b) < 14 {
		return f
	}
	kind, rest := binary.BigEndian.Uint16(b[12:]), b[14:]
	switch {
	case kind == 0x0806 && len(rest) >= 28:
		f.name = "arp"
		f.src, f.dst = netip.AddrFrom4([4]byte(rest[14:])), netip.AddrFrom4([4]byte(rest[24:]))
	case kind == 0x0800 && len(rest) >= 20:
		f.src, f.dst = netip.AddrFrom4([4]byte(rest[12:])), netip.AddrFrom4([4]byte(rest[16:]))
		header := int(rest[0]&15) * 4
		later := binary.BigEndian.Uint16(rest[6:])&0x1fff != 0
		f.transport(rest[9], rest[min(header, len(rest)):], later)
	case kind == 0x86dd && len(rest) >= 40:
		f.src, f.dst = netip.AddrFrom16([16]byte(rest[8:])), netip.AddrFrom16([16]byte(rest[24:]))
		f.transport(rest[6], rest[40:], false)
	default:
		f.name = "other"
	}
	return f
}

func (f *frame) transport(protocol byte, b []byte, later bool) {
	f.name = map[byte]string{1: "icmp", 6: "tcp", 17: "udp", 50: "esp", 51: "ah", 58: "icmp"}[protocol]
	if f.name == "" {
		f.name = "other"
	}
	if (protocol == 6 || protocol == 17) && len(b) >= 4 && !later {
		f.sport, f.dport, f.hasPorts = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]), true
	}
}

// frameFilter says which frames are wanted; what is empty wants all.
type frameFilter struct {
	address  netip.Addr
	port     uint16
	protocol string
}

func (w frameFilter) wants(f frame) bool {
	return (!w.address.IsValid() || f.src == w.address || f.dst == w.address) &&
		(w.port == 0 || f.hasPorts && (f.sport == w.port || f.dport == w.port)) &&
		(w.protocol == "" || f.name == w.protocol)
}
