package space

// Budget is the work that may still be done; a question that finds it spent is not answered. Steps are comparable between
// questions of one kind, and the same on every machine.
type Budget struct{ Steps int }

func (b *Budget) spend(n int) bool {
	b.Steps -= n
	return b.Steps > 0
}

// Spent says whether the last question was given up.
func (b *Budget) Spent() bool { return b.Steps <= 0 }

// Searcher answers by carving: a cell is cut by the term that overlaps it most, into at most Dims pieces outside that term,
// until a piece meets no term (found) or every piece lies within one (none). It keeps its memory from question to question.
type Searcher struct {
	// Used are the terms that the last question's proof is made of: when nothing was found they alone cover the region. A term may
	// be listed more than once.
	Used []*Term

	budget *Budget
	spans  Set     // arena: sets made on the way down, freed on the way up
	cands  []*Term // arena of candidate lists
	found  Cell    //
	list   *Term   // the first of the list that hulls are of
	hulls  []hull
	cover  []*Term // scratch of callers
}

// Escape finds a cell of p that no term of cover holds. ok is false when there is none, or when the budget is spent.
func (s *Searcher) Escape(p Cell, cover []*Term, b *Budget) (free Cell, ok bool) {
	s.budget, s.spans, s.cands, s.Used = b, s.spans[:0], s.cands[:0], s.Used[:0]
	if p.Empty() || !s.carve(&p, cover) {
		return Cell{}, false
	}
	for d := range s.found {
		free[d] = append(Set(nil), s.found[d]...)
	}
	return free, true
}

// carve reports whether p has a point outside all terms, which it leaves in found.
func (s *Searcher) carve(p *Cell, terms []*Term) bool {
	base := len(s.cands)
	var best *Term
	most := -1.0
	var size [Dims]float64
	for d := range p {
		size[d] = 1 / float64(p[d].Count())
	}
	for i, t := range terms {
		overlap := 1.0
		for _, d := range narrow {
			n := p[d].shared(t.Cell[d])
			if overlap *= float64(n) * size[d]; n == 0 {
				break
			}
		}
		if overlap == 0 {
			continue
		}
		if overlap >= 1-1e-9 && t.Contains(p) {
			s.budget.spend(i + 1)
			s.Used = append(s.Used, t)
			s.cands = s.cands[:base]
			return false
		}
		if overlap > most {
			best, most = t, overlap
		}
		s.cands = append(s.cands, t)
	}
	if best == nil {
		s.found = *p
		return true
	}
	if !s.budget.spend(len(terms) + 1) {
		return false
	}
	s.Used = append(s.Used, best)
	kept := s.cands[base:len(s.cands):len(s.cands)]
	free := s.pieces(p, best, kept)
	s.cands = s.cands[:base]
	return free
}

// pieces carves what of p is outside t.
func (s *Searcher) pieces(p *Cell, t *Term, terms []*Term) bool {
	mark := len(s.spans)
	rest := *p
	for d := range p {
		before := len(s.spans)
		s.spans = rest[d].minus(t.Cell[d], s.spans)
		if outside := s.spans[before:len(s.spans):len(s.spans)]; len(outside) > 0 {
			piece := rest
			piece[d] = outside
			if s.carve(&piece, terms) {
				return true
			}
			if s.budget.Spent() {
				return false
			}
		}
		before = len(s.spans)
		s.spans = rest[d].and(t.Cell[d], s.spans)
		rest[d] = s.spans[before:len(s.spans):len(s.spans)]
	}
	s.spans = s.spans[:mark]
	return false
}

// narrow are the dimensions, those that tell most cells apart first.
var narrow = [Dims]int{1, 0, 4, 2, 3}

// hull is the smallest box around a cell: borders of its dimensions, those that tell most cells apart first.
type hull [2 * Dims]uint32

func (c *Cell) hull() hull {
	var h hull
	for k, d := range narrow {
		if s := c[d]; len(s) > 0 {
			h[2*k], h[2*k+1] = s[0].Lo, s[len(s)-1].Hi
		}
	}
	return h
}

func (h *hull) meets(o *hull) bool {
	return h[0] <= o[1] && o[0] <= h[1] && h[2] <= o[3] && o[2] <= h[3] && h[4] <= o[5] && o[4] <= h[5] &&
		h[6] <= o[7] && o[6] <= h[7] && h[8] <= o[9] && o[8] <= h[9]
}

// Live finds a cell that the term at index i of the list decides: it lies in the region and in no earlier rule's term. The list
// must not change between calls.
func (s *Searcher) Live(l List, i int, region *Cell, b *Budget) (Cell, bool) {
	if s.list != &l[0] || len(s.hulls) != len(l) {
		s.list, s.hulls = &l[0], s.hulls[:0]
		for j := range l {
			s.hulls = append(s.hulls, l[j].hull())
		}
	}
	p, ok := l[i].And(region)
	if !ok {
		return Cell{}, false
	}
	s.cover = s.cover[:0]
	h := p.hull()
	for j := range s.hulls[:i] {
		if s.hulls[j].meets(&h) && l[j].Rule < l[i].Rule {
			s.cover = append(s.cover, &l[j])
		}
	}
	return s.Escape(p, s.cover, b)
}

// Allowed finds a cell of the region that every list allows: none of the lists is one that allows everything.
func (s *Searcher) Allowed(lists []List, region Cell, b *Budget) (Cell, bool) {
	return s.allowed(lists, region, nil, b)
}

// allowed chooses an allowing term of each list in turn, and collects the denying terms before them: what lies in all the
// chosen ones and in none of the collected is allowed.
func (s *Searcher) allowed(lists []List, region Cell, denies []*Term, b *Budget) (Cell, bool) {
	if len(lists) == 0 {
		return s.Escape(region, denies, b)
	}
	mine := denies[:len(denies):len(denies)]
	l := lists[0]
	for i := range l {
		if !l[i].Overlaps(&region) {
			continue
		}
		if !l[i].Allow {
			mine = append(mine, &l[i])
			continue
		}
		p, _ := l[i].And(&region)
		c, ok := s.Escape(p, mine, b)
		if ok && len(lists) > 1 {
			c, ok = s.allowed(lists[1:], p, mine, b)
		}
		if ok {
			return c, true
		}
		if b.Spent() {
			return Cell{}, false
		}
		if l[i].Contains(&region) {
			break
		}
	}
	return Cell{}, false
}

// Denied finds a cell of the region that some list denies and that none of the terms in not holds.
func (s *Searcher) Denied(lists []List, region Cell, not []*Term, b *Budget) (Cell, bool) {
	for _, l := range lists {
		allows := not[:len(not):len(not)]
		covered := false
		for i := range l {
			if covered = covered || l[i].Contains(&region) && l[i].Allow; covered {
				// everything from here on is decided by earlier terms or by this one
				break
			}
			if !l[i].Overlaps(&region) {
				continue
			}
			if l[i].Allow {
				allows = append(allows, &l[i])
				continue
			}
			p, _ := l[i].And(&region)
			if c, ok := s.Escape(p, allows, b); ok || b.Spent() {
				return c, ok
			}
		}
		if covered {
			continue
		}
		if c, ok := s.Escape(region, append(allTerms(l), not...), b); ok || b.Spent() { // what no term holds is denied
			return c, ok
		}
	}
	return Cell{}, false
}

// Differ finds a cell of the region that one sequence of lists allows and the other does not; allowed says whether it is b that
// does.
func (s *Searcher) Differ(a, b []List, region Cell, budget *Budget) (c Cell, allowed, ok bool) {
	if c, ok = s.more(a, b, region, budget); ok || budget.Spent() {
		return c, false, ok
	}
	c, ok = s.more(b, a, region, budget)
	return c, true, ok
}

// more finds a cell that a allows and b does not: within a denying term of a list of b, outside the allowing ones before it.
func (s *Searcher) more(a, b []List, region Cell, budget *Budget) (Cell, bool) {
	for _, l := range b {
		var allows []*Term
		for i := range l {
			p, ok := l[i].And(&region)
			if !ok {
				continue
			}
			if l[i].Allow {
				allows = append(allows, &l[i])
				continue
			}
			if c, ok := s.allowed(a, p, allows, budget); ok || budget.Spent() {
				return c, ok
			}
		}
		if c, ok := s.allowed(a, region, allTerms(l), budget); ok || budget.Spent() { // what no term holds is denied
			return c, ok
		}
	}
	return Cell{}, false
}

func allTerms(l List) []*Term {
	out := make([]*Term, len(l))
	for i := range l {
		out[i] = &l[i]
	}
	return out
}
