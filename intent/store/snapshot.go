package store

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// Snapshot is everything stored at one revision. It is immutable; it implements resource.Lookup.
type Snapshot struct {
	c     *content
	acks  map[string]Ack
	seen  map[string]sighting
	lists map[string][]netip.Prefix
}

// Offline is a snapshot without documents and without etcd: With fills it, for questions about what nobody has stored.
func Offline(hosts []Host, lists map[string][]netip.Prefix) *Snapshot {
	s := &Snapshot{c: &content{hosts: map[string]Host{}, marks: map[string]Mark{}}, seen: map[string]sighting{}, lists: lists}
	for _, h := range hosts {
		s.c.hosts[h.Name] = h
		s.seen[h.Name] = sighting{h.Seen, h.Connected, h.Version, h.Server, h.Process, h.Sighting}
		s.c.marks[h.Name] = h.Mark
	}
	return s
}

// Revision is that of the last change that goals depend on. It never goes back, also not over a restart.
func (s *Snapshot) Revision() uint64 { return s.c.rev }

// Get returns the document with this key, nil when there is none. It belongs to the snapshot: do not change it.
func (s *Snapshot) Get(key string) *resource.Doc {
	if e, ok := s.c.docs.get(key); ok {
		return e.doc
	}
	return nil
}

// Referrers are the keys of the documents that refer to key, sorted.
func (s *Snapshot) Referrers(key string) []string {
	var from []string
	for k := range s.c.refs.prefix(key + "\x00") {
		from = append(from, k[len(key)+1:])
	}
	return from
}

// Each calls fn for the documents of a type, in the order of their keys.
func (s *Snapshot) Each(typeName string, fn func(*resource.Doc)) {
	for _, e := range s.c.types.prefix(typeKey(typeName, "")) {
		fn(e.doc)
	}
}

// Inside yields the documents whose ids lie under key (a subscription, a resource group), in the order of their keys.
func (s *Snapshot) Inside(key string) iter.Seq[*resource.Doc] {
	return s.c.under(strings.ToLower(key) + "/")
}

// Docs yields all documents in the order of their keys.
func (s *Snapshot) Docs() iter.Seq[*resource.Doc] { return s.c.under("") }

// Len is the number of documents.
func (s *Snapshot) Len() int { return s.c.docs.len() }

// PrefixLists are the operator's named prefix lists.
func (s *Snapshot) PrefixLists() map[string][]netip.Prefix { return s.lists }

// View is the typed view, built on the first call and kept.
func (s *Snapshot) View() *resource.View {
	v, _ := s.c.typed()
	return v
}

// Faults are what the typed view had to leave out.
func (s *Snapshot) Faults() []resource.Fault {
	_, faults := s.c.typed()
	return faults
}

// Owner is who holds a claim, as the claim says it.
func (s *Snapshot) Owner(claim string) (string, bool) {
	h, ok := s.c.claims.get(claim)
	return h.owner, ok
}

// Holder is the key of the document that holds a claim.
func (s *Snapshot) Holder(claim string) (string, bool) {
	h, ok := s.c.claims.get(claim)
	return h.doc, ok
}

// LowestFree is the smallest number from lo to hi for which Numbered(space, number) is not claimed.
func (s *Snapshot) LowestFree(space string, lo, hi uint64) (uint64, bool) {
	return s.c.claims.lowestFree(space, lo, hi)
}

// With is the snapshot as it would be after w: what a write is judged on before it is made. It has the revision of s.
func (s *Snapshot) With(w *Write) *Snapshot {
	c := s.c.clone()
	for _, key := range w.Delete {
		c.drop(key)
	}
	for _, p := range w.Put {
		key := p.Doc.ID.Key()
		e := &entry{doc: p.Doc, refs: w.references(p.Doc), claims: p.Claims}
		if old, ok := s.c.docs.get(key); ok {
			e.created = old.created
		}
		c.put(key, e)
	}
	return &Snapshot{c, s.acks, s.seen, s.lists}
}

// Hosts are all known hosts, by name.
func (s *Snapshot) Hosts() []Host {
	var all []Host
	for _, name := range slices.Sorted(maps.Keys(s.c.hosts)) {
		h, seen := s.c.hosts[name], s.seen[name]
		h.Process = seen.Process
		h.Seen, h.Connected, h.Version = seen.Seen, seen.Connected, seen.Version
		h.Server, h.Sighting, h.Mark = seen.Server, seen.rev, s.c.marks[name]
		all = append(all, h)
	}
	return all
}

// Acks are the generations that the hosts enforce, by host name.
func (s *Snapshot) Acks() map[string]uint64 {
	all := make(map[string]uint64, len(s.acks))
	for name, a := range s.acks {
		all[name] = a.Generation
	}
	return all
}

// Ack is what a host said last.
func (s *Snapshot) Ack(host string) (Ack, bool) {
	a, ok := s.acks[host]
	return a, ok
}
