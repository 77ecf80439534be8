package resource

import (
	"strings"
	"testing"
)

func TestParseID(t *testing.T) {
	for _, c := range []struct{ in, canonical, parent, top string }{
		{"/SUBSCRIPTIONS/S/resourcegroups/G", "/subscriptions/S/resourceGroups/G", "", "/subscriptions/S/resourceGroups/G"},
		{"/subscriptions/S/resourceGroups/G/providers/microsoft.network/VIRTUALNETWORKS/V",
			"/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V", "",
			"/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V"},
		{"/subscriptions/S/resourceGroups/G/Providers/Microsoft.Network/virtualnetworks/V/SUBNETS/A.b",
			"/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V/subnets/A.b",
			"/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V",
			"/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/V"},
		{"/subscriptions/S/resourceGroups/G/providers/Other.Thing/kinds/k", "/subscriptions/S/resourceGroups/G/providers/Other.Thing/kinds/k", "",
			"/subscriptions/S/resourceGroups/G/providers/Other.Thing/kinds/k"},
	} {
		id, err := ParseID(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if id.String() != c.canonical || id.Key() != strings.ToLower(c.in) || id.Top().String() != c.top {
			t.Errorf("%s: %s, key %s, top %s", c.in, id, id.Key(), id.Top())
		}
		parent := ""
		if p, ok := id.Parent(); ok {
			parent = p.String()
		}
		if parent != c.parent {
			t.Errorf("%s: parent %q, want %q", c.in, parent, c.parent)
		}
		if TopKey(id.Key()) != id.Top().Key() {
			t.Errorf("TopKey(%s) = %s", id.Key(), TopKey(id.Key()))
		}
	}
	for _, in := range []string{"", "x", "/", "/subscriptions/S", "/subscriptions//resourceGroups/G", "/subscriptions/S/resourceGroups/G/", "/subscriptions/S/resourceGroups/G/providers",
		"/subscriptions/S/resourceGroups/G/providers/P/t", "/subscriptions/S/resourceGroups/G/providers/P/t/n/c", "/subscriptions/S/groups/G",
		"/subscriptions/S/resourceGroups/G/providers/Microsoft.Resources/resourceGroups/G", "/subscriptions/S/resourceGroups/G?x", "/subscriptions/S/resourceGroups/" + strings.Repeat("g", 3000)} {
		if id, err := ParseID(in); err == nil {
			t.Errorf("%q was read as %s", in, id)
		}
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("/subscriptions/S/resourceGroups/G")
	f.Add("/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/v/subnets/s")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			return
		}
		again, err := ParseID(id.String())
		if err != nil || again.String() != id.String() {
			t.Fatalf("%q gives %q, which gives %q, %v", text, id, again, err)
		}
		if !strings.EqualFold(id.String(), text) {
			t.Fatalf("%q became %q", text, id)
		}
		if strings.ToLower(text) == strings.ToUpper(text) {
			return
		}
		if TopKey(id.Key()) != id.Top().Key() {
			t.Fatalf("top of %q: %q and %q", text, TopKey(id.Key()), id.Top().Key())
		}
	})
}
