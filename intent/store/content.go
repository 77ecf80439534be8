package store

import (
	"iter"
	"strings"
	"sync"

	"ringfence/intent/resource"
)

// content is all that goals depend on, at one revision. It is never changed: with and without return another one that
// shares nearly everything with the old one.
type content struct {
	rev    uint64
	docs   ordered[*entry]
	types  ordered[*entry]   // type name \0 key
	refs   ordered[struct{}] // target \0 source
	claims ordered[holding]
	hosts  map[string]Host
	marks  map[string]Mark // by host
	notes  map[string]Note

	mu      sync.Mutex // guards what follows: the typed view, made when it is asked for
	view    *resource.View
	faults  []resource.Fault
	from    *content // an older content that has its view
	touched []string // keys that changed since
}

// holding is a claim as it stands.
type holding struct {
	owner string // for messages
	doc   string // key of the document that holds it
}

func typeKey(t, key string) string { return strings.ToLower(t) + "\x00" + key }

// clone is a copy whose maps may be replaced.
func (c *content) clone() *content {
	next := &content{rev: c.rev, docs: c.docs, types: c.types, refs: c.refs, claims: c.claims, hosts: c.hosts, marks: c.marks, notes: c.notes}
	next.descend(c)
	return next
}

// under yields the documents whose keys start with prefix, in the order of their keys.
func (c *content) under(prefix string) iter.Seq[*resource.Doc] {
	return func(yield func(*resource.Doc) bool) {
		for _, e := range c.docs.prefix(prefix) {
			if !yield(e.doc) {
				return
			}
		}
	}
}

// put and drop change c, which the caller has just cloned.
func (c *content) put(key string, e *entry) {
	c.drop(key)
	c.docs = c.docs.with(key, e)
	c.types = c.types.with(typeKey(e.doc.ID.Type, key), e)
	for _, to := range e.refs {
		c.refs = c.refs.with(to+"\x00"+key, struct{}{})
	}
	for _, cl := range e.claims {
		c.claims = c.claims.with(cl.Key, holding{cl.Owner, key})
	}
}

func (c *content) drop(key string) {
	c.touch(key)
	e, ok := c.docs.get(key)
	if !ok {
		return
	}
	c.docs = c.docs.without(key)
	c.types = c.types.without(typeKey(e.doc.ID.Type, key))
	for _, to := range e.refs {
		c.refs = c.refs.without(to + "\x00" + key)
	}
	for _, cl := range e.claims {
		// One transaction can hand a claim from one document to another; its events come in any order.
		if h, held := c.claims.get(cl.Key); held && h.doc == key {
			c.claims = c.claims.without(cl.Key)
		}
	}
}

// holder finds the stored document that a reference to key leads to: the document itself, or the one that key is a child
// of, whose key is at.
func (c *content) holder(key string) (e *entry, at string) {
	at = resource.TopKey(key)
	e, _ = c.docs.get(at)
	return e, at
}
