package cli

import (
	"reflect"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// Types of the table that nobody wrote commands for get list, show, create (with the body as JSON) and delete under their own
// words, so that a new row can be used at once.

// fromTable makes the commands of `ringfence network` for every type below it that has none; children stand below their parents.
func fromTable(types []*resource.Type, written map[string]bool) []any {
	var out []any
	for _, t := range types {
		if t.Parent == nil && len(t.Words) == 2 && t.Words[0] == "network" && !written[t.Name] {
			branch := reflect.New(reflect.StructOf([]reflect.StructField{branchField(t, types)}))
			branch.Elem().Field(0).Set(branchValue(t, types))
			out = append(out, branch.Interface())
		}
	}
	return out
}

func branchField(t *resource.Type, types []*resource.Type) reflect.StructField {
	word := t.Words[len(t.Words)-1]
	return reflect.StructField{Name: "X" + t.Segment(), Type: branchType(t, types),
		Tag: reflect.StructTag(`cmd:"" name:"` + word + `" help:"` + strings.ReplaceAll(strings.ToUpper(t.Help[:1])+t.Help[1:], `"`, "'") + `."`)}
}

func children(t *resource.Type, types []*resource.Type) []*resource.Type {
	return slices.DeleteFunc(slices.Clone(types), func(c *resource.Type) bool { return c.Parent != t })
}

// branchType is a struct with a field per verb and one per child.
func branchType(t *resource.Type, types []*resource.Type) reflect.Type {
	fields := []reflect.StructField{
		{Name: "List", Type: reflect.TypeFor[tableList](), Tag: `cmd:"" help:"List them."`},
		{Name: "Show", Type: reflect.TypeFor[tableShow](), Tag: `cmd:"" help:"Show one."`},
	}
	if !t.ReadOnly {
		fields = append(fields,
			reflect.StructField{Name: "Create", Type: reflect.TypeFor[tableCreate](), Tag: `cmd:"" help:"Create or replace one."`},
			reflect.StructField{Name: "Delete", Type: reflect.TypeFor[tableDelete](), Tag: `cmd:"" help:"Delete one."`})
	}
	for _, c := range children(t, types) {
		fields = append(fields, branchField(c, types))
	}
	return reflect.StructOf(fields)
}

func branchValue(t *resource.Type, types []*resource.Type) reflect.Value {
	v := reflect.New(branchType(t, types)).Elem()
	for _, name := range []string{"List", "Show", "Create", "Delete"} {
		if f := v.FieldByName(name); f.IsValid() {
			f.Addr().Interface().(interface{ is(*resource.Type) }).is(t)
		}
	}
	for _, c := range children(t, types) {
		v.FieldByName("X" + c.Segment()).Set(branchValue(c, types))
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
	Parent []string `help:"Name of the parent."`
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
	Parent []string `help:"Name of the parent."`
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
