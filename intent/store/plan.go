package store

import (
	"errors"
	"slices"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"

	clientv3 "go.etcd.io/etcd/client/v3"

	"ringfence/intent/resource"
)

// plan is a write as a transaction.
type plan struct {
	base     *content
	new      map[string]*entry // documents as they will be
	values   map[string][]byte // of the new documents, as stored
	gone     map[string]bool   // documents that will not be
	compares []clientv3.Cmp
	ops      []clientv3.Op
	probes   []clientv3.Op // asked when a comparison failed: who refers to what goes
	compared map[string]bool
}

func newPlan(base *Snapshot, w *Write) (*plan, error) {
	p := &plan{base: base.c, new: map[string]*entry{}, values: map[string][]byte{}, gone: map[string]bool{}, compared: map[string]bool{}}
	for _, key := range w.Delete {
		if _, ok := p.base.docs.get(key); ok {
			p.gone[key] = true
		}
	}
	for _, put := range w.Put {
		key := put.Doc.ID.Key()
		if p.gone[key] || p.new[key] != nil {
			return nil, errors.New("commit: " + key + " occurs twice in one write")
		}
		refs := w.references(put.Doc)
		value, err := encode(put, refs)
		if err != nil {
			return nil, err
		}
		p.new[key] = &entry{doc: put.Doc, refs: refs, claims: put.Claims}
		p.values[key] = value
		p.ops = append(p.ops, clientv3.OpPut(docPrefix+key, string(value)))
	}
	for _, put := range w.Put {
		if err := p.needs(put.Doc); err != nil {
			return nil, err
		}
	}
	for _, key := range w.Delete {
		if p.gone[key] {
			if err := p.frees(key); err != nil {
				return nil, err
			}
		}
	}
	for _, key := range w.Guard {
		p.unchanged(key)
	}
	for _, host := range w.Hosts {
		p.unmarked(host)
	}
	p.references()
	return p, p.claims()
}

// needs compares what a document that is put depends on: itself and what it refers to, its group among it.
func (p *plan) needs(d *resource.Doc) error {
	key := d.ID.Key()
	p.unchanged(key)
	for _, to := range p.new[key].refs {
		if err := p.exists(to, key); err != nil {
			return err
		}
		if p.binds(to) || p.links(d, to) {
			p.compares = append(p.compares, p.untouched(refsTo(to)))
		}
	}
	if _, ok := p.base.docs.get(key); ok && d.ID.Type != resource.GroupType {
		// A child may have got a referrer that the new version no longer contains.
		p.compares = append(p.compares, p.untouched(refsInside(key)))
	}
	return nil
}

// exists compares that the target of a reference is still there. Of a child its whole document must be unchanged, since
// the child stands inside; a document of its own may change as long as it is not deleted.
func (p *plan) exists(to, by string) error {
	e, at := p.base.holder(to)
	switch {
	case p.new[at] != nil:
		return nil
	case e == nil || p.gone[at]:
		return &Missing{to, by}
	case at != to:
		p.unchanged(at)
	case !p.compared["+"+to]:
		p.compared["+"+to] = true
		p.compares = append(p.compares, clientv3.Compare(clientv3.CreateRevision(docPrefix+to), "=", e.created))
	}
	return nil
}

// binds tells whether what refers to a resource is bound to what else refers to it: all members of an application security
// group, and all rules that name it, are in one VNet. Two servers must not add one each without seeing the other's.
func (p *plan) binds(to string) bool {
	e, ok := p.base.docs.get(to)
	return ok && e.doc.ID.Type == "Microsoft.Network/applicationSecurityGroups"
}

// links tells whether a private zone refers to a virtual network that it did not refer to before: which zones a network may have
// depends on those that it has.
func (p *plan) links(d *resource.Doc, to string) bool {
	if d.ID.Type != "Microsoft.Network/privateDnsZones" || groupOf(to) == to {
		return false
	}
	old, ok := p.base.docs.get(d.ID.Key())
	return !ok || !slices.Contains(old.refs, to)
}

// unchanged compares that a document is as in base, or as absent.
func (p *plan) unchanged(key string) {
	if p.compared[key] {
		return
	}
	p.compared[key] = true
	rev := int64(0)
	if e, ok := p.base.docs.get(key); ok {
		rev = e.doc.Revision
	}
	p.compares = append(p.compares, clientv3.Compare(clientv3.ModRevision(docPrefix+key), "=", rev))
}

// untouched compares that no key of the range was written since base.
func (p *plan) untouched(r span) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(r.first), "<", int64(p.base.rev)+1).WithRange(r.end)
}

// frees checks that nothing needs a document that is deleted, and compares that this stays so. What lies in a group that is
// deleted goes with it in a few ranges: a transaction is too small for some of each document of a large group.
func (p *plan) frees(key string) error {
	if p.goesWithGroup(key) {
		return nil
	}
	p.unchanged(key)
	p.ops = append(p.ops, clientv3.OpDelete(docPrefix+key))
	ranges := []span{refsTo(key), refsInside(key), docsInside(key)}
	if err := p.inUse(key, ranges); err != nil {
		return err
	}
	e, _ := p.base.docs.get(key)
	for _, r := range ranges {
		p.compares = append(p.compares, p.untouched(r))
		p.probes = append(p.probes, clientv3.OpGet(r.first, clientv3.WithRange(r.end), clientv3.WithKeysOnly(), clientv3.WithLimit(100)))
		if e.doc.ID.Type == resource.GroupType {
			p.ops = append(p.ops, clientv3.OpDelete(r.first, clientv3.WithRange(r.end)))
		}
	}
	return nil
}

// goesWithGroup tells whether the group that key lies in is deleted too.
func (p *plan) goesWithGroup(key string) bool {
	group := groupOf(key)
	return group != key && p.gone[group]
}

// inUse finds what base has in the ranges and the write leaves there.
func (p *plan) inUse(key string, ranges []span) error {
	var by []string
	for _, r := range ranges {
		if inside, ok := strings.CutPrefix(r.first, docPrefix); ok {
			for inner := range p.base.docs.prefix(inside) {
				if !p.gone[inner] {
					by = append(by, inner)
				}
			}
			continue
		}
		for ref := range p.base.refs.prefix(strings.TrimPrefix(r.first, refPrefix)) {
			to, source, _ := strings.Cut(ref, "\x00")
			if e, put := p.new[source]; !p.gone[source] && (!put || slices.Contains(e.refs, to)) {
				by = append(by, source)
			}
		}
	}
	if len(by) == 0 {
		return nil
	}
	slices.Sort(by)
	return &InUse{Key: key, By: slices.Compact(by)}
}

// refusal explains a failed comparison by what the probes found: referrers that base did not know are named, everything
// else is a conflict.
func (p *plan) refusal(found []*mvccpb.KeyValue) error {
	by := map[string][]string{}
	for _, kv := range found {
		key, at := string(kv.Key), ""
		if source, ok := strings.CutPrefix(key, docPrefix); ok {
			at, key = groupOf(source), source
		} else if to, source, ok := strings.Cut(strings.TrimPrefix(key, refPrefix), "\x00"); ok {
			at, key = resource.TopKey(to), source
		}
		if _, put := p.new[key]; p.gone[at] && !p.gone[key] && !put {
			by[at] = append(by[at], key)
		}
	}
	for at := range p.gone {
		if len(by[at]) > 0 {
			return &InUse{at, by[at], p.base.rev}
		}
	}
	return &Conflict{p.base.rev}
}
