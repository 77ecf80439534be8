package store

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"ringfence/intent/resource"
)

// consistent checks what must hold between the keys of one revision: every reference has a target and a key, every claim
// has one holder and a key, nothing is left over.
func consistent(t testing.TB, s *Store) {
	t.Helper()
	newest, err := s.client.Get(ctx(t), generationKey)
	if err != nil {
		t.Fatal(err)
	}
	snap, err := s.Wait(ctx(t), uint64(newest.Kvs[0].ModRevision))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for d := range snap.Docs() {
		e, _ := snap.c.docs.get(d.Key())
		for _, to := range e.refs {
			want[refKey(to, d.Key())] = true
			target, _ := snap.c.holder(to)
			if target == nil || target.doc.Key() != to && !target.doc.HasChild(to) {
				t.Errorf("%s refers to %s, which does not exist", d.Key(), to)
			}
		}
		for _, c := range e.claims {
			if want[allocPrefix+c.Key] {
				t.Errorf("claim %s is held twice", c.Key)
			}
			want[allocPrefix+c.Key] = true
		}
	}
	for _, prefix := range []string{refPrefix, allocPrefix} {
		got, err := s.client.Get(ctx(t), prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			t.Fatal(err)
		}
		for _, kv := range got.Kvs {
			if !want[string(kv.Key)] {
				t.Errorf("key %q is left over", kv.Key)
			}
			delete(want, string(kv.Key))
		}
	}
	for k := range want {
		t.Errorf("key %q is missing", k)
	}
}

// newer waits for the snapshot that a conflict tells of: trying again on the stale one would only fail again.
func newer(t *testing.T, s *Store, c *Conflict) {
	if _, err := s.Wait(ctx(t), c.Revision+1); err != nil {
		t.Error(err)
	}
}

// Many goroutines of two servers take the lowest free number at once: nobody gets what another has.
func TestRaceForNumbers(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	base := must(t, a, put(group(t)))
	if _, err := b.Wait(ctx(t), base.Revision()); err != nil {
		t.Fatal(err)
	}
	const workers, each = 8, 12
	var wg sync.WaitGroup
	var conflicts atomic.Int64
	for w := range workers {
		s := []*Store{a, b}[w%2]
		wg.Go(func() {
			for i := range each {
				d := nsg(t, fmt.Sprintf("n-%d-%d", w, i))
				for {
					snap := s.Snapshot()
					n, ok := snap.LowestFree("vni/", 1, 1000)
					if !ok {
						t.Error("no number left")
						return
					}
					d.System.VNI = uint32(n)
					rev, err := s.Commit(ctx(t), put(d).claiming(Numbered("vni/", n)).on(snap))
					if conflict := (*Conflict)(nil); errors.As(err, &conflict) {
						conflicts.Add(1)
						newer(t, s, conflict)
						continue
					}
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := s.Wait(ctx(t), rev); err != nil {
						t.Error(err)
						return
					}
					break
				}
			}
		})
	}
	wg.Wait()
	snap, err := b.Wait(ctx(t), a.Snapshot().Revision())
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]string{}
	snap.Each(nsg(t, "x").ID.Type, func(d *resource.Doc) {
		if other := seen[d.System.VNI]; other != "" {
			t.Errorf("%s and %s both have %d", other, d.ID.Name(), d.System.VNI)
		}
		seen[d.System.VNI] = d.ID.Name()
	})
	if len(seen) != workers*each || seen[workers*each] == "" {
		t.Errorf("%d numbers, want exactly 1 to %d", len(seen), workers*each)
	}
	consistent(t, b)
	t.Logf("%d writes, %d lost races", workers*each, conflicts.Load())
}

// References come and go while their targets are deleted and made anew, through two servers: never one without the other.
func TestRaceOfReferences(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	must(t, a, put(group(t), vnet(t, "v", "web")))
	var wg sync.WaitGroup
	var done [4]atomic.Int64
	try := func(kind int, s *Store, w *Write) {
		w.Base = s.Snapshot()
		_, err := s.Commit(ctx(t), w)
		var conflict *Conflict
		var use *InUse
		var missing *Missing
		switch {
		case err == nil:
			done[kind].Add(1)
		case errors.As(err, &conflict), errors.As(err, &use), errors.As(err, &missing):
		default:
			t.Error(err)
		}
	}
	for w := range 8 {
		s := []*Store{a, b}[w%2]
		wg.Go(func() {
			for i := range 40 {
				target := fmt.Sprintf("n%d", i%3)
				switch (w/2 + i) % 4 {
				case 0:
					try(0, s, put(nsg(t, target)))
				case 1:
					try(1, s, put(vnet(t, fmt.Sprintf("v%d", w), "web="+target)))
				case 2:
					try(2, s, &Write{Delete: []string{nsg(t, target).Key()}})
				case 3:
					try(3, s, &Write{Delete: []string{vnet(t, fmt.Sprintf("v%d", w)).Key()}})
				}
			}
		})
	}
	wg.Wait()
	consistent(t, a)
	for kind := range done {
		if done[kind].Load() == 0 {
			t.Errorf("no write of kind %d was made", kind)
		}
	}
}

// A subnet is dropped from its VNet while interfaces are put into it.
func TestRaceOfChildren(t *testing.T) {
	a := start(t, Options{})
	b := second(t, a)
	base := must(t, a, put(group(t), vnet(t, "v", "web", "app")))
	if _, err := b.Wait(ctx(t), base.Revision()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var made, dropped atomic.Int64
	began := time.Now()
	for w := range 6 {
		s := []*Store{a, b}[w%2]
		wg.Go(func() {
			for i := 0; (dropped.Load() < 10 || made.Load() < 20) && time.Since(began) < 20*time.Second; i++ {
				snap := s.Snapshot()
				v := snap.Get(vnet(t, "v").Key())
				child := v.Key() + "/subnets/web"
				var write *Write
				switch {
				case w < 2 && v.HasChild(child) && len(snap.Referrers(child)) == 0:
					write = put(vnet(t, "v", "app"))
				case w < 2 && !v.HasChild(child):
					write = put(vnet(t, "v", "app", "web"))
				case w >= 2 && v.HasChild(child) && i%2 == 0:
					write = put(nic(t, fmt.Sprintf("nic%d", w), "v/web"))
				case w >= 2:
					write = &Write{Delete: []string{nic(t, fmt.Sprintf("nic%d", w), "v/web").Key()}}
				default:
					time.Sleep(time.Millisecond)
					continue
				}
				_, err := s.Commit(ctx(t), write.on(snap))
				conflict := (*Conflict)(nil)
				switch {
				case errors.As(err, &conflict):
					newer(t, s, conflict)
				case err != nil:
					t.Error(err)
				}
				if err == nil && w < 2 {
					dropped.Add(1)
				} else if err == nil && len(write.Put) > 0 {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	consistent(t, a)
	t.Logf("%d changes of the VNet, %d interfaces", dropped.Load(), made.Load())
	if dropped.Load() < 2 || made.Load() == 0 {
		t.Error("there was no race")
	}
}
