package cli

import (
	"reflect"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// Types of the table that nobody wrote commands for get list, show, create (with the body as JSON) and delete under their own
// words, so that a new row can be used at once.

// place is one word of the command line: a type of the table, a word on the way to types, or both.
type place struct {
	word  string
	typ   *resource.Type // nil: only on the way
	below []*place
}

// places hangs the types without commands of their own up under their words.
func places(types []*resource.Type, written map[string]bool) *place {
	root := &place{}
	for _, t := range types {
		if written[t.Name] || len(t.Words) == 0 {
			continue
		}
		at := root
		for _, word := range t.Words {
			at = at.at(word)
		}
		at.typ = t
	}
	return root
}

func (p *place) at(word string) *place {
	for _, b := range p.below {
		if b.word == word {
			return b
		}
	}
	b := &place{word: word}
	p.below = append(p.below, b)
	return b
}

// commands makes a command per word below p.
func (p *place) commands() []any {
	var out []any
	for _, b := range p.below {
		branch := reflect.New(reflect.StructOf([]reflect.StructField{b.field()}))
		branch.Elem().Field(0).Set(b.value())
		out = append(out, branch.Interface())
	}
	return out
}

func (p *place) help() string {
	if p.typ != nil {
		return p.typ.Help
	}
	var words []string
	for _, b := range p.below {
		words = append(words, b.word)
	}
	return strings.Join(words, ", ")
}

func (p *place) name() string { return "X" + strings.ReplaceAll(p.word, "-", "_") }

func (p *place) field() reflect.StructField {
	help := p.help()
	return reflect.StructField{Name: p.name(), Type: p.kind(),
		Tag: reflect.StructTag(`cmd:"" name:"` + p.word + `" help:"` + strings.ReplaceAll(strings.ToUpper(help[:1])+help[1:], `"`, "'") + `."`)}
}

// kind is a struct with a field per verb and one per word below.
func (p *place) kind() reflect.Type {
	var fields []reflect.StructField
	if p.typ != nil {
		fields = append(fields,
			reflect.StructField{Name: "List", Type: reflect.TypeFor[tableList](), Tag: `cmd:"" help:"List them."`},
			reflect.StructField{Name: "Show", Type: reflect.TypeFor[tableShow](), Tag: `cmd:"" help:"Show one."`})
	}
	if p.typ != nil && !p.typ.ReadOnly {
		fields = append(fields,
			reflect.StructField{Name: "Create", Type: reflect.TypeFor[tableCreate](), Tag: `cmd:"" help:"Create or replace one."`},
			reflect.StructField{Name: "Delete", Type: reflect.TypeFor[tableDelete](), Tag: `cmd:"" help:"Delete one."`})
	}
	if p.typ != nil {
		fields = append(fields, ownVerbs[p.typ.Name]...)
	}
	for _, b := range p.below {
		fields = append(fields, b.field())
	}
	return reflect.StructOf(fields)
}

// ownVerbs are what a type of the table can be asked beyond the general verbs.
var ownVerbs = map[string][]reflect.StructField{watcherType: {
	{Name: "TestIPFlow", Type: reflect.TypeFor[testIPFlow](), Tag: `cmd:"" name:"test-ip-flow" help:"Say whether the rules at a machine allow a packet, and which decides."`},
	{Name: "Diagnose", Type: reflect.TypeFor[runDiagnostic](), Tag: `cmd:"" name:"run-configuration-diagnostic" help:"Say rule by rule what decides about traffic at a machine."`},
}}

func (p *place) value() reflect.Value {
	v := reflect.New(p.kind()).Elem()
	for _, name := range []string{"List", "Show", "Create", "Delete"} {
		if f := v.FieldByName(name); f.IsValid() {
			f.Addr().Interface().(interface{ is(*resource.Type) }).is(p.typ)
		}
	}
	for _, b := range p.below {
		v.FieldByName(b.name()).Set(b.value())
	}
	return v
}

// tableType is the row that a verb is about.
type tableType struct {
	Type *resource.Type `kong:"-"`
}

func (t *tableType) is(typ *resource.Type) { t.Type = typ }

// generations is how many names a resource's parents have.
func (t *tableType) generations() int { return len(t.Type.Segments()) - 1 }

func (t *tableType) parents(names []string) error {
	if len(names) != t.generations() {
		return usagef("%s: name its parents with --parent: %d expected", t.Type.Name, t.generations())
	}
	return nil
}

type tableList struct {
	tableType
	Group  string   `short:"g" aliases:"resource-group" help:"Resource group."`
	Parent []string `aliases:"zone-name,vm-name" help:"Name of the parent."`
}

func (c *tableList) Help() string {
	return "Example:\n  ringfence " + strings.Join(c.Type.Words, " ") + " list -g shop"
}

func (c *tableList) Run(a *app) error {
	if err := c.parents(c.Parent); err != nil {
		return err
	}
	return a.listAll(func(s *session) string { return s.path(c.Group, c.Type.Name, c.Parent...) }, []column{nameColumn, placeColumn, stateColumn})
}

type tableOne struct {
	tableType
	Group  string   `short:"g" aliases:"resource-group" required:"" help:"Resource group."`
	Name   string   `short:"n" required:"" help:"Name."`
	Parent []string `aliases:"zone-name,vm-name" help:"Name of the parent."`
}

func (o *tableOne) open(a *app) (*session, string, error) {
	if err := o.parents(o.Parent); err != nil {
		return nil, "", err
	}
	s, err := a.connect()
	if err != nil {
		return nil, "", err
	}
	return s, s.path(o.Group, o.Type.Name, append(slices.Clone(o.Parent), o.Name)...), nil
}

func (o *tableOne) example(verb string) string {
	return "Example:\n  ringfence " + strings.Join(o.Type.Words, " ") + " " + verb + " -g shop" + strings.Repeat(" --parent PARENT", o.generations()) + " -n NAME"
}

type tableShow struct{ tableOne }

func (c *tableShow) Help() string { return c.example("show") }

func (c *tableShow) Run(a *app) error {
	s, path, err := c.open(a)
	if err != nil {
		return err
	}
	var v any
	if err := s.get(path, &v); err != nil {
		return err
	}
	return a.print(v, nameColumn, placeColumn, stateColumn)
}

type tableCreate struct {
	tableOne
	Data string `short:"d" aliases:"body" required:"" placeholder:"JSON" help:"Body: JSON, @file, or - for standard input."`
}

func (c *tableCreate) Help() string { return c.example("create") + ` -d '{"properties":{}}'` }

func (c *tableCreate) Run(a *app) error {
	body, err := a.data(c.Data)
	if err != nil {
		return err
	}
	s, path, err := c.open(a)
	if err != nil {
		return err
	}
	v, err := s.putRaw(path, body, true)
	if err != nil {
		return err
	}
	return a.print(v, nameColumn, placeColumn, stateColumn)
}

type tableDelete struct {
	tableOne
	NoWait bool `help:"Do not wait for the end."`
}

func (c *tableDelete) Help() string { return c.example("delete") }

func (c *tableDelete) Run(a *app) error {
	s, path, err := c.open(a)
	if err != nil {
		return err
	}
	return s.remove(path, !c.NoWait)
}
