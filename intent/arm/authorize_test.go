package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/identity/secret"
	"ringfence/intent/store"
)

// guarded is an API whose directory has a store, and somebody for each role.
type guarded struct {
	*api
	dir   *identity.Directory
	audit *identity.Audit
	token map[string]string // by name
	id    map[string]string // object ids
}

const tenant1, tenant2 = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"

func newGuarded(t *testing.T, limits identity.Limits) *guarded {
	t.Helper()
	run, err := os.MkdirTemp("", "rfg")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), store.Options{DataDir: filepath.Join(run, "d"), RunDir: filepath.Join(run, "r"), NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); os.RemoveAll(run) })
	dir, err := identity.New([]identity.Tenant{
		{Name: "contoso", ID: tenant1, Token: token1, Subscriptions: []identity.Subscription{{ID: sub1, Name: "Contoso"}}},
		{Name: "fabrikam", ID: tenant2, Token: token2, Subscriptions: []identity.Subscription{{ID: sub2, Name: "Fabrikam"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir.Keep(s)
	if err := dir.EnsureKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	audit, err := identity.OpenAudit(filepath.Join(run, "audit"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { audit.Close() })
	m := newMemory()
	g := &guarded{api: &api{t: t, store: m, token: token1}, dir: dir, audit: audit, token: map[string]string{}, id: map[string]string{}}
	g.h = New(Deps{Snapshot: m.snapshot, Admit: m, Identity: dir, Audit: audit, Limits: limits, Wait: 200 * time.Millisecond})
	return g
}

// somebody makes a service principal with a token.
func (g *guarded) somebody(name, tenant string) {
	g.t.Helper()
	n := len(g.token) + 1
	p := identity.ServicePrincipal{ID: fmt.Sprintf("eeeeeeee-0000-4000-8000-%012d", n), App: fmt.Sprintf("dddddddd-0000-4000-8000-%012d", n), Name: name, Tenant: tenant,
		Secrets: []identity.Secret{{Hash: secret.Hash(name)}}}
	if err := g.dir.PutPrincipal(g.t.Context(), p); err != nil {
		g.t.Fatal(err)
	}
	token, err := g.dir.Issue(p, "https://example.com/"+tenant+"/", "https://management.azure.com")
	if err != nil {
		g.t.Fatal(err)
	}
	g.token[name], g.id[name] = token.Text, p.ID
}

// as speaks as somebody.
func (g *guarded) as(name, method, path, body string) reply {
	g.t.Helper()
	was := g.api.token
	defer func() { g.api.token = was }()
	if g.api.token = g.token[name]; name == "owner of contoso" {
		g.api.token = token1
	}
	return g.do(method, path, body)
}

func assignmentPath(scope string, n int) string {
	return fmt.Sprintf("%s/providers/Microsoft.Authorization/roleAssignments/ffffffff-0000-4000-8000-%012d", scope, n)
}

func (g *guarded) assign(n int, name, role, scope string) {
	g.t.Helper()
	r, ok := identity.FindRole(role)
	if !ok {
		g.t.Fatalf("role %s", role)
	}
	g.ok(201, "PUT", assignmentPath(scope, n), fmt.Sprintf(`{"properties":{"roleDefinitionId":"/providers/Microsoft.Authorization/roleDefinitions/%s","principalId":"%s"}}`, r.ID, g.id[name]))
}

const subPath = "/subscriptions/" + sub1

// fill makes two groups with an NSG and a network each.
func (g *guarded) fill() {
	for _, group := range []string{"g", "other"} {
		at := subPath + "/resourceGroups/" + group
		g.ok(201, "PUT", at, `{"location":"westus2"}`)
		g.ok(201, "PUT", at+"/providers/Microsoft.Network/networkSecurityGroups/n", `{"location":"westus2"}`)
		g.ok(201, "PUT", at+"/providers/Microsoft.Network/virtualNetworks/v", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
	}
}

// Every role at every scope against every kind of request: what is not allowed is refused with Azure's code, and nothing happens.
func TestEveryDeniedAccess(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	who := map[string][2]string{ // role and scope
		"nobody": {}, "sub owner": {"Owner", subPath}, "sub contributor": {"Contributor", subPath}, "sub reader": {"Reader", subPath},
		"group contributor": {"Contributor", subPath + "/resourceGroups/g"}, "group network": {"Network Contributor", subPath + "/resourceGroups/g"},
		"nsg contributor": {"Contributor", subPath + "/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n"},
	}
	n := 0
	for _, name := range slices.Sorted(mapsKeys(who)) {
		g.somebody(name, tenant1)
		if role := who[name]; role[0] != "" {
			n++
			g.assign(n, name, role[0], role[1])
		}
	}
	g.somebody("foreigner", tenant2)
	g.somebody("newcomer", tenant1)
	nsg, rule := "~N/networkSecurityGroups/n", "~N/networkSecurityGroups/n/securityRules/r"
	ruleBody := `{"properties":{"priority":100,"direction":"Inbound","access":"Allow","protocol":"*","sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"*"}}`
	otherNSG := subPath + "/resourceGroups/other/providers/Microsoft.Network/networkSecurityGroups/n"
	template := `{"properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[{"type":"Microsoft.Network/networkSecurityGroups","apiVersion":"2023-09-01","name":"t","location":"westus2"}]}}}`
	roleBody := fmt.Sprintf(`{"properties":{"roleDefinitionId":"8e3af657-a8ff-443c-a75c-2fe8c4bcb635","principalId":"%s"}}`, g.id["newcomer"])
	type allowed map[string]bool
	everyone := []string{"sub owner", "sub contributor", "sub reader", "group contributor", "group network", "nsg contributor"}
	set := func(names ...string) allowed {
		out := allowed{}
		for _, n := range names {
			out[n] = true
		}
		return out
	}
	for i, c := range []struct {
		method, path, body string
		may                allowed
	}{
		{"GET", nsg, "", set(everyone...)},
		{"HEAD", nsg, "", set(everyone...)},
		{"PUT", rule, ruleBody, set("sub owner", "sub contributor", "group contributor", "group network", "nsg contributor")},
		{"GET", rule, "", set(everyone...)},
		{"GET", nsg + "/securityRules", "", set(everyone...)},
		{"PATCH", nsg, `{"tags":{"a":"b"}}`, set("sub owner", "sub contributor", "group contributor", "group network", "nsg contributor")},
		{"GET", otherNSG, "", set("sub owner", "sub contributor", "sub reader")},
		{"PUT", otherNSG + "/securityRules/r", ruleBody, set("sub owner", "sub contributor")},
		{"GET", "~N/virtualNetworks/v", "", set("sub owner", "sub contributor", "sub reader", "group contributor", "group network")},
		{"GET", "~G", "", set("sub owner", "sub contributor", "sub reader", "group contributor", "group network")},
		{"PUT", subPath + "/resourceGroups/new", `{"location":"westus2"}`, set("sub owner", "sub contributor")},
		{"PUT", "~C/virtualMachines/vm", `{"location":"westus2","properties":{}}`, set("sub owner", "sub contributor", "group contributor")},
		{"POST", "~G/providers/Microsoft.Resources/deployments/d/validate", template, set("sub owner", "sub contributor", "group contributor", "group network")},
		{"PUT", "~G/providers/Microsoft.Resources/deployments/d", template, set("sub owner", "sub contributor", "group contributor", "group network")},
		{"PUT", assignmentPath("~G", 900), roleBody, set("sub owner")},
		{"GET", subPath + "/providers/Microsoft.Authorization/roleAssignments", "", set("sub owner", "sub contributor", "sub reader")},
		{"GET", "~G/providers/Microsoft.Authorization/roleAssignments", "", set("sub owner", "sub contributor", "sub reader", "group contributor", "group network")},
		{"DELETE", assignmentPath("~G", 900), "", set("sub owner")},
		{"DELETE", otherNSG, "", set("sub owner", "sub contributor")},
		{"DELETE", "~G", "", set()}, // judged below: whoever may would end the test
	} {
		for _, name := range append(slices.Sorted(mapsKeys(who)), "foreigner") {
			if c.method == "DELETE" && c.path == "~G" && (name == "sub owner" || name == "sub contributor" || name == "group contributor") {
				continue
			}
			before := g.store.applied
			r := g.as(name, c.method, c.path, c.body)
			switch {
			case name == "foreigner":
				if r.status != 404 || !strings.Contains(r.body, "SubscriptionNotFound") && c.method != "HEAD" {
					t.Errorf("%d: %s %s as a foreigner: %d %s", i, c.method, c.path, r.status, r.body)
				}
			case c.may[name]:
				if r.status == 403 || r.status == 401 {
					t.Errorf("%d: %s %s as %s: %d %s", i, c.method, c.path, name, r.status, r.body)
				}
				continue
			case r.status != 403 || c.method != "HEAD" && !strings.Contains(r.body, "AuthorizationFailed"):
				t.Errorf("%d: %s %s as %s: %d %s", i, c.method, c.path, name, r.status, r.body)
			}
			if g.store.applied != before {
				t.Errorf("%d: %s %s as %s: refused, and written", i, c.method, c.path, name)
			}
		}
	}
}

func mapsKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// Lists show what may be read, and no more.
func TestListsAreFiltered(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	for i, c := range []struct{ name, role, scope string }{
		{"reader", "Reader", subPath + "/resourceGroups/g"},
		{"nsg reader", "Reader", subPath + "/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/n"},
		{"nobody", "", ""},
	} {
		g.somebody(c.name, tenant1)
		if c.role != "" {
			g.assign(i+1, c.name, c.role, c.scope)
		}
	}
	for _, c := range []struct {
		name, path string
		status     int
		want       string // names, sorted
	}{
		{"reader", "/subscriptions", 200, sub1},
		{"nobody", "/subscriptions", 200, ""},
		{"nobody", subPath, 403, ""},
		{"reader", subPath + "/resourceGroups", 200, "g"},
		{"nsg reader", subPath + "/resourceGroups", 200, "g"},
		{"nobody", subPath + "/resourceGroups", 200, ""},
		{"reader", subPath + "/providers/Microsoft.Network/networkSecurityGroups", 200, "n"},
		{"reader", subPath + "/resources", 200, "n v"},
		{"nsg reader", subPath + "/resources", 200, "n"},
		{"nsg reader", "~N/virtualNetworks", 200, ""},
		{"nsg reader", "~N/virtualNetworks/v/subnets", 403, ""},
		{"reader", subPath + "/resourceGroups/other/providers/Microsoft.Network/virtualNetworks", 403, ""},
		{"reader", subPath + "/resourceGroups/other/resources", 403, ""},
		{"nobody", "~G/resources", 403, ""},
	} {
		r := g.as(c.name, "GET", c.path, "")
		var list struct {
			Value []struct{ Name, SubscriptionID string }
		}
		if r.status != c.status || r.status == 200 && json.Unmarshal([]byte(r.body), &list) != nil {
			t.Errorf("%s, %s: %d %s", c.name, c.path, r.status, r.body)
			continue
		}
		var got []string
		for _, v := range list.Value {
			got = append(got, v.Name+v.SubscriptionID)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, %s: %v, want %s", c.name, c.path, got, c.want)
		}
	}
}

// Who may write a network interface cannot put it into a subnet that is somebody else's.
func TestLinkedAccess(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	g.somebody("dev", tenant1)
	g.assign(1, "dev", "Contributor", subPath+"/resourceGroups/g")
	nic := func(subnet string) string {
		return `{"location":"westus2","properties":{"ipConfigurations":[{"name":"i","properties":{"subnet":{"id":"` + subnet + `"}}}]}}`
	}
	mine, others := names("~N")+"/virtualNetworks/v/subnets/s", subPath+"/resourceGroups/other/providers/Microsoft.Network/virtualNetworks/v/subnets/s"
	if r := g.as("dev", "PUT", "~N/networkInterfaces/a", nic(mine)); r.status != 201 {
		t.Fatalf("own subnet: %d %s", r.status, r.body)
	}
	before := g.store.applied
	r := g.as("dev", "PUT", "~N/networkInterfaces/b", nic(others))
	if r.status != 403 || !strings.Contains(r.body, "LinkedAuthorizationFailed") || !strings.Contains(r.body, "subnets/join/action") || g.store.applied != before {
		t.Errorf("somebody else's subnet: %d %s", r.status, r.body)
	}
	g.assign(2, "dev", "Network Contributor", others)
	if r := g.as("dev", "PUT", "~N/networkInterfaces/b", nic(others)); r.status != 201 {
		t.Fatalf("with the right to join: %d %s", r.status, r.body)
	}
	g.ok(200, "DELETE", assignmentPath(others, 2), "")
	if r := g.as("dev", "PUT", "~N/networkInterfaces/b", nic(others)); r.status != 200 {
		t.Errorf("what it refers to already: %d %s", r.status, r.body)
	}
}

// A role at a group that was deleted is not one at the group that is made under its name.
func TestRolesEndWithTheirScope(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	g.somebody("dev", tenant1)
	g.assign(1, "dev", "Contributor", subPath+"/resourceGroups/g")
	g.ok(200, "GET", assignmentPath("~G", 1), "")
	g.ok(200, "DELETE", "~G", "")
	g.store.moment = "2026-11-22T12:00:01Z"
	g.ok(201, "PUT", "~G", `{"location":"westus2"}`)
	if r := g.as("dev", "GET", "~G", ""); r.status != 403 {
		t.Errorf("the new group: %d %s", r.status, r.body)
	}
	g.ok(404, "GET", assignmentPath("~G", 1), "")
}

func TestRoleAssignments(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	g.somebody("dev", tenant1)
	g.somebody("foreign", tenant2)
	body := func(role, principal string) string {
		return `{"properties":{"roleDefinitionId":"` + subPath + `/providers/Microsoft.Authorization/roleDefinitions/` + role + `","principalId":"` + principal + `"}}`
	}
	const reader, owner = "acdd72a7-3385-48ef-bd42-f606fba81ae7", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	for _, c := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"PUT", assignmentPath("~G", 1), body(reader, g.id["dev"]), 201, ""},
		{"PUT", assignmentPath("~G", 1), body(reader, g.id["dev"]), 200, ""},
		{"PUT", assignmentPath("~G", 1), body(owner, g.id["dev"]), 409, "RoleAssignmentUpdateNotPermitted"},
		{"PUT", assignmentPath("~G", 2), body(reader, g.id["dev"]), 409, "RoleAssignmentExists"},
		{"PUT", assignmentPath("~G", 3), body(reader, g.id["foreign"]), 400, "PrincipalNotFound"},
		{"PUT", assignmentPath("~G", 3), body(reader, "no"), 400, "PrincipalNotFound"},
		{"PUT", assignmentPath("~G", 3), body("Reader", g.id["dev"]), 400, "RoleDefinitionDoesNotExist"},
		{"PUT", assignmentPath("~G", 3), "[", 400, "InvalidRequestContent"},
		{"PUT", "~G/providers/Microsoft.Authorization/roleAssignments/x", body(reader, g.id["dev"]), 400, "InvalidRoleAssignmentId"},
		{"PUT", assignmentPath("~N/networkSecurityGroups/none", 3), body(reader, g.id["dev"]), 404, "ResourceNotFound"},
		{"PUT", assignmentPath("~N/virtualNetworks/v/subnets/none", 3), body(reader, g.id["dev"]), 404, "NotFound"},
		{"PATCH", assignmentPath("~G", 1), "{}", 405, "MethodNotAllowed"},
		{"GET", assignmentPath("~G", 1), "", 200, ""},
		{"GET", assignmentPath(subPath, 1), "", 404, "RoleAssignmentNotFound"},
		{"GET", subPath + "/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName%20eq%20'Reader'", "", 200, ""},
		{"GET", "/providers/Microsoft.Authorization/roleDefinitions/" + owner, "", 200, ""},
		{"GET", subPath + "/providers/Microsoft.Authorization/roleDefinitions?$filter=nonsense", "", 400, "UnsupportedQueryOption"},
		{"GET", "~G/providers/Microsoft.Authorization/permissions", "", 200, ""},
		{"DELETE", assignmentPath("~G", 1), "", 200, ""},
		{"DELETE", assignmentPath("~G", 1), "", 204, ""},
	} {
		r := g.do(c.method, c.path, c.body)
		if r.status != c.status || c.code != "" && !strings.Contains(r.body, `"`+c.code) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, r.status, r.body, c.status, c.code)
		}
	}
}

// Every write is on record, with who asked and what became of it, also those that a deployment makes.
func TestAuditLog(t *testing.T) {
	g := newGuarded(t, identity.Limits{})
	g.fill()
	g.somebody("dev", tenant1)
	began := time.Now()
	g.as("dev", "PUT", "~N/networkSecurityGroups/x", `{"location":"westus2"}`)
	g.do("PUT", "~N/networkSecurityGroups/x", `{"location":"westus2","bogus":1}`)
	g.do("GET", "~N/networkSecurityGroups/n", "")
	g.ok(201, "PUT", "~G/providers/Microsoft.Resources/deployments/d", `{"properties":{"mode":"Incremental","template":{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0","resources":[{"type":"Microsoft.Network/networkSecurityGroups","apiVersion":"2023-09-01","name":"t","location":"westus2"}]}}}`,
		"x-ms-correlation-request-id", "cafe")
	g.ok(200, "DELETE", "~N/networkSecurityGroups/t", "")
	all, err := g.audit.Read(began, 100, func(identity.Entry) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(all)
	var got []string
	for _, e := range all {
		got = append(got, fmt.Sprintf("%s %s %s %d %s", e.Principal, e.Operation, e.Resource[strings.LastIndexByte(e.Resource, '/')+1:], e.Status, e.Code))
	}
	want := []string{
		"dev Microsoft.Network/networkSecurityGroups/write x 403 AuthorizationFailed",
		"contoso Microsoft.Network/networkSecurityGroups/write x 400 ",
		"contoso Microsoft.Network/networkSecurityGroups/write t 201 ",
		"contoso Microsoft.Resources/deployments/write d 201 ",
		"contoso Microsoft.Network/networkSecurityGroups/delete t 200 ",
	}
	if len(got) != len(want) {
		t.Fatalf("entries:\n%s", strings.Join(got, "\n"))
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("entry %d: %s, want %s", i, got[i], want[i])
		}
	}
	if all[2].Correlation != "cafe" || all[3].Correlation != "cafe" || all[0].Object != g.id["dev"] {
		t.Errorf("correlation %q and %q, object %q", all[2].Correlation, all[3].Correlation, all[0].Object)
	}
	// What cannot be put on record is not done.
	if err := g.audit.Close(); err != nil {
		t.Fatal(err)
	}
	g.do("PUT", "~N/networkSecurityGroups/y", `{"location":"westus2"}`) // finds out
	before := g.store.applied
	if r := g.do("PUT", "~N/networkSecurityGroups/z", `{"location":"westus2"}`); r.status != 503 || g.store.applied != before {
		t.Errorf("without an audit log: %d %s", r.status, r.body)
	}
	g.ok(200, "GET", "~N/networkSecurityGroups/n", "")
}

func TestRateLimits(t *testing.T) {
	g := newGuarded(t, identity.Limits{Reads: identity.Rate{PerSecond: 0.001, Burst: 3}, Writes: identity.Rate{PerSecond: 0.001, Burst: 20}})
	g.fill()
	var last reply
	for i := range 4 {
		last = g.do("GET", "~G", "")
		if i < 3 && (last.status != 200 || last.header.Get("x-ms-ratelimit-remaining-subscription-reads") != fmt.Sprint(2-i)) {
			t.Fatalf("read %d: %d %v", i, last.status, last.header)
		}
	}
	if last.status != http.StatusTooManyRequests || !strings.Contains(last.body, "SubscriptionRequestsThrottled") || len(last.header.Get("Retry-After")) < 3 {
		t.Errorf("the fourth read: %d %s %v", last.status, last.body, last.header)
	}
	g.ok(200, "PUT", "~G", `{"location":"westus2"}`) // writes have their own
	g.api.token = token2
	if r := g.do("GET", "/subscriptions/"+sub2, ""); r.status != 200 {
		t.Errorf("another tenant: %d", r.status)
	}
}
