package template

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// find gives the resources that a name of dependsOn or reference() means. A nil element stands for a loop without turns.
func (x *expansion) find(name string) ([]*instance, error) {
	found, ok := x.named[strings.ToLower(strings.TrimSuffix(name, "/"))]
	if !ok {
		return nil, fmt.Errorf("the resource '%s' is not defined in the template", name)
	}
	return found, nil
}

// link finds what an instance depends on: dependsOn, its parent, the turn before in a serial loop, what reference() reads.
func (x *expansion) link(i *instance) {
	if !i.enabled || i.exists {
		return
	}
	if d := i.node.get("dependsOn"); d != nil {
		where := i.at.member("dependsOn")
		v, ok := i.scope.value(d, where).([]any)
		if !ok {
			x.refuse(d, where, "'dependsOn' is an array of names")
		}
		for k, e := range v {
			item := d
			if k < len(d.items) {
				item = d.items[k]
			}
			x.linkName(i, item, where.item(k), e)
		}
	}
	names := strings.Split(i.name, "/")
	if len(names) > 1 {
		parent := i.id[:strings.LastIndexByte(i.id[:strings.LastIndexByte(i.id, '/')], '/')]
		i.need(x.byID[strings.ToLower(parent)])
	}
	i.need(i.serial)
	for _, e := range i.refs {
		x.linkReference(i, e.(*callExpr))
	}
}

func (x *expansion) linkName(i *instance, n *node, at *path, v any) {
	name, ok := v.(string)
	if !ok || name == "" {
		if _, bad := v.(poison); !bad {
			x.refuse(n, at, "an element of 'dependsOn' is a string that is not empty, not %s", show(v))
		}
		return
	}
	found, err := x.find(name)
	if err != nil {
		x.refuse(n, at, "%v", err)
		return
	}
	if !strings.Contains(name, "/") && len(found) > 1 {
		// A short name means one resource or all turns of one loop, never two declarations.
		for _, f := range found[1:] {
			if f != nil && found[0] != nil && f.node != found[0].node {
				x.refuse(n, at, "the name '%s' is ambiguous: it means %s and %s; use resourceId()", name, found[0].id, f.id)
				return
			}
		}
	}
	for _, f := range found {
		if f == i {
			x.refuse(n, at, "the resource %s depends on itself", i.id)
			return
		}
		i.need(f)
	}
}

// linkReference makes a resource wait for what its reference() calls read. What cannot be known yet is told when it is read.
func (x *expansion) linkReference(i *instance, c *callExpr) {
	if len(c.args) == 0 {
		return
	}
	v, err := i.scope.eval(c.args[0])
	name, ok := v.(string)
	if err != nil || !ok {
		return
	}
	found, err := x.find(name)
	if err != nil {
		return
	}
	for _, f := range found {
		if f != i {
			i.need(f)
		}
	}
}

func (i *instance) need(other *instance) {
	if other != nil && other.enabled && !other.exists && !slices.Contains(i.needs, other) {
		i.needs = append(i.needs, other)
	}
}

// order puts dependencies before dependents and keeps the template's order otherwise; a cycle is refused by name.
func (x *expansion) order() ([]*instance, bool) {
	const (
		fresh = iota
		open
		done
	)
	state := map[*instance]int{}
	var out, stack []*instance
	var visit func(i *instance) bool
	visit = func(i *instance) bool {
		switch state[i] {
		case done:
			return true
		case open:
			cycle := stack[slices.Index(stack, i):]
			names := make([]string, 0, len(cycle)+1)
			for _, c := range append(slices.Clone(cycle), i) {
				names = append(names, c.typ+" "+c.name)
			}
			x.refuse(i.node, i.at, "resources depend on each other in a circle: %s", strings.Join(names, " → "))
			return false
		}
		state[i] = open
		stack = append(stack, i)
		for _, n := range i.needs {
			if !visit(n) {
				return false
			}
		}
		stack = stack[:len(stack)-1]
		state[i] = done
		out = append(out, i)
		return true
	}
	for _, i := range x.instances {
		if i.enabled && !i.exists && !visit(i) {
			return nil, false
		}
	}
	return out, true
}

// resource makes the plan's element of an instance.
func (x *expansion) resource(i *instance) Resource {
	r := Resource{ID: i.id, APIVersion: i.api, Type: i.typ, Name: i.name, Path: i.at.String()}
	for _, n := range i.needs {
		r.DependsOn = append(r.DependsOn, n.id)
	}
	if len(i.refs) > 0 {
		r.late, r.Body = &lateBody{x, i}, json.RawMessage("null")
		return r
	}
	body, err := encodeValue(i.body)
	if err != nil {
		x.blame(i.node, i.at, err)
	}
	r.Body = body
	return r
}
