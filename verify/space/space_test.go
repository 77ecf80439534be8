package space

import (
	"math/rand/v2"
	"slices"
	"testing"
)

const side = 6 // points per dimension of the small universe: 7,776 points

var whole = Cell{{{0, side - 1}}, {{0, side - 1}}, {{0, side - 1}}, {{0, side - 1}}, {{0, side - 1}}}

func randomSet(r *rand.Rand) Set {
	if r.IntN(3) == 0 {
		return Set{{0, side - 1}}
	}
	var s Set
	for range 1 + r.IntN(3) {
		lo := uint32(r.IntN(side))
		s = s.Or(Set{{lo, min(side-1, lo+uint32(r.IntN(3)))}})
	}
	return s
}

func randomList(r *rand.Rand, n int) List {
	var l List
	for rule := range n {
		allow := r.IntN(2) == 0
		for range 1 + r.IntN(5)/4 {
			var c Cell
			for d := range c {
				c[d] = randomSet(r)
			}
			l = append(l, Term{c, rule, allow})
		}
	}
	if r.IntN(2) == 0 {
		l = append(l, Term{whole, n, r.IntN(2) == 0})
	}
	return l
}

func points(region Cell, visit func(Point)) {
	var p Point
	var rec func(d int)
	rec = func(d int) {
		if d == Dims {
			visit(p)
			return
		}
		for _, v := range region[d] {
			for x := v.Lo; x <= v.Hi; x++ {
				p[d] = x
				rec(d + 1)
			}
		}
	}
	rec(0)
}

func fuzzRegion(r *rand.Rand) Cell {
	var c Cell
	for d := range c {
		c[d] = randomSet(r)
	}
	return c
}

// The two engines and the enumeration of every point say the same.
func TestEnginesAgreeWithBruteForce(t *testing.T) {
	var s Searcher
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		lists := []List{randomList(r, r.IntN(9)), randomList(r, r.IntN(9))}
		region := fuzzRegion(r)
		seen, allAllow, someDeny := map[[2]int]bool{}, false, false
		live := map[int]bool{}
		points(region, func(p Point) {
			a, x := lists[0].Decide(p)
			b, y := lists[1].Decide(p)
			seen[[2]int{a, b}] = true
			allAllow, someDeny = allAllow || x && y, someDeny || !x || !y
			live[a] = true
		})
		b := &Budget{Steps: 1 << 30}
		c, ok := s.Allowed(lists, region, b)
		if ok != allAllow {
			t.Fatalf("seed %d: allowed %v, want %v", seed, ok, allAllow)
		}
		if ok {
			points(c, func(p Point) {
				if _, x := lists[0].Decide(p); !x || !region.Holds(p) {
					t.Fatalf("seed %d: %v is not allowed by the first", seed, p)
				}
				if _, y := lists[1].Decide(p); !y {
					t.Fatalf("seed %d: %v is not allowed by the second", seed, p)
				}
			})
		}
		if c, ok = s.Denied(lists, region, nil, b); ok != someDeny {
			t.Fatalf("seed %d: denied %v, want %v", seed, ok, someDeny)
		}
		if ok {
			points(c, func(p Point) {
				_, x := lists[0].Decide(p)
				_, y := lists[1].Decide(p)
				if x && y || !region.Holds(p) {
					t.Fatalf("seed %d: %v is not denied", seed, p)
				}
			})
		}
		hole := Term{Cell: fuzzRegion(r)}
		denied := false
		points(region, func(p Point) {
			_, x := lists[0].Decide(p)
			_, y := lists[1].Decide(p)
			denied = denied || !(x && y) && !hole.Holds(p)
		})
		if c, ok = s.Denied(lists, region, []*Term{&hole}, b); ok != denied || ok && hole.Holds(c.First()) {
			t.Fatalf("seed %d: denied outside a hole %v, want %v", seed, ok, denied)
		}
		differs := [2]bool{}
		points(region, func(p Point) {
			_, x := lists[0].Decide(p)
			_, y := lists[1].Decide(p)
			if x != y {
				differs[map[bool]int{true: 1}[y]] = true
			}
		})
		c, allowed, ok := s.Differ(lists[:1], lists[1:], region, b)
		if ok != (differs[0] || differs[1]) || ok && !differs[map[bool]int{true: 1}[allowed]] {
			t.Fatalf("seed %d: differ %v %v, want %v", seed, ok, allowed, differs)
		}
		if ok {
			points(c, func(p Point) {
				_, x := lists[0].Decide(p)
				if _, y := lists[1].Decide(p); x == y || y != allowed {
					t.Fatalf("seed %d: %v does not differ", seed, p)
				}
			})
		}
		byRule := map[int]bool{}
		for i := range lists[0] {
			if c, ok := s.Live(lists[0], i, &region, b); ok {
				byRule[lists[0][i].Rule] = true
				points(c, func(p Point) {
					if rule, _ := lists[0].Decide(p); rule != lists[0][i].Rule || !region.Holds(p) {
						t.Fatalf("seed %d: rule %d does not decide %v", seed, i, p)
					}
				})
			}
		}
		delete(live, -1)
		if len(byRule) != len(live) {
			t.Fatalf("seed %d: live %v, want %v", seed, byRule, live)
		}
		diagrams(t, seed, lists, region, seen)
	}
}

func diagrams(t *testing.T, seed uint64, lists []List, region Cell, pairs map[[2]int]bool) {
	g := NewDiagram(&Budget{Steps: 1 << 30})
	verdict := func(l []List, d []int32) uint64 {
		v := uint64(0)
		for k, i := range d {
			if i >= 0 && l[k][i].Allow {
				v |= 1 << k
			}
		}
		return v
	}
	rules := func(l []List, d []int32) uint64 {
		v := uint64(0)
		for k, i := range d {
			if i >= 0 {
				v |= uint64(l[k][i].Rule+1) << (32 * k)
			}
		}
		return v
	}
	for _, byRule := range []bool{false, true} {
		leaf := verdict
		if byRule {
			leaf = rules
		}
		id, ok := g.Build(lists, region, byRule, leaf)
		if !ok {
			t.Fatalf("seed %d: given up", seed)
		}
		n, total := 0, 0
		points(region, func(Point) { total++ })
		g.Walk(id, region, func(c Cell, v uint64) bool {
			points(c, func(p Point) {
				n++
				a, x := lists[0].Decide(p)
				b, y := lists[1].Decide(p)
				want := uint64(0)
				if byRule {
					want = uint64(a+1) | uint64(b+1)<<32
				} else {
					if x {
						want |= 1
					}
					if y {
						want |= 2
					}
				}
				if v != want {
					t.Fatalf("seed %d byRule %v: %v is %x, want %x", seed, byRule, p, v, want)
				}
			})
			return true
		})
		if n != total {
			t.Fatalf("seed %d: %d points in cells, want %d", seed, n, total)
		}
		if byRule && len(g.Values(id)) != len(pairs) {
			t.Fatalf("seed %d: %d pairs, want %d", seed, len(g.Values(id)), len(pairs))
		}
	}
}

// A function has one node, however its list is written.
func TestDiagramIsCanonical(t *testing.T) {
	leaf := func(l []List, d []int32) uint64 {
		if d[0] >= 0 && l[0][d[0]].Allow {
			return 1
		}
		return 0
	}
	equal := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 2))
		a := randomList(r, 1+r.IntN(6))
		var b List
		for i := range a { // every term as its pieces
			for _, c := range a[i].Cell.Minus(&Cell{{{0, 2}}, {{0, side - 1}}, {{1, 3}}, {{0, side - 1}}, {{0, 4}}}) {
				b = append(b, Term{c, a[i].Rule, a[i].Allow})
			}
			b = append(b, a[i])
		}
		if r.IntN(2) == 0 {
			k := r.IntN(len(b))
			b[k].Allow = !b[k].Allow
		}
		same := true
		points(whole, func(p Point) {
			_, x := a.Decide(p)
			_, y := b.Decide(p)
			same = same && x == y
		})
		g := NewDiagram(&Budget{Steps: 1 << 30})
		x, _ := g.Build([]List{a}, whole, false, leaf)
		y, _ := g.Build([]List{b}, whole, false, leaf)
		if (x == y) != same {
			t.Fatalf("seed %d: nodes %d and %d, same %v", seed, x, y, same)
		}
		if same {
			equal++
		}
	}
	if equal == 0 || equal == 400 {
		t.Fatalf("%d of 400 equal: the test shows nothing", equal)
	}
}

func TestSets(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		a, b := randomSet(r), randomSet(r)
		if r.IntN(8) == 0 {
			a = nil
		}
		for name, c := range map[string]struct {
			got  Set
			want func(x, y bool) bool
		}{
			"and": {a.And(b), func(x, y bool) bool { return x && y }}, "or": {a.Or(b), func(x, y bool) bool { return x || y }},
			"minus": {a.Minus(b), func(x, y bool) bool { return x && !y }},
		} {
			n := uint64(0)
			for x := range uint32(side) {
				want := c.want(slices.ContainsFunc(a, func(v Span) bool { return v.Lo <= x && x <= v.Hi }), slices.ContainsFunc(b, func(v Span) bool { return v.Lo <= x && x <= v.Hi }))
				if c.got.Holds(x) != want {
					t.Fatalf("%v %s %v = %v", a, name, b, c.got)
				}
				if want {
					n++
				}
			}
			if c.got.Count() != n {
				t.Fatalf("%v %s %v = %v: %d points", a, name, b, c.got, n)
			}
		}
		if a.Overlaps(b) != (len(a.And(b)) > 0) || a.Contains(b) != (len(b.Minus(a)) == 0) || a.shared(b) != a.And(b).Count() {
			t.Fatalf("%v %v", a, b)
		}
	}
}

// A question whose budget is spent has no answer, from either engine.
func TestBudget(t *testing.T) {
	var s Searcher
	half, other := whole, whole
	half[0], other[0] = Set{{0, 2}}, Set{{3, side - 1}}
	l := List{{half, 0, false}, {other, 1, false}, {whole, 2, true}}
	for steps, want := range map[int]bool{3: true, 1000: false} {
		b := &Budget{Steps: steps}
		if _, ok := s.Allowed([]List{l}, whole, b); ok || b.Spent() != want {
			t.Errorf("search with %d steps: ok %v, %d left", steps, ok, b.Steps)
		}
		b = &Budget{Steps: steps}
		if _, ok := NewDiagram(b).Build([]List{l}, whole, true, func([]List, []int32) uint64 { return 0 }); ok == want || b.Spent() != want {
			t.Errorf("diagram with %d steps: ok %v, %d left", steps, ok, b.Steps)
		}
	}
}
