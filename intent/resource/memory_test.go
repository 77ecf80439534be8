package resource

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const testSub = "/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g"

// memory is a Lookup of a few documents.
type memory struct {
	docs  map[string]*Doc
	lists map[string][]netip.Prefix
}

func newMemory(t testing.TB, docs ...*Doc) *memory {
	t.Helper()
	m := &memory{docs: map[string]*Doc{}, lists: map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("20.60.0.0/16")}}}
	m.put(doc(t, "", `{"location":"westus2"}`))
	for _, d := range docs {
		m.put(d)
	}
	return m
}

func (m *memory) put(d *Doc)                             { m.docs[d.Key()] = d }
func (m *memory) Get(key string) *Doc                    { return m.docs[key] }
func (m *memory) PrefixLists() map[string][]netip.Prefix { return m.lists }

func (m *memory) Referrers(key string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m.docs)) {
		if slices.Contains(m.docs[k].RefKeys(), key) {
			out = append(out, k)
		}
	}
	return out
}

func (m *memory) Each(typeName string, f func(*Doc)) {
	for _, k := range slices.Sorted(maps.Keys(m.docs)) {
		if m.docs[k].ID.Type == typeName {
			f(m.docs[k])
		}
	}
}

func (m *memory) all(yield func(*Doc) bool) {
	for _, k := range slices.Sorted(maps.Keys(m.docs)) {
		if !yield(m.docs[k]) {
			return
		}
	}
}

func parse(t testing.TB, text string) ID {
	t.Helper()
	id, err := ParseID(full(text))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// full expands "virtualNetworks/v" and "Microsoft.Compute/…" to ids in the group g; "" is the group itself.
func full(text string) string {
	switch {
	case text == "":
		return testSub
	case strings.HasPrefix(text, "/"):
		return text
	case strings.HasPrefix(text, "Microsoft."):
		return testSub + "/providers/" + text
	}
	return testSub + "/providers/Microsoft.Network/" + text
}

// doc makes a document as a PUT would. @name in a body stands for the id of virtualNetworks/name and so on: "@virtualNetworks/v".
func doc(t testing.TB, id, body string) *Doc {
	t.Helper()
	d, faults := Put(nil, parse(t, id), []byte(ids(body)), "2025-03-01")
	if len(faults) > 0 {
		t.Fatalf("%s: %v", id, faults)
	}
	return d
}

func ids(body string) string {
	return strings.ReplaceAll(body, `"@`, `"`+testSub+`/providers/Microsoft.Network/`)
}

func codes(f Faults) string {
	var out []string
	for _, x := range f {
		out = append(out, x.Code+"@"+x.Target)
	}
	return strings.Join(out, " ")
}
