package verify

import (
	"slices"

	"ringfence/goal"
	"ringfence/verify/space"
)

// Judgement is what is known about one rule of a list for all packets of both families.
type Judgement struct {
	Index    int     // of the rule in its list
	Live     bool    // it decides about some packet
	Empty    bool    // it matches no packet at all, whatever the others say
	Unknown  bool    // the budget was spent
	Witness  *Packet // of a live rule: a packet that it decides about; of a dead one: a packet that it would match
	Covering []int   // of a dead rule: earlier rules that together match all it matches; none of them can be left out
}

// Resolve gives rules the contents of the sets that they name.
type Resolve map[string]goal.Set

func (r Resolve) in(f Family) setsOf {
	out := setsOf{}
	for name, s := range r {
		out[name] = ofPrefixes(f, s.Prefixes)
	}
	return out
}

// JudgeRules judges every rule of a first-match list: a packet that it decides about, or the proof that there is none.
func JudgeRules(rules []goal.Rule, sets Resolve) []Judgement {
	var qs []*question
	for f := V4; f <= V6; f++ {
		qs = append(qs, ask(f, f.judged(), []*filter{{lines: linesOf(f, "", rules, sets.in(f))}}))
	}
	return judge(qs, len(rules))
}

// judge judges n rules as several questions resolve them: a rule is dead when it is in all of them.
func judge(qs []*question, n int) []Judgement {
	out := make([]Judgement, n)
	for i := range out {
		out[i] = Judgement{Index: i, Empty: true}
	}
	var s space.Searcher
	for _, q := range qs {
		q.judge(&s, out)
	}
	terms := map[int][][2]int{} // of dead rules with several covering ones: question and index
	for i := range out {
		if j := &out[i]; !j.Live && len(j.Covering) > 1 {
			terms[i] = nil
		}
	}
	for k, q := range qs {
		for i := range q.lists[0] {
			if at, ok := terms[q.lists[0][i].Rule]; ok {
				terms[q.lists[0][i].Rule] = append(at, [2]int{k, i})
			}
		}
	}
	for i, at := range terms {
		out[i].minimise(&s, qs, at)
	}
	return out
}

// judge adds one question's part to the judgements.
func (q *question) judge(s *space.Searcher, out []Judgement) {
	l := q.lists[0]
	for i := range l {
		j := &out[l[i].Rule]
		j.Empty = false
		if j.Live {
			continue
		}
		b := &space.Budget{Steps: searchSteps}
		c, ok := s.Live(l, i, &q.region, b)
		if !ok && b.Spent() {
			c, ok = liveByDiagram(q, i, &j.Unknown)
			s.Used = s.Used[:0]
		}
		if ok {
			p := q.product(&c)
			w := p.packet(q.family)
			j.Live, j.Witness, j.Covering = true, &w, nil
			continue
		}
		if j.Unknown {
			continue
		}
		if j.Witness == nil {
			w := q.lines[0][i].product.packet(q.family)
			j.Witness = &w
		}
		j.Covering = append(j.Covering, provers(s, l, i, q)...)
		slices.Sort(j.Covering)
		j.Covering = slices.Compact(j.Covering)
	}
}

// liveByDiagram is the other engine's answer about a term.
func liveByDiagram(q *question, i int, unknown *bool) (space.Cell, bool) {
	l := q.lists[0]
	region, ok := l[i].And(&q.region)
	if !ok {
		return space.Cell{}, false
	}
	earlier := slices.Clone(l[:i])
	for k := range earlier {
		earlier[k].Allow = false
	}
	earlier = slices.DeleteFunc(earlier, func(t space.Term) bool { return t.Rule == l[i].Rule })
	earlier = append(earlier, space.Term{Cell: l[i].Cell, Rule: l[i].Rule, Allow: true})
	g := space.NewDiagram(&space.Budget{Steps: diagramSteps})
	id, built := g.Build([]space.List{earlier}, region, false, allAllow)
	if !built {
		*unknown = true
		return space.Cell{}, false
	}
	var free space.Cell
	found := false
	g.Walk(id, region, func(c space.Cell, v uint64) bool {
		if v == 1 {
			free, found = c, true
		}
		return !found
	})
	return free, found
}

// provers are earlier rules that cover the term at index i: those of the search's proof, or all that it meets.
func provers(s *space.Searcher, l space.List, i int, q *question) []int {
	var rules []int
	for _, t := range s.Used {
		rules = append(rules, t.Rule)
	}
	if len(rules) > 0 {
		return rules
	}
	p, ok := l[i].And(&q.region)
	for j := range l[:i] {
		if ok && l[j].Rule < l[i].Rule && l[j].Overlaps(&p) {
			rules = append(rules, l[j].Rule)
		}
	}
	return rules
}

// minimise leaves out covering rules without which the others still cover every term of the rule, the later ones first.
func (j *Judgement) minimise(s *space.Searcher, qs []*question, terms [][2]int) {
	for k := len(j.Covering) - 1; k >= 0; k-- {
		without := slices.Delete(slices.Clone(j.Covering), k, k+1)
		covered := true
		for _, at := range terms {
			q := qs[at[0]]
			l := q.lists[0]
			p, ok := l[at[1]].And(&q.region)
			if !ok || !covered {
				continue
			}
			var cover []*space.Term
			for i := range l[:at[1]] {
				if _, found := slices.BinarySearch(without, l[i].Rule); found {
					cover = append(cover, &l[i])
				}
			}
			b := &space.Budget{Steps: searchSteps}
			_, free := s.Escape(p, cover, b)
			covered = !free && !b.Spent()
		}
		if covered {
			j.Covering = without
		}
	}
}

// Removable says whether a rule can be removed without changing any packet's verdict; known is false when the budget was spent.
func Removable(rules []goal.Rule, i int, sets Resolve) (yes, known bool) {
	without := slices.Delete(slices.Clone(rules), i, i+1)
	return Equivalent(rules, without, sets, sets)
}

// Equivalent says whether two lists allow the same packets; known is false when both engines gave up.
func Equivalent(old, now []goal.Rule, oldSets, nowSets Resolve) (yes, known bool) {
	ds, known := CompareRules(old, now, oldSets, nowSets)
	return len(ds) == 0, known || len(ds) > 0
}

// Delta is a set of packets that two lists judge differently.
type Delta struct {
	Box     Box
	Allowed bool // by the new list
	Witness Packet
	Old     int // index of the rule that decides about the witness in the old list, -1 when none does
	New     int
}

// CompareRules computes exactly which packets two lists judge differently. Deltas do not overlap. When known is false there may be
// more of them.
func CompareRules(old, now []goal.Rule, oldSets, nowSets Resolve) (out []Delta, known bool) {
	known = true
	for f := V4; f <= V6; f++ {
		a := &filter{lines: linesOf(f, "", old, oldSets.in(f)), key: "old"}
		b := &filter{lines: linesOf(f, "", now, nowSets.in(f)), key: "new"}
		ds, ok := deltas(f, f.judged(), []*filter{a}, []*filter{b}, diagramSteps)
		known = known && ok
		for i := range ds {
			w := ds[i].product.packet(f)
			out = append(out, Delta{ds[i].product.box(f), ds[i].allowed, w, a.decide(w), b.decide(w)})
		}
	}
	return out, known
}

// decide is the index of the rule that decides about a packet, -1 when none does.
func (flt *filter) decide(w Packet) int {
	x := w.point()
	for i := range flt.lines {
		if flt.lines[i].holds(x) {
			return flt.lines[i].index
		}
	}
	return -1
}
