package store

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hostOf is a host as a server knows it once it has seen rev.
func hostOf(t testing.TB, s *Store, name string, rev uint64) Host {
	t.Helper()
	snap, err := s.Wait(ctx(t), rev)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range snap.Hosts() {
		if h.Name == name {
			return h
		}
	}
	t.Fatalf("no host %s", name)
	return Host{}
}

func putHost(t testing.TB, s *Store, seen time.Time, connected bool) {
	t.Helper()
	if err := s.PutHost(ctx(t), Host{Name: "h1", Underlay: netip.MustParseAddr("198.18.0.11"), Seen: seen, Connected: connected}); err != nil {
		t.Fatal(err)
	}
}

// Of two servers that decide about a host one is heard, every server knows what was decided, and a placement that relied on the host as
// it was before is refused.
func TestHostIsDecidedAboutOnce(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	putHost(t, a, time.Now(), false)
	base := must(t, a, put(group(t)))
	before := []Host{hostOf(t, a, "h1", base.Revision()), hostOf(t, b, "h1", base.Revision())}
	var made atomic.Uint64
	var conflicts atomic.Int32
	var both sync.WaitGroup
	for i, s := range []*Store{a, b} {
		both.Go(func() {
			rev, err := s.MarkHost(ctx(t), before[i], Mark{State: Failed, Healed: true, Since: time.Now()})
			var conflict *Conflict
			switch {
			case err == nil:
				made.Store(rev)
			case errors.As(err, &conflict):
				conflicts.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	both.Wait()
	if made.Load() == 0 || conflicts.Load() != 1 {
		t.Fatalf("revision %d, %d conflicts", made.Load(), conflicts.Load())
	}
	for _, s := range []*Store{a, b} {
		if m := hostOf(t, s, "h1", made.Load()).Mark; m.State != Failed || !m.Healed || m.Revision != int64(made.Load()) {
			t.Errorf("%+v", m)
		}
	}
	w := put(doc(t, rg+"2", `{"location":"westus"}`))
	w.Base, w.Hosts = base, []string{"h1"}
	var conflict *Conflict
	if _, err := a.Commit(ctx(t), w); !errors.As(err, &conflict) {
		t.Errorf("a placement decided before: %v", err)
	}
	rev, err := b.MarkHost(ctx(t), hostOf(t, b, "h1", made.Load()), Mark{})
	if err != nil {
		t.Fatal(err)
	}
	if m := hostOf(t, a, "h1", rev).Mark; m != (Mark{}) {
		t.Errorf("taken away, it is %+v", m)
	}
}

// Nobody heals a host that has just been seen again; the operator's word stands in any case.
func TestSignOfLifeBeatsHealing(t *testing.T) {
	s := start(t, Options{})
	putHost(t, s, time.Now(), false)
	gone := hostOf(t, s, "h1", must(t, s, put(group(t))).Revision())
	putHost(t, s, time.Now(), true)
	var conflict *Conflict
	if _, err := s.MarkHost(ctx(t), gone, Mark{State: Failed, Healed: true}); !errors.As(err, &conflict) {
		t.Errorf("it returned, and yet: %v", err)
	}
	if _, err := s.MarkHost(ctx(t), gone, Mark{State: Failed}); err != nil {
		t.Error(err)
	}
	if _, err := s.MarkHost(ctx(t), Host{Name: "nobody"}, Mark{State: Failed}); !errors.As(err, &conflict) {
		t.Errorf("a host that is not known: %v", err)
	}
}

// What was decided survives everything: it is read again at the start.
func TestMarksAreLoaded(t *testing.T) {
	s := start(t, Options{})
	putHost(t, s, time.Now(), true)
	gone := hostOf(t, s, "h1", must(t, s, put(group(t))).Revision())
	rev, err := s.MarkHost(ctx(t), gone, Mark{State: Draining, Reason: "new memory"})
	if err != nil {
		t.Fatal(err)
	}
	if m := hostOf(t, second(t, s), "h1", rev).Mark; m.State != Draining || m.Reason != "new memory" || m.Revision != int64(rev) {
		t.Errorf("%+v", m)
	}
}
