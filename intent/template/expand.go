package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// expansion is the work on one template with one set of values.
type expansion struct {
	t      *Template
	env    Env
	budget budget
	faults Faults
	parsed map[string]parsedExpr
	params *lazyTable
	vars   *lazyTable

	lost      []Lost
	instances []*instance
	byID      map[string]*instance // by lower-case id
	named     map[string][]*instance
}

type parsedExpr struct {
	e   expr
	err error
}

// lazyTable holds parameters or variables, evaluated when they are met for the first time.
type lazyTable struct {
	names   []string
	entries map[string]*lazyEntry
}

type lazyEntry struct {
	make    func() any
	value   any
	done    bool
	running bool
}

func (e *lazyEntry) get() any {
	if !e.done {
		e.running = true
		e.value = e.make()
		e.done, e.running = true, false
	}
	return e.value
}

func (t *lazyTable) add(name string, f func() any) {
	t.names = append(t.names, name)
	t.entries[strings.ToLower(name)] = &lazyEntry{make: f}
}

func newExpansion(t *Template, env Env) *expansion {
	if env.KnownType == nil {
		env.KnownType = Deployable
	}
	return &expansion{
		t: t, env: env, budget: budget{largest}, parsed: map[string]parsedExpr{},
		params: &lazyTable{entries: map[string]*lazyEntry{}},
		vars:   &lazyTable{entries: map[string]*lazyEntry{}},
		byID:   map[string]*instance{}, named: map[string][]*instance{},
	}
}

// Expand evaluates a template with the values of its parameters in the scope env. The error is Faults.
func Expand(t *Template, params map[string]json.RawMessage, env Env) (*Plan, error) {
	x := newExpansion(t, env)
	x.declareParameters(params)
	x.declareVariables()
	x.expandResources()
	plan := &Plan{}
	if order, ok := x.order(); ok {
		for _, i := range order {
			plan.Resources = append(plan.Resources, x.resource(i))
		}
	}
	plan.outputs = x.outputs()
	if len(x.faults) > 0 {
		slices.SortStableFunc(x.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, x.faults
	}
	return plan, nil
}

// parse keeps syntax trees: a copy loop meets the same text many times.
func (x *expansion) parse(text string) (expr, error) {
	p, ok := x.parsed[text]
	if !ok {
		p.e, p.err = parseExpression(text)
		x.parsed[text] = p
	}
	return p.e, p.err
}

// blame lists an error at a node; errors that follow from a listed one are silent.
func (x *expansion) blame(n *node, at *path, err error) {
	if errors.Is(err, errPoison) {
		return
	}
	f := Fault{Code: CodeInvalidTemplate, Message: err.Error(), Path: at.String()}
	off := n.off
	var e *exprError
	if errors.As(err, &e) {
		if e.code != "" {
			f.Code = e.code
		}
		if n.kind == kindString && off < len(x.t.text) && x.t.text[off] == '"' {
			off = within(x.t.text, off, e.off)
		}
	}
	f.Line, f.Column = position(x.t.text, off)
	if len(x.faults) < mostFaults && !slices.Contains(x.faults, f) {
		x.faults = append(x.faults, f)
	}
}

const mostFaults = 200

func (x *expansion) refuse(n *node, at *path, format string, args ...any) {
	x.blame(n, at, &exprError{msg: fmt.Sprintf(format, args...)})
}

var root *path

func encodeValue(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	err := encode(&b, v, &budget{largest})
	return b.Bytes(), err
}

func (x *expansion) declareVariables() {
	vars := x.t.root.get("variables")
	if vars == nil {
		return
	}
	at := root.member("variables")
	plainScope := &scope{x: x}
	for _, m := range vars.members {
		if strings.EqualFold(m.name, "copy") && isCopyList(m.value) {
			for i, c := range m.value.items {
				where := at.member("copy").item(i)
				spec, ok := plainScope.copySpec(c, where)
				if ok {
					x.vars.add(spec.name, func() any { return plainScope.repeat(spec, where) })
				}
			}
			continue
		}
		x.vars.add(m.name, func() any { return plainScope.value(m.value, at.member(m.name)) })
	}
	for _, name := range x.vars.names {
		x.vars.entries[strings.ToLower(name)].get()
	}
}
