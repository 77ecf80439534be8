package alloc

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// subnet is a subnet to take addresses from.
type subnet struct {
	vnet     string // key of the VNet
	id       string // as its VNet has it
	name     string
	prefixes []netip.Prefix
}

// findSubnet finds the subnet with this key, nil when there is none.
func findSubnet(base *store.Snapshot, key string) *subnet {
	doc := base.Get(resource.TopKey(key))
	if doc == nil || doc.ID.Type != vnetType {
		return nil
	}
	for _, s := range doc.VNet().Subnets {
		if strings.ToLower(s.ID) == key {
			return &subnet{vnet: doc.Key(), id: s.ID, name: s.Name, prefixes: s.Prefixes}
		}
	}
	return nil
}

// containing is the subnet's prefix that ip is in.
func (s *subnet) containing(ip netip.Addr) (netip.Prefix, bool) {
	for _, p := range s.prefixes {
		if p.Contains(ip) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// text lists the prefixes of one family for a message.
func (s *subnet) text(v6 bool) string {
	var all []string
	for _, p := range s.prefixes {
		if p.Addr().Is6() == v6 {
			all = append(all, p.String())
		}
	}
	return strings.Join(all, ", ")
}

// span is a range of addresses of one prefix, counted by their low 64 bits.
type span struct {
	prefix netip.Prefix
	lo, hi uint64
}

// usable leaves out what the platform reserves: the first four addresses (network, gateway, two for name service) and the
// last IPv4 one (broadcast).
func usable(p netip.Prefix) span {
	base, host := low64(p.Addr()), uint(p.Addr().BitLen()-p.Bits())
	last := ^uint64(0)
	if host < 64 {
		last = base + (1<<host - 1)
	}
	if p.Addr().Is4() {
		if host < 3 {
			return span{p, 1, 0} // all are reserved
		}
		last--
	}
	return span{p, base + 4, last}
}

func (s span) contains(ip netip.Addr) bool {
	n := low64(ip)
	return s.prefix.Contains(ip) && n >= s.lo && n <= s.hi
}

// addr is the address with the low bits n.
func (s span) addr(n uint64) netip.Addr {
	if s.prefix.Addr().Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n))
		return netip.AddrFrom4(b)
	}
	b := s.prefix.Addr().As16()
	binary.BigEndian.PutUint64(b[8:], n)
	return netip.AddrFrom16(b)
}

func low64(ip netip.Addr) uint64 {
	if ip.Is4() {
		b := ip.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := ip.As16()
	return binary.BigEndian.Uint64(b[8:])
}
