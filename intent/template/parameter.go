package template

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// mostParameters and the like are Azure's limits for one template.
const (
	mostResources = 800
	mostCopies    = 800
)

func (x *expansion) declareParameters(given map[string]json.RawMessage) {
	declared := x.t.root.get("parameters")
	if declared == nil {
		declared = &node{kind: kindObject}
	}
	values := map[string]json.RawMessage{}
	var known []string
	for _, m := range declared.members {
		known = append(known, m.name)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if declared.get(name) == nil {
			x.faults = append(x.faults, Fault{Code: CodeInvalidTemplate, Path: "parameters." + name,
				Message: "the parameter '" + name + "' is given, but the template does not define it; it defines: " + list(known)})
		}
		values[strings.ToLower(name)] = given[name]
	}
	at := root.member("parameters")
	for _, m := range declared.members {
		raw, isGiven := values[strings.ToLower(m.name)]
		x.params.add(m.name, func() any { return x.parameter(m, raw, isGiven, at.member(m.name)) })
	}
	for _, name := range known {
		x.params.entries[strings.ToLower(name)].get()
	}
}

var parameterMembers = []string{"type", "defaultValue", "allowedValues", "minLength", "maxLength", "minValue", "maxValue", "metadata", "nullable"}

// parameter finds and checks the value of one parameter.
func (x *expansion) parameter(m member, raw json.RawMessage, given bool, at *path) any {
	d := m.value
	if d.kind != kindObject {
		x.refuse(d, at, "the definition of a parameter is an object, not %s", d.kind)
		return poison{}
	}
	for _, sub := range d.members {
		if !slices.ContainsFunc(parameterMembers, func(n string) bool { return strings.EqualFold(n, sub.name) }) {
			x.refuse(&node{off: sub.off}, at.member(sub.name), "'%s' is not supported in the definition of a parameter; there are: %s", sub.name, strings.Join(parameterMembers, ", "))
			return poison{}
		}
	}
	typ := d.get("type")
	if typ == nil || typ.kind != kindString {
		x.refuse(d, at, "the parameter '%s' has no type", m.name)
		return poison{}
	}
	source, where := d, at
	var v any
	switch def := d.get("defaultValue"); {
	case given:
		n, err := parseJSON(raw)
		if err != nil {
			x.refuse(d, at, "the value given for the parameter '%s' is no JSON: %v", m.name, err)
			return poison{}
		}
		v = literal(n)
	case def != nil:
		source, where = def, at.member("defaultValue")
		v = (&scope{x: x}).value(def, where)
	case d.get("nullable") != nil && d.get("nullable").flag:
		return nil
	default:
		x.refuse(d, at, "no value is given for the parameter '%s', and it has no default value", m.name)
		return poison{}
	}
	if _, bad := v.(poison); bad || !x.checkParameter(m.name, strings.ToLower(typ.text), d, v, source, where) {
		return poison{}
	}
	return v
}

// parameterTypes gives for each type of a parameter the type of its value.
var parameterTypes = map[string]string{"string": "string", "securestring": "string", "int": "int", "bool": "bool",
	"object": "object", "secureobject": "object", "array": "array"}

func (x *expansion) checkParameter(name, typ string, d *node, v any, source *node, at *path) bool {
	want, ok := parameterTypes[typ]
	if !ok {
		x.refuse(d.get("type"), at, "the parameter '%s' has the unknown type '%s'; there are: string, securestring, int, bool, object, secureobject, array", name, d.get("type").text)
		return false
	}
	nullable := d.get("nullable") != nil && d.get("nullable").flag
	if v == nil && nullable {
		return true
	}
	if typeName(v) != want {
		x.refuse(source, at, "the value of the parameter '%s' is of type %s, expected %s", name, typeName(v), want)
		return false
	}
	return x.checkAllowed(name, d, v, source, at) && x.checkBounds(name, d, v, source, at)
}

func (x *expansion) checkAllowed(name string, d *node, v any, source *node, at *path) bool {
	allowed := d.get("allowedValues")
	if allowed == nil {
		return true
	}
	var words []string
	isAllowed := func(v any) bool {
		for _, n := range allowed.items {
			a := literal(n)
			s1, ok1 := a.(string)
			s2, ok2 := v.(string)
			if ok1 && ok2 && strings.EqualFold(s1, s2) {
				return true
			}
			if same, _ := equal(a, v, &x.budget); same {
				return true
			}
		}
		return false
	}
	if isAllowed(v) {
		return true
	}
	if elements, ok := v.([]any); ok && !slices.ContainsFunc(elements, func(e any) bool { return !isAllowed(e) }) {
		return true
	}
	for _, n := range allowed.items {
		raw, _ := encodeValue(literal(n))
		words = append(words, string(raw))
	}
	raw, _ := encodeValue(v)
	if secret(d) {
		raw = []byte("(secret)")
	}
	x.refuse(source, at, "the value %s of the parameter '%s' is not allowed; allowed are: %s", raw, name, list(words))
	return false
}

// secret says that a parameter's value must not be shown.
func secret(d *node) bool { return strings.HasPrefix(strings.ToLower(d.get("type").text), "secure") }

func (x *expansion) checkBounds(name string, d *node, v any, source *node, at *path) bool {
	var size int64
	bounds := []string{"minLength", "maxLength"}
	what := "length"
	switch v := v.(type) {
	case string:
		size = int64(utf8.RuneCountInString(v))
	case []any:
		size = int64(len(v))
	case int64:
		size, bounds, what = v, []string{"minValue", "maxValue"}, "value"
	default:
		return true
	}
	for i, b := range bounds {
		n := d.get(b)
		if n == nil {
			continue
		}
		limit, ok := literal(n).(int64)
		if !ok {
			x.refuse(n, at, "%s of the parameter '%s' is no integer", b, name)
			return false
		}
		if i == 0 && size < limit || i == 1 && size > limit {
			x.refuse(source, at, "the %s %d of the parameter '%s' violates its %s %d", what, size, name, b, limit)
			return false
		}
	}
	return true
}
