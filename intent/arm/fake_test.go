package arm

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ringfence/intent/resource"
)

// memory is a store and an admitter in memory: documents by key, validated as the server does, with the simplest allocation.
type memory struct {
	mu    sync.Mutex
	rev   uint64
	docs  map[string]*resource.Doc
	lists map[string][]netip.Prefix

	enforce  func(ctx context.Context, rev uint64) error // nil: at once
	meets    int                                         // writes that still find another one before them
	applied  int
	moment   string // when documents are made
	onCommit func()
}

func newMemory() *memory {
	return &memory{docs: map[string]*resource.Doc{}, moment: "2026-11-22T12:00:00Z"}
}

// view is the memory at one revision.
type view struct {
	rev   uint64
	docs  map[string]*resource.Doc
	lists map[string][]netip.Prefix
}

func (m *memory) snapshot() Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &view{m.rev, maps.Clone(m.docs), m.lists}
}

func (v *view) Revision() uint64                       { return v.rev }
func (v *view) Get(key string) *resource.Doc           { return v.docs[key] }
func (v *view) PrefixLists() map[string][]netip.Prefix { return v.lists }

func (v *view) Referrers(key string) []string {
	var out []string
	for k, d := range v.docs {
		if slices.Contains(d.RefKeys(), key) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func (v *view) Each(typeName string, f func(*resource.Doc)) {
	for _, k := range slices.Sorted(maps.Keys(v.docs)) {
		if v.docs[k].ID.Type == typeName {
			f(v.docs[k])
		}
	}
}

func (v *view) Inside(key string) iter.Seq[*resource.Doc] {
	return func(yield func(*resource.Doc) bool) {
		for _, k := range slices.Sorted(maps.Keys(v.docs)) {
			if strings.HasPrefix(k, strings.ToLower(key)+"/") && !yield(v.docs[k]) {
				return
			}
		}
	}
}

func (m *memory) Apply(_ context.Context, in Intent) (Result, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.meets > 0 {
		m.meets--
		return Result{}, fmt.Errorf("commit: %w", ErrConflict)
	}
	before := &view{m.rev, m.docs, m.lists}
	if in.Put == nil {
		return m.remove(before, in)
	}
	key := in.Put.Key()
	old := m.docs[key]
	if old == nil && in.Put.Revision != 0 || old != nil && old.Revision != in.Put.Revision {
		return Result{}, ErrConflict
	}
	doc := *in.Put
	if err := m.allocate(&doc); err != nil {
		return Result{}, err
	}
	after := &view{m.rev, maps.Clone(m.docs), m.lists}
	after.docs[key] = &doc
	if f := resource.Validate(&doc, after); len(f) > 0 {
		return Result{}, f
	}
	m.rev++
	m.applied++
	doc.Revision = int64(m.rev)
	m.docs[key] = &doc
	return Result{Doc: &doc, Created: old == nil, Revision: m.rev}, nil
}

func (m *memory) remove(before *view, in Intent) (Result, error) {
	d := m.docs[in.Delete]
	if d == nil {
		return Result{}, nil
	}
	if d.Revision != in.Revision {
		return Result{}, ErrConflict
	}
	if f := resource.InUse(d, before); len(f) > 0 {
		return Result{}, f
	}
	if d.ID.Type == resource.GroupType {
		for inner := range before.Inside(in.Delete) {
			delete(m.docs, inner.Key())
		}
	}
	delete(m.docs, in.Delete)
	m.rev++
	m.applied++
	return Result{Revision: m.rev}, nil
}

func (m *memory) allocate(d *resource.Doc) error {
	sys := &d.System
	sys.GUID = resource.GUID(d.Key())
	if sys.Created == "" {
		sys.Created = m.moment
	}
	if d.VNet() != nil {
		sys.VNI, sys.Domain = 7, "d531wnycjrmufpzy3wsc3221cb.rx.internal.cloudapp.net"
	}
	if d.VM() != nil {
		sys.VMID, sys.Host = resource.GUID("vm "+d.Key()), "host1"
	}
	if d.NIC() == nil {
		return nil
	}
	sys.MAC, sys.Port = "02:52:46:00:00:01", 1
	sys.Addresses = maps.Clone(sys.Addresses)
	if sys.Addresses == nil {
		sys.Addresses = map[string]string{}
	}
	for _, r := range d.AddressRequests() {
		name := strings.ToLower(r.Name)
		switch {
		case r.Static:
			sys.Addresses[name] = r.IP.String()
		case sys.Addresses[name] == "":
			sys.Addresses[name] = m.free(r)
		}
	}
	return nil
}

// free is the lowest address from .4 that no interface has.
func (m *memory) free(r resource.AddressRequest) string {
	vnet := m.docs[resource.TopKey(r.Subnet)]
	if vnet == nil {
		return ""
	}
	used := map[string]bool{}
	for _, d := range m.docs {
		for _, a := range d.System.Addresses {
			used[a] = true
		}
	}
	for _, s := range vnet.VNet().Subnets {
		for _, p := range s.Prefixes {
			if strings.ToLower(s.ID) != r.Subnet || p.Addr().Is6() != r.V6 {
				continue
			}
			a := p.Addr()
			for range 4 {
				a = a.Next()
			}
			for used[a.String()] {
				a = a.Next()
			}
			return a.String()
		}
	}
	return ""
}

func (m *memory) Enforced(ctx context.Context, rev uint64) error {
	m.mu.Lock()
	f := m.enforce
	m.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, rev)
}
