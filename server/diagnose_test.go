package server

import (
	"net/http"
	"strings"
	"testing"
)

// TestAzuresQuestions asks what Azure's clients ask about rules: for machines that run, of those who may read them.
func TestAzuresQuestions(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	p.must(network+"networkWatchers/w", `{"location":"westeurope","properties":{}}`)
	ask := func(path, body string, status int, wants ...string) {
		t.Helper()
		r := p.do(http.MethodPost, path, body)
		if r.status != status {
			t.Errorf("%s %s: %d %s", path, body, r.status, r.body)
		}
		for _, want := range wants {
			if !strings.Contains(string(r.body), want) {
				t.Errorf("%s %s: %s\nhas no %s", path, body, r.body, want)
			}
		}
	}
	flow := func(dir, proto, local, remote string, status int, want string) {
		t.Helper()
		lip, lport, _ := strings.Cut(local, " ")
		rip, rport, _ := strings.Cut(remote, " ")
		ask(network+"networkWatchers/w/ipFlowVerify", `{"targetResourceId":"`+compute+`virtualMachines/m","direction":"`+dir+`","protocol":"`+proto+
			`","localIPAddress":"`+lip+`","localPort":"`+lport+`","remoteIPAddress":"`+rip+`","remotePort":"`+rport+`"}`, status, want)
	}
	flow("Inbound", "TCP", "10.0.1.4 80", "10.0.2.9 *", 200, `{"access":"Deny","ruleName":"securityRules/r"}`)
	flow("Inbound", "TCP", "10.0.1.4 81", "10.0.2.9 5000", 200, `{"access":"Allow","ruleName":"defaultSecurityRules/AllowVnetInBound"}`)
	flow("Inbound", "UDP", "10.0.1.4 80", "203.0.113.9 5000", 200, `{"access":"Deny","ruleName":"defaultSecurityRules/DenyAllInBound"}`)
	flow("Outbound", "TCP", "10.0.1.4 *", "203.0.113.9 80", 200, `{"access":"Allow","ruleName":"defaultSecurityRules/AllowInternetOutBound"}`)
	flow("Inbound", "TCP", "10.0.1.4 *", "10.0.2.9 *", 400, "securityRules/r")
	flow("Inbound", "TCP", "10.0.1.5 80", "10.0.2.9 1", 400, "no address of")
	flow("Inbound", "ICMP", "10.0.1.4 80", "10.0.2.9 1", 400, "TCP or UDP")
	flow("Sideways", "TCP", "10.0.1.4 80", "10.0.2.9 1", 400, "Inbound or Outbound")
	flow("Inbound", "TCP", "10.0.1.4 80", "fd00::1 1", 400, "one family")

	diagnostic := func(source, port string, status int, wants ...string) {
		t.Helper()
		ask(network+"networkWatchers/w/networkConfigurationDiagnostic", `{"targetResourceId":"`+network+`networkInterfaces/i","profiles":[{"direction":"Inbound","protocol":"TCP","source":"`+
			source+`","destination":"10.0.1.4","destinationPort":"`+port+`"}]}`, status, wants...)
	}
	diagnostic("12.11.12.14", "12100", 200, `"securityRuleAccessResult":"Deny"`, `"matchedRule":{"ruleName":"DefaultRule_DenyAllInBound","action":"Deny"}`,
		`{"name":"UserRule_r","protocolMatched":true,"sourceMatched":true,"sourcePortMatched":true,"destinationMatched":true,"destinationPortMatched":false}`,
		`{"name":"DefaultRule_AllowVnetInBound","protocolMatched":true,"sourceMatched":false,"sourcePortMatched":true,"destinationMatched":true,"destinationPortMatched":true}`,
		`"appliedTo":"`+network+`virtualNetworks/v/subnets/a"`)
	diagnostic("10.0.0.0/16", "81-90", 200, `"securityRuleAccessResult":"Allow"`, `DefaultRule_AllowVnetInBound`)
	diagnostic("VirtualNetwork", "80", 200, `"securityRuleAccessResult":"Deny"`, `UserRule_r`)
	diagnostic("10.0.0.0/8", "90", 400, "AllowVnetInBound")
	diagnostic("10.0.0.4", "70-90", 400, "securityRules/r")
	diagnostic("Storage", "80", 400, "service tag")

	ask(network+"networkInterfaces/i/effectiveNetworkSecurityGroups", "", 200, `"association":{"subnet":{"id":"`+network+`virtualNetworks/v/subnets/a"}}`,
		`"name":"securityRules/r","protocol":"Tcp","sourcePortRange":"0-65535","destinationPortRange":"80-80","sourcePortRanges":["0-65535"],"destinationPortRanges":["80-80"],"sourceAddressPrefix":"0.0.0.0/0",`+
			`"destinationAddressPrefix":"0.0.0.0/0","sourceAddressPrefixes":["0.0.0.0/0","0.0.0.0/0"]`,
		`"sourceAddressPrefix":"VirtualNetwork"`, `"expandedSourceAddressPrefix":["10.0.0.0/15","10.2.0.0/16"`, `"priority":65500,"direction":"Outbound"`)
	p.must(network+"networkInterfaces/idle", nic("b"))
	ask(network+"networkInterfaces/idle/effectiveNetworkSecurityGroups", "", 400, "NicMustBeAttachedToRunningVmToGetEffectiveSecurityGroups")
	ask(network+"networkInterfaces/none/effectiveNetworkSecurityGroups", "", 404, "ResourceNotFound")
	for _, target := range []string{"", network + "virtualNetworks/v", strings.Replace(network, "subscriptions/", "subscriptions/9", 1) + "networkInterfaces/i"} {
		if r := p.do(http.MethodPost, network+"networkWatchers/w/ipFlowVerify", `{"targetResourceId":"`+target+`"}`); r.status/100 != 4 {
			t.Errorf("about %q: %d %s", target, r.status, r.body)
		}
	}
	if r := p.do(http.MethodGet, network+"networkInterfaces/i/effectiveNetworkSecurityGroups", ""); r.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d %s", r.status, r.body)
	}
}
