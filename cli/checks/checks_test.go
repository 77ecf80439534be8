package checks

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"ringfence/goal"
)

func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../examples/three-tier/checks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Read("checks.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.Machines) != 7 || len(f.Checks.Zones) != 4 || len(f.Checks.Assert) != 7 || f.Lint["redundant"] != Warn {
		t.Errorf("%d machines, %d zones, %d assertions, %v", len(f.Machines), len(f.Checks.Zones), len(f.Checks.Assert), f.Lint)
	}
	closed := f.Checks.Assert[0]
	if closed.ID != "db-closed" || closed.None == nil || closed.None.To != "db" || len(closed.Except) != 2 || closed.Except[0].DstPorts[0] != (goal.PortRange{Lo: 1433, Hi: 1433}) {
		t.Errorf("%+v", closed)
	}
	if line := f.Lines["db-closed"]; !strings.HasPrefix(strings.Split(string(text), "\n")[line-1], "- id: db-closed") {
		t.Errorf("db-closed is said to stand at line %d", line)
	}
	again, err := Read("again.yaml", Write(f.Checks))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(again.Checks.Zones, f.Checks.Zones) || !reflect.DeepEqual(again.Checks.Assert[:6], f.Checks.Assert[:6]) {
		t.Errorf("written and read again it means something else:\n%s", Write(f.Checks))
	}
}

// Every fault is listed with its line and the path of its field.
func TestFaults(t *testing.T) {
	const head = "version: 1\nzones: {a: {subnet: x}, b: {cidr: 10.0.0.0/8}}\nassert:\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "f: the file is empty"},
		{"no YAML", "a: [", "f:1: did not find expected node content"},
		{"a list", "- a\n- b", "f:1: expected names and values, found a list"},
		{"no version", "zones: {a: {subnet: x}}", "f:1: version: it is missing: this program reads version: 1"},
		{"version 2", "version: 2", `f:1: version: version "2" is not known: this program reads version: 1`},
		{"unknown word", "version: 1\nzone: {}", "f:2: zone: unknown; there are: assert, lint, machines, tags, version, zones"},
		{"twice", "version: 1\nzones:\n  a: {subnet: x}\n  a: {subnet: y}", "f:4: zones.a: it stands twice"},
		{"alias", "version: 1\nzones:\n  a: &x {subnet: x}\n  b: *x", "f:3: zones.a: anchors and aliases are not supported\nf:4: zones.b: anchors and aliases are not supported"},
		{"two documents", "version: 1\n---\nversion: 1", "f:2: a file holds one document"},
		{"empty zone", "version: 1\nzones:\n  a: {}", "f:3: zones.a: the zone names nothing: give asg, subnet, vnet, nic, vm, cidr, tag or id"},
		{"zone of nothing", "version: 1\nzones:\n  a: {subnet: }", "f:3: zones.a.subnet: expected a word or a list of words, found nothing"},
		{"zone of an empty list", "version: 1\nzones:\n  a: {subnet: []}", "f:3: zones.a.subnet: expected a word or a list of words, found an empty list"},
		{"host bits", "version: 1\nzones:\n  a: {cidr: [10.0.0.0/8, 10.0.0.1/8]}", `f:3: zones.a.cidr[1]: "10.0.0.1/8" is no address and no prefix in CIDR notation without host bits`},
		{"zone by id", "version: 1\nzones:\n  a: {id: /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/routeTables/r}", "f:3: zones.a.id: "},
		{"built-in tag", "version: 1\ntags: {internet: 10.0.0.0/8}", "f:2: tags.internet: the tag is built in and cannot be defined"},
		{"machine", "version: 1\nmachines:\n- {name: a}", "f:3: machines[0].subnet: it is missing"},
		{"lint", "version: 1\nlint: {dead-rules: fatal, what: error}", "f:2: lint.dead-rules: expected off, info, warn or error, found \"fatal\"\nf:2: lint.what: unknown; there are: "},
		{"no id", head + "- none: {to: a}", "f:4: assert[0].id: it is missing"},
		{"same id", head + "- {id: x, none: {to: a}}\n- {id: x, none: {to: b}}", "f:5: assert[1].id: two assertions are called x"},
		{"no kind", head + "- {id: x}", "f:4: assert[0]: expected exactly one of none, all, some, packet and diff, found none of them"},
		{"two kinds", head + "- {id: x, none: {to: a}, all: {to: a}}", "f:4: assert[0]: expected exactly one of none, all, some, packet and diff, found none and all"},
		{"unknown zone", head + "- {id: x, none: {to: c}}", `f:4: assert[0].none.to: there is no zone "c"; there are: a, b`},
		{"protocol", head + "- {id: x, none: {to: a, proto: [tcp, tpc]}}", `f:4: assert[0].none.proto[1]: "tpc" is no protocol; there are: `},
		{"port", head + "- {id: x, none: {to: a, dport: [22, 70000]}}", `f:4: assert[0].none.dport[1]: "70000" is no port and no range of ports, 0 to 65535`},
		{"port of ICMP", head + "- {id: x, none: {to: a, proto: icmp, dport: 22}}", "f:4: assert[0].none: only tcp and udp have ports"},
		{"verdict", head + "- {id: x, packet: {to: a}, expect: {verdict: maybe}}", `f:4: assert[0].expect.verdict: expected Allow or Deny, found "maybe"`},
		{"packet without expectation", head + "- {id: x, packet: {to: a}}", "f:4: assert[0].expect: it is missing"},
		{"expectation without packet", head + "- {id: x, none: {to: a}, expect: {verdict: Deny}}", "f:4: assert[0].expect: it belongs to packet, not to none"},
		{"exceptions of a packet", head + "- {id: x, packet: {to: a}, expect: {verdict: Deny}, except: [{from: a}]}", "f:4: assert[0].except: it belongs to none, all and some, not to packet"},
		{"typing error in a field", head + "- {id: x, none: {form: a}}", "f:4: assert[0].none.form: unknown; there are: dport, dst, from, icmp-type, proto, sport, src, through, to"},
		{"empty list", head + "- {id: x, none: {to: a}, except: []}", "f:4: assert[0].except: expected a list, found an empty list"},
		{"all at once", "version: 1\nzones: {a: {}}\nassert:\n- {none: {to: q}}", "f:2: zones.a: the zone names nothing: give asg, subnet, vnet, nic, vm, cidr, tag or id\nf:4: assert[0].none.to: there is no zone \"q\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Read("f", []byte(c.text))
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

// A reachability intent of Azure Virtual Network Manager asks whether some packet arrives.
func TestIntent(t *testing.T) {
	const group = "/subscriptions/s/resourceGroups/g/providers/"
	f, err := Read("intent.json", []byte(`{"name":"i1","id":"x","properties":{"description":"d","sourceResourceId":"`+group+`Microsoft.Compute/virtualMachines/vm1",
"destinationResourceId":"`+group+`microsoft.network/virtualNetworks/v/subnets/s","ipTraffic":{"sourceIps":["10.4.0.0"],"destinationIps":["10.4.0.0/16"],"sourcePorts":["*"],"destinationPorts":["3389","80-90"],"protocols":["TCP"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	a := f.Checks.Assert[0]
	if a.ID != "i1" || a.Some == nil || len(a.Some.Src) != 1 || a.Some.SrcPorts != nil || len(a.Some.DstPorts) != 2 || a.Some.Protocols[0] != goal.TCP {
		t.Errorf("%+v", a.Some)
	}
	if z := f.Checks.Zones[a.Some.To]; len(z.Subnets) != 1 || !strings.HasSuffix(z.Subnets[0], "Microsoft.Network/virtualNetworks/v/subnets/s") {
		t.Errorf("%+v", z)
	}
	_, err = Read("intent.json", []byte(`{"value":[{"properties":{"sourceResourceId":"internet","destinationResourceId":"`+group+`Microsoft.Storage/storageAccounts/s","ipTraffic":{"protocols":["GRE"]}}}]}`))
	for _, want := range []string{"intent.json:1: [0].properties.destinationResourceId: ", `intent.json:1: [0].properties.ipTraffic.protocols[0]: "GRE" is no protocol`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// Whatever the text is, reading it ends in a file or in faults.
func FuzzRead(f *testing.F) {
	if text, err := os.ReadFile("../../examples/three-tier/checks.yaml"); err == nil {
		f.Add(text)
	}
	f.Add([]byte("version: 1\nzones: {a: {subnet: x}}\nassert:\n- {id: x, packet: {from: a, src: 1.2.3.4, dport: 1-2}, expect: {verdict: deny}}"))
	f.Add([]byte(`{"properties":{"sourceResourceId":"internet","destinationResourceId":"x","ipTraffic":{}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := Read("f", text)
		if (file == nil) == (err == nil) {
			t.Fatal("neither a file nor faults")
		}
		if err == nil {
			if _, err := Read("again", Write(file.Checks)); err != nil && strings.Contains(string(Write(file.Checks)), "\n- id:") {
				t.Fatalf("what was written cannot be read: %v\n%s", err, Write(file.Checks))
			}
		}
	})
}
