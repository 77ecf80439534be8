package dhcp

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"ringfence/goal"
)

// outcome is what became of a frame.
type outcome int

const (
	answered outcome = iota
	ignored
	malformed
	unknownPort
	limited
	outcomes
)

// table is what one goal makes of the ports: immutable.
type table struct {
	generation uint64
	ports      map[uint32]*port
}

// port is what a VM's NIC is told.
type port struct {
	index   uint32
	mac     goal.MAC
	primary bool
	v4      goal.Address   // zero when the NIC has none
	v6      []goal.Address // primary first
	dns4    []netip.Addr
	dns6    []netip.Addr
	domain  string
	mtu     uint16 // 0: the default, not told
}

func newTable(h *goal.Host) *table {
	t := &table{generation: h.Generation, ports: make(map[uint32]*port, len(h.Ports))}
	for i := range h.Ports {
		t.ports[h.Ports[i].Index] = newPort(&h.Ports[i])
	}
	return t
}

func newPort(g *goal.Port) *port {
	p := &port{index: g.Index, mac: g.MAC, primary: g.Primary, domain: g.Domain}
	if g.MTU != defaultMTU {
		p.mtu = g.MTU
	}
	for _, a := range g.Addresses {
		switch {
		case a.IP.Is4() && !p.v4.IP.IsValid():
			p.v4 = a
		case a.IP.Is4() && a.Primary && !p.v4.Primary:
			p.v4 = a
		case a.IP.Is6():
			p.v6 = append(p.v6, a)
		}
	}
	slices.SortStableFunc(p.v6, func(a, b goal.Address) int {
		switch {
		case a.Primary == b.Primary:
			return 0
		case a.Primary:
			return -1
		}
		return 1
	})
	for _, d := range g.DNS {
		if d.Is4() {
			p.dns4 = append(p.dns4, d)
		} else {
			p.dns6 = append(p.dns6, d)
		}
	}
	return p
}

func (p *port) hasV4() bool { return p.v4.IP.IsValid() }
func (p *port) hasV6() bool { return len(p.v6) > 0 }

// defaultMTU is what a guest assumes untold.
const defaultMTU = 1500

// The service MAC of a port: 02:5f:00:00:00:00 with the index in the low 22 bits.
const (
	servicePrefix = 0x025f_0000_0000
	indexMask     = 1<<22 - 1
)

// port finds the port that a frame came from: its destination MAC names it, its source MAC must be the NIC's.
func (t *table) port(frame []byte) (*port, outcome) {
	if len(frame) < ethernetLen {
		return nil, malformed
	}
	dst := mac48(frame)
	if dst&^indexMask != servicePrefix {
		return nil, ignored
	}
	p := t.ports[uint32(dst&indexMask)]
	if p == nil {
		return nil, unknownPort
	}
	if goal.MAC(frame[6:12]) != p.mac {
		return nil, malformed
	}
	return p, answered
}

func mac48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// serviceMAC is the source MAC of an answer to the port.
func (p *port) serviceMAC() (m [6]byte) {
	v := uint64(servicePrefix) | uint64(p.index)&indexMask
	binary.BigEndian.PutUint16(m[:], uint16(v>>32))
	binary.BigEndian.PutUint32(m[2:], uint32(v))
	return m
}
