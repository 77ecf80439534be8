// Package space reasons about sets of points in five dimensions: the engine of the verifier.
//
// In: first-match lists of terms, each term the product of one set per dimension, and a region. Out: a cell of the region that
// has the asked property, a proof that there is none, or the word that the budget is spent. Two engines that share nothing but
// the sets answer the same questions: a search that carves cells by the terms (search.go), and a canonical interval diagram
// (diagram.go). A value belongs to its caller; nothing is shared.
//
// A dimension's points are numbers from 0 up: the caller numbers the intervals between all borders that occur, so that IPv4
// addresses, IPv6 addresses and ports are the same here. A set is a sorted list of spans: many prefixes and many ports in one
// rule stay lists, they are never multiplied.
package space

// Dims is the number of dimensions.
const Dims = 5

// Span is an inclusive interval of points.
type Span struct{ Lo, Hi uint32 }

// Set is a sorted list of spans that neither overlap nor touch. nil is the empty set.
type Set []Span

// Cell is a product of sets: all points whose every coordinate is in the dimension's set. It is empty when one set is.
type Cell [Dims]Set

// Term is one line of a first-match list: a product and what it decides.
type Term struct {
	Cell
	Rule  int  // the rule that the term is a part of; rules of a list are asked in ascending order
	Allow bool //
}

// List is a first-match list. A point that no term holds is denied.
type List []Term

// Point is one place in the space.
type Point [Dims]uint32

// Empty says whether no point is in the cell.
func (c *Cell) Empty() bool {
	for d := range c {
		if len(c[d]) == 0 {
			return true
		}
	}
	return false
}

// Holds says whether the point is in the cell.
func (c *Cell) Holds(p Point) bool {
	for d := range c {
		if !c[d].Holds(p[d]) {
			return false
		}
	}
	return true
}

// First is a point of a cell that is not empty.
func (c *Cell) First() Point {
	var p Point
	for d := range c {
		p[d] = c[d][0].Lo
	}
	return p
}

// Decide returns the rule of the list that decides about the point, and whether it allows it; -1 and false when none does.
func (l List) Decide(p Point) (rule int, allow bool) {
	for i := range l {
		if l[i].Holds(p) {
			return l[i].Rule, l[i].Allow
		}
	}
	return -1, false
}

// Holds says whether the point is in the set.
func (s Set) Holds(x uint32) bool {
	i := s.from(x)
	return i < len(s) && s[i].Lo <= x
}

// from is the index of the first span that does not end before x.
func (s Set) from(x uint32) int {
	if len(s) <= 4 {
		for i := range s {
			if s[i].Hi >= x {
				return i
			}
		}
		return len(s)
	}
	lo, hi := 0, len(s)
	for lo < hi {
		if m := (lo + hi) / 2; s[m].Hi < x {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo
}

// Count is the number of points.
func (s Set) Count() uint64 {
	n := uint64(0)
	for _, v := range s {
		n += uint64(v.Hi-v.Lo) + 1
	}
	return n
}

// Overlaps says whether the sets share a point.
func (s Set) Overlaps(o Set) bool {
	if len(s) == 0 || len(o) == 0 || s[0].Lo > o[len(o)-1].Hi || o[0].Lo > s[len(s)-1].Hi {
		return false
	}
	if len(s) > len(o) {
		s, o = o, s
	}
	for _, v := range s {
		if i := o.from(v.Lo); i < len(o) && o[i].Lo <= v.Hi {
			return true
		}
	}
	return false
}

// Contains says whether every point of o is in s.
func (s Set) Contains(o Set) bool {
	for _, v := range o {
		if i := s.from(v.Lo); i == len(s) || s[i].Lo > v.Lo || s[i].Hi < v.Hi {
			return false
		}
	}
	return true
}

// shared is the number of points in both sets.
func (s Set) shared(o Set) uint64 {
	if len(s) == 1 && len(o) == 1 {
		lo, hi := max(s[0].Lo, o[0].Lo), min(s[0].Hi, o[0].Hi)
		if lo > hi {
			return 0
		}
		return uint64(hi-lo) + 1
	}
	n, j := uint64(0), 0
	if len(s) > 0 {
		j = o.from(s[0].Lo)
	}
	for _, v := range s {
		for j < len(o) && o[j].Hi < v.Lo {
			j++
		}
		for k := j; k < len(o) && o[k].Lo <= v.Hi; k++ {
			n += uint64(min(v.Hi, o[k].Hi)-max(v.Lo, o[k].Lo)) + 1
		}
	}
	return n
}

// And returns the points in both sets.
func (s Set) And(o Set) Set { return s.and(o, nil) }

func (s Set) and(o Set, out Set) Set {
	j := 0
	if len(s) > 0 {
		j = o.from(s[0].Lo)
	}
	for _, v := range s {
		for j < len(o) && o[j].Hi < v.Lo {
			j++
		}
		for k := j; k < len(o) && o[k].Lo <= v.Hi; k++ {
			out = append(out, Span{max(v.Lo, o[k].Lo), min(v.Hi, o[k].Hi)})
		}
	}
	return out
}

// Minus returns the points of s that are not in o.
func (s Set) Minus(o Set) Set { return s.minus(o, nil) }

func (s Set) minus(o Set, out Set) Set {
	j := 0
	if len(s) > 0 {
		j = o.from(s[0].Lo)
	}
	for _, v := range s {
		for j < len(o) && o[j].Hi < v.Lo {
			j++
		}
		lo, done := v.Lo, false
		for k := j; k < len(o) && o[k].Lo <= v.Hi; k++ {
			if o[k].Lo > lo {
				out = append(out, Span{lo, o[k].Lo - 1})
			}
			if o[k].Hi >= v.Hi {
				done = true
				break
			}
			lo = o[k].Hi + 1
		}
		if !done {
			out = append(out, Span{lo, v.Hi})
		}
	}
	return out
}

// Or returns the points of either set.
func (s Set) Or(o Set) Set {
	var out Set
	i, j := 0, 0
	for i < len(s) || j < len(o) {
		var v Span
		if j == len(o) || i < len(s) && s[i].Lo <= o[j].Lo {
			v = s[i]
			i++
		} else {
			v = o[j]
			j++
		}
		if n := len(out); n > 0 && uint64(v.Lo) <= uint64(out[n-1].Hi)+1 {
			out[n-1].Hi = max(out[n-1].Hi, v.Hi)
		} else {
			out = append(out, v)
		}
	}
	return out
}

// And returns the points in both cells, and whether there are any.
func (c *Cell) And(o *Cell) (Cell, bool) {
	var out Cell
	for d := range c {
		if out[d] = c[d].And(o[d]); len(out[d]) == 0 {
			return Cell{}, false
		}
	}
	return out, true
}

// Overlaps says whether the cells share a point.
func (c *Cell) Overlaps(o *Cell) bool {
	for d := range c {
		if !c[d].Overlaps(o[d]) {
			return false
		}
	}
	return true
}

// Contains says whether every point of o is in c.
func (c *Cell) Contains(o *Cell) bool {
	for d := range c {
		if !c[d].Contains(o[d]) {
			return false
		}
	}
	return true
}

// Minus returns the points of c that are not in o, as at most Dims cells that do not overlap.
func (c *Cell) Minus(o *Cell) []Cell {
	if !c.Overlaps(o) {
		return []Cell{*c}
	}
	var out []Cell
	rest := *c
	for d := range c {
		if outside := rest[d].Minus(o[d]); len(outside) > 0 {
			piece := rest
			piece[d] = outside
			out = append(out, piece)
		}
		rest[d] = rest[d].And(o[d])
	}
	return out
}
