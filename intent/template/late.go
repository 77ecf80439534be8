package template

import (
	"encoding/json"
	"slices"
	"strings"
)

// lateBody is the body of a resource that reads other resources.
type lateBody struct {
	x *expansion
	i *instance
}

func (l *lateBody) resolve(read Reader) (json.RawMessage, error) {
	l.x.faults, l.x.budget = nil, budget{largest}
	s := *l.i.scope
	s.state, s.reader, s.defers = true, read, nil
	v := s.body(l.i)
	if len(l.x.faults) > 0 {
		return nil, slices.Clone(l.x.faults)
	}
	return encodeValue(v)
}

// outputs are evaluated after everything was written.
type outputs struct {
	x    *expansion
	node *node
}

var outputMembers = []string{"type", "value", "condition", "copy", "metadata", "nullable"}

// outputs checks the outputs as far as that is possible before anything is written.
func (x *expansion) outputs() *outputs {
	n := x.t.root.get("outputs")
	if n == nil {
		return nil
	}
	o := &outputs{x, n}
	var refs []expr
	o.each(&scope{x: x, state: true, defers: &refs}, func(string, string, any) {})
	return o
}

func (o *outputs) resolve(read Reader) (json.RawMessage, error) {
	o.x.faults, o.x.budget = nil, budget{largest}
	out := newObject(len(o.node.members))
	o.each(&scope{x: o.x, state: true, reader: read}, func(name, typ string, v any) {
		out.set(name, pairs("type", typ, "value", v))
	})
	if len(o.x.faults) > 0 {
		return nil, slices.Clone(o.x.faults)
	}
	return encodeValue(out)
}

// outputTypes spells types as Azure answers them.
var outputTypes = map[string]string{"string": "String", "securestring": "SecureString", "int": "Int", "bool": "Bool",
	"object": "Object", "secureobject": "SecureObject", "array": "Array"}

func (o *outputs) each(s *scope, emit func(name, typ string, v any)) {
	for _, m := range o.node.members {
		at := root.member("outputs").member(m.name)
		if c := m.value.get("condition"); c != nil {
			if yes, _ := s.truthy(c, at.member("condition")); !yes {
				continue
			}
		}
		for _, sub := range m.value.members {
			if !slices.ContainsFunc(outputMembers, func(n string) bool { return strings.EqualFold(n, sub.name) }) {
				o.x.refuse(&node{off: sub.off}, at.member(sub.name), "'%s' is not supported in an output; there are: %s", sub.name, strings.Join(outputMembers, ", "))
			}
		}
		typ, ok := outputTypes[strings.ToLower(orNull(m.value.get("type")).text)]
		if !ok {
			o.x.refuse(m.value, at, "the output '%s' has no known type", m.name)
			continue
		}
		o.one(s, m, typ, at, emit)
	}
}

func (o *outputs) one(s *scope, m member, typ string, at *path, emit func(name, typ string, v any)) {
	value, c := m.value.get("value"), m.value.get("copy")
	switch {
	case value != nil:
		emit(m.name, typ, s.value(value, at.member("value")))
	case c != nil && c.get("input") != nil:
		if count, ok := s.count(c, at.member("copy")); ok {
			emit(m.name, typ, s.repeat(copySpec{m.name, count, c.get("input"), c}, at.member("copy")))
		}
	default:
		o.x.refuse(m.value, at, "the output '%s' has no value", m.name)
	}
}
