package server

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// Private zones on the wire: what is written is in the goal of the host whose network resolves it when the answer comes, and what
// cannot be is refused in the provider's words.
func TestPrivateZones(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	zone := network + "privateDnsZones/contoso.test"
	try := func(method, path, body string, status int, want ...string) reply {
		t.Helper()
		r := p.do(method, path+"?api-version=2024-06-01", body)
		for _, w := range want {
			if !bytes.Contains(r.body, []byte(w)) {
				t.Errorf("%s %s: no %s in %s", method, path, w, r.body)
			}
		}
		if r.status != status {
			t.Errorf("%s %s: %d %s", method, path, r.status, r.body)
		}
		return r
	}
	goal := func(want string) {
		t.Helper()
		if r := p.do(http.MethodGet, "/ringfence/v1/goal/host1", ""); !bytes.Contains(r.body, []byte(want)) {
			t.Errorf("the goal has no %q: %s", want, r.body)
		}
	}
	link := `{"location":"global","properties":{"registrationEnabled":true,"virtualNetwork":{"id":"` + network + `virtualNetworks/v"}}}`
	a := `{"properties":{"ttl":60,"aRecords":[{"ipv4Address":"10.0.1.9"}]}}`
	try("PUT", zone+"/A/www", a, 404, `"ParentResourceNotFound"`)
	try("PUT", zone, `{"location":"westeurope"}`, 400, "LocationNotAvailableForResourceType")
	try("PUT", network+"privateDnsZones/single", `{"location":"global"}`, 400, `{"code":"BadRequest"`)
	try("PUT", zone, `{"location":"global","tags":{"a":"b"}}`, 201, `"numberOfRecordSets":1`, `"maxNumberOfRecordSets":25000`, `"provisioningState":"Succeeded"`)
	try("GET", zone+"/SOA/@", "", 200, `"fqdn":"contoso.test."`, `"host":"azureprivatedns.net"`)
	try("PUT", zone+"/virtualNetworkLinks/l", link, 201, `"virtualNetworkLinkState":"Completed"`, `"resolutionPolicy":"Default"`, `"etag":"\"`)
	goal("  record m A 10 10.0.1.4\n")
	made := try("PUT", zone+"/A/www", a, 201, `"fqdn":"www.contoso.test."`, `"isAutoRegistered":false`)
	goal("  record www A 60 10.0.1.9\n")
	try("GET", zone+"/A/m", "", 200, `"isAutoRegistered":true`, `"10.0.1.4"`)
	try("GET", zone, "", 200, `"numberOfRecordSets":3`, `"numberOfVirtualNetworkLinksWithRegistration":1`)
	for _, list := range []string{"ALL", "recordsets"} {
		try("GET", zone+"/"+list, "", 200, `"name":"m"`, `"name":"www"`, `privateDnsZones/SOA"`)
	}
	try("PUT", zone, `{"location":"global"}`, 200, `"numberOfRecordSets":3`)
	try("PUT", zone+"/CNAME/www", `{"properties":{"ttl":5,"cnameRecord":{"cname":"x.y"}}}`, 400, `{"code":"BadRequest"`, "cannot stand beside")
	try("PUT", zone+"/CNAME/@", `{"properties":{"ttl":5,"cnameRecord":{"cname":"x.y"}}}`, 400, "cannot stand beside")
	try("PUT", zone+"/A/bad", `{"properties":{"ttl":5,"aRecords":[{"ipv4Address":"10.0.0.256"}]}}`, 400, "is no IPv4 address")
	try("PUT", zone+"/A/bad", `{"properties":{"ttl":5,"aaaaRecords":[]}}`, 400, "Could not find member 'aaaaRecords'")
	try("PUT", zone+"/A/a..b", a, 400, "is not valid")
	try("PUT", zone+"/A/zero", `{"properties":{"ttl":0}}`, 400, "TTL 0")
	try("PUT", zone+"/TXT/t", `{"properties":{"ttl":5,"txtRecords":[{"value":["`+strings.Repeat("x", 256)+`"]}]}}`, 400, "256 bytes")
	try("PUT", zone+"/MX/m", `{"properties":{"ttl":5,"mxRecords":[{"preference":65536,"exchange":"a.b"}]}}`, 400, "between 0 and 65535")
	try("PUT", zone+"/SOA/www", `{"properties":{"ttl":5,"soaRecord":{}}}`, 400, "exactly one SOA")
	try("DELETE", zone+"/SOA/@", "", 400, "can be changed, but not deleted")
	try("PUT", zone+"/SOA/@", `{"properties":{"ttl":7,"soaRecord":{"email":"me.contoso.test","minimumTtl":20}}}`, 200, `"email":"me.contoso.test"`, `"host":"azureprivatedns.net"`)
	goal("record @ SOA 7 azureprivatedns.net me.contoso.test 1 3600 300 2419200 20")

	// A tag of one record set is not touched by another one's change.
	tag := made.header.Get("ETag")
	try("PUT", zone+"/A/other", a, 201)
	for header, want := range map[string]int{"If-Match: " + tag: 200, "If-Match: 00": 412, "If-None-Match: *": 412} {
		name, value, _ := strings.Cut(header, ": ")
		if r := p.doWith("PUT", zone+"/A/www?api-version=2024-06-01", a, map[string]string{name: value}); r.status != want ||
			want == 412 && !bytes.HasPrefix(r.body, []byte(`{"code":"PreconditionFailed","message":"The Record set www `)) {
			t.Errorf("%s: %d %s", header, r.status, r.body)
		}
	}
	second := network + "privateDnsZones/other.test"
	try("PUT", second, `{"location":"global"}`, 201)
	try("PUT", second+"/virtualNetworkLinks/l", link, 400, "can only be linked to 1 Private DNS zone(s) with auto-registration enabled; conflicting Private DNS zone is 'contoso.test'")
	try("PUT", second+"/virtualNetworkLinks/l", strings.Replace(link, "/v\"", "/none\"", 1), 400, "InvalidResourceReference")
	try("DELETE", zone, "", 409, `{"error":{"code":"CannotDeleteResource"`, "privateDnsZones/contoso.test/virtualNetworkLinks/l'")
	try("DELETE", zone+"/A/other", "", 200)
	try("DELETE", zone+"/A/other", "", 204)
	try("DELETE", zone+"/virtualNetworkLinks/l", "", 200)
	if r := p.do(http.MethodGet, "/ringfence/v1/goal/host1", ""); bytes.Contains(r.body, []byte("contoso.test")) {
		t.Error("the host still knows the zone")
	}
	try("DELETE", zone, "", 200)
	try("GET", zone+"/A/www", "", 404)
}
