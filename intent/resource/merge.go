package resource

import (
	"encoding/json"
	"slices"
	"strings"
)

// Put makes the document that a PUT of id with body asks for. old is the stored document (the parent's, when id is a child), or
// nil. The answer's Revision is old's: what the store compares. A child's parent must exist.
func Put(old *Doc, id ID, body []byte, apiVersion string) (*Doc, Faults) {
	t := Find(id.Type)
	sent, root, faults := decodeBoth(t, body)
	faults = append(faults, contradictions(t, id, sent)...)
	if faults = append(faults, checkName(t, id)...); len(faults) > 0 {
		return nil, faults
	}
	if t.Parent != nil {
		return putChild(old, t, id, root)
	}
	if old != nil && t.Kept != "" && apiVersion >= t.Kept {
		keepChildren(t, old, root)
	}
	if old != nil && t.keeps != nil {
		t.keeps(old.tree(), root)
	}
	if t.complete != nil {
		t.complete(id, root)
	}
	return next(old, id, root), nil
}

// next is the document that replaces old. The casing of the first write stays.
func next(old *Doc, id ID, root *node) *Doc {
	if old == nil {
		return tentative(id, root)
	}
	d := tentative(old.ID, root)
	d.System, d.Revision, d.was = old.System, old.Revision, old
	return d
}

// keepChildren takes over the lists of children that the new body leaves out.
func keepChildren(t *Type, old *Doc, root *node) {
	for _, c := range t.Children() {
		kept := old.tree().get("properties", c.List)
		if kept == nil || root.get("properties", c.List) != nil {
			continue
		}
		p := root.get("properties")
		if p == nil {
			p = &node{kind: kindObject}
			root.set("properties", p)
		}
		p.set(c.List, kept)
	}
}

func putChild(parent *Doc, t *Type, id ID, child *node) (*Doc, Faults) {
	root := parent.fresh()
	props := root.get("properties")
	if props == nil {
		props = &node{kind: kindObject}
		root.set("properties", props)
	}
	l := props.get(t.List)
	if l == nil {
		l = &node{kind: kindArray}
		props.set(t.List, l)
	}
	child = named(child, id.Name())
	if t.complete != nil {
		t.complete(id, child)
	}
	if i := childIndex(l, id.Name()); i >= 0 {
		child = named(child, l.elems[i].get("name").text())
		l.elems[i] = child
	} else {
		l.elems = append(l.elems, child)
	}
	return next(parent, parent.ID, root), nil
}

// named puts the name first: it comes from the path, whatever the body says.
func named(child *node, name string) *node {
	out := &node{kind: kindObject, members: []member{{name: "name", value: jsonString(name)}}}
	for _, m := range child.members {
		if m.name != "name" {
			out.members = append(out.members, m)
		}
	}
	return out
}

func childIndex(l *node, name string) int {
	return slices.IndexFunc(l.list(), func(e *node) bool { return strings.EqualFold(e.get("name").text(), name) })
}

// Without makes the parent's document without the child; nil when it has no such child.
func Without(parent *Doc, child ID) *Doc {
	root := parent.fresh()
	l := root.get("properties", Find(child.Type).List)
	i := childIndex(l, child.Name())
	if i < 0 {
		return nil
	}
	l.elems = slices.Delete(l.elems, i, i+1)
	return next(parent, parent.ID, root)
}

// WithTags makes the document with other tags: what a PATCH asks for.
func WithTags(old *Doc, body []byte) (*Doc, Faults) {
	patch := &Type{Name: "tags", Schema: object("", "TagsObject", &Field{Name: "tags", Kind: Map})}
	p, faults := decodeTree(patch, body)
	if len(faults) > 0 {
		return nil, faults
	}
	root := old.fresh()
	if tags := p.get("tags"); tags != nil {
		root.set("tags", tags)
	}
	return next(old, old.ID, root), nil
}

// Child gives a child's body as it is stored; nil when there is none.
func Child(parent *Doc, child ID) json.RawMessage {
	l := parent.tree().get("properties", Find(child.Type).List)
	if i := childIndex(l, child.Name()); i >= 0 {
		return l.elems[i].append(nil)
	}
	return nil
}

// Brought are the documents that come into being with d.
func Brought(d *Doc) []*Doc {
	if d.Type == nil || d.Type.brings == nil {
		return nil
	}
	return d.Type.brings(d, d.tree())
}

// Taken are the keys of the documents that go with d.
func Taken(d *Doc) []string {
	if d.Type == nil || d.Type.takes == nil {
		return nil
	}
	return d.Type.takes(d, d.tree())
}
