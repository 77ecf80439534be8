package load

import (
	"strings"

	"ringfence/intent/resource"
)

// exported takes the resources out of an export: one object, an array, or a page of an answer. It gives how many it met.
func (l *loader) exported(f File, n *node, depth int) int {
	switch {
	case depth > 3:
		return 0
	case n.kind == kindArray:
		count := 0
		for _, e := range n.items {
			got := l.exported(f, e, depth+1)
			if got == 0 {
				l.fault(Place{f.Name, e.line}, "", "", "this element of the array is no Azure resource: it has no id")
			}
			count += max(got, 1)
		}
		return max(count, 1) // an empty list is an answer: there are none
	case n.kind != kindObject:
		return 0
	}
	if id := n.get("id").str(); strings.HasPrefix(id, "/") {
		l.one(f, n, id)
		return 1
	}
	for _, page := range []string{"value", "data"} {
		list := n.get(page)
		if list == nil || list.kind != kindArray {
			continue
		}
		for _, next := range []string{"nextLink", "$skipToken", "skip_token", "skipToken"} {
			if v := n.get(next); v != nil && v.str() != "" {
				l.fault(Place{f.Name, v.line}, "", next, "this is one page of a longer answer: the others are missing")
				l.unknown(Unknown{Kind: KindResource, What: "the export is one page of a longer answer", Touches: []string{Everything}, At: Place{f.Name, v.line}})
			}
		}
		return l.exported(f, list, depth+1)
	}
	return 0
}

// one adds one exported resource.
func (l *loader) one(f File, n *node, text string) {
	at := Place{f.Name, n.line}
	text = strings.TrimRight(text, "/")
	id, err := resource.ParseID(text)
	if err != nil {
		if outside(text) {
			l.source.Ignored = append(l.source.Ignored, text)
			return
		}
		l.fault(at, "", "id", "%v", err)
		return
	}
	if id.Type == resource.GroupType {
		l.inGroups[id.Key()] = n.get("location").str()
		return
	}
	if typ := n.get("type").str(); typ != "" && strings.Contains(typ, "/") && !strings.EqualFold(typ, id.Type) {
		l.fault(at, id.String(), "type", "the resource says that it is a %s, its id that it is a %s", typ, id.Type)
	}
	l.add(&raw{id: id, body: nested(n, id.Type), at: at})
}

// outside says that an id is of something that no machine is in: a subscription, a provider's own resource.
func outside(id string) bool {
	low := strings.ToLower(id)
	return strings.HasPrefix(low, "/providers/") || strings.HasPrefix(low, "/subscriptions/") && !strings.Contains(low, "/resourcegroups/")
}

// add keeps a resource. What is there already must be the same: an export may hold a thing twice.
func (l *loader) add(r *raw) {
	for _, n := range nestedResources(r) {
		l.add(n)
	}
	key := r.id.Key()
	old := l.byKey[key]
	if old == nil {
		l.byKey[key] = r
		l.raws = append(l.raws, r)
		return
	}
	old.notes = append(old.notes, r.notes...)
	if string(comparable(old).append(nil)) == string(comparable(r).append(nil)) {
		return
	}
	l.fault(r.at, r.id.String(), "", "it is described differently at %s", old.at)
	l.unknown(Unknown{Kind: KindResource, ID: r.id.String(), What: "it is described in two ways: at " + old.at.String() + " and here", Touches: []string{r.id.Key()}, At: r.at})
}

// comparable is the body without what changes by itself from one export to the next.
func comparable(r *raw) *node {
	return stripped(r.body)
}

func stripped(n *node) *node {
	if n.kind == kindArray {
		out := array(n.line)
		for _, e := range n.items {
			out.items = append(out.items, stripped(e))
		}
		return out
	}
	if n.kind != kindObject {
		return n
	}
	out := object(n.line)
	for _, m := range n.members {
		switch strings.ToLower(m.name) {
		case "etag", "provisioningstate", "resourceguid", "tags", "resourcegroup":
			continue
		}
		if m.value.kind != kindNull {
			out.members = append(out.members, member{strings.ToLower(m.name), stripped(m.value)})
		}
	}
	return out
}

// nestedResources are the resources that stand whole inside another one of the kind that templates and portal exports nest ("resources").
func nestedResources(r *raw) []*raw {
	list := r.body.get("resources")
	if list == nil {
		return nil
	}
	r.body.drop("resources")
	var out []*raw
	for _, n := range list.list() {
		if id, err := resource.ParseID(n.get("id").str()); err == nil {
			out = append(out, &raw{id: id, body: nested(n, id.Type), at: Place{r.at.File, n.line}})
		}
	}
	return out
}
