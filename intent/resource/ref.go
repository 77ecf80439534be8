package resource

import (
	"fmt"
	"slices"
	"strings"
)

// Ref is one reference of a document to another one. A reference to a child (a subnet) comes twice: for the child, and for the
// document that holds it, so that a store that guards documents guards children too.
type Ref struct {
	Field string // where it stands; "" for the resource group that every document is in
	ID    string // as the client wrote it
	To    string // key of what it refers to
	Kind  string // type of that
	Own   bool   // it comes into being with the document, unless it is there
}

// Refs lists what the document refers to, in document order, its resource group first.
func (d *Doc) Refs() []Ref {
	var out []Ref
	if d.Type == nil {
		return nil
	}
	if d.Type.Name != GroupType {
		g := GroupID(d.ID.Subscription, d.ID.Group)
		out = append(out, Ref{ID: g.String(), To: g.Key(), Kind: GroupType})
	}
	if d.Type.refs == nil {
		return out
	}
	for _, r := range d.Type.refs(d.tree()) {
		out = append(out, r)
		if top := TopKey(r.To); top != r.To {
			out = append(out, Ref{Field: r.Field, ID: r.ID, To: top, Kind: topType(r.Kind)})
		}
	}
	return out
}

func topType(kind string) string {
	if t := Find(kind); t != nil {
		return t.Top().Name
	}
	return kind
}

// RefKeys are the keys of Refs, sorted, each once.
func (d *Doc) RefKeys() []string {
	var keys []string
	for _, r := range d.Refs() {
		keys = append(keys, r.To)
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

// refAt reads the reference object at a place of the body.
func refAt(n *node, path, target string) []Ref {
	id := n.get("id").text()
	if id == "" {
		return nil
	}
	return []Ref{{Field: join(path, "id"), ID: id, To: strings.ToLower(id), Kind: target}}
}

func refsAt(n *node, path, target string) []Ref {
	var out []Ref
	for i, e := range n.list() {
		out = append(out, refAt(e, fmt.Sprintf("%s[%d]", path, i), target)...)
	}
	return out
}

// ChildKeys are the keys of the children that the body lists, in document order.
func (d *Doc) ChildKeys() []string {
	var out []string
	if d.Type == nil {
		return nil
	}
	root := d.tree()
	for _, t := range d.Type.Children() {
		for _, e := range root.get("properties", t.List).list() {
			out = append(out, d.ID.Child(t, e.get("name").text()).Key())
		}
	}
	return out
}

// HasChild tells whether the body lists the child with this key.
func (d *Doc) HasChild(key string) bool { return slices.Contains(d.ChildKeys(), key) }
