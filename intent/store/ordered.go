package store

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// chunkMax bounds what one change copies: one chunk and the list of chunks.
const chunkMax = 128

// ordered is a persistent map in key order: with and without return a new map that shares all chunks but one with the
// old one, which stays as it was. The zero value is empty.
type ordered[V any] struct {
	chunks []*chunk[V]
	n      int
}

// chunk holds neighbouring keys; it is never changed after it was made, and never empty.
type chunk[V any] struct {
	keys []string
	vals []V
}

// find returns the chunk that holds key or would hold it, and the place in it.
func (o ordered[V]) find(key string) (ci, ki int, found bool) {
	ci = sort.Search(len(o.chunks), func(i int) bool { return o.chunks[i].keys[0] > key }) - 1
	if ci < 0 {
		return 0, 0, false
	}
	ki, found = slices.BinarySearch(o.chunks[ci].keys, key)
	return ci, ki, found
}

func (o ordered[V]) len() int { return o.n }

func (o ordered[V]) get(key string) (v V, ok bool) {
	ci, ki, found := o.find(key)
	if !found {
		return v, false
	}
	return o.chunks[ci].vals[ki], true
}

func (o ordered[V]) with(key string, v V) ordered[V] {
	if len(o.chunks) == 0 {
		return ordered[V]{[]*chunk[V]{{[]string{key}, []V{v}}}, 1}
	}
	ci, ki, found := o.find(key)
	old := o.chunks[ci]
	if found {
		vals := slices.Clone(old.vals)
		vals[ki] = v
		chunks := slices.Clone(o.chunks)
		chunks[ci] = &chunk[V]{old.keys, vals}
		return ordered[V]{chunks, o.n}
	}
	keys := slices.Insert(slices.Clip(old.keys), ki, key)
	vals := slices.Insert(slices.Clip(old.vals), ki, v)
	fresh := []*chunk[V]{{keys, vals}}
	if len(keys) > chunkMax {
		// Keys often come in order: a split at the end leaves full chunks behind, one in the middle half-full ones.
		at := len(keys) / 2
		if ki == len(keys)-1 {
			at = ki
		}
		fresh = []*chunk[V]{
			{slices.Clone(keys[:at]), slices.Clone(vals[:at])},
			{slices.Clone(keys[at:]), slices.Clone(vals[at:])},
		}
	}
	return ordered[V]{o.replace(ci, fresh...), o.n + 1}
}

func (o ordered[V]) without(key string) ordered[V] {
	ci, ki, found := o.find(key)
	if !found {
		return o
	}
	old := o.chunks[ci]
	if len(old.keys) == 1 {
		return ordered[V]{o.replace(ci), o.n - 1}
	}
	left := &chunk[V]{
		slices.Concat(old.keys[:ki], old.keys[ki+1:]),
		slices.Concat(old.vals[:ki], old.vals[ki+1:]),
	}
	return ordered[V]{o.replace(ci, left), o.n - 1}
}

// replace returns the chunks with the one at ci replaced.
func (o ordered[V]) replace(ci int, by ...*chunk[V]) []*chunk[V] {
	return slices.Concat(o.chunks[:ci], by, o.chunks[min(ci+1, len(o.chunks)):])
}

// prefix walks the keys that start with p, in order.
func (o ordered[V]) prefix(p string) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		ci, ki, _ := o.find(p)
		for ; ci < len(o.chunks); ci, ki = ci+1, 0 {
			c := o.chunks[ci]
			for ; ki < len(c.keys); ki++ {
				if !strings.HasPrefix(c.keys[ki], p) {
					return
				}
				if !yield(c.keys[ki], c.vals[ki]) {
					return
				}
			}
		}
	}
}

// Numbered is the key of number n in a numbered space: keys sort as their numbers do.
func Numbered(space string, n uint64) string { return fmt.Sprintf("%s%016x", space, n) }

// number is the reverse of Numbered, and whether key is in the space and at most hi.
func number(space, key string, hi uint64) (uint64, bool) {
	if len(key) != len(space)+16 || !strings.HasPrefix(key, space) {
		return 0, false
	}
	n, err := strconv.ParseUint(key[len(space):], 16, 64)
	return n, err == nil && n <= hi
}

// lowestFree returns the smallest number from lo to hi that has no key. It looks at one key of each full chunk, so that a
// space with many thousands of numbers in use costs microseconds.
func (o ordered[V]) lowestFree(space string, lo, hi uint64) (uint64, bool) {
	if lo > hi {
		return 0, false
	}
	next := lo
	ci, ki, _ := o.find(Numbered(space, lo))
	for ; ci < len(o.chunks); ci, ki = ci+1, 0 {
		keys := o.chunks[ci].keys[ki:]
		dense := func(i int) bool {
			n, in := number(space, keys[i], hi)
			return in && n-next == uint64(i)
		}
		if len(keys) > 0 && !dense(len(keys)-1) {
			gap := uint64(sort.Search(len(keys), func(i int) bool { return !dense(i) }))
			if gap > hi-next {
				return 0, false
			}
			return next + gap, true
		}
		if uint64(len(keys)) > hi-next {
			return 0, false
		}
		next += uint64(len(keys))
	}
	return next, true
}
