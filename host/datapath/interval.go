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

// edges collects the edges of prefixes of one family, or of port ranges. Those whose place needs 32 bits only are kept in one
// word each: place:32 item:31 begins:1.
type edges struct {
	small []uint64
	large []edge
}

func (e *edges) prefix(p netip.Prefix, item int) {
	p = p.Masked()
	end, highest := last(p)
	if p.Addr().Is4() {
		e.span(uint32(numOf(p.Addr()).lo), uint32(end.lo), highest, item)
		return
	}
	e.large = append(e.large, edge{numOf(p.Addr()), item, +1})
	if !highest {
		e.large = append(e.large, edge{end.next(), item, -1})
	}
}

func (e *edges) ports(lo, hi uint16, item int) { e.span(uint32(lo), uint32(hi), hi == 0xffff, item) }

func (e *edges) span(lo, hi uint32, highest bool, item int) {
	e.small = append(e.small, uint64(lo)<<32|uint64(item)<<1|1)
	if !highest {
		e.small = append(e.small, uint64(hi+1)<<32|uint64(item)<<1)
	}
}

// sweep cuts the number line at the edges and calls fn for every interval from the first, which begins at 0, on. change is
// called for every item that begins or ends to hold, before fn of the interval from which that is so.
func (e *edges) sweep(change func(item, delta int), fn func(start num)) {
	slices.Sort(e.small)
	slices.SortFunc(e.large, func(a, b edge) int { return a.at.compare(b.at) })
	at := func(i int) num { return num{lo: e.small[i] >> 32} }
	each := func(i int) { change(int(e.small[i]>>1&(1<<31-1)), int(e.small[i]&1)*2-1) }
	n := len(e.small)
	if len(e.large) > 0 {
		at = func(i int) num { return e.large[i].at }
		each = func(i int) { change(e.large[i].item, e.large[i].delta) }
		n = len(e.large)
	}
	i, start := 0, num{}
	for {
		for ; i < n && at(i) == start; i++ {
			each(i)
		}
		fn(start)
		if i == n {
			return
		}
		start = at(i)
	}
}
