package resource

import (
	"fmt"
	"testing"
)

// Of a rule that a write leaves as it was, the revision stays that brought it; of one that is new or changed it is the write's.
func TestRulesKnowTheirRevision(t *testing.T) {
	id := parse(t, "Microsoft.Network/networkSecurityGroups/g")
	rule := func(name, port string) string {
		return fmt.Sprintf(`{"name":"%s","properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"%s"}}`, name, port)
	}
	var stored *Doc
	write := func(revision int64, tags, rules string) *NSG {
		t.Helper()
		d, faults := Put(stored, id, []byte(`{"location":"westeurope","tags":{`+tags+`},"properties":{"securityRules":[`+rules+`]}}`), "2024-05-01")
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		d.System.First, d.System.Rules = Provenance(stored, d)
		stored = d.Stored(revision)
		v, _ := BuildView(uint64(revision), func(yield func(*Doc) bool) { yield(stored) })
		return v.NSGs[stored.Key()]
	}
	want := func(g *NSG, first uint64, rules ...uint64) {
		t.Helper()
		got := []uint64{}
		for _, r := range g.Rules {
			got = append(got, r.Revision)
		}
		if g.Revision != first || fmt.Sprint(got) != fmt.Sprint(rules) {
			t.Errorf("group of %d, rules of %v; want %d, %v", g.Revision, got, first, rules)
		}
	}
	want(write(5, "", rule("a", "1")+","+rule("b", "2")), 5, 5, 5)
	want(write(8, "", rule("a", "1")+","+rule("B", "3")), 5, 5, 8)
	want(write(9, `"x":"y"`, rule("a", "1")+","+rule("B", "3")), 5, 5, 8)
	want(write(12, "", rule("B", "3")+","+rule("a", "1")+","+rule("c", "4")), 5, 8, 5, 12)
	want(write(13, "", rule("a", "1")), 5, 5)
	want(write(20, "", rule("a", "1")+","+rule("c", "4")), 5, 5, 20)
	if a, b := parseNSG(stored), parseNSG(stored); a != b {
		t.Error("a stored group is made anew every time")
	}
}
