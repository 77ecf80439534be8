package offline

import (
	"net/netip"
	"testing"

	"ringfence/goal"
	"ringfence/intent/load"
	"ringfence/verify"
)

const group = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/"

// network is two machines; the receiver's group has the given rules.
func network(t *testing.T, rules string) *Network {
	t.Helper()
	s := load.Load([]load.File{{Name: "x.json", Text: []byte(`[
{"id":"` + group + `networkSecurityGroups/nsg","location":"x","properties":{"securityRules":[` + rules + `]}},
{"id":"` + group + `networkSecurityGroups/lonely","location":"x","properties":{}},
{"id":"` + group + `virtualNetworks/v","location":"x","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
 {"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"b","properties":{"addressPrefix":"10.0.1.0/24","networkSecurityGroup":{"id":"` + group + `networkSecurityGroups/nsg"}}}]}}]`)}}, load.Options{})
	for _, f := range s.Faults {
		t.Log(f)
	}
	n, err := New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func rule(name, access, source, priority string) string {
	return `{"name":"` + name + `","properties":{"access":"` + access + `","direction":"Inbound","priority":` + priority + `,"protocol":"*","sourcePortRange":"*","destinationPortRange":"*","destinationAddressPrefix":"*","sourceAddressPrefix":"` + source + `"}}`
}

// What a rule with an unknown tag could change is unknown; what it cannot change is answered.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name, rules string
		none, all   verify.Status
	}{
		{"nothing is unknown: the default rule allows", "", verify.Violated, verify.Holds},
		{"a tag that may deny", rule("r", "Deny", "Cloud", "100"), verify.Unknown, verify.Unknown},
		{"a tag that may allow what is allowed anyway", rule("r", "Allow", "Cloud", "100"), verify.Violated, verify.Holds},
		{"behind a rule that decides", rule("first", "Deny", "*", "100") + "," + rule("r", "Allow", "Cloud", "200"), verify.Holds, verify.Violated},
		{"before a rule that decides otherwise", rule("r", "Allow", "Cloud", "100") + "," + rule("last", "Deny", "*", "200"), verify.Unknown, verify.Unknown},
		{"a rule that cannot be read", rule("r", "Perhaps", "*", "100"), verify.Unknown, verify.Unknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			traffic := verify.Traffic{From: "a", To: "b", Protocols: []uint8{goal.TCP}, DstPorts: []goal.PortRange{{Lo: 80, Hi: 80}}}
			n := network(t, c.rules)
			got, err := n.Check(verify.Checks{Zones: verify.Zones{"a": {Subnets: []string{"a"}}, "b": {Subnets: []string{"b"}}},
				Assert: []verify.Assertion{{ID: "none", None: &traffic}, {ID: "all", All: &traffic}}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got[0].Status != c.none || got[1].Status != c.all {
				t.Errorf("none %s, want %s; all %s, want %s", got[0].Status, c.none, got[1].Status, c.all)
			}
			for _, r := range got {
				if r.Status == verify.Unknown && len(r.Unknown) == 0 {
					t.Error("it is not said what is unknown")
				}
			}
		})
	}
}

// A group that nothing is attached to is compiled too, so that it can be linted.
func TestUnattached(t *testing.T) {
	n := network(t, "")
	if len(n.Groups) != 2 {
		t.Errorf("%d groups", len(n.Groups))
	}
	found, _ := n.Open.Lint()
	for _, f := range found {
		if f.Kind == verify.Unattached && f.Rule.Group == group+"networkSecurityGroups/lonely" {
			return
		}
	}
	t.Errorf("lonely is not told: %v", found)
}

// Contents that are given make a tag known.
func TestKnownTag(t *testing.T) {
	s := load.Load([]load.File{{Name: "x.json", Text: []byte(`[{"id":"` + group + `networkSecurityGroups/nsg","location":"x","properties":{"securityRules":[` + rule("r", "Deny", "Cloud", "100") + `]}}]`)}},
		load.Options{PrefixLists: map[string][]netip.Prefix{"Cloud": {netip.MustParsePrefix("10.9.0.0/16")}}})
	if len(s.Unknowns) != 0 || len(s.Faults) != 0 {
		t.Errorf("%v %v", s.Unknowns, s.Faults)
	}
}

// A zone may name a tag that no rule names: also where there is no security group at all.
func TestTagsWithoutRules(t *testing.T) {
	s := load.Load([]load.File{{Name: "x.json", Text: []byte(`{"id":"` + group + `virtualNetworks/v","location":"x","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
"subnets":[{"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)}}, load.Options{PrefixLists: map[string][]netip.Prefix{"Cloud": {netip.MustParsePrefix("203.0.113.0/24")}}})
	n, err := New(s, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tag := range []string{"Internet", "Cloud", "VirtualNetwork"} {
		zones := verify.Zones{"tag": {Tags: []string{tag}}, "a": {Subnets: []string{"a"}}}
		got, err := n.Check(verify.Checks{Zones: zones, Assert: []verify.Assertion{{ID: "x", None: &verify.Traffic{From: "tag", To: "a"}}}}, nil)
		if err != nil || len(got) != 1 || got[0].Status != verify.Violated {
			t.Errorf("%s: %v %+v", tag, err, got)
		}
	}
}
