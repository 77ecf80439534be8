package verify

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/verify/space"
)

// Dimensions of the packet space of one family. An ICMP message has its type in the protocol's dimension, behind the 256
// protocols: it has no ports, and a rule's ports compare with its type.
const (
	dimSrc = iota
	dimDst
	dimProtocol
	dimSrcPort
	dimDstPort
)

// icmpTypes is where the types of the family's ICMP begin in the protocol's dimension.
const icmpTypes = 256

// number is a coordinate: an address of the family, a protocol, or a port.
type number struct{ hi, lo uint64 }

func small(n uint64) number { return number{0, n} }

func (a number) compare(b number) int {
	switch {
	case a == b:
		return 0
	case a.hi < b.hi, a.hi == b.hi && a.lo < b.lo:
		return -1
	}
	return 1
}

func (a number) less(b number) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a number) next() number {
	if a.lo++; a.lo == 0 {
		a.hi++
	}
	return a
}

func (a number) previous() number {
	if a.lo == 0 {
		a.hi--
	}
	a.lo--
	return a
}

func numberOf(a netip.Addr) number {
	if a.Is4() {
		b := a.As4()
		return small(uint64(binary.BigEndian.Uint32(b[:])))
	}
	b := a.As16()
	return number{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr is the address of a number in a family.
func (a number) addr(f Family) netip.Addr {
	if f == V4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(a.lo))
		return netip.AddrFrom4(b)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

// interval is inclusive; intervals are sorted lists of them that neither overlap nor touch.
type interval struct{ lo, hi number }

type intervals []interval

// Family is an address family; packets of one never meet rules' prefixes of the other.
type Family uint8

// The two families.
const (
	V4 Family = iota
	V6
)

func (f Family) String() string { return [...]string{"IPv4", "IPv6"}[f] }

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return V4
	}
	return V6
}

// icmp is the protocol number of the family's ICMP.
func (f Family) icmp() uint8 { return [...]uint8{goal.ICMP, goal.ICMPv6}[f] }

// last is the highest address.
func (f Family) last() number {
	return [...]number{small(1<<32 - 1), {^uint64(0), ^uint64(0)}}[f]
}

// limit is the highest number of each dimension.
func (f Family) limit() [space.Dims]number {
	return [space.Dims]number{f.last(), f.last(), small(icmpTypes + 255), small(65535), small(65535)}
}

// everything is the whole packet space of the family.
func (f Family) everything() product {
	var p product
	for d, last := range f.limit() {
		p[d] = intervals{{number{}, last}}
	}
	return p
}

// product is a set of packets of one family: one list of intervals per dimension.
type product [space.Dims]intervals

func (p *product) empty() bool {
	return slices.ContainsFunc(p[:], func(s intervals) bool { return len(s) == 0 })
}

func (p *product) overlaps(o *product) bool {
	for d := range p {
		if !p[d].overlaps(o[d]) {
			return false
		}
	}
	return true
}

func (p *product) and(o *product) (product, bool) {
	var out product
	for d := range p {
		if out[d] = p[d].and(o[d]); len(out[d]) == 0 {
			return product{}, false
		}
	}
	return out, true
}

// minus is what of p is not in o, as products that do not overlap.
func (p *product) minus(o *product) []product {
	if !p.overlaps(o) {
		return []product{*p}
	}
	var out []product
	rest := *p
	for d := range p {
		if outside := rest[d].minus(o[d]); len(outside) > 0 {
			piece := rest
			piece[d] = outside
			out = append(out, piece)
		}
		rest[d] = rest[d].and(o[d])
	}
	return out
}

func (p *product) holds(x [space.Dims]number) bool {
	for d := range p {
		if !p[d].holds(x[d]) {
			return false
		}
	}
	return true
}

// first is the index of the first interval that does not end before x.
func (s intervals) first(x number) int {
	lo, hi := 0, len(s)
	for lo < hi {
		if m := (lo + hi) / 2; s[m].hi.less(x) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

func (s intervals) holds(x number) bool {
	i := s.first(x)
	return i < len(s) && !x.less(s[i].lo)
}

func (s intervals) overlaps(o intervals) bool {
	if len(s) == 0 || len(o) == 0 || o[len(o)-1].hi.less(s[0].lo) || s[len(s)-1].hi.less(o[0].lo) {
		return false
	}
	if len(s) > len(o) {
		s, o = o, s
	}
	for _, v := range s {
		if i := o.first(v.lo); i < len(o) && !v.hi.less(o[i].lo) {
			return true
		}
	}
	return false
}

func (s intervals) and(o intervals) intervals {
	var out intervals
	if len(s) > len(o) {
		s, o = o, s
	}
	for _, v := range s {
		for i := o.first(v.lo); i < len(o) && !v.hi.less(o[i].lo); i++ {
			w := interval{v.lo, v.hi}
			if w.lo.less(o[i].lo) {
				w.lo = o[i].lo
			}
			if o[i].hi.less(w.hi) {
				w.hi = o[i].hi
			}
			out = append(out, w)
		}
	}
	return out
}

func (s intervals) minus(o intervals) intervals {
	var out intervals
	for _, v := range s {
		lo, done := v.lo, false
		for i := o.first(v.lo); i < len(o) && !v.hi.less(o[i].lo); i++ {
			if lo.less(o[i].lo) {
				out = append(out, interval{lo, o[i].lo.previous()})
			}
			if !o[i].hi.less(v.hi) {
				done = true
				break
			}
			lo = o[i].hi.next()
		}
		if !done {
			out = append(out, interval{lo, v.hi})
		}
	}
	return out
}

func (s intervals) contains(o intervals) bool { return len(o.minus(s)) == 0 }

// normal sorts intervals and joins those that overlap or touch.
func normal(s intervals) intervals {
	if len(s) < 2 {
		return s
	}
	slices.SortFunc(s, func(a, b interval) int { return a.lo.compare(b.lo) })
	out := s[:1]
	for _, v := range s[1:] {
		last := &out[len(out)-1]
		if last.hi.less(v.lo) && last.hi.next() != v.lo {
			out = append(out, v)
		} else if last.hi.less(v.hi) {
			last.hi = v.hi
		}
	}
	return out
}

// ofPrefixes are the addresses of a family that the prefixes hold.
func ofPrefixes(f Family, prefixes []netip.Prefix) intervals {
	var out intervals
	for _, p := range prefixes {
		if familyOf(p.Addr()) == f {
			out = append(out, ofPrefix(p))
		}
	}
	return normal(out)
}

func ofPrefix(p netip.Prefix) interval {
	lo := numberOf(p.Masked().Addr())
	hi, host := lo, p.Addr().BitLen()-p.Bits()
	if host >= 64 {
		hi.lo = ^uint64(0)
		hi.hi |= 1<<(host-64) - 1
	} else {
		hi.lo |= 1<<host - 1
	}
	return interval{lo, hi}
}

func ofAddrs(f Family, addrs ...netip.Addr) intervals {
	var out intervals
	for _, a := range addrs {
		if familyOf(a) == f {
			out = append(out, interval{numberOf(a), numberOf(a)})
		}
	}
	return normal(out)
}

func ofPorts(ranges []goal.PortRange) intervals {
	out := make(intervals, 0, len(ranges))
	for _, r := range ranges {
		out = append(out, interval{small(uint64(r.Lo)), small(uint64(r.Hi))})
	}
	return normal(out)
}

func one(n uint64) intervals { return intervals{{small(n), small(n)}} }
