package resource

import (
	"bytes"
	"strings"
	"testing"
)

func TestDecodeNormalises(t *testing.T) {
	for _, c := range []struct{ typ, in, out string }{
		{"Microsoft.Network/virtualNetworks", `{"Location":"West US","ETag":5,"id":{},"PROPERTIES":{"ADDRESSSPACE":{"addressprefixes":["10.0.0.0/8"]},"provisioningState":null,"dhcpOptions":null,"resourceGuid":"x","subnets":[]}}`,
			`{"location":"West US","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]},"subnets":[]}}`},
		{"Microsoft.Network/virtualNetworks/subnets", `{"properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"ID":"x","properties":{"securityRules":[]},"tags":{}}}}`,
			`{"properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"x"}}}`},
		{"Microsoft.Network/networkSecurityGroups/securityRules", `{"properties":{"protocol":"TCP","access":"allow","direction":"INBOUND","priority":"100","destinationPortRange":80,"description":"<&>"}}`,
			`{"properties":{"protocol":"TCP","access":"allow","direction":"INBOUND","priority":100,"destinationPortRange":"80","description":"<&>"}}`},
		{"Microsoft.Compute/virtualMachines", `{"properties":{"osProfile":{"adminPassword":"x","computerName":"c"},"userData":"x"}}`, `{"properties":{"osProfile":{"computerName":"c"},"userData":"x"}}`},
	} {
		out, faults := Decode(Find(c.typ), []byte(c.in))
		if len(faults) > 0 || string(out) != c.out {
			t.Errorf("%s\n got %s %v\nwant %s", c.typ, out, faults, c.out)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200) + "1" + strings.Repeat("}", 200)
	for _, in := range []string{"", "{", "{}x", `{"a"}`, `{"a":1,}`, `{"a":1 "b":2}`, `{a:1}`, `{"a":tru}`, `{"a":01}`, `{"a":+1}`, `{"a":NaN}`, `{"a":"` + "\x01" + `"}`, `{"a":"\q"}`,
		"{\"a\":\"\xff\"}", `{"a":1,"A":2}`, `{"a":[1,]}`, `"x"`, `null`, deep, `{"a":"\ud800`, `{"a":"x\`, `{"a":"\ud800"}`, `{"a":"\udc00\ud800x"}`} {
		_, faults := Decode(virtualNetwork, []byte(in))
		if len(faults) == 0 || faults[0].Code != "InvalidRequestContent" {
			t.Errorf("%.40q: %v", in, faults)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(5, []byte(`{"location":"l","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`))
	f.Add(2, []byte(`{"location":"l","properties":{"securityRules":[{"name":"r","properties":{"protocol":"*","access":"Deny","direction":"Inbound","priority":100,"sourcePortRange":"*","destinationPortRanges":["1-2"],"sourceAddressPrefix":"1","destinationAddressPrefixes":["::/0"]}}]}}`))
	f.Add(7, []byte(`{"location":"l","properties":{"ipConfigurations":[{"name":"i","properties":{"privateIPAddress":"1.2.3.4","subnet":{"id":"/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s"}}}]}}`))
	f.Add(9, []byte(`{"location":"l","properties":{"networkProfile":{"networkInterfaces":[{"id":"x","properties":{"primary":true}}]}}}`))
	f.Fuzz(func(t *testing.T, which int, body []byte) {
		typ := table[uint(which)%uint(len(table))]
		out, faults := Decode(typ, body)
		if len(faults) > 0 {
			return
		}
		again, faults := Decode(typ, out)
		if len(faults) > 0 || !bytes.Equal(again, out) {
			t.Fatalf("%s: %s became %s, %v", typ.Name, out, again, faults)
		}
		if typ.Parent != nil || typ == resourceGroup {
			return
		}
		m := newMemory(t)
		id := ID{Subscription: "11111111-1111-4111-8111-111111111111", Group: "g", Type: typ.Name, Names: []string{"x"}}
		d, faults := Put(nil, id, body, "2025-03-01")
		if len(faults) > 0 {
			t.Fatal(faults)
		}
		valid := len(Validate(d, m)) == 0
		m.put(d)
		shown, err := RenderJSON(d, m, "2025-03-01", "Succeeded")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseJSON(shown); err != nil {
			t.Fatalf("%s renders as %s: %v", out, shown, err)
		}
		BuildView(1, m.all)
		NoEffects(d)
		if back, faults := Put(d, id, shown, "2025-03-01"); typ != deployment && (len(faults) > 0 || valid && len(Validate(back, m)) > 0) {
			t.Fatalf("%s renders as %s, which is refused: %v", out, shown, faults)
		}
	})
}

func FuzzRuleText(f *testing.F) {
	for _, s := range []string{"*", "80", "1-2", "10.0.0.0/8", "::1", "VirtualNetwork", "1234", "0x10", "١"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if lo, hi, ok := ParsePorts(text); ok && lo > hi {
			t.Fatalf("%q: %d-%d", text, lo, hi)
		}
		p, ok := ParsePrefix(text)
		if !ok {
			return
		}
		if p.Masked() != p || !p.IsValid() || p.Addr().Is4In6() {
			t.Fatalf("%q gives %v", text, p)
		}
		if q, ok := ParsePrefix(p.String()); !ok || q != p {
			t.Fatalf("%q gives %v, which gives %v", text, p, q)
		}
	})
}
