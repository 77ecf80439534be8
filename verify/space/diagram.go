package space

import (
	"encoding/binary"
	"slices"
)

// Diagram is the canonical form of what first-match lists decide within a region: a graph that asks one dimension after the
// other and shares equal parts, reduced and hash-consed, so that equal functions are the same node. It is built from the top: at
// every dimension a sweep over the borders of the terms that are still undecided, with a memo by the list of these terms.
type Diagram struct {
	budget *Budget
	nodes  []node
	unique map[string]int32
	memo   [Dims]map[string]int32
	key    []byte
}

// node is a dimension asked: the points of arcs[i].set go on to arcs[i].to. Terminals have level Dims.
type node struct {
	level int
	arcs  []arc
	value uint64 // of a terminal
}

type arc struct {
	set Set
	to  int32
}

// order is the order in which dimensions are asked: see Dimension names in the verifier; the protocol first, then what splits most.
var order = [Dims]int{2, 1, 0, 4, 3}

// gone is the node of a diagram that was given up.
const gone int32 = -1

// job is one building: terms of all lists, numbered through.
type job struct {
	*Diagram
	lists  int
	terms  []*Term
	of     []int // list of the term
	full   []uint8
	region Cell
	leaf   func(decided []int32) uint64 // term numbers, -1 for none
	byRule bool
}

// NewDiagram is an empty one, in which several functions over one region can be built and compared.
func NewDiagram(b *Budget) *Diagram {
	d := &Diagram{budget: b, unique: map[string]int32{}}
	return d
}

// Build makes the node of what leaf says about the terms that decide each list: their indices, -1 where no term does. The leaf
// must depend on the verdicts only, unless byRule is set. ok is false when the budget was spent.
func (g *Diagram) Build(lists []List, region Cell, byRule bool, leaf func(lists []List, decided []int32) uint64) (id int32, ok bool) {
	if region.Empty() {
		return gone, true
	}
	j := &job{Diagram: g, lists: len(lists), region: region, byRule: byRule}
	for d := range j.memo {
		j.memo[d] = map[string]int32{}
	}
	var first []int
	var active []int32
	for k, l := range lists {
		first = append(first, len(j.terms))
		for i := range l {
			j.terms, j.of = append(j.terms, &l[i]), append(j.of, k)
			full := uint8(0)
			for d := range region {
				if l[i].Cell[d].Contains(region[d]) {
					full |= 1 << d
				}
			}
			j.full = append(j.full, full)
			if l[i].Overlaps(&region) {
				active = append(active, int32(len(j.terms)-1))
			}
		}
	}
	j.leaf = func(decided []int32) uint64 {
		local := make([]int32, len(decided))
		for k, t := range decided {
			if local[k] = -1; t >= 0 {
				local[k] = t - int32(first[k])
			}
		}
		return leaf(lists, local)
	}
	id = j.build(0, active)
	return id, id != gone
}

// build is the node of the active terms, in the dimensions from level on.
func (j *job) build(level int, active []int32) int32 {
	active = j.prune(level, active)
	if level == Dims {
		return j.terminal(active)
	}
	j.key = j.key[:0]
	for _, t := range active {
		j.key = binary.LittleEndian.AppendUint32(j.key, uint32(t))
	}
	if id, ok := j.memo[level][string(j.key)]; ok {
		return id
	}
	key := string(j.key)
	if !j.budget.spend(len(active) + 1) {
		return gone
	}
	id := j.sweep(level, active)
	if id != gone {
		j.memo[level][key] = id
	}
	return id
}

// prune drops, for each list, what cannot decide any more: terms after one that holds everything that is left, and before it
// those that decide the same. The slice is the caller's to give away.
func (j *job) prune(level int, active []int32) []int32 {
	need := uint8(0)
	for _, d := range order[level:] {
		need |= 1 << d
	}
	out := active[:0]
	for i := 0; i < len(active); {
		k, begin, stopped := j.of[active[i]], len(out), false
		for ; i < len(active) && j.of[active[i]] == k; i++ {
			if stopped {
				continue
			}
			t := active[i]
			stopped = j.full[t]&need == need
			if stopped && !j.byRule {
				for len(out) > begin && j.terms[out[len(out)-1]].Allow == j.terms[t].Allow {
					out = out[:len(out)-1]
				}
			}
			out = append(out, t)
		}
		if !stopped && !j.byRule { // after the last term stands the denial of everything
			for len(out) > begin && !j.terms[out[len(out)-1]].Allow {
				out = out[:len(out)-1]
			}
		}
	}
	return out
}

func (j *job) terminal(active []int32) int32 {
	decided := make([]int32, j.lists)
	for k := range decided {
		decided[k] = -1
	}
	for _, t := range active {
		if k := j.of[t]; decided[k] < 0 {
			decided[k] = t
		}
	}
	return j.intern(node{level: Dims, value: j.leaf(decided)})
}

// event is a border: from here on the term is active, or not any more.
type event struct {
	at uint64
	i  int32 // index in active
	on bool
}

// sweep asks the dimension of the level: for every interval between borders the terms that are active in it go on.
func (j *job) sweep(level int, active []int32) int32 {
	d := order[level]
	var events []event
	state := make([]bool, len(active))
	for i, t := range active {
		if j.full[t]&(1<<d) != 0 {
			state[i] = true
			continue
		}
		for _, v := range j.terms[t].Cell[d] {
			events = append(events, event{uint64(v.Lo), int32(i), true}, event{uint64(v.Hi) + 1, int32(i), false})
		}
	}
	slices.SortFunc(events, func(a, b event) int {
		switch {
		case a.at != b.at:
			return compare(a.at, b.at)
		case a.i != b.i:
			return int(a.i - b.i)
		case a.on == b.on:
			return 0
		case a.on:
			return 1
		}
		return -1
	})
	var arcs []arc
	byNode := map[int32]int{}
	e := 0
	for _, v := range j.region[d] {
		for at := uint64(v.Lo); at <= uint64(v.Hi); {
			for ; e < len(events) && events[e].at <= at; e++ {
				state[events[e].i] = events[e].on
			}
			end := uint64(v.Hi)
			if e < len(events) {
				end = min(end, events[e].at-1)
			}
			next := make([]int32, 0, len(active))
			for i, t := range active {
				if state[i] {
					next = append(next, t)
				}
			}
			if !j.budget.spend(1 + len(active)/16) {
				return gone
			}
			to := j.build(level+1, next)
			if to == gone {
				return gone
			}
			span := Span{uint32(at), uint32(end)}
			if k, ok := byNode[to]; ok {
				arcs[k].set = arcs[k].set.push(span)
			} else {
				byNode[to] = len(arcs)
				arcs = append(arcs, arc{Set{span}, to})
			}
			at = end + 1
		}
	}
	if len(arcs) == 1 {
		return arcs[0].to // nothing depends on this dimension
	}
	return j.intern(node{level: level, arcs: arcs})
}

// push appends a span that begins after the set's end.
func (s Set) push(v Span) Set {
	if n := len(s); n > 0 && s[n-1].Hi+1 == v.Lo {
		s[n-1].Hi = v.Hi
		return s
	}
	return append(s, v)
}

func compare(a, b uint64) int {
	if a < b {
		return -1
	}
	return 1
}

// intern gives equal nodes one number. Arcs are in the order of their first points.
func (g *Diagram) intern(n node) int32 {
	k := g.key[:0]
	k = append(k, byte(n.level))
	k = binary.LittleEndian.AppendUint64(k, n.value)
	for _, a := range n.arcs {
		k = binary.LittleEndian.AppendUint32(k, uint32(a.to))
		k = binary.LittleEndian.AppendUint32(k, uint32(len(a.set)))
		for _, v := range a.set {
			k = binary.LittleEndian.AppendUint32(k, v.Lo)
			k = binary.LittleEndian.AppendUint32(k, v.Hi)
		}
	}
	g.key = k
	if id, ok := g.unique[string(k)]; ok {
		return id
	}
	id := int32(len(g.nodes))
	g.nodes = append(g.nodes, n)
	g.unique[string(k)] = id
	return id
}

// Size is the number of nodes.
func (g *Diagram) Size() int { return len(g.nodes) }

// Walk calls visit with the cells of the region under a node that do not overlap, and each one's value, until visit says false.
func (g *Diagram) Walk(id int32, region Cell, visit func(c Cell, value uint64) bool) bool {
	if id == gone {
		return true
	}
	n := &g.nodes[id]
	if n.level == Dims {
		return visit(region, n.value)
	}
	for _, a := range n.arcs {
		c := region
		c[order[n.level]] = a.set
		if !g.Walk(a.to, c, visit) {
			return false
		}
	}
	return true
}

// Values are those of the terminals below a node.
func (g *Diagram) Values(id int32) map[uint64]bool {
	out, seen := map[uint64]bool{}, map[int32]bool{}
	var visit func(int32)
	visit = func(id int32) {
		if id == gone || seen[id] {
			return
		}
		seen[id] = true
		n := &g.nodes[id]
		if n.level == Dims {
			out[n.value] = true
		}
		for _, a := range n.arcs {
			visit(a.to)
		}
	}
	visit(id)
	return out
}
