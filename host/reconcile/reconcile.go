// Package reconcile keeps what a host shall have against what it has, for things that are made one by one and may fail.
//
// In: the wanted objects (Want) and what became of each attempt (Done). Out: which to make now, which to remove, and the state of
// each. It does nothing itself and knows no clock: its owner, the agent's event loop, does the work and passes the time.
package reconcile

import (
	"maps"
	"slices"
	"time"
)

// State is where one object stands.
type State uint8

// An object is Pending until an attempt was made with its present value, Busy during one, then Ready or Failed.
const (
	Pending State = iota
	Busy
	Ready
	Failed
)

// Object is one wanted thing.
type Object[V any] struct {
	Value   V
	State   State
	Problem string    // why the last attempt failed
	Again   time.Time // when a failed one is due
	Version uint64    // which value: grows with every change
	failed  int
}

// Attempt is one object to make now; Version says of which value the result will be.
type Attempt[K comparable, V any] struct {
	Key     K
	Value   V
	Version uint64
}

// Table is the wanted objects by key. It belongs to one goroutine.
type Table[K comparable, V any] struct {
	equal   func(a, b V) bool
	objects map[K]*Object[V]
	busy    map[K]bool // an attempt runs, perhaps of a value that is not wanted any more: at most one per key
	version uint64
}

// Waits between attempts that fail.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 15 * time.Second
)

// New returns an empty table; values that are equal need no new attempt.
func New[K comparable, V any](equal func(a, b V) bool) *Table[K, V] {
	return &Table[K, V]{equal: equal, objects: map[K]*Object[V]{}, busy: map[K]bool{}}
}

// Want replaces what is wanted. An object whose value differs is pending again; those no longer wanted are returned.
func (t *Table[K, V]) Want(want map[K]V) (gone map[K]V) {
	gone = map[K]V{}
	for k, o := range t.objects {
		if _, ok := want[k]; !ok {
			gone[k] = o.Value
			delete(t.objects, k)
		}
	}
	for k, v := range want {
		o, ok := t.objects[k]
		if ok && t.equal(o.Value, v) {
			continue
		}
		t.version++
		t.objects[k] = &Object[V]{Value: v, Version: t.version}
	}
	return gone
}

// Resync makes every object that is not being worked on pending: what was made may have been undone by others.
func (t *Table[K, V]) Resync() {
	for _, o := range t.objects {
		if o.State != Busy {
			o.State = Pending
		}
	}
}

// Hurry makes failed objects pending: what they failed for has changed.
func (t *Table[K, V]) Hurry() {
	for _, o := range t.objects {
		if o.State == Failed {
			o.State = Pending
		}
	}
}

// Due marks at most n objects busy and returns them: the pending ones and the failed ones whose time has come.
func (t *Table[K, V]) Due(now time.Time, n int) []Attempt[K, V] {
	var out []Attempt[K, V]
	for k, o := range t.objects {
		if len(out) == n {
			break
		}
		if !t.busy[k] && (o.State == Pending || o.State == Failed && !now.Before(o.Again)) {
			o.State, t.busy[k] = Busy, true
			out = append(out, Attempt[K, V]{k, o.Value, o.Version})
		}
	}
	return out
}

// Done records the result of an attempt and says whether it still counts: the object may have changed or gone meanwhile.
func (t *Table[K, V]) Done(k K, version uint64, err error, now time.Time) bool {
	delete(t.busy, k)
	o, ok := t.objects[k]
	if !ok || o.Version != version {
		return false
	}
	if err == nil {
		o.State, o.Problem, o.failed = Ready, "", 0
		return true
	}
	wait := min(firstWait<<min(o.failed, 10), lastWait)
	o.failed++
	o.State, o.Problem, o.Again = Failed, err.Error(), now.Add(wait)
	return true
}

// Next is when the first failed object is due; ok is false when there is none.
func (t *Table[K, V]) Next() (at time.Time, ok bool) {
	for _, o := range t.objects {
		if o.State == Failed && (!ok || o.Again.Before(at)) {
			at, ok = o.Again, true
		}
	}
	return at, ok
}

// Get returns one object.
func (t *Table[K, V]) Get(k K) (Object[V], bool) {
	o, ok := t.objects[k]
	if !ok {
		return Object[V]{}, false
	}
	return *o, true
}

// Keys lists what is wanted, in the order of cmp.
func (t *Table[K, V]) Keys(cmp func(a, b K) int) []K {
	return slices.SortedFunc(maps.Keys(t.objects), cmp)
}
