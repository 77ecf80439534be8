package resource

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Decode reads a request's body against a type's vocabulary and gives it back normalised: known fields under their canonical
// names, values as sent, nothing read-only, no nulls. All faults are listed: what cannot be parsed in Azure's one
// InvalidRequestFormat with a detail per place, what is not supported each by itself.
func Decode(t *Type, body []byte) ([]byte, Faults) {
	root, faults := decodeTree(t, body)
	if len(faults) > 0 {
		return nil, faults
	}
	return root.append(nil), nil
}

func decodeTree(t *Type, body []byte) (*node, Faults) {
	_, out, faults := decodeBoth(t, body)
	return out, faults
}

// decodeBoth gives what was sent beside what is kept of it.
func decodeBoth(t *Type, body []byte) (root, kept *node, refused Faults) {
	root, err := parseJSON(body)
	if err != nil {
		var se *syntaxError
		errors.As(err, &se)
		line, col := position(body, se.off)
		return nil, nil, Faults{bad("", "InvalidRequestContent", fmt.Sprintf(
			"The request content was invalid and could not be deserialized: '%s. line %d, position %d.'.", se.msg, line, col))}
	}
	if root.kind != kindObject {
		return nil, nil, Faults{bad("", "InvalidRequestContent", fmt.Sprintf(
			"The request content was invalid and could not be deserialized: 'want an object, got %s. line 1, position 1.'.", kindNames[root.kind]))}
	}
	d := &decoder{text: body}
	out := d.object(t.Schema, root, "")
	var faults Faults
	if len(d.invalid) > 0 {
		f := bad(d.invalid[0].Target, "InvalidRequestFormat", "Cannot parse the request.")
		f.Details = d.invalid
		faults = append(faults, f)
	}
	return root, out, append(faults, d.refused...)
}

type decoder struct {
	text    []byte
	invalid []Fault // InvalidJson details
	refused Faults
}

// mostFaults bounds what is said about one body: each fault looks for its line, and a body has room for a million.
const mostFaults = 100

// full tells whether enough is said.
func (d *decoder) full() bool { return len(d.invalid) >= mostFaults }

func (d *decoder) fault(path string, off int, format string, args ...any) {
	if d.full() {
		return
	}
	line, col := position(d.text, off)
	msg := fmt.Sprintf(format, args...) + fmt.Sprintf(" Path '%s', line %d, position %d.", path, line, col)
	d.invalid = append(d.invalid, bad(path, "InvalidJson", msg))
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (d *decoder) object(f *Field, n *node, path string) *node {
	out := &node{kind: kindObject}
	fields := f.vocabulary()
	for _, m := range n.members {
		i := slices.IndexFunc(fields, func(c *Field) bool { return strings.EqualFold(c.Name, m.name) })
		if i < 0 {
			d.fault(join(path, m.name), m.off, "Could not find member '%s' on object of type '%s'.", m.name, f.model())
			continue
		}
		if v := d.value(fields[i], m.value, join(path, fields[i].Name)); v != nil {
			out.members = append(out.members, member{name: fields[i].Name, value: v})
		}
	}
	for _, c := range fields {
		if !d.full() && c.Required && out.get(c.Name) == nil && !d.faulty(join(path, c.Name)) {
			d.fault(join(path, c.Name), n.off, "Required property '%s' not found in JSON.", c.Name)
		}
	}
	return out
}

// faulty tells whether something was said already about the value at path.
func (d *decoder) faulty(path string) bool {
	return slices.ContainsFunc(d.invalid, func(f Fault) bool { return f.Target == path })
}

// value gives the normalised value, nil when nothing is kept.
func (d *decoder) value(f *Field, n *node, path string) *node {
	if n.kind == kindNull || f.Effect == ReadOnly {
		return nil
	}
	if f.Effect == Refused && !harmless(f, n) {
		if len(d.refused) >= mostFaults {
			return nil
		}
		d.refused = append(d.refused, bad(path, NotSupported, fmt.Sprintf(
			"The field '%s' has the value %s. Ringfence does not support it, and it would change what is enforced: leave it out%s.",
			path, shorten(string(n.append(nil))), alternatives(f.Harmless))))
		return nil
	}
	v := d.kind(f, n, path)
	if f.Effect == Secret {
		return nil
	}
	return v
}

func alternatives(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return " or set it to " + strings.Join(values, " or ")
}

// harmless: false, empty and the values that the field lists.
func harmless(f *Field, n *node) bool {
	switch text := string(n.append(nil)); {
	case text == "false" || text == "[]" || text == "{}" || text == `""`:
		return true
	default:
		return slices.ContainsFunc(f.Harmless, func(h string) bool { return strings.EqualFold(h, text) })
	}
}

var wantKind = map[Kind]kind{String: kindString, Int: kindNumber, Bool: kindBool, Object: kindObject, Array: kindArray, Map: kindObject, Reference: kindObject}

func (d *decoder) kind(f *Field, n *node, path string) *node {
	if f.Kind == Any {
		return n
	}
	if n.kind != wantKind[f.Kind] {
		return d.convert(f, n, path)
	}
	switch f.Kind {
	case String:
		return d.enum(f, n, path)
	case Int:
		if _, err := strconv.ParseInt(string(n.raw), 10, 32); err != nil {
			d.fault(path, n.off, "%s", badInteger(string(n.raw)))
			return nil
		}
	case Object:
		return d.object(f, n, path)
	case Array:
		out := &node{kind: kindArray, elems: []*node{}}
		for i, e := range n.elems {
			if d.full() {
				break // refused already
			}
			if v := d.element(f.Elem, e, fmt.Sprintf("%s[%d]", path, i)); v != nil {
				out.elems = append(out.elems, v)
			}
		}
		return out
	case Map:
		for _, m := range n.members {
			if m.value.kind != kindString {
				d.fault(join(path, m.name), m.value.off, "Cannot convert %s to a string.", kindNames[m.value.kind])
			}
		}
	case Reference:
		return d.reference(f, n, path)
	}
	return n
}

func badInteger(text string) string {
	if strings.ContainsAny(text, ".eE") {
		return "Input string '" + shorten(text) + "' is not a valid integer."
	}
	return "JSON integer " + shorten(text) + " is too large or small for an Int32."
}

// convert takes what Azure's reader takes: "true" and "100" for a boolean and a number, 80 for a string.
func (d *decoder) convert(f *Field, n *node, path string) *node {
	switch {
	case f.Exact:
	case f.Kind == String && (n.kind == kindNumber || n.kind == kindBool):
		return d.enum(f, jsonString(string(n.raw)), path)
	case f.Kind == Int && n.kind == kindString:
		if v, err := strconv.ParseInt(n.str, 10, 32); err == nil {
			return &node{kind: kindNumber, raw: strconv.AppendInt(nil, v, 10)}
		}
	case f.Kind == Bool && n.kind == kindString && (strings.EqualFold(n.str, "true") || strings.EqualFold(n.str, "false")):
		return &node{kind: kindBool, raw: []byte(strings.ToLower(n.str))}
	}
	d.fault(path, n.off, "Cannot convert %s to %s.", found(n), kindNames[wantKind[f.Kind]])
	return nil
}

func found(n *node) string {
	if len(n.raw) > 0 {
		return kindNames[n.kind] + " (" + shorten(string(n.raw)) + ")"
	}
	return kindNames[n.kind]
}

func (d *decoder) element(f *Field, n *node, path string) *node {
	if n.kind == kindNull {
		d.fault(path, n.off, "A list must not contain null.")
		return nil
	}
	return d.value(f, n, path)
}

func (d *decoder) enum(f *Field, n *node, path string) *node {
	if len(f.Enum) > 0 && !slices.ContainsFunc(f.Enum, func(v string) bool { return strings.EqualFold(v, n.str) }) {
		d.fault(path, n.off, "Error converting value %s to type '%s'. Expected one of: %s.", shorten(string(n.raw)), f.Model, strings.Join(f.Enum, ", "))
		return nil
	}
	return n
}

// reference keeps the id only: clients send whole objects back that they have read.
func (d *decoder) reference(f *Field, n *node, path string) *node {
	id := n.get("id")
	if id == nil || id.kind != kindString {
		d.fault(join(path, "id"), n.off, "Required property 'id' not found in JSON.")
		return nil
	}
	return &node{kind: kindObject, members: []member{{name: "id", value: id}}}
}
