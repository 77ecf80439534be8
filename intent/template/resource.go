package template

import (
	"fmt"
	"slices"
	"strings"
)

// instance is one resource to be: a declaration of the template at one turn of its loops.
type instance struct {
	node    *node
	at      *path
	scope   *scope
	parent  *instance // of a nested resource
	id      string
	typ     string
	name    string // with the parents' names
	api     string
	enabled bool // its condition holds; a disabled one can still be named by dependsOn
	doubt   bool // its condition could not be evaluated
	exists  bool // "existing": it is read, not written
	serial  *instance
	needs   []*instance
	refs    []expr // reference() calls of its body
	body    any
}

// members of a resource that belong to the template and not to the resource.
var control = []string{"type", "apiVersion", "name", "dependsOn", "condition", "copy", "comments", "metadata", "resources", "scope", "existing"}

// refusedMembers of a resource change where it goes.
var refusedMembers = map[string]string{
	"scope":          "a resource at another scope",
	"subscriptionid": "a resource in another subscription",
	"resourcegroup":  "a resource in another resource group",
	"import":         "a resource of an extension",
	"extension":      "a resource of an extension",
}

func (x *expansion) expandResources() {
	n := x.t.root.get("resources")
	at := root.member("resources")
	for i, r := range n.items {
		x.declare(r, "", nil, &scope{x: x}, at.item(i))
	}
	for _, m := range n.members {
		x.declare(m.value, m.name, nil, &scope{x: x}, at.member(m.name))
	}
	for _, i := range x.instances {
		i.evaluate(x)
	}
	for _, i := range x.instances {
		x.link(i)
	}
}

// declare makes the instances of one declaration and of what is nested in it.
func (x *expansion) declare(n *node, symbol string, parent *instance, s *scope, at *path) {
	if n.kind != kindObject {
		x.refuse(n, at, "a resource is an object, not %s", n.kind)
		x.lose(n, at)
		return
	}
	c := n.get("copy")
	if c == nil {
		x.instantiate(n, symbol, parent, s, at)
		return
	}
	where := at.member("copy")
	name, ok := s.value(orNull(c.get("name")), where.member("name")).(string)
	if !ok {
		x.refuse(c, where, "a copy loop needs a name")
		x.lose(n, at)
		return
	}
	count, ok := s.count(c, where)
	if !ok {
		x.lose(n, at)
		return
	}
	batch := s.batch(c, where)
	var made []*instance
	for k := range count {
		i := x.instantiate(n, symbol, parent, s.within(loop{name: name, index: k}), at)
		if i == nil {
			return
		}
		if batch > 0 && k >= batch {
			i.serial = made[k-batch]
		}
		made = append(made, i)
		x.call(name, i)
		if symbol != "" {
			x.call(fmt.Sprintf("%s[%d]", symbol, k), i)
		}
	}
	if count == 0 { // the loop's name stays known to dependsOn
		x.named[strings.ToLower(name)] = append(x.named[strings.ToLower(name)], nil)
		if symbol != "" {
			x.named[strings.ToLower(symbol)] = append(x.named[strings.ToLower(symbol)], nil)
		}
	}
}

func orNull(n *node) *node {
	if n == nil {
		return &node{}
	}
	return n
}

// batch is how many instances of a serial loop may be written at once; 0 when the loop is not serial.
func (s *scope) batch(c *node, at *path) int64 {
	mode := c.get("mode")
	if mode == nil {
		return 0
	}
	if v, _ := s.value(mode, at.member("mode")).(string); !strings.EqualFold(v, "serial") {
		return 0
	}
	if size := c.get("batchSize"); size != nil {
		if v, ok := s.value(size, at.member("batchSize")).(int64); ok && v > 0 {
			return v
		}
		s.x.refuse(size, at.member("batchSize"), "the batch size of a copy loop is an int greater than 0")
	}
	return 1
}

// call makes an instance known under a name that dependsOn and reference() may use.
func (x *expansion) call(name string, i *instance) {
	name = strings.ToLower(name)
	if !slices.Contains(x.named[name], i) {
		x.named[name] = append(x.named[name], i)
	}
}

func (x *expansion) instantiate(n *node, symbol string, parent *instance, s *scope, at *path) *instance {
	if len(x.instances) >= mostResources {
		x.refuse(n, at, "a template may have at most %d resources", mostResources)
		return nil
	}
	i := &instance{node: n, at: at, parent: parent, enabled: true}
	own := *s
	own.self = i
	i.scope = &own
	if c := n.get("condition"); c != nil {
		var known bool
		i.enabled, known = s.truthy(c, at.member("condition"))
		i.doubt = !known
	}
	i.exists = n.get("existing") != nil && n.get("existing").flag
	if !i.identify(x) {
		x.lose(n, at)
		return nil
	}
	for _, m := range n.members {
		if what := refusedMembers[strings.ToLower(m.name)]; what != "" && m.value.kind != kindNull {
			x.refuse(m.value, at.member(m.name), "%s ('%s') is not supported", what, m.name)
		}
	}
	x.instances = append(x.instances, i)
	x.register(i, symbol)
	if nested := n.get("resources"); nested != nil {
		for k, r := range nested.items {
			x.declare(r, "", i, s, at.member("resources").item(k))
		}
		for _, m := range nested.members {
			x.declare(m.value, m.name, i, s, at.member("resources").member(m.name))
		}
	}
	return i
}

// required evaluates a string that must be there.
func (i *instance) required(x *expansion, name string) (string, bool) {
	n := i.node.get(name)
	if n == nil {
		x.refuse(i.node, i.at, "the resource has no '%s'", name)
		return "", false
	}
	v := i.scope.value(n, i.at.member(name))
	text, ok := v.(string)
	if _, bad := v.(poison); !bad && (!ok || text == "") {
		x.refuse(n, i.at.member(name), "'%s' of a resource is a string that is not empty, not %s", name, show(v))
		return "", false
	}
	return text, ok
}

// identify evaluates type, name and API version and makes the id.
func (i *instance) identify(x *expansion) bool {
	typ, ok1 := i.required(x, "type")
	if i.parent != nil && ok1 && !i.fullType(typ) {
		typ = i.parent.typ + "/" + typ
	}
	if ok1 {
		typ, ok1 = i.known(x, typ)
	}
	name, ok2 := i.required(x, "name")
	api, ok3 := i.required(x, "apiVersion")
	if !ok1 || !ok2 || !ok3 {
		return false
	}
	if p := i.parent; p != nil && (!i.fullType(i.node.get("type").text) || !strings.Contains(name, "/")) {
		name = p.name + "/" + name
	}
	types, names := strings.Split(typ, "/"), strings.Split(name, "/")
	if len(types)-1 != len(names) || slices.Contains(names, "") {
		x.refuse(i.node.get("name"), i.at.member("name"), "the name '%s' does not fit the type '%s', which needs %d names separated by '/'", name, typ, len(types)-1)
		return false
	}
	i.typ, i.name, i.api = typ, name, api
	i.id = x.groupID() + "/providers/" + types[0]
	for k, n := range names {
		i.id += "/" + types[k+1] + "/" + n
	}
	return true
}

// fullType says that a nested resource's type is written with its parent's.
func (i *instance) fullType(typ string) bool {
	return strings.HasPrefix(strings.ToLower(typ), strings.ToLower(i.parent.typ)+"/")
}

// known gives the canonical spelling of a type that can be deployed. One that cannot is listed; the resource stays known by name, so
// that what depends on it is not blamed as well.
func (i *instance) known(x *expansion, typ string) (string, bool) {
	n, at := i.node.get("type"), i.at.member("type")
	if types := strings.Split(typ, "/"); len(types) < 2 || slices.Contains(types, "") {
		x.refuse(n, at, "'%s' is no resource type: expected Namespace/type", typ)
		return "", false
	}
	canonical, ok := x.env.KnownType(typ)
	switch {
	case ok:
		return canonical, true
	case i.enabled: // one that is not deployed need not be known
		x.blame(n, at, &exprError{code: CodeInvalidResourceType, msg: fmt.Sprintf("the resource type '%s' is not supported", typ)})
	}
	return typ, true
}

// register makes the instance known under everything by which dependsOn may name it.
func (x *expansion) register(i *instance, symbol string) {
	low := strings.ToLower(i.id)
	if other := x.byID[low]; other != nil && (other.enabled || !i.enabled) {
		if other.enabled && i.enabled && !i.exists && !other.exists {
			x.refuse(i.node, i.at, "the resource %s is defined twice; first at %s", i.id, other.at)
		}
	} else {
		x.byID[low] = i
	}
	_, tail, _ := strings.Cut(i.id, "/providers/")
	names := strings.Split(i.name, "/")
	for _, name := range []string{i.id, tail, i.typ + "/" + i.name, i.name, names[len(names)-1]} {
		x.call(name, i)
	}
	if symbol != "" {
		x.call(symbol, i)
	}
}

// evaluate makes the body. Expressions with reference() are put off.
func (i *instance) evaluate(x *expansion) {
	if !i.enabled || i.exists {
		return
	}
	s := *i.scope
	s.state, s.defers = true, &i.refs
	i.body = s.body(i)
}

func (s *scope) body(i *instance) any {
	n := &node{kind: kindObject, off: i.node.off}
	for _, m := range i.node.members {
		if !slices.ContainsFunc(control, func(c string) bool { return strings.EqualFold(c, m.name) }) {
			n.members = append(n.members, m)
		}
	}
	return s.value(n, i.at)
}
