package template

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// path is where a value stands in the template, as a chain towards the root.
type path struct {
	up   *path
	name string
}

func (p *path) member(name string) *path { return &path{p, name} }
func (p *path) item(i int) *path         { return &path{p, "[" + strconv.Itoa(i) + "]"} }

func (p *path) String() string {
	if p == nil {
		return ""
	}
	up := p.up.String()
	if up == "" || strings.HasPrefix(p.name, "[") {
		return up + p.name
	}
	return up + "." + p.name
}

// poison stands for a value whose fault is already listed; whatever uses it is silent.
type poison struct{}

var errPoison = errors.New("a value that is listed as faulty")

// scope is what an expression can see beside parameters and variables.
type scope struct {
	x      *expansion
	loops  []loop
	state  bool    // reference() is allowed: inside a resource's body or an output
	reader Reader  // answers reference(); nil while the plan is made
	defers *[]expr // collects the reference() calls met while reader is nil
	self   *instance
}

// loop is one copy loop around the expression; the innermost is last.
type loop struct {
	name  string
	index int64
	body  bool // a loop over a property, a variable or an output: copyIndex() without a name does not mean it
}

func (s *scope) within(l loop) *scope {
	c := *s
	c.loops = append(append([]loop(nil), s.loops...), l)
	return &c
}

// value evaluates a node; faults are listed, and what they touch becomes poison.
func (s *scope) value(n *node, at *path) any {
	if err := s.x.budget.take(valueCost); err != nil {
		s.x.blame(n, at, err)
		return poison{}
	}
	switch n.kind {
	case kindString:
		return s.text(n, at)
	case kindArray:
		out := make([]any, len(n.items))
		for i := range n.items {
			out[i] = s.value(n.items[i], at.item(i))
		}
		return out
	case kindObject:
		return s.object(n, at)
	}
	return literal(n)
}

func (s *scope) object(n *node, at *path) any {
	out := newObject(len(n.members))
	for _, m := range n.members {
		if strings.EqualFold(m.name, "copy") && isCopyList(m.value) {
			s.copies(m.value, at.member(m.name), out)
			continue
		}
		name := m.name
		if isExpression(name) || strings.HasPrefix(name, "[[") {
			k, ok := s.text(&node{kind: kindString, off: m.off, text: name}, at.member(name)).(string)
			if !ok {
				continue
			}
			name = k
		}
		out.set(name, s.value(m.value, at.member(m.name)))
	}
	return out
}

// text evaluates a string: an expression or plain text.
func (s *scope) text(n *node, at *path) any {
	if !isExpression(n.text) {
		return plain(n.text)
	}
	e, err := s.x.parse(n.text)
	if err == nil {
		late := false
		if s.defers != nil {
			late, err = s.putOff(e)
		}
		if late && err == nil {
			return poison{}
		}
		var v any
		if err == nil {
			v, err = s.eval(e)
		}
		if err == nil {
			return v
		}
	}
	s.x.blame(n, at, err)
	return poison{}
}

// putOff notes the reference() calls of an expression and says whether there are any. What can be said about such an
// expression before its values are known is said now.
func (s *scope) putOff(e expr) (found bool, err error) {
	calls(e, func(c *callExpr) {
		if c.namespace == "" && strings.EqualFold(c.name, "reference") {
			*s.defers = append(*s.defers, c)
			found = true
		}
	})
	if found {
		calls(e, func(c *callExpr) {
			if _, unknown := resolveName(c); err == nil {
				err = unknown
			}
		})
	}
	return found, err
}

// fail makes a fault at an expression.
func fail(e expr, format string, args ...any) error {
	return &exprError{off: e.offset(), msg: fmt.Sprintf(format, args...)}
}

func (s *scope) eval(e expr) (any, error) {
	switch e := e.(type) {
	case *literalExpr:
		return e.value, nil
	case *accessExpr:
		return s.access(e)
	case *callExpr:
		return s.call(e)
	}
	return nil, nil
}

func (s *scope) access(e *accessExpr) (any, error) {
	base, err := s.eval(e.base)
	if err != nil {
		return nil, err
	}
	key, err := s.eval(e.key)
	if err != nil {
		return nil, err
	}
	v, found, err := lookup(e, base, key)
	if err == nil && !found {
		err = fail(e, "%s", missing(base, key))
	}
	return v, err
}

// lookup finds a member or element; an error is a key of the wrong type.
func lookup(e expr, base, key any) (any, bool, error) {
	switch b := base.(type) {
	case *object:
		name, ok := key.(string)
		if !ok {
			return nil, false, fail(e, "a member of an object is named by a string, not by %s", typeName(key))
		}
		v, found := b.get(name)
		if _, bad := v.(poison); bad {
			return nil, false, errPoison
		}
		return v, found, nil
	case []any:
		i, ok := key.(int64)
		if !ok {
			return nil, false, fail(e, "an element of an array is named by an int, not by %s", typeName(key))
		}
		if i < 0 || i >= int64(len(b)) {
			return nil, false, nil
		}
		if _, bad := b[i].(poison); bad {
			return nil, false, errPoison
		}
		return b[i], true, nil
	}
	return nil, false, fail(e, "%s has no members: only an object or an array has", typeName(base))
}

func missing(base, key any) string {
	if b, ok := base.(*object); ok {
		if name, _ := key.(string); strings.EqualFold(name, "templateLink") {
			return "the template was not deployed from a link: deployment() has no member 'templateLink'"
		}
		return fmt.Sprintf("the member '%v' does not exist; there are: %s", key, list(b.names))
	}
	return fmt.Sprintf("the index %v is outside the array of %d elements", key, len(base.([]any)))
}

// list joins names for a sentence, at most twenty.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	if len(names) > 20 {
		return strings.Join(names[:20], ", ") + " …"
	}
	return strings.Join(names, ", ")
}

// resolveName finds the function of a call and checks the number of its arguments.
func resolveName(e *callExpr) (function, error) {
	if e.namespace != "" && !strings.EqualFold(e.namespace, "sys") && !strings.EqualFold(e.namespace, "az") {
		return function{}, fail(e, "the function '%s.%s' is the template's own: user-defined functions are not supported", e.namespace, e.name)
	}
	f, ok := functions[strings.ToLower(e.name)]
	if !ok {
		return f, fail(e, "the function '%s' is not supported", e.name)
	}
	if n := len(e.args); n < f.least || f.most >= 0 && n > f.most {
		return f, fail(e, "the function '%s' takes %s, not %d", e.name, f.arity(), n)
	}
	return f, nil
}

func (s *scope) call(e *callExpr) (any, error) {
	f, err := resolveName(e)
	if err != nil {
		return nil, err
	}
	if f.lazy != nil {
		return f.lazy(s, e)
	}
	args := make([]any, len(e.args))
	for i := range e.args {
		v, err := s.eval(e.args[i])
		if err != nil {
			return nil, err
		}
		if hasPoison(v) {
			return nil, errPoison
		}
		args[i] = v
	}
	if err := s.x.budget.take(1 + len(args)); err != nil {
		return nil, err
	}
	return f.eager(s, &arguments{e, args})
}

// hasPoison looks one level deep: deeper faults make the whole template faulty anyway.
func hasPoison(v any) bool {
	switch v := v.(type) {
	case poison:
		return true
	case []any:
		for _, e := range v {
			if _, ok := e.(poison); ok {
				return true
			}
		}
	}
	return false
}

// function is a built-in function. Exactly one of eager and lazy is set.
type function struct {
	least, most int // number of arguments; most < 0: any number
	eager       func(*scope, *arguments) (any, error)
	lazy        func(*scope, *callExpr) (any, error) // evaluates its arguments itself
}

func (f function) arity() string {
	switch {
	case f.most < 0:
		return fmt.Sprintf("at least %d arguments", f.least)
	case f.least == f.most:
		return fmt.Sprintf("%d arguments", f.least)
	}
	return fmt.Sprintf("%d to %d arguments", f.least, f.most)
}

// arguments are the evaluated arguments of a call.
type arguments struct {
	call *callExpr
	list []any
}

func (a *arguments) fail(i int, format string, args ...any) error {
	at := expr(a.call)
	if i >= 0 && i < len(a.call.args) {
		at = a.call.args[i]
	}
	return fail(at, "%s: %s", a.call.name, fmt.Sprintf(format, args...))
}

func (a *arguments) want(i int, what string) error {
	return a.fail(i, "argument %d is %s, expected %s", i+1, typeName(a.list[i]), what)
}

func (a *arguments) str(i int) (string, error) {
	if v, ok := a.list[i].(string); ok {
		return v, nil
	}
	return "", a.want(i, "a string")
}

func (a *arguments) integer(i int) (int64, error) {
	if v, ok := a.list[i].(int64); ok {
		return v, nil
	}
	return 0, a.want(i, "an int")
}

func (a *arguments) boolean(i int) (bool, error) {
	if v, ok := a.list[i].(bool); ok {
		return v, nil
	}
	return false, a.want(i, "a bool")
}

func (a *arguments) strs() ([]string, error) {
	out := make([]string, len(a.list))
	for i := range a.list {
		var err error
		if out[i], err = a.str(i); err != nil {
			return nil, err
		}
	}
	return out, nil
}
