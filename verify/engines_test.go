package verify

import (
	"math/rand/v2"
	"testing"

	"ringfence/goal/random"
	"ringfence/verify/space"
)

// Starved of the budget of one engine, the other gives the same answers; starved of both, the answer is unknown and nothing else.
func TestEitherEngineAnswersAlone(t *testing.T) {
	const plenty = 1 << 30
	yes, no, unknown := 0, 0, 0
	for seed := range uint64(12) {
		r := rand.New(rand.NewPCG(seed, 41))
		m := random.Manners[seed%3]
		v6 := Family(seed % 2)
		a, b := random.List(r, 120, m, v6 == V6), random.List(r, 120, m, v6 == V6)
		x, y := &filter{lines: linesOf(v6, "", a, nil), key: "a"}, &filter{lines: linesOf(v6, "", b, nil), key: "b"}
		for range 40 {
			region := v6.judged()
			l := x.lines[r.IntN(len(x.lines))].product
			if o, ok := l.and(&y.lines[r.IntN(len(y.lines))].product); ok {
				l = o
			}
			region, _ = region.and(&l)
			for _, k := range []kind{passing, dropped} {
				q := ask(v6, region, []*filter{x, y})
				search, diagram := findIn(q, k, plenty, 1), findIn(q, k, 1, plenty)
				if search.ok != diagram.ok || search.unknown || diagram.unknown {
					t.Fatalf("seed %d: kind %d: the search says %v, the diagram %v", seed, k, search, diagram)
				}
				if search.ok {
					yes++
				} else {
					no++
				}
				f := findIn(q, k, 1, 1)
				if !f.unknown && f.ok != search.ok {
					t.Fatalf("seed %d: without budget: %v", seed, f)
				}
				if f.unknown {
					unknown++
				}
			}
			q := ask(v6, region, []*filter{x, y})
			var s space.Searcher
			budget := &space.Budget{Steps: plenty}
			_, _, differ := s.Differ(q.lists[:1], q.lists[1:], q.region, budget)
			ds, known := deltas(v6, region, []*filter{x}, []*filter{y}, plenty)
			if !known || differ != (len(ds) > 0) {
				t.Fatalf("seed %d: the search says %v, the diagram %d deltas", seed, differ, len(ds))
			}
		}
	}
	t.Logf("%d yes, %d no, %d unknown without budget", yes, no, unknown)
	if yes < 100 || no < 100 || unknown < 100 {
		t.Errorf("%d yes, %d no, %d unknown: the test shows little", yes, no, unknown)
	}
}
