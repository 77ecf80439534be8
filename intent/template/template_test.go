package template

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testEnv = Env{
	Tenant: "72f988bf-0000-0000-0000-000000000000", Subscription: "00000000-0000-0000-0000-000000000001", SubscriptionName: "sub",
	Group: "rg", Location: "westeurope", Deployment: "main",
	KnownType: func(name string) (string, bool) {
		for _, t := range []string{"Microsoft.Network/virtualNetworks", "Microsoft.Network/virtualNetworks/subnets",
			"Microsoft.Network/networkSecurityGroups", "Microsoft.Network/networkSecurityGroups/securityRules",
			"Microsoft.Network/networkInterfaces", "Microsoft.Compute/virtualMachines"} {
			if strings.EqualFold(t, name) {
				return t, true
			}
		}
		return name, false
	},
}

const testGroup = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg/providers/"

func expand(t *testing.T, text string, params string) (*Plan, error) {
	t.Helper()
	tpl, err := Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	values, err := Values([]byte(params))
	if err != nil {
		return nil, err
	}
	return Expand(tpl, values, testEnv)
}

// outputOf evaluates one expression the way an output does.
func outputOf(t *testing.T, expression string) (string, error) {
	t.Helper()
	quoted, _ := json.Marshal(expression)
	p, err := expand(t, `{"parameters":{"p":{"type":"string","defaultValue":"Pv"},"o":{"type":"object","defaultValue":{"a":{"B":[1,2,"x"]},"n":null}}},
		"variables":{"v":["a","b"],"w":{"k":"[parameters('p')]"}},"resources":[],
		"outputs":{"x":{"type":"object","value":`+string(quoted)+`}}}`, "")
	if err != nil {
		return "", err
	}
	raw, err := p.Outputs(nil)
	if err != nil {
		return "", err
	}
	var out struct {
		X struct{ Value json.RawMessage }
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return string(out.X.Value), nil
}

func TestExpressions(t *testing.T) {
	for in, want := range map[string]string{
		"plain": `"plain"`, "[[literal]": `"[literal]"`, "[not closed": `"[not closed"`, "": `""`,
		"['it''s']":                                               `"it's"`,
		"[parameters('P')]":                                       `"Pv"`,
		"[PARAMETERS('p')]":                                       `"Pv"`,
		"[variables('w').K]":                                      `"Pv"`,
		"[variables('v')[1]]":                                     `"b"`,
		"[parameters('o').a.b[2]]":                                `"x"`,
		"[parameters('o')['A'].b[0]]":                             `1`,
		"[ concat( 'a' , 'b', 1, true())]":                        `"ab1True"`,
		"[concat(variables('v'), createArray('c'))]":              `["a","b","c"]`,
		"[resourceGroup().location]":                              `"westeurope"`,
		"[resourceGroup().id]":                                    `"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"`,
		"[subscription().subscriptionId]":                         `"00000000-0000-0000-0000-000000000001"`,
		"[deployment().name]":                                     `"main"`,
		"[tenant().tenantId]":                                     `"72f988bf-0000-0000-0000-000000000000"`,
		"[resourceId('Microsoft.Network/virtualNetworks/', 'v')]": `"` + testGroup + `Microsoft.Network/virtualNetworks/v"`,
		"[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v', 's')]":      `"` + testGroup + `Microsoft.Network/virtualNetworks/v/subnets/s"`,
		"[resourceID('other', 'Microsoft.Network/virtualNetworks', 'v')]":          `"/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/v"`,
		"[resourceId('sub2', 'other', 'Microsoft.Network/virtualNetworks', 'v')]":  `"/subscriptions/sub2/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/v"`,
		"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')]": `"/subscriptions/00000000-0000-0000-0000-000000000001/providers/Microsoft.Authorization/roleDefinitions/r"`,
		// Facts of the public algorithm.
		"[uniqueString('test')]":           `"rbgf3xv4ufgzg"`,
		"[uniqueString('hello', 'world')]": `"a7wkljktk6wne"`,
		"[uniqueString('abc')]":            `"cgtzqvhu4i23s"`,
		"[uniqueString('/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg')]": `"bmg7c6xu4tw46"`,
		"[uniqueString('foo', 'bar', 'baz')]":                                                        `"xzi4ioaxtmth4"`,
		"[format('{0}-{1,4}-{1:D3}-{{x}}', 'a', 7)]":                                                 `"a-   7-007-{x}"`,
		"[format('{0}', createArray(1,'b'))]":                                                        `"[1,\"b\"]"`,
		"[toLower('ÄB')]":                                                                            `"äb"`, "[toUpper('ab')]": `"AB"`,
		"[string(12)]": `"12"`, "[string(false())]": `"False"`, "[string(variables('v'))]": `"[\"a\",\"b\"]"`,
		"[int('42')]": `42`, "[if(equals('a','A'),1,2)]": `2`, "[if(true(), 1, parameters('absent'))]": `1`,
		"[not(and(true(), false()))]": `true`, "[or(false(), true(), bool('nonsense'))]": `true`,
		"[length('äbc')]": `3`, "[length(variables('v'))]": `2`, "[first('abc')]": `"a"`, "[last(variables('v'))]": `"b"`,
		"[contains(variables('v'), 'b')]": `true`, "[contains('abc', 'bc')]": `true`, "[contains(parameters('o'), 'A')]": `true`,
		"[empty('')]": `true`, "[empty(null())]": `true`, "[empty(variables('v'))]": `false`,
		"[union(variables('v'), createArray('b','c'))]":                                             `["a","b","c"]`,
		"[union(createObject('a', createObject('x', 1)), createObject('a', createObject('y', 2)))]": `{"a":{"x":1,"y":2}}`,
		"[intersection(variables('v'), createArray('b','c'))]":                                      `["b"]`,
		"[array('x')]": `["x"]`, "[split('a,b;c', createArray(',', ';'))]": `["a","b","c"]`,
		"[replace('aXbX', 'X', '-')]": `"a-b-"`, "[substring('abcdef', 2, 3)]": `"cde"`, "[substring('abc', 1)]": `"bc"`,
		"[add(1, sub(5, mul(2, div(9, 4))))]": `2`, "[mod(7, 4)]": `3`, "[min(3, 1, 2)]": `1`, "[max(createArray(3, 9))]": `9`,
		"[range(2, 3)]": `[2,3,4]`, "[less(1, 2)]": `true`, "[greaterOrEquals('b', 'a')]": `true`,
		"[coalesce(null(), parameters('o').n, 'x')]": `"x"`, "[tryGet(parameters('o'), 'a', 'B', 1)]": `2`, "[tryGet(parameters('o'), 'z', 'B')]": `null`,
		"[take(variables('v'), 1)]": `["a"]`, "[skip('abc', 1)]": `"bc"`, "[join(variables('v'), '+')]": `"a+b"`,
		"[padLeft(7, 3, '0')]": `"007"`, "[trim(' a ')]": `"a"`, "[startsWith('Abc', 'aB')]": `true`, "[indexOf('äbc', 'C')]": `2`,
		"[json('{\"a\": [1]}').a[0]]": `1`, "[base64('one')]": `"b25l"`, "[base64ToString('b25l')]": `"one"`,
		"[cidrSubnet('10.144.0.0/20', 24, 2)]": `"10.144.2.0/24"`, "[cidrSubnet('fd00::/56', 64, 3)]": `"fd00:0:0:3::/64"`,
		"[cidrHost('10.0.0.0/24', 3)]": `"10.0.0.4"`, "[parseCidr('10.144.0.0/20').lastUsable]": `"10.144.15.254"`,
		"[items(createObject('b', 1, 'a', 2))[0].key]": `"a"`, "[flatten(createArray(createArray(1), createArray(2,3)))]": `[1,2,3]`,
		"[uri('https://h/a/b.json', 'c.sh')]": `"https://h/a/c.sh"`, "[guid('a','b')]": `"` + "8c32ac21-5c95-5e72-ac41-a12b3e1dd4fb" + `"`,
		"[sys.toLower('A')]": `"a"`,
	} {
		got, err := outputOf(t, in)
		if strings.HasPrefix(in, "[guid") {
			if err != nil || len(got) != 38 || got[15] != '5' {
				t.Errorf("%s = %s, %v", in, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", in, got, err, want)
		}
	}
}

func TestExpressionRefusals(t *testing.T) {
	for in, want := range map[string]string{
		"[listKeys('a', 'b')]":          "the function 'listKeys' is not supported (outputs.x.value, line 3, column",
		"[contoso.name('a')]":           "user-defined functions are not supported",
		"[parameters('q')]":             "the parameter 'q' is not defined; there are: p, o",
		"[variables('q')]":              "the variable 'q' is not defined; there are: v, w",
		"[parameters('o').z]":           "the member 'z' does not exist; there are: a, n",
		"[variables('v')[2]]":           "the index 2 is outside the array of 2 elements",
		"[variables('v').a]":            "an element of an array is named by an int",
		"[concat('a', variables('v'))]": "concat: argument 2 is array, expected a string",
		"[toLower(1)]":                  "toLower: argument 1 is int, expected a string",
		"[toLower()]":                   "the function 'toLower' takes 1 arguments, not 0",
		"[resourceId('Microsoft.Network/virtualNetworks/subnets', 'v')]": "needs 2 names, found 1",
		"[resourceId('a', 'b')]":        "none of the first three arguments is a resource type",
		"[substring('abc', 2, 2)]":      "lie outside the string",
		"[int('x')]":                    `"x" is no integer`,
		"[div(1, 0)]":                   "have no result",
		"[add(9223372036854775807, 1)]": "have no result",
		"[copyIndex()]":                 "outside of every copy loop",
		"[if('a', 1, 2)]":               "expected a bool",
		"[concat('a']":                  "expected ',' or ')'",
		"['a' 'b']":                     "expected the end of the expression",
		"['a]":                          "a string is not closed",
		"[]":                            "expected a function or a literal",
		"[toLower]":                     "expected '('",
		"[format('{1}', 'a')]":          "{1} has no argument",
		"[deployment().properties.templateLink.uri]": "was not deployed from a link",
		"[newGuid()]": "not supported",
	} {
		got, err := outputOf(t, in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %s, %v; want %q", in, got, err, want)
		}
	}
}

// The three templates of Microsoft's gallery expand unchanged, with and without their parameter files.
func TestMicrosoftTemplates(t *testing.T) {
	for name, want := range map[string][]string{
		"nsg-dmz-in-vnet":       {"networkSecurityGroups/fensg", "networkSecurityGroups/appnsg", "networkSecurityGroups/dbnsg", "virtualNetworks/First_ARM_VNet"},
		"vnet-two-subnets":      {"virtualNetworks/VNet1"},
		"security-group-create": {"networkSecurityGroups/networkSecurityGroup1", "virtualNetworks/virtualNetwork1"},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "microsoft", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		params, err := os.ReadFile(filepath.Join("testdata", "microsoft", name+".parameters.json"))
		if err != nil {
			t.Fatal(err)
		}
		p, err := expand(t, string(text), string(params))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, r := range p.Resources {
			got = append(got, strings.TrimPrefix(r.ID, testGroup+"Microsoft.Network/"))
			if strings.Contains(string(r.Body), "[") && strings.Contains(string(r.Body), "parameters(") {
				t.Errorf("%s: %s is not evaluated: %s", name, r.ID, r.Body)
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if _, err := expand(t, string(text), ""); err != nil {
			t.Errorf("%s without parameters: %v", name, err)
		}
	}
}
