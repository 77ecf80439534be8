package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLabConfig(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lab.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("prefix_lists:\n  Storage: [192.0.2.0/24]\n  Sql: [198.51.100.0/24, '2001:db8::/48']\nlocations: [westeurope]\ndns_forwarders: [192.0.2.53, '[2001:db8::53]:5353']\n")
	c, err := (&labUp{Hosts: 3, Config: file, Lists: []string{"Storage=203.0.113.0/28,fd00::/64"}}).config()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{"Storage": {"203.0.113.0/28", "fd00::/64"}, "Sql": {"198.51.100.0/24", "2001:db8::/48"}}
	if d := cmp.Diff(want, c.PrefixLists); d != "" || c.Hosts != 3 || len(c.Locations) != 1 || len(c.Forwarders) != 2 {
		t.Errorf("%s %+v", d, c)
	}
	for text, want := range map[string]string{"prefixlists: {}": "field prefixlists not found", "prefix_lists: {A: [x]}": `prefix list A: "x" is no address prefix`, "dns_forwarders: [me]": `DNS forwarder "me"`, "heal_after: soon": `heal_after "soon"`} {
		write(text)
		if _, err := (&labUp{Hosts: 1, Config: file}).config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, l := range []string{"Storage", "=10.0.0.0/8", "Storage=", "Storage=10.0.0.0/33"} {
		if _, err := (&labUp{Hosts: 1, Lists: []string{l}}).config(); err == nil {
			t.Errorf("%s: accepted", l)
		}
	}
}
