package reconcile

import (
	"errors"
	"testing"
	"time"
)

func newTable() *Table[string, int] { return New[string](func(a, b int) bool { return a == b }) }

func due(t *Table[string, int], now time.Time) map[string]Attempt[string, int] {
	out := map[string]Attempt[string, int]{}
	for _, a := range t.Due(now, 10) {
		out[a.Key] = a
	}
	return out
}

func TestOnlyWhatDiffersIsMade(t *testing.T) {
	now, tab := time.Unix(1000, 0), newTable()
	tab.Want(map[string]int{"a": 1, "b": 2})
	first := due(tab, now)
	if len(first) != 2 || len(due(tab, now)) != 0 {
		t.Fatalf("attempts %v, and again %v", first, due(tab, now))
	}
	for k, a := range first {
		if !tab.Done(k, a.Version, nil, now) {
			t.Errorf("%s: the result does not count", k)
		}
	}
	gone := tab.Want(map[string]int{"a": 1, "c": 3})
	if len(gone) != 1 || gone["b"] != 2 {
		t.Errorf("gone %v", gone)
	}
	if next := due(tab, now); len(next) != 1 || next["c"].Value != 3 {
		t.Errorf("attempts %v, want c only", next)
	}
	tab.Resync()
	if next := due(tab, now); len(next) != 1 || next["a"].Value != 1 {
		t.Errorf("after resync %v, want a only: c is being worked on", next)
	}
}

// A value that changes during its attempt is made again, when the attempt has ended: never two at a time.
func TestChangeDuringAnAttempt(t *testing.T) {
	now, tab := time.Unix(1000, 0), newTable()
	tab.Want(map[string]int{"a": 1})
	old := due(tab, now)["a"]
	tab.Want(map[string]int{"a": 2})
	if len(due(tab, now)) != 0 {
		t.Error("a second attempt began beside the first")
	}
	if tab.Done("a", old.Version, nil, now) {
		t.Error("the result for the old value counts")
	}
	if next := due(tab, now)["a"]; next.Value != 2 {
		t.Errorf("attempt %+v", next)
	}
	tab.Want(nil)
	tab.Want(map[string]int{"a": 2})
	if len(due(tab, now)) != 0 {
		t.Error("an attempt began though one for a former life of the key runs")
	}
}

func TestFailuresWaitLongerAndLonger(t *testing.T) {
	now, tab := time.Unix(1000, 0), newTable()
	tab.Want(map[string]int{"a": 1})
	last := time.Duration(0)
	for i := range 12 {
		a, ok := due(tab, now)["a"]
		if !ok {
			t.Fatalf("attempt %d is not due", i)
		}
		tab.Done("a", a.Version, errors.New("no"), now)
		o, _ := tab.Get("a")
		at, ok := tab.Next()
		if !ok || o.State != Failed || o.Problem != "no" || at != o.Again {
			t.Fatalf("object %+v, next %v", o, at)
		}
		wait := at.Sub(now)
		if wait < last || wait > lastWait {
			t.Errorf("wait %v after %v", wait, last)
		}
		if len(due(tab, at.Add(-1))) != 0 {
			t.Error("tried before its time")
		}
		now, last = at, wait
	}
	if last != lastWait {
		t.Errorf("the last wait is %v", last)
	}
}
