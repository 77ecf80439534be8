package arm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestEveryGetBodyIsAcceptedBack(t *testing.T) {
	a := populated(t)
	for _, p := range []string{"~G", "~N/virtualNetworks/v", "~N/virtualNetworks/v/subnets/s2", "~N/networkSecurityGroups/nsg", "~N/networkSecurityGroups/nsg/securityRules/a",
		"~N/applicationSecurityGroups/asg0", "~N/networkInterfaces/n", "~N/networkInterfaces/n2", "~C/virtualMachines/m"} {
		before := a.ok(200, "GET", p, "")
		a.ok(200, "PUT", p, before.body)
		if after := a.ok(200, "GET", p, ""); shape(after.body) != shape(before.body) {
			t.Errorf("%s: a PUT of what was read changes it\n%s\n%s", p, shape(before.body), shape(after.body))
		}
	}
}

func TestOmittedSubnets(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	body := vnetBody(space)
	count := func() int {
		l, _ := field(t, a.ok(200, "GET", "~N/virtualNetworks/v", "").body, "properties.subnets").([]any)
		return len(l)
	}
	a.ok(200, "PUT", "~N/virtualNetworks/v?api-version=2023-11-01", body)
	if count() != 1 {
		t.Error("a PUT without subnets removed them")
	}
	a.ok(200, "PUT", "~N/virtualNetworks/v", vnetBody(space+`,"subnets":[]`))
	if count() != 0 {
		t.Error("an empty list kept the subnets")
	}
	a.ok(201, "PUT", "~N/virtualNetworks/v/subnets/t", subnetBody(`"addressPrefix":"10.0.0.0/24"`))
	a.ok(200, "PUT", "~N/virtualNetworks/v?api-version=2023-09-01", body)
	if count() != 0 {
		t.Error("an old version kept the subnets")
	}
	a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2","properties":{"securityRules":[{"name":"r","properties":`+strings.TrimSuffix(strings.TrimPrefix(rule(""), `{"properties":`), `}`)+`}]}}`)
	r := a.ok(200, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	if l, _ := field(t, r.body, "properties.securityRules").([]any); len(l) != 0 {
		t.Error("a PUT without rules kept them")
	}
}

func TestReferencesAreClearedWhenOmitted(t *testing.T) {
	a := populated(t)
	a.ok(200, "PUT", "~N/virtualNetworks/v/subnets/s2", subnetBody(`"addressPrefix":"10.0.2.0/24"`))
	if r := a.ok(200, "GET", "~N/networkSecurityGroups/nsg", ""); field(t, r.body, "properties.subnets") != nil {
		t.Error(r.body)
	}
	a.ok(200, "DELETE", "~N/networkSecurityGroups/nsg", "")
	a.ok(204, "DELETE", "~N/networkSecurityGroups/nsg", "")
}

func TestConditions(t *testing.T) {
	a := newAPI(t)
	body := `{"location":"westus2"}`
	p := "~N/networkSecurityGroups/n"
	a.ok(201, "PUT", p, body, "If-None-Match", "*")
	r := a.ok(412, "PUT", p, body, "If-None-Match", "*")
	if code, _, _, _ := r.errorOf(t); code != "PreconditionFailed" {
		t.Error(r.body)
	}
	etag := a.ok(200, "GET", p, "").header.Get("ETag")
	second := a.ok(200, "PUT", p, body, "If-Match", etag)
	if field(t, second.body, "etag") == etag {
		t.Error("the etag stayed the same")
	}
	r = a.ok(412, "PUT", p, body, "If-Match", etag)
	if _, msg, _, details := r.errorOf(t); !strings.Contains(msg, "Etag provided in if-match header "+etag) || details[0]["code"] != "PreconditionFailedEtagMismatch" {
		t.Error(r.body)
	}
	a.ok(412, "DELETE", p, "", "If-Match", etag)
	a.ok(412, "PATCH", p, `{"tags":{}}`, "If-Match", etag)
	a.ok(412, "PUT", "~N/networkSecurityGroups/other", body, "If-Match", "*")
	a.ok(412, "DELETE", "~N/networkSecurityGroups/other", "", "If-Match", etag)
	a.ok(200, "PUT", p, body, "If-Match", "*")
	a.ok(201, "PUT", p+"/securityRules/r", rule(""), "If-None-Match", "*")
	a.ok(412, "PUT", p+"/securityRules/r", rule(""), "If-None-Match", "*")
	etag = a.ok(200, "GET", p+"/securityRules/r", "").header.Get("ETag")
	a.ok(200, "DELETE", p+"/securityRules/r", "", "If-Match", etag)
	a.ok(204, "DELETE", p+"/securityRules/r", "")
}

func TestTagsAlone(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	r := a.ok(200, "PATCH", "~N/virtualNetworks/v", `{"tags":{"Owner":"net"}}`)
	if field(t, r.body, "tags.Owner") != "net" || field(t, r.body, "properties.subnets.0.name") != "s" {
		t.Error(r.body)
	}
	a.ok(400, "PATCH", "~N/virtualNetworks/v", `{"properties":{}}`)
	a.ok(404, "PATCH", "~N/virtualNetworks/w", `{"tags":{}}`)
	r = a.ok(200, "PATCH", "~N/virtualNetworks/v", `{"tags":{}}`)
	if !strings.Contains(r.body, `"tags":{}`) {
		t.Error(r.body)
	}
}

func TestNotYetEnforced(t *testing.T) {
	a := newAPI(t)
	release := make(chan error, 10)
	a.store.enforce = func(ctx context.Context, _ uint64) error {
		select {
		case err := <-release:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r := a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	if field(t, r.body, "properties.provisioningState") != "Updating" || field(t, r.body, "properties.defaultSecurityRules.0.properties.provisioningState") != "Updating" {
		t.Error(r.body)
	}
	poll := r.header.Get("Azure-AsyncOperation")
	want := "http://example.com/subscriptions/" + sub1 + "/providers/Microsoft.Network/locations/westus2/operations/"
	if !strings.HasPrefix(poll, want) || !strings.HasSuffix(poll, "?api-version="+v2025) || r.header.Get("Location") != "" || r.header.Get("Retry-After") == "" {
		t.Fatal(r.header)
	}
	poll = strings.TrimPrefix(poll, "http://example.com")
	if p := a.ok(200, "GET", poll, ""); p.body != `{"status":"InProgress"}` || p.header.Get("retry-after-ms") != "50" {
		t.Error(p.body, p.header)
	}
	if g := a.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Updating" {
		t.Error(g.body)
	}
	a.token = token2
	a.ok(404, "GET", poll, "")
	a.ok(404, "GET", strings.Replace(poll, sub1, sub2, 1), "")
	a.token = token1
	release <- nil
	a.eventually(poll, `{"status":"Succeeded"}`)
	if g := a.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Succeeded" {
		t.Error(g.body)
	}

	d := a.ok(202, "DELETE", "~N/networkSecurityGroups/n", "")
	location := strings.TrimPrefix(d.header.Get("Location"), "http://example.com")
	if !strings.Contains(location, "/operationResults/") || d.body != "" {
		t.Fatal(d.header)
	}
	if p := a.ok(202, "GET", location, ""); p.header.Get("Location") == "" {
		t.Error(p.header)
	}
	release <- nil
	a.eventually(strings.TrimPrefix(d.header.Get("Azure-AsyncOperation"), "http://example.com"), `{"status":"Succeeded"}`)
	a.ok(204, "GET", location, "")
}

// eventually polls until an operation says so.
func (a *api) eventually(poll, want string) {
	a.t.Helper()
	var last string
	for range 200 {
		if last = a.ok(200, "GET", poll, "").body; last == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.t.Fatalf("the operation says %s, want %s", last, want)
}

func TestHostThatCannotEnforce(t *testing.T) {
	a := newAPI(t)
	a.store.enforce = func(context.Context, uint64) error { return errors.New("host1: map is full") }
	r := a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	if field(t, r.body, "properties.provisioningState") != "Failed" {
		t.Error(r.body)
	}
	p := a.ok(200, "GET", strings.TrimPrefix(r.header.Get("Azure-AsyncOperation"), "http://example.com"), "")
	if field(t, p.body, "status") != "Failed" || field(t, p.body, "error.code") != "EnforcementFailed" || !strings.Contains(p.body, "host1: map is full") {
		t.Error(p.body)
	}
	a.store.enforce = nil
	a.ok(200, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	if g := a.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Succeeded" {
		t.Error(g.body)
	}
}

func TestComputeOperation(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	a.nic("n")
	a.store.enforce = never
	r := a.ok(201, "PUT", "~C/virtualMachines/m", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n"}]}}}`)
	if field(t, r.body, "properties.provisioningState") != "Creating" {
		t.Error(r.body)
	}
	p := a.ok(200, "GET", strings.TrimPrefix(r.header.Get("Azure-AsyncOperation"), "http://example.com"), "")
	if field(t, p.body, "status") != "InProgress" || field(t, p.body, "startTime") == nil || field(t, p.body, "name") == nil {
		t.Error(p.body)
	}
}

// An operation that another server started is known by the revision that its id carries.
func TestOperationOfAnotherServer(t *testing.T) {
	a := newAPI(t)
	id := operationID(1)
	at := "/subscriptions/" + sub1 + "/providers/microsoft.network/locations/westus2/operations/"
	if p := a.ok(200, "GET", at+id, ""); p.body != `{"status":"Succeeded"}` {
		t.Error(p.body)
	}
	a.store.enforce = never
	if p := a.ok(200, "GET", at+id, ""); p.body != `{"status":"InProgress"}` {
		t.Error(p.body)
	}
	a.ok(404, "GET", at+operationID(99), "")
	a.ok(404, "GET", at+"nonsense", "")
}

func TestWritesThatMeet(t *testing.T) {
	a := newAPI(t)
	a.store.meets = 3
	a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	a.store.meets = 100
	r := a.ok(429, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	if code, _, _, _ := r.errorOf(t); code != "RetryableError" || r.header.Get("Retry-After") != "1" {
		t.Error(r.body, r.header)
	}
	a.store.meets = 0
	done := make(chan int, 8)
	for i := range 8 {
		go func() {
			done <- a.do("PUT", fmt.Sprintf("~N/networkSecurityGroups/n/securityRules/r%d", i), rule(fmt.Sprintf("priority=%d", 200+i))).status
		}()
	}
	for range 8 {
		if s := <-done; s != 201 {
			t.Errorf("a concurrent rule got %d", s)
		}
	}
	l := a.ok(200, "GET", "~N/networkSecurityGroups/n", "")
	if rules, _ := field(t, l.body, "properties.securityRules").([]any); len(rules) != 8 {
		t.Errorf("%d of 8 rules are there: %s", len(rules), l.body)
	}
}

func TestLists(t *testing.T) {
	a := populated(t)
	var seen []string
	next := "~N/applicationSecurityGroups"
	for pages := 0; next != ""; pages++ {
		if pages > 10 {
			t.Fatal("the list does not end")
		}
		r := a.ok(200, "GET", next, "")
		l, _ := field(t, r.body, "value").([]any)
		if len(l) > 3 {
			t.Errorf("a page of %d", len(l))
		}
		for _, e := range l {
			seen = append(seen, e.(map[string]any)["name"].(string))
		}
		next, _ = field(t, r.body, "nextLink").(string)
		if next != "" {
			u, err := url.Parse(next)
			if err != nil || u.Host != "example.com" || u.Query().Get("api-version") != v2025 {
				t.Fatalf("nextLink %s: %v", next, err)
			}
			next = u.RequestURI()
		}
	}
	if len(seen) != 12 || seen[0] != "asg0" || seen[2] != "asg10" {
		t.Errorf("listed %v", seen)
	}
	if r := a.ok(200, "GET", "~N/applicationSecurityGroups?$top=2", ""); strings.Count(r.body, `"name"`) != 2 {
		t.Error(r.body)
	}
	a.ok(400, "GET", "~N/applicationSecurityGroups?$top=x", "")
	if r := a.ok(200, "GET", "/subscriptions/"+sub1+"/providers/Microsoft.Network/virtualNetworks", ""); strings.Count(r.body, `"etag"`) != 5 {
		t.Error(r.body) // two networks, three subnets
	}
	a.token = token2
	if r := a.ok(200, "GET", "/subscriptions/"+sub2+"/providers/Microsoft.Network/virtualNetworks", ""); r.body != `{"value":[]}` {
		t.Error(r.body)
	}
	if r := a.ok(200, "GET", "/subscriptions", ""); strings.Contains(r.body, sub1) || field(t, r.body, "value.0.subscriptionId") != sub2 {
		t.Error(r.body)
	}
	a.token = token1
	r := a.ok(200, "GET", "~G/resources?$filter=resourceType+eq+'microsoft.network/virtualnetworks'&$expand=provisioningState", "")
	r.want(t, `{"value":[{"id":"~N/virtualNetworks/v","name":"v","type":"Microsoft.Network/virtualNetworks","location":"westus2","provisioningState":"Succeeded"},
		{"id":"~N/virtualNetworks/v2","name":"v2","type":"Microsoft.Network/virtualNetworks","location":"westus2","provisioningState":"Succeeded"}]}`)
	for filter, want := range map[string]int{"tagName eq 'TIER'": 2, "tagName eq 'tier' and tagValue eq 'web'": 1, "resourceType eq 'Microsoft.Network/virtualNetworks' and location eq 'West US 2'": 2, "name eq 'nobody'": 0} {
		a.ok(200, "PATCH", "~N/virtualNetworks/v", `{"tags":{"Tier":"web"}}`)
		a.ok(200, "PATCH", "~N/virtualNetworks/v2", `{"tags":{"tier":"db"}}`)
		r := a.ok(200, "GET", "~G/resources?$filter="+url.QueryEscape(filter), "")
		if l, _ := field(t, r.body, "value").([]any); len(l) != want {
			t.Errorf("%s: %s", filter, r.body)
		}
	}
	a.ok(400, "GET", "~G/resources?$filter="+url.QueryEscape("startswith(name,'x')"), "")
	a.ok(404, "GET", "~G0/resources", "")
	a.ok(404, "GET", "~N/virtualNetworks/none/subnets", "")
}

func TestDiscovery(t *testing.T) {
	a := newAPI(t)
	s := "/subscriptions/" + sub1
	if r := a.ok(200, "GET", s, ""); field(t, r.body, "displayName") != "Contoso" || field(t, r.body, "state") != "Enabled" {
		t.Error(r.body)
	}
	if r := a.ok(200, "GET", "/tenants", ""); field(t, r.body, "value.0.tenantId") != "aaaaaaaa-0000-4000-8000-000000000001" {
		t.Error(r.body)
	}
	for method, p := range map[string]string{"GET": s + "/providers/microsoft.network", "POST": s + "/providers/Microsoft.Network/register"} {
		r := a.ok(200, method, p, "")
		if field(t, r.body, "registrationState") != "Registered" || !strings.Contains(r.body, `"resourceType":"virtualNetworks/subnets"`) {
			t.Error(r.body)
		}
	}
	if r := a.ok(200, "GET", s+"/providers", ""); strings.Count(r.body, "registrationState") != 3 {
		t.Error(r.body)
	}
	a.ok(404, "GET", s+"/providers/Microsoft.Sql", "")
	if r := a.ok(200, "GET", s+"/locations", ""); field(t, r.body, "value.0.name") != "westus2" {
		t.Error(r.body)
	}
	r := a.ok(200, "GET", "~G", "", "x-ms-correlation-request-id", "corr")
	for h, want := range map[string]string{"X-Go-Azure-Sdk-Skip-Polling-Delay": "true", "x-ms-correlation-request-id": "corr", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", "Content-Type": "application/json; charset=utf-8"} {
		if r.header.Get(h) != want {
			t.Errorf("header %s is %q", h, r.header.Get(h))
		}
	}
}

func TestGroupGoesWithItsContent(t *testing.T) {
	a := populated(t)
	a.ok(412, "DELETE", "~G", "", "If-Match", "no")
	a.ok(200, "DELETE", "~G", "")
	a.ok(404, "GET", "~G", "")
	if r := a.ok(404, "GET", "~N/virtualNetworks/v", ""); !strings.Contains(r.body, "ResourceGroupNotFound") {
		t.Error(r.body)
	}
	a.ok(404, "DELETE", "~G", "")
	a.ok(201, "PUT", "~G", `{"location":"westus2"}`)
	if r := a.ok(200, "GET", "~G/resources", ""); r.body != `{"value":[]}` {
		t.Error(r.body)
	}
	a.store.enforce = never
	d := a.ok(202, "DELETE", "~G", "")
	location := strings.TrimPrefix(d.header.Get("Location"), "http://example.com")
	if !strings.HasPrefix(location, "/subscriptions/"+sub1+"/operationresults/") || d.header.Get("Retry-After") == "" {
		t.Error(d.header)
	}
	a.ok(202, "GET", location, "")
}

func TestFirstSpellingStays(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	a.ok(200, "PUT", "/subscriptions/"+sub1+"/RESOURCEGROUPS/G/PROVIDERS/microsoft.network/VIRTUALNETWORKS/V", vnetBody(space))
	r := a.ok(200, "GET", "~N/virtualnetworks/V", "")
	if field(t, r.body, "id") != names("~N/virtualNetworks/v") {
		t.Error(r.body)
	}
	r = a.ok(201, "PUT", "/subscriptions/"+strings.ToUpper(sub1)+"/resourceGroups/G/providers/Microsoft.Network/networkSecurityGroups/New", `{"location":"westus2"}`)
	if field(t, r.body, "id") != names("~N/networkSecurityGroups/New") {
		t.Error(r.body)
	}
}

// A server that did not make a write itself asks the hosts' acknowledgements before it says Succeeded.
func TestStateOfWhatOthersWrote(t *testing.T) {
	a := newAPI(t)
	a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	other := newAPI(t)
	other.store.docs, other.store.rev, other.store.enforce = a.store.docs, a.store.rev, never
	if g := other.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Updating" {
		t.Error(g.body)
	}
	other.store.enforce = nil
	if g := other.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Succeeded" {
		t.Error(g.body)
	}
	other.store.enforce = never // once known, it is not asked again
	if g := other.ok(200, "GET", "~N/networkSecurityGroups/n", ""); field(t, g.body, "properties.provisioningState") != "Succeeded" {
		t.Error(g.body)
	}
}

func TestAddressAvailability(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	a.nic("n")
	for address, want := range map[string]string{
		"10.0.0.0":   `{"available":false,"availableIPAddresses":["10.0.0.5","10.0.0.6","10.0.0.7","10.0.0.8","10.0.0.9"],"isPlatformReserved":true}`,
		"10.0.0.4":   `{"available":false,"availableIPAddresses":["10.0.0.5","10.0.0.6","10.0.0.7","10.0.0.8","10.0.0.9"],"isPlatformReserved":false}`,
		"10.0.0.255": `{"available":false,"availableIPAddresses":["10.0.0.5","10.0.0.6","10.0.0.7","10.0.0.8","10.0.0.9"],"isPlatformReserved":true}`,
		"10.0.0.99":  `{"available":true,"availableIPAddresses":[],"isPlatformReserved":false}`,
		"10.9.0.9":   `{"available":false,"availableIPAddresses":[],"isPlatformReserved":false}`,
	} {
		if r := a.ok(200, "GET", "~N/virtualNetworks/v/CheckIPAddressAvailability?ipAddress="+address, ""); r.body != want {
			t.Errorf("%s: %s", address, r.body)
		}
	}
	a.ok(400, "GET", "~N/virtualNetworks/v/checkipaddressavailability?ipAddress=x", "")
	a.ok(204, "HEAD", "~N/virtualNetworks/v", "")
	a.ok(404, "HEAD", "~N/virtualNetworks/w", "")
}
