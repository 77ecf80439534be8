package resource

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
)

// Shown says how a document is to be shown.
type Shown struct {
	APIVersion string // of the request: newer fields are left out for older ones
	State      string // provisioningState
	Expand     string // "instanceView": what a virtual machine is doing
}

// render is one GET being answered: the document and the place in it that is being written.
type render struct {
	Shown
	doc  *Doc
	lk   Lookup
	etag string
	id   ID     // of the resource that the fields belong to: the document or a child inside
	text string // the id as text
	body *node  // its body
}

// RenderJSON is what a GET of the whole document answers.
func RenderJSON(d *Doc, lk Lookup, apiVersion, state string) ([]byte, error) {
	return Render(d, lk, d.ID, Shown{APIVersion: apiVersion, State: state})
}

// Render is what a GET of id answers: the document itself or a child inside it. nil when there is no such child.
func Render(d *Doc, lk Lookup, id ID, how Shown) ([]byte, error) {
	root := d.tree()
	if root == nil {
		return nil, fmt.Errorf("render %s: the document is no JSON", d.ID)
	}
	r := &render{Shown: how, doc: d, lk: lk, etag: d.tag(d.ID, root), id: d.ID, text: d.ID.String(), body: root}
	if len(id.Names) == len(d.ID.Names) {
		if d.Type.answer != nil {
			return r.object(d.Type.answer.Fields, root), nil
		}
		return r.object(d.Type.Schema.Fields, root), nil
	}
	t := Find(id.Type)
	for _, c := range r.children(t) {
		if strings.EqualFold(c.id.Name(), id.Name()) {
			return c.object(t.Schema.Fields, c.body), nil
		}
	}
	return nil, nil
}

// RenderChildren is what a list of the children of a type answers, in document order.
func RenderChildren(d *Doc, lk Lookup, t *Type, how Shown) ([][]byte, error) {
	root := d.tree()
	if root == nil {
		return nil, fmt.Errorf("render %s: the document is no JSON", d.ID)
	}
	r := &render{Shown: how, doc: d, lk: lk, etag: d.tag(d.ID, root), id: d.ID, text: d.ID.String(), body: root}
	var out [][]byte
	for _, c := range r.children(t) {
		out = append(out, c.object(t.Schema.Fields, c.body))
	}
	return out, nil
}

// children are the places of a type's children: those that the body lists, or those that always exist.
func (r *render) children(t *Type) []*render {
	var out []*render
	if t.items != nil {
		for _, name := range t.items(r) {
			out = append(out, r.child(t, name, &node{kind: kindObject}))
		}
		return out
	}
	for _, e := range r.body.get("properties", t.List).list() {
		out = append(out, r.child(t, e.get("name").text(), e))
	}
	if t.computed != nil {
		out = append(out, t.computed(r, t)...)
	}
	return out
}

func (r *render) child(t *Type, name string, body *node) *render {
	c := *r
	c.id, c.body = r.doc.ID.Child(t, name), body
	c.text = r.doc.ID.String() + "/" + t.Segment() + "/" + name
	if t.etag != nil {
		c.etag = t.etag(r.doc, c.id, body)
	}
	return &c
}

// object writes the fields in the table's order.
func (r *render) object(fields []*Field, n *node) []byte {
	b := []byte{'{'}
	for _, f := range fields {
		v := r.field(f, n.get(f.Name))
		if v == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, f.Name), ':')
		b = append(b, v...)
	}
	return append(b, '}')
}

// field gives a field's JSON, nil when it is not shown.
func (r *render) field(f *Field, n *node) []byte {
	if f.Effect == Secret {
		return nil
	}
	if f.show != nil {
		if r.APIVersion < f.Since {
			return nil
		}
		return f.show(r)
	}
	if n == nil && f.Always {
		n = &node{kind: kindObject}
	}
	if n == nil {
		if f.Default == "" || r.APIVersion < f.Since {
			return nil
		}
		return []byte(f.Default)
	}
	switch {
	case f.Kind == Object:
		return r.object(f.Fields, n)
	case f.Kind == Reference:
		return reference(n.get("id").text())
	case f.Kind == Array:
		return r.array(f, n)
	}
	return n.append(nil)
}

func (r *render) array(f *Field, n *node) []byte {
	if f.Effect == Refused && len(n.elems) == 0 && f.Default == "" {
		return nil // an empty list of what is not supported is absent, as it is when Azure's is empty
	}
	var parts [][]byte
	for _, e := range n.elems {
		switch {
		case f.Elem.Type != nil:
			c := r.child(f.Elem.Type, e.get("name").text(), e)
			parts = append(parts, c.object(f.Elem.Type.Schema.Fields, e))
		case f.Elem.Kind == Object:
			parts = append(parts, r.object(f.Elem.Fields, e))
		case f.Elem.Kind == Reference:
			parts = append(parts, reference(e.get("id").text()))
		default:
			parts = append(parts, e.append(nil))
		}
	}
	if len(parts) == 0 && f.Elem.Kind == Reference {
		return nil // absent when empty
	}
	return jsonArray(parts)
}

func jsonArray(parts [][]byte) []byte {
	b := []byte{'['}
	for i, p := range parts {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, p...)
	}
	return append(b, ']')
}

// reference writes {"id":…} with the static segments in canonical casing and the names as written.
func reference(id string) []byte {
	if parsed, err := ParseID(id); err == nil {
		id = parsed.String()
	}
	return append(appendString([]byte(`{"id":`), id), '}')
}

// references writes an array of them, nil for none.
func references(ids []string) []byte {
	if len(ids) == 0 {
		return nil
	}
	var parts [][]byte
	for _, id := range ids {
		parts = append(parts, reference(id))
	}
	return jsonArray(parts)
}

// ETag is the document's entity tag: a function of its key and its revision.
func (d *Doc) ETag() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%s %d", d.Key(), d.Revision))
	return `W/"` + guid(h[:]) + `"`
}

// EntityTag is the entity tag of the document or of a child inside it.
func (d *Doc) EntityTag(id ID) string {
	t := Find(id.Type)
	if t == nil || t.etag == nil {
		return d.ETag()
	}
	body := d.tree()
	if len(id.Names) > len(d.ID.Names) {
		l := body.get("properties", t.List)
		i := childIndex(l, id.Name())
		if i < 0 {
			return d.ETag()
		}
		body, id = l.elems[i], d.ID.Child(t, l.elems[i].get("name").text())
	}
	return d.tag(id, body)
}

func (d *Doc) tag(id ID, body *node) string {
	if t := Find(id.Type); t != nil && t.etag != nil {
		return t.etag(d, id, body)
	}
	return d.ETag()
}

// GUID makes a stable GUID from text.
func GUID(text string) string {
	h := sha256.Sum256([]byte(text))
	return guid(h[:])
}

// guid writes 16 bytes as a GUID of version 8: made by the application.
func guid(b []byte) string {
	b = slices.Clone(b[:16])
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// Fields that many types show.

func showName() *Field {
	return str("name").shown(func(r *render) []byte { return appendString(nil, r.id.Name()) })
}
func showID() *Field {
	return str("id").shown(func(r *render) []byte { return appendString(nil, r.text) })
}
func showETag() *Field {
	return str("etag").shown(func(r *render) []byte { return appendString(nil, r.etag) })
}
func showType() *Field {
	return str("type").shown(func(r *render) []byte { return appendString(nil, r.id.Type) })
}

func showState() *Field {
	return str("provisioningState").shown(func(r *render) []byte { return appendString(nil, r.State) })
}

func showGUID() *Field {
	return str("resourceGuid").shown(func(r *render) []byte { return textOrNothing(r.doc.System.GUID) })
}

func textOrNothing(s string) []byte {
	if s == "" {
		return nil
	}
	return appendString(nil, s)
}

func tagsField() *Field     { return &Field{Name: "tags", Kind: Map} }
func locationField() *Field { return &Field{Name: "location", Exact: true} }

// RenderGeneric is what a list of resources of all types answers for one: what is common to all.
func RenderGeneric(d *Doc, how Shown) []byte {
	b := appendString([]byte(`{"id":`), d.ID.String())
	b = appendString(append(b, `,"name":`...), d.ID.Name())
	b = appendString(append(b, `,"type":`...), d.ID.Type)
	root := d.tree()
	for _, name := range []string{"location", "tags"} {
		if n := root.get(name); n != nil {
			b = n.append(append(appendString(append(b, ','), name), ':'))
		}
	}
	if strings.Contains(strings.ToLower(how.Expand), "provisioningstate") {
		b = appendString(append(b, `,"provisioningState":`...), how.State)
	}
	if strings.Contains(strings.ToLower(how.Expand), "createdtime") && d.System.Created != "" {
		b = appendString(append(b, `,"createdTime":`...), d.System.Created)
	}
	return append(b, '}')
}
