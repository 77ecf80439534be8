package dhcp

import (
	"encoding/binary"
	"net/netip"
)

// ICMPv6 types.
const (
	routerSolicitation  = 133
	routerAdvertisement = 134
)

// routerLifetime in seconds is the longest that RFC 4861 lets a router tell.
const routerLifetime = 9000

// answer is the whole server as a function: what the port is told for this frame.
func answer(p *port, frame []byte) ([]byte, outcome) {
	in, ok := parse(frame)
	switch {
	case !ok:
		return nil, malformed
	case in.protocol == protoICMPv6 && in.src.Is6():
		return answerSolicitation(p, in)
	case in.protocol == protoUDP && in.src.Is4() && in.sport == client4 && in.dport == server4:
		return answer4(p, in)
	case in.protocol == protoUDP && in.src.Is6() && in.sport == client6 && in.dport == server6:
		return answer6(p, in)
	}
	return nil, ignored
}

// answerSolicitation checks a router solicitation as RFC 4861 section 6.1.1 does.
func answerSolicitation(p *port, in packet) ([]byte, outcome) {
	m := in.payload
	if m[0] != routerSolicitation {
		return nil, ignored
	}
	if in.hopLimit != 255 || m[1] != 0 || !optionsWhole(m[8:]) || !in.src.IsUnspecified() && !in.src.IsLinkLocalUnicast() {
		return nil, malformed
	}
	if !p.hasV6() {
		return nil, ignored
	}
	dst := in.src
	if dst.IsUnspecified() {
		dst = allNodes
	}
	return advertisement(p, dst), answered
}

// optionsWhole says whether neighbour discovery options fill b exactly.
func optionsWhole(b []byte) bool {
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || int(b[1])*8 > len(b) {
			return false
		}
		b = b[int(b[1])*8:]
	}
	return true
}

// advertisement names the router; addresses come by DHCPv6 (M and O flags), and no prefix is on the link.
func advertisement(p *port, dst netip.Addr) []byte {
	m := []byte{0: routerAdvertisement, 4: 64, 5: 0xc0, 15: 0}
	binary.BigEndian.PutUint16(m[6:], routerLifetime)
	m = append(append(m, 1, 1), fabric[:]...) // source link-layer address
	if p.mtu != 0 {
		m = append(m, 5, 1, 0, 0)
		m = binary.BigEndian.AppendUint32(m, uint32(p.mtu))
	}
	binary.BigEndian.PutUint16(m[2:], transportSum(router, dst, protoICMPv6, m))
	return p.ipv6(dst, protoICMPv6, 255, m)
}
