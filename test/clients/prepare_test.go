package clients

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var groupRule = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/([^/]+)`)

// clear takes away everything that an example left.
func (c *conformance) clear(t *testing.T) {
	t.Helper()
	for _, g := range c.made {
		if status, body := c.http("DELETE", "/subscriptions/"+c.sub+"/resourceGroups/"+g, nil); status != 200 && status != 404 {
			t.Fatalf("delete %s: %d %s", g, status, body)
		}
	}
	c.made = nil
}

// prepare makes what an example takes for granted: its resource group, the parents of what it writes, what its body refers to, and what it
// asks about itself.
func (c *conformance) prepare(t *testing.T) {
	t.Helper()
	c.clear(t)
	ids := references(c.wire.sent)
	if c.wire.verb == "PUT" {
		ids = append(ids, c.wire.path[:strings.LastIndexByte(strings.TrimSuffix(c.wire.path, "/"), '/')])
	} else {
		ids = append(ids, c.wire.path)
	}
	slices.SortStableFunc(ids, func(a, b string) int { return rank(a) - rank(b) })
	var asked struct{ TargetResourceID, LocalIPAddress string }
	if json.Unmarshal(c.wire.sent, &asked) == nil && asked.LocalIPAddress != "" {
		c.home(t, asked.TargetResourceID, asked.LocalIPAddress)
	}
	for _, id := range ids {
		c.make(t, id)
	}
	if nic, ok := strings.CutSuffix(c.wire.path, "/effectiveNetworkSecurityGroups"); ok { // it runs
		scope := groupRule.FindString(nic)
		c.put(t, scope+"/providers/Microsoft.Compute/virtualMachines/its-machine", fields{"location": location,
			"properties": fields{"networkProfile": fields{"networkInterfaces": []fields{{"id": nic}}}}})
	}
}

// home makes the interface of a machine with an address that a question names.
func (c *conformance) home(t *testing.T, machine, address string) {
	t.Helper()
	scope := "/subscriptions/" + c.sub + groupRule.FindString(machine)[len("/subscriptions/")+36:] + "/providers/Microsoft.Network/"
	c.make(t, scope+"virtualNetworks/taken-for-granted")
	subnet := scope + "virtualNetworks/taken-for-granted/subnets/home"
	c.put(t, subnet, fields{"properties": fields{"addressPrefix": address[:strings.LastIndexByte(address, '.')] + ".0/24"}})
	c.put(t, scope+"networkInterfaces/taken-for-granted", fields{"location": location, "properties": fields{"ipConfigurations": []fields{{"name": "ipconfig1",
		"properties": fields{"subnet": fields{"id": subnet}, "privateIPAllocationMethod": "Static", "privateIPAddress": address}}}}})
}

// rank puts what is referred to before what refers.
func rank(id string) int {
	for i, segment := range []string{"/networkInterfaces/", "/virtualMachines/"} {
		if strings.Contains(id, segment) {
			return i + 1
		}
	}
	return 0
}

// references are the ids in a body.
func references(body []byte) []string {
	var v any
	if json.Unmarshal(body, &v) != nil {
		return nil
	}
	var out []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case string:
			if strings.HasPrefix(v, "/subscriptions/") {
				out = append(out, v)
			}
		}
	}
	walk(v)
	slices.Sort(out)
	return slices.Compact(out)
}

// make makes the resource with an id and everything above it, as far as its types are here.
func (c *conformance) make(t *testing.T, id string) {
	t.Helper()
	m := groupRule.FindStringSubmatch(id)
	if m == nil {
		return
	}
	scope := "/subscriptions/" + c.sub + "/resourceGroups/" + m[1]
	if !slices.Contains(c.made, m[1]) {
		c.put(t, scope, map[string]any{"location": location})
		c.made = append(c.made, m[1])
	}
	p := strings.Split(strings.Trim(id[len(m[0]):], "/"), "/")
	if len(p) < 4 {
		return
	}
	at, kind := scope+"/providers/"+p[1], p[1]
	for i := 2; i+1 < len(p); i += 2 {
		at, kind = at+"/"+p[i]+"/"+p[i+1], kind+"/"+p[i]
		body := c.body(t, scope, kind)
		if body == nil {
			return
		}
		if status, _ := c.http("GET", at, nil); status == 404 {
			c.put(t, at, body)
		}
	}
}

func (c *conformance) put(t *testing.T, id string, body any) {
	t.Helper()
	if status, text := c.http("PUT", id, body); status != 200 && status != 201 {
		t.Fatalf("prepare %s: %d %s", id, status, text)
	}
}

type fields = map[string]any

// body is the least that a resource of a type needs; nil for one that nothing needs.
func (c *conformance) body(t *testing.T, scope, kind string) any {
	t.Helper()
	c.number++
	switch kind {
	case "Microsoft.Network/networkSecurityGroups", "Microsoft.Network/applicationSecurityGroups", "Microsoft.Network/networkWatchers":
		return fields{"location": location, "properties": fields{}}
	case "Microsoft.Network/networkSecurityGroups/securityRules":
		return fields{"properties": fields{"priority": 4000 + c.number%90, "direction": "Inbound", "access": "Allow", "protocol": "*", "sourcePortRange": "*",
			"destinationPortRange": "80", "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}}
	case "Microsoft.Network/virtualNetworks":
		return fields{"location": location, "properties": fields{"addressSpace": fields{"addressPrefixes": []string{"10.0.0.0/8", "11.0.0.0/16", "192.168.0.0/16"}}}}
	case "Microsoft.Network/virtualNetworks/subnets":
		c.subnets++
		return fields{"properties": fields{"addressPrefix": "192.168." + strconv.Itoa(c.subnets%250) + ".0/24"}}
	case "Microsoft.Network/networkInterfaces":
		subnet := scope + "/providers/Microsoft.Network/virtualNetworks/taken-for-granted/subnets/s"
		c.make(t, subnet)
		return fields{"location": location, "properties": fields{"ipConfigurations": []fields{{"name": "ipconfig1", "properties": fields{"subnet": fields{"id": subnet}}}}}}
	case "Microsoft.Compute/virtualMachines":
		nic := scope + "/providers/Microsoft.Network/networkInterfaces/taken-for-granted"
		c.make(t, nic)
		return fields{"location": location, "properties": fields{"networkProfile": fields{"networkInterfaces": []fields{{"id": nic}}}}}
	}
	return nil
}
