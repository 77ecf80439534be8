package store

import (
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// references puts and deletes the reference keys that differ, and those that others compare.
func (p *plan) references() {
	for key, e := range p.new {
		var before []string
		if old, ok := p.base.docs.get(key); ok {
			before = old.refs
		}
		p.moved(key, before, e.refs)
	}
	for key := range p.gone {
		old, _ := p.base.docs.get(key)
		p.moved(key, old.refs, nil)
	}
}

func (p *plan) moved(source string, before, after []string) {
	for _, to := range before {
		if _, still := slices.BinarySearch(after, to); !still && !p.gone[groupOf(to)] {
			p.ops = append(p.ops, clientv3.OpDelete(refKey(to, source)))
		}
	}
	for _, to := range after {
		if _, already := slices.BinarySearch(before, to); !already || p.binds(to) {
			p.ops = append(p.ops, clientv3.OpPut(refKey(to, source), ""))
		}
	}
}

// claims takes what the new documents claim and gives back what the old ones held.
func (p *plan) claims() error {
	want := map[string]string{}
	for _, e := range p.new {
		for _, c := range e.claims {
			if owner, twice := want[c.Key]; twice {
				return &InUse{Key: c.Key, By: []string{owner}}
			}
			want[c.Key] = c.Owner
		}
	}
	for key, owner := range want {
		h, held := p.base.claims.get(key)
		switch {
		case !held:
			p.compares = append(p.compares, clientv3.Compare(clientv3.CreateRevision(allocPrefix+key), "=", 0))
		case !p.gone[h.doc] && p.new[h.doc] == nil:
			return &InUse{Key: key, By: []string{h.owner}}
		case h.owner == owner:
			continue
		}
		p.ops = append(p.ops, clientv3.OpPut(allocPrefix+key, owner))
	}
	back := func(e *entry) {
		for _, c := range e.claims {
			if _, kept := want[c.Key]; !kept {
				p.ops = append(p.ops, clientv3.OpDelete(allocPrefix+c.Key))
			}
		}
	}
	for key := range p.new {
		if old, ok := p.base.docs.get(key); ok {
			back(old)
		}
	}
	for key := range p.gone {
		old, _ := p.base.docs.get(key)
		back(old)
	}
	return nil
}
