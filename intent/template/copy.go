package template

import "strings"

// isCopyList tells a list of property loops from a member that happens to be called "copy".
func isCopyList(n *node) bool {
	if n.kind != kindArray || len(n.items) == 0 {
		return false
	}
	for _, c := range n.items {
		if c.get("name") == nil || c.get("count") == nil {
			return false
		}
	}
	return true
}

// copySpec is one loop over a property, a variable or an output.
type copySpec struct {
	name  string
	count int64
	input *node
	at    *node
}

func (s *scope) copySpec(c *node, at *path) (copySpec, bool) {
	spec := copySpec{at: c, input: c.get("input")}
	name, ok := s.value(c.get("name"), at.member("name")).(string)
	if !ok || spec.input == nil {
		s.x.refuse(c, at, "a copy loop needs a name, a count and an input")
		return spec, false
	}
	spec.name = name
	spec.count, ok = s.count(c, at)
	return spec, ok
}

// count evaluates a loop's count.
func (s *scope) count(c *node, at *path) (int64, bool) {
	n := c.get("count")
	if n == nil {
		s.x.refuse(c, at, "a copy loop needs a count")
		return 0, false
	}
	v := s.value(n, at.member("count"))
	count, ok := v.(int64)
	if _, bad := v.(poison); bad {
		return 0, false
	}
	if !ok || count < 0 || count > mostCopies {
		s.x.refuse(n, at.member("count"), "the count of a copy loop is an int from 0 to %d, not %v", mostCopies, show(v))
		return 0, false
	}
	return count, true
}

func show(v any) string {
	raw, err := encodeValue(v)
	if err != nil || len(raw) > 200 {
		return typeName(v)
	}
	return string(raw)
}

// copies evaluates the loops of an object into its members.
func (s *scope) copies(n *node, at *path, into *object) {
	for i, c := range n.items {
		where := at.item(i)
		if spec, ok := s.copySpec(c, where); ok {
			into.set(spec.name, s.repeat(spec, where))
		}
	}
}

func (s *scope) repeat(spec copySpec, at *path) any {
	out := make([]any, spec.count)
	for i := range out {
		if s.x.budget.left < 0 { // listed where it was used up
			return poison{}
		}
		out[i] = s.within(loop{name: spec.name, index: int64(i), body: true}).value(spec.input, at.member("input"))
	}
	return out
}

// truthy evaluates a condition.
func (s *scope) truthy(n *node, at *path) (yes, ok bool) {
	switch v := s.value(n, at).(type) {
	case bool:
		return v, true
	case string:
		if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") {
			return strings.EqualFold(v, "true"), true
		}
		s.x.refuse(n, at, "the condition is %q, expected a bool", v)
	case poison:
	default:
		s.x.refuse(n, at, "the condition is of type %s, expected a bool", typeName(v))
	}
	return false, false
}
