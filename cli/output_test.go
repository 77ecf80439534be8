package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"ringfence/intent/resource"
)

// Every format says the same of a list, with and without a query.
func TestFormats(t *testing.T) {
	rows := []any{map[string]any{"name": "a", "n": 1.0, "text": "two\twords"}, map[string]any{"name": "b", "n": 2.0}}
	for _, c := range []struct{ format, query, want string }{
		{"tsv", "", "a\t1\nb\t2\n"},
		{"tsv", "[].name", "a\nb\n"},
		{"tsv", "[].[n, name]", "1\ta\n2\tb\n"},
		{"tsv", "[0]", "1\ta\ttwo words\n"},
		{"json", "[1].n", "2\n"},
		{"jsonc", "[1].n", "2\n"},
		{"yaml", "[].n", "- 1\n- 2\n"},
		{"table", "", "Name  N\n----  -\na     1\nb     2\n"},
		{"none", "", ""},
	} {
		var b bytes.Buffer
		a := &app{flags: &globals{Output: c.format, Query: c.query}, out: &b, progress: newProgress(&b)}
		if err := a.print(rows, column{"Name", "name"}, column{"N", "n"}); err != nil || b.String() != c.want {
			t.Errorf("-o %s --query %q: %q, %v; want %q", c.format, c.query, b.String(), err, c.want)
		}
	}
	a := &app{flags: &globals{Query: "["}, out: &bytes.Buffer{}, progress: newProgress(&bytes.Buffer{})}
	if err := a.print(rows); err == nil || !strings.Contains(err.Error(), "--query") {
		t.Errorf("a query that is none: %v", err)
	}
}

// Every command takes the formats and a query: no command may hide them behind flags of its own.
func TestEveryCommandTakesAQuery(t *testing.T) {
	parser, err := kong.New(newCommands(resource.Types()), options(&bytes.Buffer{}, &bytes.Buffer{}, func(int) {})...)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, child := range n.Children {
			walk(child)
		}
		if len(n.Children) > 0 || n.Hidden {
			return
		}
		seen++
		found := map[string]bool{}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				found[f.Name] = true
			}
		}
		if !found["output"] || !found["query"] {
			t.Errorf("%s: takes %v", n.FullPath(), found)
		}
	}
	walk(parser.Model.Node)
	if seen < 60 {
		t.Errorf("only %d commands", seen)
	}
}
