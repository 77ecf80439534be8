package store

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A persistent map behaves as a Go map, and every earlier version stays as it was.
func TestOrderedIsAPersistentMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o ordered[int]
		model := map[string]int{}
		type version struct {
			o ordered[int]
			m map[string]int
		}
		var versions []version
		span := rapid.SampledFrom([]int{10, 1000, 100000}).Draw(t, "span")
		for range rapid.IntRange(1, 600).Draw(t, "steps") {
			key := fmt.Sprintf("k%05d", rapid.IntRange(0, span).Draw(t, "key"))
			if rapid.IntRange(0, 3).Draw(t, "op") == 0 {
				o = o.without(key)
				delete(model, key)
			} else {
				v := rapid.Int().Draw(t, "v")
				o = o.with(key, v)
				model[key] = v
			}
			if len(versions) < 8 {
				versions = append(versions, version{o, maps.Clone(model)})
			}
		}
		for _, v := range append(versions, version{o, model}) {
			same(t, v.o, v.m)
		}
	})
}

func same(t *rapid.T, o ordered[int], model map[string]int) {
	if o.len() != len(model) {
		t.Fatalf("len %d, want %d", o.len(), len(model))
	}
	var keys []string
	for k, v := range o.prefix("") {
		keys = append(keys, k)
		if want, ok := model[k]; !ok || v != want {
			t.Fatalf("%s = %d, want %d %v", k, v, want, ok)
		}
		if got, ok := o.get(k); !ok || got != v {
			t.Fatalf("get %s = %d %v, want %d", k, got, ok, v)
		}
	}
	if !slices.IsSorted(keys) || len(keys) != len(model) {
		t.Fatalf("keys not in order or not complete")
	}
	for _, c := range o.chunks {
		if len(c.keys) == 0 || len(c.keys) > chunkMax {
			t.Fatalf("a chunk of %d keys", len(c.keys))
		}
	}
	p := fmt.Sprintf("k%02d", rapid.IntRange(0, 99).Draw(t, "prefix"))
	n := 0
	for range o.prefix(p) {
		n++
	}
	for k := range model {
		if strings.HasPrefix(k, p) {
			n--
		}
	}
	if n != 0 {
		t.Fatalf("prefix %s differs by %d keys", p, n)
	}
}

// The lowest free number is what a linear search finds, whatever else is in the map.
func TestLowestFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o ordered[string]
		for _, other := range []string{"a/", "ip/", "ip/v/4/ffff", "zz"} {
			o = o.with(other, "")
		}
		base := rapid.SampledFrom([]uint64{0, 4, 0x0a000004, 1<<64 - 400}).Draw(t, "base")
		used := map[uint64]bool{}
		fill := rapid.IntRange(0, 400).Draw(t, "dense")
		for i := range fill {
			used[base+uint64(i)] = base+uint64(i) >= base
		}
		for range rapid.IntRange(0, 10).Draw(t, "holes") {
			delete(used, base+uint64(rapid.IntRange(0, 400).Draw(t, "hole")))
		}
		for n, ok := range used {
			if ok {
				o = o.with(Numbered("ip/v/4/", n), "")
			}
		}
		lo := base + uint64(rapid.IntRange(0, 300).Draw(t, "lo"))
		hi := lo + uint64(rapid.IntRange(0, 300).Draw(t, "span"))
		if hi < lo {
			hi = 1<<64 - 1
		}
		want, wantOK := uint64(0), false
		for n := lo; ; n++ {
			if !used[n] {
				want, wantOK = n, true
				break
			}
			if n == hi {
				break
			}
		}
		got, ok := o.lowestFree("ip/v/4/", lo, hi)
		if ok != wantOK || ok && got != want {
			t.Fatalf("lowest free from %d to %d: %d %v, want %d %v", lo, hi, got, ok, want, wantOK)
		}
	})
}

func BenchmarkLowestFreeIn60000(b *testing.B) {
	var o ordered[string]
	for i := range uint64(60000) {
		o = o.with(Numbered("ip/v/4/", 0x0a000004+i), "")
	}
	for b.Loop() {
		if n, ok := o.lowestFree("ip/v/4/", 0x0a000004, 0x0a00fffe); !ok || n != 0x0a000004+60000 {
			b.Fatal(n, ok)
		}
	}
}
