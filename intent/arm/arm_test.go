package arm

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"ringfence/intent/identity"
)

const (
	sub1   = "11111111-1111-4111-8111-111111111111"
	sub2   = "22222222-2222-4222-8222-222222222222"
	token1 = "token-of-contoso-0001"
	token2 = "token-of-fabrikam-002"
	v2025  = "2025-03-01"
)

// api is the handler on an empty memory with one resource group, g in westus2.
type api struct {
	t     *testing.T
	h     http.Handler
	store *memory
	token string
}

func newAPI(t *testing.T) *api {
	t.Helper()
	dir, err := identity.New([]identity.Tenant{
		{Name: "contoso", ID: "aaaaaaaa-0000-4000-8000-000000000001", Token: token1, Subscriptions: []identity.Subscription{{ID: sub1, Name: "Contoso"}}},
		{Name: "fabrikam", ID: "aaaaaaaa-0000-4000-8000-000000000002", Token: token2, Subscriptions: []identity.Subscription{{ID: sub2, Name: "Fabrikam"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := newMemory()
	a := &api{t: t, store: m, token: token1}
	a.h = New(Deps{Snapshot: m.snapshot, Admit: m, Identity: dir, Locations: []string{"West US 2", "West Europe"}, Wait: 200 * time.Millisecond, Page: 3})
	a.ok(201, "PUT", "~G", `{"location":"westus2"}`)
	return a
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// path expands ~G to the group g of the first subscription, ~N and ~C to its providers.
func path(p string) string {
	g := "/subscriptions/" + sub1 + "/resourceGroups/g"
	p = strings.Replace(p, "~N", g+"/providers/Microsoft.Network", 1)
	p = strings.Replace(p, "~C", g+"/providers/Microsoft.Compute", 1)
	return strings.Replace(p, "~G", g, 1)
}

func names(text string) string {
	g := "/subscriptions/" + sub1 + "/resourceGroups/g"
	text = strings.ReplaceAll(text, "~N", g+"/providers/Microsoft.Network")
	text = strings.ReplaceAll(text, "~C", g+"/providers/Microsoft.Compute")
	return strings.ReplaceAll(text, "~G", g)
}

func (a *api) do(method, p, body string, headers ...string) reply {
	a.t.Helper()
	p = path(p)
	if !strings.Contains(p, "api-version") {
		join := "?"
		if strings.Contains(p, "?") {
			join = "&"
		}
		p += join + "api-version=" + v2025
	}
	r := httptest.NewRequest(method, strings.TrimSuffix(strings.TrimSuffix(p, "api-version=none"), "?"), strings.NewReader(names(body)))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+a.token)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	a.h.ServeHTTP(w, r)
	res := w.Result()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(b)}
}

// ok does what must succeed.
func (a *api) ok(status int, method, p, body string, headers ...string) reply {
	a.t.Helper()
	r := a.do(method, p, body, headers...)
	if r.status != status {
		a.t.Fatalf("%s %s: got %d, want %d\n%s", method, p, r.status, status, r.body)
	}
	return r
}

var (
	guidRule = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`)
	etagRule = regexp.MustCompile(`"W/\\"G\\""`)
)

// shape replaces what differs from run to run: GUIDs by G, entity tags by E, the group's path by ~G.
func shape(body string) string {
	g := "/subscriptions/" + sub1 + "/resourceGroups/g"
	body = strings.ReplaceAll(body, g+"/providers/Microsoft.Network", "~N")
	body = strings.ReplaceAll(body, g+"/providers/Microsoft.Compute", "~C")
	body = strings.ReplaceAll(body, g, "~G")
	return etagRule.ReplaceAllString(guidRule.ReplaceAllString(body, "G"), `"E"`)
}

func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return b.String()
}

// want compares an answer's whole body.
func (r reply) want(t *testing.T, body string) {
	t.Helper()
	if got := shape(r.body); got != compact(t, body) {
		t.Errorf("got\n%s\nwant\n%s", got, compact(t, body))
	}
}

// errorOf reads an error answer.
func (r reply) errorOf(t *testing.T) (code, message, target string, details []map[string]any) {
	t.Helper()
	var e struct {
		Error struct {
			Code, Message, Target string
			Details               []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(r.body), &e); err != nil {
		t.Fatalf("%v in %s", err, r.body)
	}
	return e.Error.Code, e.Error.Message, e.Error.Target, e.Error.Details
}

func field(t *testing.T, body, path string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	for _, p := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[p]
		case []any:
			i := 0
			fmt.Sscan(p, &i)
			if i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// vnet makes ~N/virtualNetworks/v with subnet s.
func (a *api) vnet() {
	a.t.Helper()
	a.ok(201, "PUT", "~N/virtualNetworks/v", `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
		"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`)
}

func (a *api) nic(name string) {
	a.t.Helper()
	a.ok(201, "PUT", "~N/networkInterfaces/"+name, nicBody("s", ""))
}

func nicBody(subnet, extra string) string {
	return `{"location":"westus2","properties":{"ipConfigurations":[{"name":"ipconfig1","properties":{"subnet":{"id":"~N/virtualNetworks/v/subnets/` + subnet + `"}` + extra + `}}]}}`
}

func (a *api) vm(name, nic string) {
	a.t.Helper()
	a.ok(201, "PUT", "~C/virtualMachines/"+name, `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/`+nic+`"}]}}}`)
}

func never(ctx context.Context, _ uint64) error {
	<-ctx.Done()
	return ctx.Err()
}

// tryRequest makes a request unless its target is no URL.
func tryRequest(method, target, body string) (r *http.Request, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return httptest.NewRequest(method, target, strings.NewReader(body)), true
}
