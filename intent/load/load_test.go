package load

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

const prefix = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/shop/providers/Microsoft.Network/"

func read(t *testing.T, name string) File {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return File{name, text}
}

func one(text string) *Source { return Load([]File{{"x.json", []byte(text)}}, Options{}) }

func wantText(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

func lines[T fmt.Stringer](all []T) string {
	var out []string
	for _, x := range all {
		out = append(out, x.String())
	}
	return strings.Join(out, "\n")
}

func faults(s *Source) string {
	var out []string
	for _, f := range s.Faults {
		out = append(out, f.Error())
	}
	return strings.Join(out, "\n")
}

// What az prints: flat properties, old casings, nulls for what is absent, ids in any case.
func TestFlatExport(t *testing.T) {
	s := Load([]File{read(t, "az.json")}, Options{})
	wantText(t, "faults", faults(s), "")
	wantText(t, "unknown", lines(s.Unknowns), `az.json:28: networkSecurityGroups/securityRules web-nsg/allow-storage: the addresses of the service tag Storage.WestEurope are not known: give them with --prefix-list Storage.WestEurope=…
az.json:40: virtualNetworks v: its peering to-hub is not modelled: further networks are reached, and belong to the tag VirtualNetwork
az.json:50: virtualNetworks/subnets v/db: its route table rt is not modelled: packets may be sent elsewhere or dropped
az.json:66: networkInterfaces web1-nic: its public address web-ip is not modelled`)
	nsg := s.View.NSGs[strings.ToLower(prefix+"networkSecurityGroups/web-nsg")]
	if nsg == nil || len(nsg.Rules) != 2 || nsg.Rules[0].Protocol != "tcp" || !nsg.Rules[0].Allow || !nsg.Rules[0].Inbound || len(nsg.Rules[0].Dst.ASGs) != 1 || len(nsg.Rules[0].Dst.Ports) != 2 {
		t.Fatalf("group: %+v", nsg)
	}
	nic := s.View.NICs[strings.ToLower(prefix+"networkInterfaces/web1-nic")]
	if nic == nil || nic.IPConfigs[0].IP.String() != "10.0.1.7" || len(nic.IPConfigs[0].ASGs) != 1 || nic.IPConfigs[0].ASGs[0] != nsg.Rules[0].Dst.ASGs[0] {
		t.Fatalf("interface: %+v", nic)
	}
	if len(s.View.ASGs) != 1 {
		t.Errorf("application security groups: %v", s.View.ASGs)
	}
	v := s.View.VNets[strings.ToLower(prefix+"virtualNetworks/v")]
	if v == nil || len(v.Subnets) != 2 || v.Subnets[0].NSG != strings.ToLower(nsg.ID) || v.Subnets[1].NSG != "" {
		t.Fatalf("network: %+v", v)
	}
	for id, want := range map[string]string{
		"networkSecurityGroups/web-nsg": "az.json:2", "networkSecurityGroups/web-nsg/securityRules/allow-https": "az.json:14",
		"networkSecurityGroups/web-nsg/securityRules/allow-storage": "az.json:25", "virtualNetworks/v/subnets/db": "az.json:48", "networkInterfaces/web1-nic": "az.json:54",
	} {
		wantText(t, id, s.Place(prefix+id).String(), want)
	}
	if len(s.Assumed) != 2 || len(s.View.NICs) != 3 {
		t.Errorf("a subnet without interfaces gets two that stand for any: %v", s.Assumed)
	}
}

// The same resources as the API nests them, as a page, and as one file each, mean the same.
func TestFormsMeanTheSame(t *testing.T) {
	flat := Load([]File{read(t, "az.json")}, Options{})
	root, err := parseJSON(read(t, "az.json").Text)
	if err != nil {
		t.Fatal(err)
	}
	nestedForm, single := array(1), []File{}
	for i, n := range root.items {
		e := nested(n, n.get("type").str())
		nestedForm.items = append(nestedForm.items, e)
		single = append(single, File{fmt.Sprintf("%d.json", i), e.append(nil)})
	}
	page := append(append([]byte(`{"value":`), nestedForm.append(nil)...), '}')
	graph := append(append([]byte(`{"count":3,"skip_token":null,"data":`), nestedForm.append(nil)...), '}')
	for name, files := range map[string][]File{"page": {{"page.json", page}}, "graph": {{"graph.json", graph}}, "files": single,
		"PowerShell": {{"utf16.json", toUTF16(string(read(t, "az.json").Text))}}, "twice": {read(t, "az.json"), {"again.json", page}}} {
		s := Load(files, Options{})
		wantText(t, name+": faults", faults(s), "")
		for _, part := range []struct{ got, want string }{{views(s), views(flat)}, {fmt.Sprint(len(s.Unknowns) >= len(flat.Unknowns)), "true"}} {
			wantText(t, name, part.got, part.want)
		}
	}
}

func views(s *Source) string {
	var out []string
	for k, v := range s.View.VNets {
		out = append(out, fmt.Sprintf("%s %+v", k, *v))
	}
	for k, v := range s.View.NSGs {
		out = append(out, fmt.Sprintf("%s %+v", k, *v))
	}
	for k, v := range s.View.NICs {
		out = append(out, fmt.Sprintf("%s %+v", k, *v))
	}
	for k, v := range s.View.VMs {
		out = append(out, fmt.Sprintf("%s %+v", k, v.NICs))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func toUTF16(s string) []byte {
	out := []byte("\xff\xfe")
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}

// Children that stand by themselves belong to their parents, wherever these are.
func TestSeparateChildren(t *testing.T) {
	rule := `{"id":"` + prefix + `networkSecurityGroups/g/securityRules/r","name":"r","type":"Microsoft.Network/networkSecurityGroups/securityRules",
"access":"Deny","direction":"Inbound","priority":200,"protocol":"*","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"22"}`
	s := Load([]File{{"rules.json", []byte("[" + rule + "]")}, {"g.json", []byte(`{"id":"` + prefix + `networkSecurityGroups/g","location":"westeurope","securityRules":[]}`)}}, Options{})
	wantText(t, "faults", faults(s), "")
	if g := s.View.NSGs[strings.ToLower(prefix+"networkSecurityGroups/g")]; g == nil || len(g.Rules) != 1 || len(s.Unknowns) != 0 {
		t.Errorf("%+v %v", g, s.Unknowns)
	}
	alone := one("[" + rule + "]")
	wantText(t, "without the parent", lines(alone.Unknowns), "x.json:1: networkSecurityGroups g: it is not among the files, only children of it are")
	if len(alone.View.NSGs) != 1 {
		t.Error("the group is lost")
	}
}

// Every class of bad input is a fault or a named unknown, at its line, and does not hide the rest.
func TestBadInput(t *testing.T) {
	nsg := func(rule string) string {
		return `{"id":"` + prefix + `networkSecurityGroups/g","location":"westeurope","properties":{"securityRules":[
{"name":"good","properties":{"access":"Allow","direction":"Inbound","priority":100,"protocol":"Tcp","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"443"}},
{"name":"bad","properties":` + rule + `}]}}`
	}
	full := func(replace, with string) string {
		return nsg(strings.Replace(`{"access":"Allow","direction":"Inbound","priority":200,"protocol":"Tcp","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"22"}`, replace, with, 1))
	}
	for _, c := range []struct{ name, text, fault, unknown string }{
		{"empty file", "", "x.json:1: it is no valid JSON: it ends in the middle of a value", ""},
		{"cut off", `[{"id":` + "\n", "x.json:2: it is no valid JSON: it ends in the middle of a value", ""},
		{"no JSON", "\n\nhello", "x.json:3: it is no valid JSON: invalid character 'h' looking for beginning of value", ""},
		{"two values", `{} {}`, "x.json:1: it is no valid JSON: the text goes on after the first value", ""},
		{"no resource", `{"name":"x"}`, "x.json:1: it holds no Azure resource", ""},
		{"element without id", `[{"name":"x"}]`, "x.json:1: this element of the array is no Azure resource: it has no id", ""},
		{"member twice", "{\"id\":\"a\",\n\"ID\":\"b\"}", `x.json:2: the member "ID" stands twice in one object`, ""},
		{"id", `{"id":"/subscriptions/x/resourceGroups/y/nonsense"}`, "x.json:1: parse id", ""},
		{"type and id differ", `{"id":"` + prefix + `networkSecurityGroups/g","type":"Microsoft.Network/virtualNetworks","location":"x","properties":{}}`, "the resource says that it is a Microsoft.Network/virtualNetworks", ""},
		{"more pages", `{"value":[],"nextLink":"https://x"}`, "x.json:1: nextLink: this is one page of a longer answer: the others are missing", "the export is one page of a longer answer"},
		{"access", full(`"Allow"`, `"Permit"`), `x.json:3: networkSecurityGroups g: properties.securityRules[1].properties.access: Error converting value "Permit"`, "x.json:3: networkSecurityGroups/securityRules g/bad: it could not be read"},
		{"no direction", full(`"direction":"Inbound",`, ``), `x.json:3: networkSecurityGroups g: properties.securityRules[1].properties.direction: Required property 'direction'`, "g/bad: it could not be read"},
		{"null for direction", full(`"Inbound"`, `null`), `properties.securityRules[1].properties.direction: Required property`, "g/bad: it could not be read"},
		{"priority", full(`200`, `20`), "x.json:3: networkSecurityGroups g: properties.securityRules[1].properties.priority: ", "g/bad: "},
		{"same priority", full(`200`, `100`), "x.json:", "networkSecurityGroups/securityRules g/"},
		{"port", full(`"22"`, `"99999"`), "x.json:3: networkSecurityGroups g: properties.securityRules[1].properties.destinationPortRange: Security rule has invalid Port range", "g/bad: "},
		{"host bits", full(`"sourceAddressPrefix":"*"`, `"sourceAddressPrefix":"10.0.0.1/8"`), "x.json:3: networkSecurityGroups g: properties.securityRules[1].properties.sourceAddressPrefix: ", "g/bad: "},
		{"no source", full(`"sourceAddressPrefix":"*",`, ``), "x.json:3: networkSecurityGroups g: ", "g/bad: "},
		{"a field that nobody knows", full(`"22"`, `"22","onlyOnTuesdays":true`), "", "x.json:3: networkSecurityGroups/securityRules g/bad: the rule has the field onlyOnTuesdays, which is not known"},
		{"unknown tag", full(`"sourceAddressPrefix":"*"`, `"sourceAddressPrefix":"AzureCloud.WestEurope"`), "", "g/bad: the addresses of the service tag AzureCloud.WestEurope are not known"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Load([]File{{"x.json", []byte(c.text)}, {"good.json", []byte(`{"id":"` + prefix + `networkSecurityGroups/other","location":"westeurope","properties":{}}`)}}, Options{})
			if got := faults(s); !strings.Contains(got, c.fault) || c.fault == "" && got != "" {
				t.Errorf("faults: %s\nwant %s", got, c.fault)
			}
			if got := lines(s.Unknowns); !strings.Contains(got, c.unknown) || c.unknown == "" && got != "" {
				t.Errorf("unknown: %s\nwant %s", got, c.unknown)
			}
			if len(s.Faults)+len(s.Unknowns) == 0 {
				t.Error("nothing was said")
			}
			if s.View.NSGs[strings.ToLower(prefix+"networkSecurityGroups/other")] == nil {
				t.Error("the good file is hidden")
			}
			if g := s.View.NSGs[strings.ToLower(prefix+"networkSecurityGroups/g")]; strings.Contains(c.text, `"good"`) {
				if c.name == "same priority" {
					return
				}
				if g == nil || len(g.Rules) == 0 || g.Rules[0].Name != "good" {
					t.Errorf("the good rule is hidden: %+v", g)
				}
			}
		})
	}
}

// A resource of a type without a model is named where it concerns something, and ignored where it does not.
func TestForeignTypes(t *testing.T) {
	s := one(`[
{"id":"` + prefix + `virtualNetworkGateways/gw","properties":{"ipConfigurations":[{"properties":{"subnet":{"id":"` + prefix + `virtualNetworks/v/subnets/GatewaySubnet"}}}]}},
{"id":"` + prefix + `virtualNetworks/v","location":"x","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"GatewaySubnet","properties":{"addressPrefix":"10.0.0.0/27"}}]}},
{"id":"` + prefix + `publicIPAddresses/p","properties":{}},
{"id":"/subscriptions/x/resourceGroups/shop/providers/Microsoft.Storage/storageAccounts/s","properties":{"networkAcls":{"virtualNetworkRules":[{"id":"` + prefix + `virtualNetworks/v/subnets/GatewaySubnet"}]}}},
{"id":"/subscriptions/x/resourceGroups/shop/providers/Microsoft.Compute/virtualMachineScaleSets/ss","properties":{"x":{"subnet":{"id":"` + prefix + `virtualNetworks/v/subnets/GatewaySubnet"}}}},
{"id":"/subscriptions/x/resourceGroups/shop/providers/Contoso.Net/things/t","properties":{"nic":"` + prefix + `networkInterfaces/n/ipConfigurations/c"}}]`)
	wantText(t, "faults", faults(s), "")
	wantText(t, "unknown", lines(s.Unknowns), `x.json:2: virtualNetworkGateways gw: gateways are not modelled: networks behind it may be reached, and belong to the tag VirtualNetwork
x.json:6: virtualMachineScaleSets ss: scale sets are not modelled: their machines are further members of their subnet and groups
x.json:7: things t: the type Contoso.Net/things is not modelled`)
	if got := s.Unknowns[2].Touches; len(got) != 1 || got[0] != strings.ToLower(prefix+"networkInterfaces/n") {
		t.Errorf("an IP configuration stands for its interface: %v", got)
	}
	if len(s.Ignored) != 2 {
		t.Errorf("ignored: %v", s.Ignored)
	}
}

// What is referred to and was not exported is named.
func TestDangling(t *testing.T) {
	s := one(`[
{"id":"` + prefix + `virtualNetworks/v","location":"x","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
 {"name":"a","properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"` + prefix + `networkSecurityGroups/gone"}}}]}},
{"id":"` + prefix + `networkInterfaces/n","location":"x","properties":{"ipConfigurations":[{"name":"c","properties":{
 "subnet":{"id":"` + prefix + `virtualNetworks/elsewhere/subnets/b"}}}]}}]`)
	wantText(t, "faults", faults(s), "")
	got := lines(s.Unknowns)
	for _, want := range []string{"x.json:3: virtualNetworks/subnets v/a: it refers to networkSecurityGroups gone, which is not among the files",
		"x.json:5: networkInterfaces n: it refers to virtualNetworks/subnets elsewhere/b, which is not among the files"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s\n got %s", want, got)
		}
	}
}
