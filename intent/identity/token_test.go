package identity

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"ringfence/intent/identity/secret"
	"ringfence/intent/store"
)

const (
	appID  = "cccccccc-0000-4000-8000-000000000001"
	host   = "127.0.0.1:8443"
	issuer = "https://127.0.0.1:8443/11111111-0000-0000-0000-000000000000/"
)

// kept is a directory with a store, a key, and a configured client with the secret "s3cret-of-the-client".
func kept(t *testing.T) *Directory {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfi")
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), store.Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r"), NoSync: true, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); os.RemoveAll(dir) })
	all := tenants()
	all[0].Clients = []ServicePrincipal{{App: appID, Name: "owner", Hash: secret.Hash("s3cret-of-the-client")}}
	d, err := New(all)
	if err != nil {
		t.Fatal(err)
	}
	d.Keep(s)
	if err := d.EnsureKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Directory) asks(token string) (Principal, error) {
	r := httptest.NewRequest("GET", "https://"+host+"/subscriptions", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return d.Authenticate(r)
}

func issue(t *testing.T, d *Directory, audience string) string {
	t.Helper()
	p, err := d.Client(tenants()[0].ID, appID, "s3cret-of-the-client", "2026-01-01T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Issue(p, issuer, audience)
	if err != nil {
		t.Fatal(err)
	}
	return token.Text
}

func TestTokenOfAClient(t *testing.T) {
	d := kept(t)
	for _, audience := range []string{"https://" + host, "https://localhost:8443", "https://management.azure.com"} {
		p, err := d.asks(issue(t, d, audience))
		if err != nil || p.App != appID || p.Tenant != tenants()[0].ID || p.Owner || p.Operator || len(p.Subscriptions) != 1 {
			t.Errorf("audience %s: %+v, %v", audience, p, err)
		}
	}
	for _, audience := range []string{"https://" + host + "/graph", "https://vault.azure.net", "https://127.0.0.1:8444", "http://" + host, "https://u@" + host} {
		if _, err := d.asks(issue(t, d, audience)); !errors.Is(err, ErrTokenAudience) {
			t.Errorf("audience %s: %v", audience, err)
		}
	}
	token := issue(t, d, "https://"+host)
	for _, c := range []struct {
		after time.Duration
		want  error
	}{{tokenLifetime - time.Second, nil}, {tokenLifetime + time.Second, ErrTokenExpired}, {-2 * time.Minute, ErrBadToken}} {
		d.now = func() time.Time { return time.Now().Add(c.after) }
		if _, err := d.asks(token); !errors.Is(err, c.want) {
			t.Errorf("after %s: %v, want %v", c.after, err, c.want)
		}
	}
}

// Nobody makes a token but us.
func TestForgedTokens(t *testing.T) {
	d := kept(t)
	good := issue(t, d, "https://"+host)
	part := strings.Split(good, ".")
	b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	header, err := base64.RawURLEncoding.DecodeString(part[0])
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Kid string }
	if err := json.Unmarshal(header, &h); err != nil {
		t.Fatal(err)
	}
	body, err := base64.RawURLEncoding.DecodeString(part[1])
	if err != nil {
		t.Fatal(err)
	}
	key, err := d.private(d.signingKeys()[0])
	if err != nil {
		t.Fatal(err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(alg jose.SignatureAlgorithm, k any, kid string) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: k, KeyID: kid}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var c claims
		if err := json.Unmarshal(body, &c); err != nil {
			t.Fatal(err)
		}
		text, err := jwt.Signed(s).Claims(c).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	if _, err := d.asks(sign(jose.RS256, key, h.Kid)); err != nil {
		t.Fatalf("the same token again: %v", err) // or nothing below proves anything
	}
	for name, token := range map[string]string{
		"alg none":                        b64(`{"alg":"none","typ":"JWT"}`) + "." + part[1] + ".",
		"alg none with the key's id":      b64(`{"alg":"none","kid":"`+h.Kid+`"}`) + "." + part[1] + "." + part[2],
		"no signature":                    part[0] + "." + part[1] + ".",
		"another key":                     sign(jose.RS256, other, h.Kid),
		"another key under an unknown id": sign(jose.RS256, other, "x"),
		"the public key as a secret":      sign(jose.HS256, x509.MarshalPKCS1PublicKey(&key.PublicKey), h.Kid),
		"another algorithm":               sign(jose.PS256, key, h.Kid),
		"changed claims":                  part[0] + "." + b64(strings.Replace(string(body), appID, "dddddddd-0000-4000-8000-000000000001", 1)) + "." + part[2],
		"an id that is a path":            sign(jose.RS256, other, "../principal/"+appID),
		"too long":                        good + strings.Repeat("A", longestToken),
		"dots":                            "..",
	} {
		if p, err := d.asks(token); !errors.Is(err, ErrBadToken) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// A principal that is deleted, or that another tenant has made under its id, has no valid token.
func TestTokenEndsWithItsPrincipal(t *testing.T) {
	d := kept(t)
	p := ServicePrincipal{ID: "eeeeeeee-0000-4000-8000-000000000001", App: "eeeeeeee-0000-4000-8000-000000000002", Name: "ci", Tenant: tenants()[0].ID,
		Secrets: []Secret{{Hash: secret.Hash("a secret")}, {Hash: secret.Hash("an old secret"), Expires: "2026-01-01T00:00:00Z"}}}
	if err := d.PutPrincipal(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		tenant, app, password string
		want                  error
	}{
		{p.Tenant, p.App, "a secret", nil}, {p.Tenant, strings.ToUpper(p.App), "a secret", nil}, {p.Tenant, p.App, "wrong", ErrBadSecret}, {p.Tenant, p.App, "", ErrBadSecret},
		{p.Tenant, p.App, "an old secret", ErrExpired}, {tenants()[1].ID, p.App, "a secret", ErrNoClient}, {p.Tenant, p.ID, "a secret", ErrNoClient},
	} {
		if _, err := d.Client(c.tenant, c.app, c.password, "2026-02-01T00:00:00Z"); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	token, err := d.Issue(p, issuer, "https://"+host)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.asks(token.Text); err != nil {
		t.Fatal(err)
	}
	a := Assignment{Name: "a", Scope: "/subscriptions/s", Role: roles[0].ID, Principal: p.ID}
	if err := d.Assign(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	stored, _ := d.ByApp(p.App)
	if err := d.DeletePrincipal(t.Context(), stored); err != nil {
		t.Fatal(err)
	}
	if _, err := d.asks(token.Text); !errors.Is(err, ErrBadToken) {
		t.Errorf("after the principal is gone: %v", err)
	}
	for _, left := range d.Assignments() {
		if left.Principal == p.ID {
			t.Errorf("its role assignment is left: %+v", left)
		}
	}
}

// A new key takes over when the old one is old; tokens of the old one are good until they expire.
func TestKeysAreReplaced(t *testing.T) {
	d := kept(t)
	token := issue(t, d, "https://"+host)
	d.now = func() time.Time { return time.Now().Add(keyLifetime + time.Minute) }
	if err := d.EnsureKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(d.signingKeys()); n != 2 {
		t.Fatalf("%d keys", n)
	}
	d.now = time.Now
	if _, err := d.asks(token); err != nil {
		t.Errorf("a token of the old key: %v", err)
	}
	d.now = func() time.Time { return time.Now().Add(keyLifetime + 48*time.Hour) }
	if err := d.EnsureKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(d.signingKeys()); n != 1 {
		t.Errorf("%d keys after the old one has signed nothing that is valid", n)
	}
	set, err := d.KeySet()
	if err != nil || strings.Contains(string(set), `"d":`) || !strings.Contains(string(set), `"n":`) {
		t.Errorf("key set %s, %v: public keys only", set, err)
	}
}

func FuzzBearer(f *testing.F) {
	d, err := New(tenants())
	if err != nil {
		f.Fatal(err)
	}
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		if p, err := d.bearer(token, host); err == nil {
			t.Errorf("%q speaks for %+v", token, p)
		}
	})
}
