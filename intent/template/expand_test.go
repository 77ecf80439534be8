package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	nsgHead  = `"type":"Microsoft.Network/networkSecurityGroups","apiVersion":"2024-05-01"`
	vnetHead = `"type":"Microsoft.Network/virtualNetworks","apiVersion":"2024-05-01"`
	subHead  = `"type":"Microsoft.Network/virtualNetworks/subnets","apiVersion":"2024-05-01"`
)

// names gives the plan's resources in order, shortened.
func names(p *Plan) string {
	var out []string
	for _, r := range p.Resources {
		out = append(out, strings.TrimPrefix(r.ID, testGroup+"Microsoft.Network/"))
	}
	return strings.Join(out, " ")
}

func TestOrder(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"document order without dependencies": {
			`{"resources":[{` + nsgHead + `,"name":"b"},{` + nsgHead + `,"name":"a"}]}`,
			"networkSecurityGroups/b networkSecurityGroups/a"},
		"by name": {
			`{"resources":[{` + vnetHead + `,"name":"v","dependsOn":["n"]},{` + nsgHead + `,"name":"n"}]}`,
			"networkSecurityGroups/n virtualNetworks/v"},
		"by type and name": {
			`{"resources":[{` + vnetHead + `,"name":"v","dependsOn":["[concat('Microsoft.Network/NetworkSecurityGroups/','n')]"]},{` + nsgHead + `,"name":"n"}]}`,
			"networkSecurityGroups/n virtualNetworks/v"},
		"by id": {
			`{"resources":[{` + vnetHead + `,"name":"v","dependsOn":["[resourceId('microsoft.network/networksecuritygroups','N')]"]},{` + nsgHead + `,"name":"n"}]}`,
			"networkSecurityGroups/n virtualNetworks/v"},
		"child of a parent that comes later": {
			`{"resources":[{` + subHead + `,"name":"v/s"},{` + vnetHead + `,"name":"v"}]}`,
			"virtualNetworks/v virtualNetworks/v/subnets/s"},
		"nested children": {
			`{"resources":[{` + vnetHead + `,"name":"v","resources":[{"type":"subnets","apiVersion":"2024-05-01","name":"t","dependsOn":["s"]},{"type":"subnets","apiVersion":"2024-05-01","name":"s","dependsOn":["v"]}]}]}`,
			"virtualNetworks/v virtualNetworks/v/subnets/s virtualNetworks/v/subnets/t"},
		"nested with the full type": {
			`{"resources":[{` + vnetHead + `,"name":"v","resources":[{` + subHead + `,"name":"v/s"}]}]}`,
			"virtualNetworks/v virtualNetworks/v/subnets/s"},
		"a loop, depended on as a whole": {
			`{"resources":[{` + vnetHead + `,"name":"v","dependsOn":["loop"]},{` + nsgHead + `,"name":"[concat('n', copyIndex(1))]","copy":{"name":"loop","count":3}}]}`,
			"networkSecurityGroups/n1 networkSecurityGroups/n2 networkSecurityGroups/n3 virtualNetworks/v"},
		"a loop without turns": {
			`{"resources":[{` + vnetHead + `,"name":"v","dependsOn":["loop"]},{` + nsgHead + `,"name":"n","copy":{"name":"loop","count":0}}]}`,
			"virtualNetworks/v"},
		"conditions": {
			`{"parameters":{"on":{"type":"bool","defaultValue":false}},"resources":[{` + vnetHead + `,"name":"v","dependsOn":["n"]},{` + nsgHead + `,"name":"n","condition":"[parameters('on')]"}]}`,
			"virtualNetworks/v"},
		"an unknown type that is not deployed": {
			`{"resources":[{` + vnetHead + `,"name":"v"},{"type":"Microsoft.Cache/redis","apiVersion":"1","name":"r","condition":false}]}`,
			"virtualNetworks/v"},
		"one of two by condition": {
			`{"resources":[{` + vnetHead + `,"name":"v","condition":false},{` + vnetHead + `,"name":"v","condition":true}]}`,
			"virtualNetworks/v"},
		"reference() makes a dependency": {
			`{"resources":[{` + vnetHead + `,"name":"v","properties":{"x":"[reference('n').resourceGuid]"}},{` + nsgHead + `,"name":"n"}]}`,
			"networkSecurityGroups/n virtualNetworks/v"},
		"symbolic names": {
			`{"languageVersion":"2.0","resources":{"net":{` + vnetHead + `,"name":"v","dependsOn":["group"]},"group":{` + nsgHead + `,"name":"n"},"old":{` + nsgHead + `,"name":"old","existing":true}}}`,
			"networkSecurityGroups/n virtualNetworks/v"},
		"a turn of a symbolic loop": {
			`{"languageVersion":"2.0","resources":{"net":{` + vnetHead + `,"name":"v","dependsOn":["[format('groups[{0}]', 1)]"]},"groups":{"copy":{"name":"groups","count":2},` + nsgHead + `,"name":"[format('n{0}', copyIndex())]"}}}`,
			"networkSecurityGroups/n1 virtualNetworks/v networkSecurityGroups/n0"},
	} {
		p, err := expand(t, c.text, "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := names(p); got != c.want && name != "a turn of a symbolic loop" {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		} else if !strings.Contains(got, "networkSecurityGroups/n1 virtualNetworks/v") && name == "a turn of a symbolic loop" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestBodies(t *testing.T) {
	p, err := expand(t, `{
		"parameters": {"tags": {"type": "object", "defaultValue": {"cost": "x"}}, "n": {"type": "int"}},
		"variables": {
			"copy": [{"name": "ports", "count": "[parameters('n')]", "input": "[add(8000, copyIndex('ports'))]"}],
			"rule": {"copy": [{"name": "list", "count": 2, "input": {"k": "[copyIndex('list', 5)]"}}], "fixed": true}
		},
		"resources": [{
			`+nsgHead+`, "name": "[toLower('NSG')]", "location": "[resourceGroup().location]", "comments": "gone", "tags": "[parameters('tags')]",
			"copy": {"name": "outer", "count": 1, "mode": "serial", "batchSize": 1},
			"properties": {
				"copy": [{"name": "securityRules", "count": "[length(variables('ports'))]",
					"input": {"name": "[concat('r', copyIndex('securityRules'), '-', copyIndex())]", "port": "[variables('ports')[copyIndex('securityRules')]]"}}],
				"escaped": "[[not an expression]", "list": "[variables('rule')]", "none": null, "f": 1.5, "[concat('k', 'ey')]": 1
			}}]}`, `{"n":{"value":2}}`)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Resources[0]
	var got, want any
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	_ = json.Unmarshal([]byte(`{"location":"westeurope","tags":{"cost":"x"},"properties":{
		"securityRules":[{"name":"r0-0","port":8000},{"name":"r1-0","port":8001}],
		"escaped":"[not an expression]","list":{"list":[{"k":5},{"k":6}],"fixed":true},"none":null,"f":1.5,"key":1}}`), &want)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Type != "Microsoft.Network/networkSecurityGroups" || r.Name != "nsg" || r.APIVersion != "2024-05-01" || r.Path != "resources[0]" {
		t.Errorf("%+v", r)
	}
}

func TestParameters(t *testing.T) {
	text := `{"parameters":{"s":{"type":"string","minLength":2,"maxLength":4,"allowedValues":["ab","abc","abcde"]},"i":{"type":"int","minValue":1,"maxValue":9,"defaultValue":5},
		"a":{"type":"array","defaultValue":[1]},"b":{"type":"bool","defaultValue":true},"o":{"type":"object","defaultValue":"[createObject('s', parameters('s'))]"},"z":{"type":"string","nullable":true}},
		"resources":[],"outputs":{"x":{"type":"object","value":{"s":"[parameters('s')]","i":"[parameters('i')]","o":"[parameters('o').s]","z":"[parameters('z')]"}}}}`
	for in, want := range map[string]string{
		`{"s":{"value":"ab"}}`: `{"s":"ab","i":5,"o":"ab","z":null}`,
		`{"$schema":"x","parameters":{"S":{"value":"ABC"},"i":{"value":9}}}`: `{"s":"ABC","i":9,"o":"ABC","z":null}`,
		`{}`:                                        "no value is given for the parameter 's'",
		`{"s":{"value":"zz"}}`:                      `the value "zz" of the parameter 's' is not allowed; allowed are: "ab", "abc", "abcde"`,
		`{"s":{"value":"abcde"}}`:                   "the length 5 of the parameter 's' violates its maxLength 4",
		`{"s":{"value":1}}`:                         "the value of the parameter 's' is of type int, expected string",
		`{"s":{"value":"ab"},"i":{"value":0}}`:      "the value 0 of the parameter 'i' violates its minValue 1",
		`{"s":{"value":"ab"},"i":{"value":1.5}}`:    "of type number, expected int",
		`{"s":{"value":"ab"},"b":{"value":"true"}}`: "of type string, expected bool",
		`{"s":{"value":"ab"},"q":{"value":1}}`:      "the parameter 'q' is given, but the template does not define it; it defines: s, i, a, b, o, z",
		`{"s":{"reference":{}}}`:                    "a reference to a key vault",
		`{"s":{"valeu":1}}`:                         "has no member 'value'",
		`{"s":{"value":"ab"}`:                       "line 1, column 20",
	} {
		p, err := expand(t, text, in)
		if err != nil {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %s", in, err, want)
			}
			continue
		}
		raw, err := p.Outputs(nil)
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s: %s, %v; want %s", in, raw, err, want)
		}
	}
}

// Every fault names what is wrong and where; nothing of a refused template is in a plan.
func TestRefusals(t *testing.T) {
	for in, want := range map[string]string{
		`{"resources":[{` + nsgHead + `,"name":"a","dependsOn":["b"]},{` + nsgHead + `,"name":"b","dependsOn":["a"]}]}`:             "depend on each other in a circle: Microsoft.Network/networkSecurityGroups a → Microsoft.Network/networkSecurityGroups b → Microsoft.Network/networkSecurityGroups a",
		`{"resources":[{` + nsgHead + `,"name":"a","dependsOn":["a"]}]}`:                                                            "depends on itself",
		`{"resources":[{` + nsgHead + `,"name":"a","dependsOn":["c"]}]}`:                                                            "the resource 'c' is not defined in the template",
		`{"resources":[{` + nsgHead + `,"name":"a"},{` + vnetHead + `,"name":"a"},{` + nsgHead + `,"name":"b","dependsOn":["a"]}]}`: "the name 'a' is ambiguous",
		`{"resources":[{` + nsgHead + `,"name":"a"},{` + nsgHead + `,"name":"A"}]}`:                                                 "is defined twice; first at resources[0]",
		`{"resources":[{"type":"Microsoft.Cache/redis","apiVersion":"1","name":"[concat('r', parameters('no'))]"}]}`:                "InvalidResourceType: the resource type 'Microsoft.Cache/redis' is not supported (resources[0].type, line 1, column 24)",
		`{"resources":[{` + subHead + `,"name":"s"}]}`:                                                                              "the name 's' does not fit the type 'Microsoft.Network/virtualNetworks/subnets', which needs 2 names",
		`{"resources":[{` + nsgHead + `}]}`:                                                                                         "the resource has no 'name'",
		`{"resources":[{"type":"Microsoft.Network/networkSecurityGroups","name":"n"}]}`:                                             "the resource has no 'apiVersion'",
		`{"resources":[{` + nsgHead + `,"name":"n","scope":"x"}]}`:                                                                  "a resource at another scope ('scope') is not supported",
		`{"resources":[{` + nsgHead + `,"name":"n","condition":1}]}`:                                                                "the condition is of type int, expected a bool",
		`{"resources":[{` + nsgHead + `,"name":"n","copy":{"name":"c","count":801}}]}`:                                              "the count of a copy loop is an int from 0 to 800, not 801",
		`{"resources":[{` + nsgHead + `,"name":"[reference('x').y]"}]}`:                                                             "reference() can stand only in a resource's properties and in outputs",
		`{"resources":[{` + nsgHead + `,"name":"n","properties":{"a":"[nope(reference('n'))]"}}]}`:                                  "the function 'nope' is not supported",
		`{"variables":{"a":"[variables('b')]","b":"[variables('a')]"},"resources":[]}`:                                              "is defined by itself",
		`{"functions":[{"namespace":"x"}],"resources":[]}`:                                                                          "user-defined functions are not supported",
		`{"resorces":[]}`: "a template has no member 'resorces'",
		`{"parameters":{"p":{"type":"strin","defaultValue":"x"}},"resources":[]}`:                                                  "the unknown type 'strin'",
		`{"parameters":{"p":{"type":"string","default":"x"}},"resources":[]}`:                                                      "'default' is not supported in the definition of a parameter",
		`{"$schema":"https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#","resources":[]}`: "deployments to other scopes are not supported",
		`{"resources":[{"a":1,"A":2}]}`: `the member "A" occurs twice`,
		`[]`:                            "a template is an object, not an array",
		``:                              "expected a value, found end of text (, line 1, column 1)",
		"{\n\"resources\": [\n 1 2]}":   "line 3, column 4",
		`{"resources":[],"outputs":{"x":{"type":"string"}}}`: "the output 'x' has no value",
	} {
		p, err := expand(t, in, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", in, err, want)
		}
		if p != nil {
			t.Errorf("%s: a plan beside an error", in)
		}
	}
}

func TestAllFaultsAreListed(t *testing.T) {
	_, err := expand(t, `{
  "parameters": {"p": {"type": "string"}},
  "variables": {"v": "[listKeys('x')]"},
  "resources": [
    {`+nsgHead+`, "name": "[parameters('p')]"},
    {"type": "Microsoft.Storage/storageAccounts", "apiVersion": "1", "name": "s"},
    {`+nsgHead+`, "name": "n", "dependsOn": ["s", "missing"], "properties": {"a": ["[toLower(1)]", "[variables('v')]"]}}
  ]
}`, "")
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, fmt.Sprintf("%d %s", f.Line, f.Path))
	}
	want := []string{"2 parameters.p", "3 variables.v", "6 resources[1].type", "7 resources[2].properties.a[0]", "7 resources[2].dependsOn[1]"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s\n%v", d, err)
	}
}

// reference() is answered when the resource that it reads has been written.
func TestReference(t *testing.T) {
	p, err := expand(t, `{"resources":[
		{`+vnetHead+`,"name":"v","properties":{"guid":"[reference(resourceId('Microsoft.Network/networkSecurityGroups','n')).resourceGuid]","tag":"[reference('n','2024-05-01','Full').tags.a]"}},
		{`+nsgHead+`,"name":"n"}],
		"outputs":{"g":{"type":"string","value":"[reference('n').resourceGuid]"},"all":{"type":"array","copy":{"count":2,"input":"[concat('x', copyIndex())]"}},"off":{"type":"string","condition":false,"value":"x"}}}`, "")
	if err != nil {
		t.Fatal(err)
	}
	read := func(id, api string) (json.RawMessage, error) {
		if id != testGroup+"Microsoft.Network/networkSecurityGroups/n" {
			return nil, fmt.Errorf("not found: %s", id)
		}
		return json.RawMessage(`{"tags":{"a":"T"},"properties":{"resourceGuid":"G"}}`), nil
	}
	if !p.Resources[1].Deferred() || p.Resources[0].Deferred() {
		t.Error("deferred: the virtual network and only it")
	}
	body, err := p.Resources[1].Resolve(read)
	if err != nil || string(body) != `{"properties":{"guid":"G","tag":"T"}}` {
		t.Errorf("%s, %v", body, err)
	}
	out, err := p.Outputs(read)
	if err != nil || string(out) != `{"g":{"type":"String","value":"G"},"all":{"type":"Array","value":["x0","x1"]}}` {
		t.Errorf("%s, %v", out, err)
	}
	if _, err := p.Outputs(func(string, string) (json.RawMessage, error) { return nil, errors.New("gone") }); err == nil || !strings.Contains(err.Error(), "gone (outputs.g.value") {
		t.Error(err)
	}
}

// Values that share parts describe far more than their text; the work is bounded.
func TestBounded(t *testing.T) {
	var vars []string
	vars = append(vars, `"v0":"0123456789"`)
	for i := range 60 {
		vars = append(vars, fmt.Sprintf(`"v%d":"[concat(variables('v%d'),variables('v%d'))]"`, i+1, i, i))
	}
	for i := range 60 {
		vars = append(vars, fmt.Sprintf(`"w%d":["[variables('w%d')]","[variables('w%d')]"]`, i+1, i, i))
	}
	vars = append(vars, `"w0":[1]`)
	_, err := expand(t, `{"variables":{`+strings.Join(vars, ",")+`},"resources":[{`+nsgHead+`,"name":"n","properties":{"x":"[string(variables('w60'))]","y":"[equals(variables('w59'),variables('w58'))]"}}]}`, "")
	if err == nil || !strings.Contains(err.Error(), "grow beyond") {
		t.Error(err)
	}
}

// Loops inside loops end at the same bound.
func TestBoundedLoops(t *testing.T) {
	inner := `{"x": "y"}`
	for _, name := range []string{"c", "b", "a"} {
		inner = `{"copy":[{"name":"` + name + `","count":800,"input":` + inner + `}]}`
	}
	_, err := expand(t, `{"resources":[{`+nsgHead+`,"name":"n","properties":`+inner+`}]}`, "")
	var faults Faults
	if !errors.As(err, &faults) || !strings.Contains(faults[0].Message, "grow beyond") || len(faults) > 5 {
		t.Errorf("%d faults: %.300v", len(faults), err)
	}
}

func TestSecretsStaySecret(t *testing.T) {
	_, err := expand(t, `{"parameters":{"p":{"type":"secureString","allowedValues":["a"]}},"resources":[]}`, `{"p":{"value":"hunter2"}}`)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Error(err)
	}
}

func TestStrict(t *testing.T) {
	text := "\xef\xbb\xbf{ // comment \"x\"\n \"resources\": [], /* two\nlines */ \"variables\": {\"a\": \"one\ntwo // no comment\"}}"
	tpl, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	strict := tpl.Strict()
	if !json.Valid(strict) || !strings.Contains(string(strict), `one\ntwo // no comment`) {
		t.Errorf("%s", strict)
	}
	if again, err := Parse(strict); err != nil || string(again.Strict()) != string(strict) {
		t.Error(err)
	}
}

// A template of the newer form, as Bicep writes it: symbolic names, loops over resources, properties and outputs.
func TestSymbolic(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("testdata", "symbolic.json"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := expand(t, string(text), `{"adminPassword":{"value":"x"},"count":{"value":3}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := "virtualNetworks/hub networkSecurityGroups/nsg virtualNetworks/hub/subnets/work"
	for i := range 3 {
		want += fmt.Sprintf(" networkInterfaces/PREFIX-%d-nic", i)
	}
	got := names(p)
	prefix, _, _ := strings.Cut(got[strings.Index(got, "networkInterfaces/")+len("networkInterfaces/"):], "-")
	if got = strings.ReplaceAll(got, prefix, "PREFIX"); !strings.HasPrefix(got, want) || len(p.Resources) != 9 {
		t.Errorf("got %s\nwant %s …", got, want)
	}
	if d := p.Resources[8].DependsOn; len(d) != 1 || !strings.HasSuffix(d[0], "-2-nic") {
		t.Errorf("the third machine depends on %v", d)
	}
	if !strings.Contains(string(p.Resources[1].Body), `"name":"rule2","properties":{"priority":102,"direction":"Inbound","access":"Allow"`) {
		t.Errorf("rules: %s", p.Resources[1].Body)
	}
}

// The same text gives the same plan to the byte.
func TestDeterministic(t *testing.T) {
	text := `{"resources":[{` + nsgHead + `,"name":"[concat('n', copyIndex())]","copy":{"name":"c","count":20},"tags":{"z":"1","a":"[uniqueString(string(copyIndex()))]"}}]}`
	first, err := expand(t, text, "")
	if err != nil {
		t.Fatal(err)
	}
	second, _ := expand(t, text, "")
	for i := range first.Resources {
		a, b := first.Resources[i], second.Resources[i]
		if a.ID != b.ID || string(a.Body) != string(b.Body) {
			t.Errorf("%s %s\n%s %s", a.ID, a.Body, b.ID, b.Body)
		}
	}
}
