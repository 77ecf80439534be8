package resource

import (
	"fmt"
	"strings"
	"testing"
)

const net10 = `"addressSpace":{"addressPrefixes":["10.0.0.0/16","fd00:1::/48"]}`

func ruleJSON(name string, priority int, fields string) string {
	return fmt.Sprintf(`{"name":%q,"properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":%d,%s}}`, name, priority, fields)
}

const open = `"sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"*"`

func nsgJSON(rules ...string) string {
	return `{"location":"westus2","properties":{"securityRules":[` + strings.Join(rules, ",") + `]}}`
}

func many(n int, f func(int) string) []string {
	var out []string
	for i := range n {
		out = append(out, f(i))
	}
	return out
}

func quoted(n int, format string) string {
	return strings.Join(many(n, func(i int) string { return fmt.Sprintf(format, i/256, i%256) }), ",")
}

func nicJSON(extra string) string {
	return `{"location":"West US 2","properties":{"ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"@virtualNetworks/v/subnets/s"}` + extra + `}}]}}`
}

// world has a network with a subnet of both families, a group per name and an interface in it.
func world(t testing.TB) *memory {
	m := newMemory(t,
		doc(t, "virtualNetworks/v", `{"location":"westus2","properties":{`+net10+`,"subnets":[{"name":"s","properties":{"addressPrefixes":["10.0.0.0/24","fd00:1::/64"]}},{"name":"t","properties":{"addressPrefix":"10.0.1.0/24"}}]}}`),
		doc(t, "applicationSecurityGroups/a", `{"location":"westus2"}`),
		doc(t, "applicationSecurityGroups/b", `{"location":"westus2"}`),
	)
	n := doc(t, "networkInterfaces/n", ids(nicJSON("")))
	n.System.Addresses = map[string]string{"c": "10.0.0.4"}
	m.put(n)
	return m
}

// What is refused by status and text is a table in intent/arm; here are the limits and what must be let through.
func TestValidate(t *testing.T) {
	for _, c := range []struct{ name, id, body, want string }{
		{"an empty group", "networkSecurityGroups/g", `{"location":"westus2"}`, ""},
		{"a full group", "networkSecurityGroups/g", nsgJSON(many(1000, func(i int) string { return ruleJSON(fmt.Sprint("r", i), 100+i, open) })...), ""},
		{"one rule more", "networkSecurityGroups/g", nsgJSON(many(1001, func(i int) string { return ruleJSON(fmt.Sprint("r", i), 100+i, open) })...), "SecurityRulesLimitExceeded@properties.securityRules"},
		{"both directions", "networkSecurityGroups/g", nsgJSON(ruleJSON("i", 100, open), strings.Replace(ruleJSON("o", 100, open), "Inbound", "outbound", 1)), ""},
		{"tags in any case", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, strings.Replace(open, `fix":"*"`, `fix":"virtualnetwork"`, 2)), ruleJSON("b", 101, strings.Replace(open, `fix":"*"`, `fix":"VIRTUAL_NETWORK"`, 1)),
			ruleJSON("c", 102, strings.Replace(open, `fix":"*"`, `fix":"storage"`, 1)), ruleJSON("d", 103, strings.Replace(open, `fix":"*"`, `fix":"AzurePlatformDNS"`, 1))), ""},
		{"odd addresses", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, strings.Replace(open, `fix":"*"`, `fix":"1234"`, 1)), ruleJSON("b", 101, strings.Replace(open, `fix":"*"`, `fix":"FD00::1"`, 1)),
			ruleJSON("c", 102, strings.Replace(open, `fix":"*"`, `fix":"0.0.0.0/0"`, 1)), ruleJSON("d", 103, strings.Replace(open, `fix":"*"`, `fix":"10.0.0.1"`, 1))), ""},
		{"ports", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, strings.Replace(open, `"destinationPortRange":"*"`, `"destinationPortRanges":["0","1-65535","80-80"]`, 1)), ruleJSON("b", 4096, open)), ""},
		{"4,000 prefixes", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, strings.Replace(open, `"sourceAddressPrefix":"*"`, `"sourceAddressPrefixes":[`+quoted(4000, `"10.1.%d.%d"`)+`]`, 1))), ""},
		{"one prefix more", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, strings.Replace(open, `"sourceAddressPrefix":"*"`, `"sourceAddressPrefixes":[`+quoted(4001, `"10.1.%d.%d"`)+`]`, 1))),
			"SecurityRuleAddressPrefixesLimitExceeded@properties.securityRules[0].properties.sourceAddressPrefixes SecurityRuleAddressPrefixesLimitExceeded@properties.securityRules"},
		{"the same in two rules", "networkSecurityGroups/g", nsgJSON(many(2, func(i int) string {
			return ruleJSON(fmt.Sprint("r", i), 100+i, strings.Replace(open, `"sourceAddressPrefix":"*"`, `"sourceAddressPrefixes":[`+quoted(2001, `"10.1.%d.%d"`)+`]`, 1))
		})...), "SecurityRuleAddressPrefixesLimitExceeded@properties.securityRules"},
		{"a group as both sides", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, `"sourcePortRange":"*","destinationPortRange":"*","sourceApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/a"}],"destinationApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/b"}]`)), ""},
		{"an empty prefix beside a group", "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, `"sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"","sourceApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/a"}],"destinationAddressPrefix":"*"`)), ""},

		{"a smallest subnet", "virtualNetworks/w", `{"location":"westus2","properties":{` + net10 + `,"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/29"}}]}}`, ""},
		{"public space", "virtualNetworks/w", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["8.0.0.0/8","10.0.0.0/8"]}}}`, ""},
		{"adjacent prefixes are no one prefix", "virtualNetworks/w", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/17","10.0.128.0/17"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/16"}}]}}`,
			"NetcfgSubnetRangeOutsideVnet@properties.subnets[0].properties.addressPrefix"},
		{"several faults", "virtualNetworks/w", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.1/16","x"]},"subnets":[{"name":"-","properties":{"addressPrefix":"10.0.0.0/30"}}]}}`,
			"InvalidCIDRNotation@properties.addressSpace.addressPrefixes[0] InvalidAddressPrefixFormat@properties.addressSpace.addressPrefixes[1] InvalidResourceName@properties.subnets[0].name InvalidSubnetPrefixLength@properties.subnets[0].properties.addressPrefix"},
		{"IPv6 only", "virtualNetworks/w", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["fd00::/48"]}}}`, "VnetMustHaveIpv4AddressSpace@properties.addressSpace.addressPrefixes"},
		{"mapped prefix", "virtualNetworks/w", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8","::ffff:10.0.0.0/104"]}}}`, "InvalidAddressPrefixFormat@properties.addressSpace.addressPrefixes[1]"},
		{"a used subnet grows", "virtualNetworks/v", `{"location":"westus2","properties":{` + net10 + `,"subnets":[{"name":"S","properties":{"addressPrefixes":["10.0.0.0/24","fd00:1::/64","10.0.2.0/24"]}}]}}`, ""},
		{"a used prefix leaves", "virtualNetworks/v", `{"location":"westus2","properties":{` + net10 + `,"subnets":[{"name":"s","properties":{"addressPrefixes":["10.0.2.0/24","fd00:1::/64"]}}]}}`, "InUsePrefixCannotBeDeleted@properties.subnets"},
		{"an unused prefix leaves", "virtualNetworks/v", `{"location":"westus2","properties":{` + net10 + `,"subnets":[{"name":"s","properties":{"addressPrefixes":["10.0.0.0/25"]}}]}}`, ""},

		{"two families", "networkInterfaces/x", `{"location":"WESTUS2","properties":{"ipConfigurations":[{"name":"four","properties":{"subnet":{"id":"@virtualNetworks/v/subnets/s"}}},{"name":"six","properties":{"privateIPAddressVersion":"IPv6","privateIPAddress":"fd00:1::9","privateIPAllocationMethod":"Static","subnet":{"id":"@virtualNetworks/V/SUBNETS/s"}}}]}}`, ""},
		{"20 groups", "networkInterfaces/x", nicJSON(`,"applicationSecurityGroups":[` + strings.TrimSuffix(strings.Repeat(`{"id":"@applicationSecurityGroups/a"},`, 20), ",") + `]`), ""},
		{"21 groups", "networkInterfaces/x", nicJSON(`,"applicationSecurityGroups":[` + strings.TrimSuffix(strings.Repeat(`{"id":"@applicationSecurityGroups/a"},`, 21), ",") + `]`), "ApplicationSecurityGroupsPerIpConfigurationLimitReached@properties.ipConfigurations[0].properties.applicationSecurityGroups"},
		{"families crossed", "networkInterfaces/x", nicJSON(`,"privateIPAddress":"fd00:1::9","privateIPAllocationMethod":"Static"`), "InvalidPrivateIPAddressFormat@properties.ipConfigurations[0].properties.privateIPAddress"},
		{"two primaries", "networkInterfaces/x", `{"location":"westus2","properties":{"ipConfigurations":[{"name":"a","properties":{"primary":true,"subnet":{"id":"@virtualNetworks/v/subnets/s"}}},{"name":"b","properties":{"primary":true,"subnet":{"id":"@virtualNetworks/v/subnets/s"}}}]}}`, "MultiplePrimaryIpConfigurations@properties.ipConfigurations"},
		{"no subnet", "networkInterfaces/x", `{"location":"westus2","properties":{"ipConfigurations":[{"name":"a","properties":{}}]}}`, "IpConfigurationMustHaveSubnet@properties.ipConfigurations[0].properties.subnet"},

		{"odd computer name", "Microsoft.Compute/virtualMachines/m", `{"location":"westus2","properties":{"osProfile":{"computerName":"a_b"},"networkProfile":{"networkInterfaces":[{"id":"@networkInterfaces/n"}]}}}`, "InvalidParameter@properties.osProfile.computerName"},
		{"an interface twice", "Microsoft.Compute/virtualMachines/m", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"@networkInterfaces/n","properties":{"primary":true}},{"id":"@networkInterfaces/N"}]}}}`, "InvalidParameter@properties.networkProfile.networkInterfaces[1].id"},
	} {
		m := world(t)
		d := doc(t, c.id, c.body)
		if got := codes(Validate(d, m)); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
		m.put(d) // the judgement is the same when the document is there already
		if got := codes(Validate(d, m)); got != c.want {
			t.Errorf("%s, in place:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// Joining a group is judged by the rules that name it.
func TestGroupsOfOneRuleStayInOneNetwork(t *testing.T) {
	m := world(t)
	m.put(doc(t, "networkSecurityGroups/g", nsgJSON(ruleJSON("a", 100, `"sourcePortRange":"*","destinationPortRange":"*","sourceApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/a"}],"destinationApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/b"}]`))))
	m.put(doc(t, "networkInterfaces/x", nicJSON(`,"applicationSecurityGroups":[{"id":"@applicationSecurityGroups/a"}]`)))
	m.put(doc(t, "virtualNetworks/w", `{"location":"westus2","properties":{`+net10+`,"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`))
	y := doc(t, "networkInterfaces/y", strings.ReplaceAll(nicJSON(`,"applicationSecurityGroups":[{"id":"@applicationSecurityGroups/b"}]`), "s/v/", "s/w/"))
	if got := codes(Validate(y, m)); got != "AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet@properties.ipConfigurations[0].properties.applicationSecurityGroups[0].id" {
		t.Error(got)
	}
	m.put(y)
	if got := codes(Validate(m.docs[parse(t, "networkSecurityGroups/g").Key()], m)); !strings.HasPrefix(got, "AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet@") {
		t.Error(got)
	}
}

func TestInUse(t *testing.T) {
	m := world(t)
	v := m.docs[parse(t, "virtualNetworks/v").Key()]
	f := InUse(v, m)
	if len(f) != 1 || f[0].Code != "InUseSubnetCannotBeDeleted" || !strings.Contains(f[0].Message, "Subnet s is in use by "+full("networkInterfaces/n/ipConfigurations/c")) {
		t.Error(f)
	}
	n := m.docs[parse(t, "networkInterfaces/n").Key()]
	if f := InUse(n, m); len(f) > 0 {
		t.Error(f)
	}
	m.put(doc(t, "Microsoft.Compute/virtualMachines/m", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"@networkInterfaces/n"}]}}}`))
	if f := InUse(n, m); len(f) != 1 || f[0].Code != "NicInUse" {
		t.Error(f)
	}
}

func BenchmarkValidateFullGroup(b *testing.B) {
	m := world(b)
	d := fullGroup(b)
	b.ReportAllocs()
	for b.Loop() {
		if f := Validate(d, m); len(f) > 0 {
			b.Fatal(f)
		}
	}
}

func fullGroup(t testing.TB) *Doc {
	return doc(t, "networkSecurityGroups/g", nsgJSON(many(1000, func(i int) string {
		return ruleJSON(fmt.Sprint("rule-", i), 100+i, fmt.Sprintf(`"description":"number %d","sourcePortRange":"*","destinationPortRanges":["%d","%d-%d"],"sourceAddressPrefixes":["10.%d.%d.0/24","11.%d.%d.0/24","12.%d.%d.0/24","13.%d.%d.0/24"],"destinationAddressPrefix":"*"`,
			i, i, i+1000, i+1005, i/256, i%256, i/256, i%256, i/256, i%256, i/256, i%256))
	})...))
}

func BenchmarkPutRuleInFullGroup(b *testing.B) {
	old := fullGroup(b)
	id := parse(b, "networkSecurityGroups/g/securityRules/rule-500")
	body := []byte(`{"properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":600,` + open + `}}`)
	for b.Loop() {
		if _, f := Put(old, id, body, "2025-03-01"); len(f) > 0 {
			b.Fatal(f)
		}
	}
}

func BenchmarkRenderFullGroup(b *testing.B) {
	m := world(b)
	d := fullGroup(b)
	for b.Loop() {
		if _, err := RenderJSON(d, m, "2025-03-01", "Succeeded"); err != nil {
			b.Fatal(err)
		}
	}
}
