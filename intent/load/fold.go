package load

import (
	"fmt"
	"strings"

	"ringfence/intent/resource"
)

func itoa(i int) string { return fmt.Sprint(i) }

// listOf is the list in its parent that a child's type stands in, "" for a type that is no child of what the fabric has.
func listOf(typ string) string {
	switch strings.ToLower(typ) {
	case "microsoft.network/virtualnetworks/subnets":
		return "subnets"
	case "microsoft.network/virtualnetworks/virtualnetworkpeerings":
		return "virtualNetworkPeerings"
	case "microsoft.network/networksecuritygroups/securityrules":
		return "securityRules"
	}
	return ""
}

// fold puts children that stand by themselves into their parents.
func (l *loader) fold() {
	for _, r := range append([]*raw(nil), l.raws...) {
		list := listOf(r.id.Type)
		if list == "" {
			continue
		}
		l.child(l.parent(r), list, r)
	}
}

// parent is the resource that a child belongs to; one that is not in the files is made up of its children, and said to be incomplete.
func (l *loader) parent(r *raw) *raw {
	id := r.id.Top()
	if p := l.byKey[id.Key()]; p != nil {
		return p
	}
	body := object(r.at.Line)
	body.set("name", text(id.Name(), r.at.Line))
	props := object(r.at.Line)
	if list := listOf(r.id.Type); list != "securityRules" {
		space := object(r.at.Line)
		space.set("addressPrefixes", l.spaceOf(id))
		props.set("addressSpace", space)
	}
	body.set("properties", props)
	p := &raw{id: id, body: body, at: r.at, template: r.template}
	l.byKey[id.Key()] = p
	l.raws = append(l.raws, p)
	l.unknown(Unknown{Kind: KindMissing, ID: id.String(), What: "it is not among the files, only children of it are", Touches: []string{id.Key()}, At: r.at})
	return p
}

// spaceOf is the address space that the subnets of a network need at least.
func (l *loader) spaceOf(vnet resource.ID) *node {
	out := array(0)
	for _, r := range l.raws {
		if listOf(r.id.Type) == "subnets" && r.id.Top().Key() == vnet.Key() {
			if p := r.body.get("properties", "addressPrefix"); p != nil {
				out.items = append(out.items, p)
			}
			out.items = append(out.items, r.body.get("properties", "addressPrefixes").list()...)
		}
	}
	return out
}

// child puts one child into its parent's list. In a template it is written after the parent and replaces what stands there; in exports both
// describe the same moment and must be equal.
func (l *loader) child(parent *raw, list string, r *raw) {
	if parent.body.get("properties") == nil {
		parent.body.set("properties", object(parent.at.Line))
	}
	props := parent.body.get("properties")
	all := props.get(list)
	if all == nil || all.kind != kindArray {
		all = array(r.at.Line)
		props.set(list, all)
	}
	body := object(r.at.Line)
	body.set("name", text(r.id.Name(), r.at.Line))
	if p := r.body.get("properties"); p != nil {
		body.set("properties", p)
	}
	l.source.places[r.id.Key()] = r.at
	for i, e := range all.items {
		if !strings.EqualFold(e.get("name").str(), r.id.Name()) {
			continue
		}
		same := string(stripped(props2(e)).append(nil)) == string(stripped(props2(body)).append(nil))
		if !same && !r.template {
			l.fault(r.at, r.id.String(), "", "it is described differently in its parent, at %s", Place{parent.at.File, e.line})
			l.unknown(Unknown{Kind: KindResource, ID: r.id.String(), What: "it is described in two ways", Touches: []string{parent.id.Key(), r.id.Key()}, At: r.at})
			return
		}
		all.items[i] = body
		return
	}
	all.items = append(all.items, body)
}

// props2 is what of a child's body counts: the lists that others write into it are left out.
func props2(n *node) *node {
	p := n.get("properties")
	if p == nil {
		return object(n.line)
	}
	out := object(p.line)
	for _, m := range p.members {
		switch strings.ToLower(m.name) {
		case "ipconfigurations", "purpose", "description":
			continue
		}
		if (m.value.kind == kindArray && len(m.value.items) == 0) || m.value.kind == kindNull {
			continue
		}
		out.members = append(out.members, m)
	}
	return sorted(out)
}
