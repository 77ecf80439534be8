package datapath

import (
	"cmp"
	"net/netip"
	"slices"
)

// num is an address as a number of 128 bits; of IPv4 the low 32.
type num struct{ hi, lo uint64 }

func (a num) compare(b num) int { return cmp.Or(cmp.Compare(a.hi, b.hi), cmp.Compare(a.lo, b.lo)) }

func (a num) next() num {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a
}

func numOf(ip netip.Addr) num {
	if ip.Is4() {
		b := ip.As4()
		return num{lo: uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])}
	}
	b := ip.As16()
	var n num
	for i := range 8 {
		n.hi = n.hi<<8 | uint64(b[i])
		n.lo = n.lo<<8 | uint64(b[i+8])
	}
	return n
}

// last is the highest number of a prefix, and whether it is the highest of its family.
func last(p netip.Prefix) (n num, highest bool) {
	n = numOf(p.Addr())
	host := p.Addr().BitLen() - p.Bits()
	n.lo |= ones(min(host, 64))
	n.hi |= ones(max(host-64, 0))
	top := num{^uint64(0), ^uint64(0)}
	if p.Addr().Is4() {
		top = num{0, 1<<32 - 1}
	}
	return n, n == top
}

func ones(n int) uint64 {
	if n >= 64 {
		return ^uint64(0)
	}
	return 1<<n - 1
}

// edge is where something begins (+1) or has just ended (-1) to hold.
type edge struct {
	at    num
	item  int // what
	delta int
}

// edges collects the edges of prefixes of one family and of port ranges.
type edges []edge

func (e *edges) prefix(p netip.Prefix, item int) {
	p = p.Masked()
	*e = append(*e, edge{numOf(p.Addr()), item, +1})
	if end, highest := last(p); !highest {
		*e = append(*e, edge{end.next(), item, -1})
	}
}

func (e *edges) ports(lo, hi uint16, item int) {
	*e = append(*e, edge{num{lo: uint64(lo)}, item, +1})
	if hi < 0xffff {
		*e = append(*e, edge{num{lo: uint64(hi) + 1}, item, -1})
	}
}

// sweep cuts the number line at the edges and calls fn for every interval from the first, which begins at 0, on. change is
// called for every item that begins or ends to hold, before fn of the interval from which that is so.
func (e edges) sweep(change func(item, delta int), fn func(start num)) {
	slices.SortFunc(e, func(a, b edge) int { return a.at.compare(b.at) })
	i, at := 0, num{}
	for {
		for ; i < len(e) && e[i].at == at; i++ {
			change(e[i].item, e[i].delta)
		}
		fn(at)
		if i == len(e) {
			return
		}
		at = e[i].at
	}
}
