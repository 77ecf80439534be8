package login

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence/intent/identity"
	"ringfence/intent/identity/secret"
	"ringfence/intent/store"
)

const (
	tenant = "11111111-0000-4000-8000-000000000001"
	other  = "22222222-0000-4000-8000-000000000001"
	app    = "cccccccc-0000-4000-8000-000000000001"
	word   = "s3cret-of-the-client"
	host   = "127.0.0.1:8443"
)

func newLogin(t *testing.T) (*Login, *identity.Directory) {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfl")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), store.Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r"), NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); os.RemoveAll(dir) })
	d, err := identity.New([]identity.Tenant{
		{Name: "contoso", ID: tenant, Clients: []identity.ServicePrincipal{{App: app, Name: "owner", Hash: secret.Hash(word)}},
			Subscriptions: []identity.Subscription{{ID: "aaaaaaaa-0000-4000-8000-000000000001", Name: "one"}}},
		{Name: "fabrikam", ID: other},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.Keep(s)
	if err := d.EnsureKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	return New(d, slog.New(slog.DiscardHandler), []string{"West US 2"}), d
}

func do(l *Login, method, path string, form url.Values) (int, map[string]any, string) {
	r := httptest.NewRequest(method, "https://"+host+path, strings.NewReader(form.Encode()))
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	if !l.Handles(r) {
		return 0, nil, ""
	}
	l.ServeHTTP(w, r)
	var v map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &v)
	return w.Code, v, w.Body.String()
}

func credentials(change func(url.Values)) url.Values {
	v := url.Values{"grant_type": {"client_credentials"}, "client_id": {app}, "client_secret": {word}, "scope": {"https://" + host + "/.default"}}
	if change != nil {
		change(v)
	}
	return v
}

func TestTokens(t *testing.T) {
	l, d := newLogin(t)
	for _, c := range []struct {
		path, audience string
		change         func(url.Values)
	}{
		{"/" + tenant + "/oauth2/v2.0/token", "https://" + host, nil},
		{"/contoso/oauth2/v2.0/token", "https://" + host, nil},
		{"//" + tenant + "//OAuth2/V2.0/token", "https://" + host, nil},
		{"/" + tenant + "/oauth2/v2.0/token", "https://" + host, func(v url.Values) { v.Set("scope", "https://"+host+"//.default") }},
		{"/" + tenant + "/oauth2/v2.0/token", "https://management.azure.com", func(v url.Values) { v.Set("scope", "https://management.azure.com/.default") }},
		{"/" + tenant + "/oauth2/v2.0/token", "https://" + host, func(v url.Values) { v.Set("scope", "https://"+host+"/.default openid offline_access profile") }},
		{"/" + tenant + "/oauth2/token", "https://" + host, func(v url.Values) { v.Del("scope"); v.Set("resource", "https://"+host+"/") }},
	} {
		status, v, body := do(l, "POST", c.path, credentials(c.change))
		if status != 200 || v["token_type"] != "Bearer" {
			t.Errorf("%s: %d %s", c.path, status, body)
			continue
		}
		if seconds := fmt.Sprint(v["expires_in"]); len(seconds) != 4 || seconds < "3500" {
			t.Errorf("%s: expires in %s", c.path, seconds)
		}
		r := httptest.NewRequest("GET", "https://"+host+"/subscriptions", nil)
		r.Header.Set("Authorization", "Bearer "+fmt.Sprint(v["access_token"]))
		if p, err := d.Authenticate(r); err != nil || p.App != app || p.Tenant != tenant {
			t.Errorf("%s: %+v, %v", c.path, p, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	l, _ := newLogin(t)
	token := "/" + tenant + "/oauth2/v2.0/token"
	set := func(name, value string) func(url.Values) { return func(v url.Values) { v.Set(name, value) } }
	for _, c := range []struct {
		name, path string
		change     func(url.Values)
		status     int
		code       string
	}{
		{"wrong secret", token, set("client_secret", "wrong"), 401, "AADSTS7000215"},
		{"no secret", token, set("client_secret", ""), 401, "AADSTS7000216"},
		{"unknown client", token, set("client_id", other), 400, "AADSTS700016"},
		{"client of another tenant", "/" + other + "/oauth2/v2.0/token", nil, 400, "AADSTS700016"},
		{"unknown tenant", "/33333333-0000-4000-8000-000000000001/oauth2/v2.0/token", nil, 400, "AADSTS90002"},
		{"common", "/common/oauth2/v2.0/token", nil, 400, "AADSTS90002"},
		{"another grant", token, set("grant_type", "password"), 400, "AADSTS70003"},
		{"scope without default", token, set("scope", "https://"+host+"/user_impersonation"), 400, "AADSTS1002012"},
		{"somebody else's resource", token, set("scope", "https://vault.azure.net/.default"), 400, "AADSTS500011"},
		{"no scope", token, set("scope", ""), 400, "AADSTS900144"},
		{"assertion", token, set("client_assertion", "x"), 400, "AADSTS700027"},
		{"a name with a line break", token, set("client_id", "a\r\nb"), 400, "a??b"},
		{"too long", token, set("x", strings.Repeat("x", longestForm)), 400, "AADSTS900144"},
	} {
		status, v, body := do(l, "POST", c.path, credentials(c.change))
		if status != c.status || !strings.Contains(body, c.code) || v["error"] == nil || v["access_token"] != nil {
			t.Errorf("%s: %d %s", c.name, status, body)
		}
	}
	if status, _, _ := do(l, "GET", token, nil); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
	// Who tries secrets is held up, also when one of them would be right; others are not.
	for range 60 {
		do(l, "POST", token, credentials(set("client_secret", "wrong")))
	}
	if status, _, body := do(l, "POST", token, credentials(nil)); status != 429 {
		t.Errorf("after 60 wrong secrets: %d %s", status, body)
	}
	if status, _, _ := do(l, "POST", token, credentials(set("client_id", other))); status == 429 {
		t.Error("another client waits too")
	}
}

func TestMetadata(t *testing.T) {
	l, _ := newLogin(t)
	for version, want := range map[string]string{
		"2015-01-01": `"galleryEndpoint"`, "2018-01-01": `"cloudEndpoint":{"Ringfence":{"endpoint":"127.0.0.1:8443","locations":["westus2"]}}`,
		"2019-05-01": `[{`, "2022-09-01": `"resourceManager":"https://127.0.0.1:8443"`,
	} {
		status, _, body := do(l, "GET", "//metadata/endpoints?api-version="+version, nil)
		if status != 200 || !strings.Contains(body, want) || !strings.Contains(body, `"loginEndpoint":"https://127.0.0.1:8443"`) {
			t.Errorf("%s: %d %s", version, status, body)
		}
	}
	if status, _, _ := do(l, "GET", "/metadata/endpoints", nil); status != 400 {
		t.Errorf("without a version: %d", status)
	}
	_, v, _ := do(l, "GET", "/metadata/endpoints?api-version=2022-09-01", nil)
	suffixes, _ := v["suffixes"].(map[string]any)
	for _, name := range []string{"keyVaultDns", "storage", "sqlServerHostname", "acrLoginServer"} {
		if suffixes[name] == nil {
			t.Errorf("suffix %s is missing: clients do not start", name)
		}
	}
}

func TestConfiguration(t *testing.T) {
	l, _ := newLogin(t)
	for path, issuer := range map[string]string{
		"/" + tenant + "/v2.0/.well-known/openid-configuration": "https://" + host + "/" + tenant + "/v2.0",
		"/contoso/.well-known/openid-configuration":             "https://" + host + "/" + tenant + "/",
		"/common/v2.0/.well-known/openid-configuration":         "https://" + host + "/common/v2.0",
	} {
		status, v, body := do(l, "GET", path, nil)
		if status != 200 || v["issuer"] != issuer {
			t.Errorf("%s: %d %s", path, status, body)
			continue
		}
		for _, name := range []string{"authorization_endpoint", "token_endpoint", "device_authorization_endpoint", "jwks_uri"} {
			if at, _ := v[name].(string); !strings.HasPrefix(at, "https://"+host+"/") {
				t.Errorf("%s: %s is %q", path, name, at)
			}
		}
		keys := strings.TrimPrefix(v["jwks_uri"].(string), "https://"+host)
		if status, set, body := do(l, "GET", keys, nil); status != 200 || set["keys"] == nil || strings.Contains(body, `"d":`) {
			t.Errorf("%s: %d %s", keys, status, body)
		}
	}
}

// What is ARM's stays ARM's.
func TestHandles(t *testing.T) {
	l, _ := newLogin(t)
	for _, path := range []string{"/", "/subscriptions", "/subscriptions/oauth2/token", "/subscriptions/s/resourceGroups/g", "/providers/Microsoft.Network",
		"/metadata", "/metadata/instance", "/contoso/oauth2", "/ringfence/v1/hosts"} {
		if status, _, _ := do(l, "GET", path, nil); status != 0 {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/contoso/oauth2/v2.0/token", "//metadata//endpoints", "/%2e%2e/oauth2/token"} {
		f.Add(p, "grant_type=client_credentials")
	}
	d, err := identity.New([]identity.Tenant{{Name: "contoso", ID: tenant}})
	if err != nil {
		f.Fatal(err)
	}
	l := New(d, slog.New(slog.DiscardHandler), nil)
	f.Fuzz(func(t *testing.T, path, body string) {
		r := httptest.NewRequest("POST", "https://"+host+"/", strings.NewReader(body))
		r.URL.Path = path
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		if l.Handles(r) {
			l.ServeHTTP(w, r)
		}
		if strings.Contains(w.Body.String(), "access_token") {
			t.Errorf("%q: %s", path, w.Body)
		}
	})
}
