package template

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// Unknown stands in the bodies of ExpandPartly for a value that could not be evaluated.
const Unknown = "\ue000unknown"

// Lost is a declaration that ExpandPartly could not turn into resources: its name, its type or the number of its copies is not known.
type Lost struct {
	Type string // as the template has it, "" when there is none
	Path string
}

func (x *expansion) lose(n *node, at *path) {
	x.lost = append(x.lost, Lost{Type: orNull(n.get("type")).text, Path: at.String()})
}

// ExpandPartly evaluates what can be evaluated: for questions about a template that may be answered without the rest of it. It gives the
// plan and every fault; a value that a fault concerns or that reference() would give is Unknown in the bodies, a resource whose condition is
// not known is Doubtful, one without an id is Lost. No value is guessed. Nothing of such a plan is deferred.
func ExpandPartly(t *Template, params map[string]json.RawMessage, env Env) (*Plan, Faults) {
	x := newExpansion(t, env)
	x.declareParameters(params)
	x.declareVariables()
	x.expandResources()
	order, ok := x.order()
	if !ok {
		order = x.instances
	}
	plan := &Plan{Lost: x.lost}
	for _, i := range order {
		if i.exists || !i.enabled && !i.doubt {
			continue
		}
		body := i.body
		if i.doubt {
			body = nil
		}
		raw, err := encodeValue(body)
		if err != nil {
			x.blame(i.node, i.at, err)
			raw = json.RawMessage("null")
		}
		plan.Resources = append(plan.Resources, Resource{ID: i.id, APIVersion: i.api, Type: i.typ, Name: i.name, Body: raw, Path: i.at.String(), Doubtful: i.doubt})
	}
	for _, i := range x.instances { // the order leaves out what is not enabled
		if i.doubt && !i.enabled && !slices.Contains(order, i) {
			plan.Resources = append(plan.Resources, Resource{ID: i.id, APIVersion: i.api, Type: i.typ, Name: i.name, Body: json.RawMessage("null"), Path: i.at.String(), Doubtful: true})
		}
	}
	slices.SortStableFunc(x.faults, func(a, b Fault) int { return a.Line - b.Line })
	return plan, x.faults
}

// Line is where in the text a path of the template stands, as far as it stands there literally: the line of the innermost value on
// the way to it.
func (t *Template) Line(path string) int {
	n := t.root
	for _, step := range steps(path) {
		next := n.get(step)
		if i, err := strconv.Atoi(step); err == nil && n.kind == kindArray {
			next = nil
			if i < len(n.items) {
				next = n.items[i]
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	line, _ := position(t.text, n.off)
	return line
}

// steps splits resources[2].properties.rules[0] into names and numbers.
func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}
