package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"ringfence/intent/resource"
)

// allCommands lists the words of every command that is not hidden.
func allCommands(t *testing.T, types []*resource.Type) []string {
	t.Helper()
	parser, err := kong.New(newCommands(types), options(io.Discard, io.Discard, func(int) {})...)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var walk func(n *kong.Node, words []string)
	walk = func(n *kong.Node, words []string) {
		if n.Hidden {
			return
		}
		leaf := true
		for _, child := range n.Children {
			leaf = false
			walk(child, append(slices.Clone(words), child.Name))
		}
		if leaf {
			out = append(out, strings.Join(words, " "))
		}
	}
	walk(parser.Model.Node, nil)
	if len(out) < 30 {
		t.Fatalf("only %d commands: %v", len(out), out)
	}
	return out
}

// A type of the table that has words has a command of them that lists it.
func TestTypesHaveCommands(t *testing.T) {
	all := allCommands(t, resource.Types())
	for _, typ := range resource.Types() {
		words, verbs := strings.Join(typ.Words, " "), []string{"create", "list", "show", "delete"}
		switch {
		case len(typ.Words) == 0:
			continue
		case typ.ReadOnly:
			verbs = []string{"list", "show"}
		}
		for _, verb := range verbs {
			if !slices.Contains(all, words+" "+verb) {
				t.Errorf("%s has no command %q", typ.Name, words+" "+verb)
			}
		}
	}
}

// A new row of the table has commands at once, its children too.
func TestNewTypeHasCommands(t *testing.T) {
	table := &resource.Type{Name: "Microsoft.Network/routeTables", Words: []string{"network", "route-table"}, Help: "routes that a subnet's traffic follows"}
	route := &resource.Type{Name: "Microsoft.Network/routeTables/routes", Parent: table, Words: []string{"network", "route-table", "route"}, Help: "one route"}
	seen := &resource.Type{Name: "Microsoft.Network/routeTables/effective", Parent: table, ReadOnly: true, Words: []string{"network", "route-table", "effective"}, Help: "read only"}
	types := append(resource.Types(), table, route, seen)
	all := allCommands(t, types)
	for _, words := range []string{"network route-table create", "network route-table list", "network route-table route delete", "network route-table effective show"} {
		if !slices.Contains(all, words) {
			t.Errorf("no command %q", words)
		}
	}
	if slices.Contains(all, "network route-table effective create") {
		t.Error("a read-only type can be created")
	}
	c := newCommands(types)
	parser, err := kong.New(c, options(io.Discard, io.Discard, func(int) {})...)
	if err != nil {
		t.Fatal(err)
	}
	k, err := parser.Parse(strings.Fields("network route-table route show -g g --parent rt -n r"))
	if err != nil {
		t.Fatal(err)
	}
	show := k.Selected().Target.Addr().Interface().(*tableShow)
	if show.Type != route || show.Name != "r" || show.parents(show.Parent) != nil || show.parents(nil) == nil {
		t.Errorf("%+v", show)
	}
}

func TestGather(t *testing.T) {
	for in, want := range map[string]string{
		"vm create --asgs a b -n x":  "vm create --asgs a --asgs b -n x",
		"deploy -p a=1 b=2 -g g":     "deploy -p a=1 -p b=2 -g g",
		"vm exec x -- ls --asgs a b": "vm exec x -- ls --asgs a b",
		"vm create --asgs=a,b":       "vm create --asgs=a,b",
		"rest PUT x -d -":            "rest PUT x -d -",
		"network vnet create --address-prefixes 10.0.0.0/8 fd00::/48": "network vnet create --address-prefixes 10.0.0.0/8 --address-prefixes fd00::/48",
	} {
		if got := strings.Join(gather(strings.Fields(in)), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestVersioned(t *testing.T) {
	for in, want := range map[string]string{
		"/subscriptions/s/resourcegroups":                                                 "/subscriptions/s/resourcegroups?api-version=2021-04-01",
		"/subscriptions/s/resourceGroups/g/providers/microsoft.network/virtualNetworks/v": "/subscriptions/s/resourceGroups/g/providers/microsoft.network/virtualNetworks/v?api-version=2024-05-01",
		"/x?Api-Version=1":    "/x?Api-Version=1",
		"/x?a=b":              "/x?a=b&api-version=2021-04-01",
		"/ringfence/v1/hosts": "/ringfence/v1/hosts",
	} {
		if got := versioned(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
