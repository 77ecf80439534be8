package e2e

import (
	"strconv"
	"strings"
	"testing"
)

// Names and metadata from inside the machines: private to the virtual network though the addresses overlap, exempt from rules
// that do not name the platform's tags, and denied by those that do.
func TestServices(t *testing.T) {
	l := newLab(t, 2)
	for tenant, other := range map[string]string{"contoso": "blue", "fabrikam": "green"} {
		l.vnet(tenant)
		l.vm(tenant, "a1", "a", "host1")
		l.vm(tenant, other, "a", "host2")
	}
	in := func(tenant string, command string) (string, error) {
		out, _, err := l.try("vm", "exec", "-g", "g", "--as", tenant, "a1", "--", "bash", "-c", command)
		return strings.TrimSpace(out), err
	}
	for tenant, c := range map[string]struct{ own, foreign string }{"contoso": {"blue", "green"}, "fabrikam": {"green", "blue"}} {
		for _, over := range []string{"", "use-vc"} { // UDP, TCP
			if out, err := in(tenant, "RES_OPTIONS="+over+" getent ahostsv4 "+c.own); err != nil || !strings.HasPrefix(out, "10.0.1.5") {
				t.Errorf("%s asks for %s: %q %v", tenant, c.own, out, err)
			}
		}
		if out, err := in(tenant, "getent ahostsv6 "+c.own); err != nil || !strings.HasPrefix(out, "fd00:1:0:1::5") {
			t.Errorf("%s asks for %s: %q %v", tenant, c.own, out, err)
		}
		if out, err := in(tenant, "getent hosts 10.0.1.5"); err != nil || !strings.Contains(out, c.own) {
			t.Errorf("%s asks for 10.0.1.5: %q %v", tenant, out, err)
		}
		if out, err := in(tenant, "getent hosts "+c.foreign); err == nil {
			t.Errorf("%s knows %s: %q", tenant, c.foreign, out)
		}
		if out, err := in(tenant, metadata("compute/subscriptionId")); err != nil || !strings.HasSuffix(out, strings.Split(l.path(tenant, ""), "/")[2]) {
			t.Errorf("%s asks for its subscription: %q %v", tenant, out, err)
		}
	}
	privateZone(t, l, in)
	l.put("contoso", network+"networkSecurityGroups/n", `{"location":"westeurope","properties":{"securityRules":[`+
		outbound(100, "AzurePlatformDNS")+","+outbound(110, "AzurePlatformIMDS")+","+outbound(120, "*")+`]}}`)
	if out, err := in("contoso", "RES_OPTIONS='timeout:1 attempts:1' getent hosts blue"); err == nil {
		t.Errorf("names are denied and answered: %q", out)
	}
	within := "timeout 1 bash -c \"" + metadata("compute/name") + "\""
	if out, err := in("contoso", within); err == nil {
		t.Errorf("metadata are denied and answered: %q", out)
	}
	l.put("contoso", network+"networkSecurityGroups/n", `{"location":"westeurope","properties":{"securityRules":[`+outbound(120, "*")+`]}}`)
	if out, err := in("contoso", "getent hosts blue"); err != nil {
		t.Errorf("names are exempt from a rule that does not name them: %q %v", out, err)
	}
	if out, err := in("contoso", within); err != nil || !strings.HasSuffix(out, "a1") {
		t.Errorf("metadata are exempt from a rule that does not name them: %q %v", out, err)
	}
}

// privateZone: when the answer to a write is there, so is the record, for machines of the linked network and nobody else.
func privateZone(t *testing.T, l *lab, in func(tenant, command string) (string, error)) {
	zone := network + "privateDnsZones/shop.test"
	l.put("contoso", zone, `{"location":"global"}`)
	l.put("contoso", zone+"/A/db", `{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"10.9.8.7"}]}}`)
	if out, err := in("contoso", "getent ahostsv4 db.shop.test"); err == nil {
		t.Errorf("a zone that is not linked answers: %q", out)
	}
	l.put("contoso", zone+"/virtualNetworkLinks/l", `{"location":"global","properties":{"registrationEnabled":true,"virtualNetwork":{"id":"`+l.path("contoso", network+"virtualNetworks/v")+`"}}}`)
	l.put("contoso", zone+"/CNAME/www", `{"properties":{"ttl":60,"cnameRecord":{"cname":"blue.shop.test"}}}`)
	for name, want := range map[string]string{"db": "10.9.8.7", "blue": "10.0.1.5", "www": "10.0.1.5"} {
		if out, err := in("contoso", "getent ahostsv4 "+name+".shop.test"); err != nil || !strings.HasPrefix(out, want) {
			t.Errorf("%s.shop.test: %q %v, want %s", name, out, err, want)
		}
	}
	if out, err := in("fabrikam", "getent ahostsv4 db.shop.test"); err == nil {
		t.Errorf("another tenant resolves it: %q", out)
	}
}

// metadata asks for one leaf over plain HTTP.
func metadata(leaf string) string {
	return asked("169.254.169.254", `GET /metadata/instance/`+leaf+`?api-version=2021-02-01&format=text HTTP/1.0\r\nMetadata: true\r\n\r\n`)
}

// asked is a request and its whole answer.
func asked(ip, request string) string {
	return `exec 3<>/dev/tcp/` + ip + `/80 && printf '` + request + `' >&3 && cat <&3`
}

// outbound is a rule that denies everything to a destination.
func outbound(priority int, to string) string {
	return `{"name":"no-` + strings.ReplaceAll(to, "*", "thing") + `","properties":{"priority":` + strconv.Itoa(priority) + `,"direction":"Outbound","access":"Deny","protocol":"*","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"` + to + `","destinationPortRange":"*"}}`
}
