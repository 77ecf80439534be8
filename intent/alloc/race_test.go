package alloc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// servers are two stores on one etcd.
func servers(t *testing.T) [2]*store.Store {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfa")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(stop)
	a, err := store.Open(ctx, store.Options{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	b, err := store.Open(ctx, store.Options{Endpoints: a.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return [2]*store.Store{a, b}
}

// write allocates and commits until it is neither lost to another writer nor refused.
func write(ctx context.Context, s *store.Store, make func() *resource.Doc) (*resource.Doc, error) {
	var a Allocator
	for {
		draft := &Draft{Base: s.Snapshot(), Doc: make()}
		if err := a.Allocate(draft); err != nil {
			return nil, err
		}
		w := &store.Write{Base: draft.Base, Put: []store.Put{{Doc: draft.Doc, Claims: draft.Claims}}}
		rev, err := s.Commit(ctx, w)
		var conflict *store.Conflict
		if err == nil {
			_, err = s.Wait(ctx, rev)
		}
		if !errors.As(err, &conflict) {
			return draft.Doc, err
		}
		if _, err := s.Wait(ctx, conflict.Revision+1); err != nil {
			return nil, err
		}
	}
}

// Two servers with many writers fill a subnet: each address goes to one interface, each VNI and port to one owner, and who
// comes too late is told that the subnet is full.
func TestTwoServersFillASubnet(t *testing.T) {
	s := servers(t)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	_, err := write(ctx, s[0], func() *resource.Doc { return doc(t, rg, `{"location":"westus"}`) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := write(ctx, s[0], func() *resource.Doc { return vnet(t, "v", "10.0.0.0/27") }); err != nil {
		t.Fatal(err)
	}
	if _, err := s[1].Wait(ctx, s[0].Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var full, one atomic.Int64
	for w := range 36 {
		store := s[w%2]
		wg.Go(func() {
			config := "a=v/s0"
			if w < 6 {
				config = "a=v/s0 10.0.0.20" // six want the same one
			}
			_, err := write(ctx, store, func() *resource.Doc { return nic(t, fmt.Sprint("n", w), config) })
			var faults resource.Faults
			switch {
			case err == nil && w < 6:
				one.Add(1)
			case errors.As(err, &faults) && faults[0].Code == "SubnetIsFull":
				full.Add(1)
			case errors.As(err, &faults) && faults[0].Code == "PrivateIPAddressIsAllocated" && w < 6:
			case err != nil:
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := write(ctx, store, func() *resource.Doc { return vnet(t, fmt.Sprint("v", w%9), "10.0.0.0/24") }); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	unique(t, s[0])
	unique(t, s[1])
	if one.Load() > 1 {
		t.Errorf("10.0.0.20 was given %d times", one.Load())
	}
	n := 0
	s[0].Snapshot().Each(nicType, func(*resource.Doc) { n++ })
	if n != 27 || full.Load() == 0 {
		t.Errorf("%d interfaces in a subnet for 27, %d told that it is full", n, full.Load())
	}
}

// unique checks that the documents share nothing.
func unique(t *testing.T, s *store.Store) {
	t.Helper()
	owner := map[string]string{}
	claim := func(what, who string) {
		if other := owner[what]; other != "" {
			t.Errorf("%s is both %s's and %s's", what, other, who)
		}
		owner[what] = who
	}
	for d := range s.Snapshot().Docs() {
		switch d.ID.Type {
		case vnetType:
			claim(fmt.Sprint("vni ", d.System.VNI), d.Key())
			claim(d.System.Domain, d.Key())
		case nicType:
			claim(fmt.Sprint("port ", d.System.Port), d.Key())
			claim(d.System.MAC, d.Key())
			claim(d.System.Addresses["a"], d.Key())
		}
	}
}
