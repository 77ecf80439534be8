package identity

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func tenants() []Tenant {
	return []Tenant{
		{Name: "contoso", ID: "11111111-0000-0000-0000-000000000000", Token: "contoso-token-0123456789",
			Subscriptions: []Subscription{{ID: "AAAAAAAA-0000-0000-0000-000000000001", Name: "one"}}},
		{Name: "fabrikam", ID: "22222222-0000-0000-0000-000000000000", Token: "fabrikam-token-0123456789",
			Subscriptions: []Subscription{{ID: "bbbbbbbb-0000-0000-0000-000000000001", Name: "two"}, {ID: "bbbbbbbb-0000-0000-0000-000000000002", Name: "three"}}},
	}
}

func directory(t *testing.T) *Directory {
	t.Helper()
	d, err := New(tenants())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAuthenticate(t *testing.T) {
	d := directory(t)
	for _, c := range []struct {
		header, name string
		err          error
	}{
		{"Bearer contoso-token-0123456789", "contoso", nil},
		{"bearer  fabrikam-token-0123456789 ", "fabrikam", nil},
		{"", "", ErrNoToken},
		{"Bearer", "", ErrNoToken},
		{"Bearer ", "", ErrNoToken},
		{"Basic contoso-token-0123456789", "", ErrNoToken},
		{"contoso-token-0123456789", "", ErrNoToken},
		{"Bearer contoso-token-012345678", "", ErrBadToken},
		{"Bearer contoso-token-01234567890", "", ErrBadToken},
		{"Bearer CONTOSO-token-0123456789", "", ErrBadToken},
		{"Bearer contoso-token-0123456789 x", "", ErrBadToken},
	} {
		r := httptest.NewRequest("GET", "/subscriptions", nil)
		if c.header != "" {
			r.Header.Set("Authorization", c.header)
		}
		p, err := d.Authenticate(r)
		if p.Name != c.name || !errors.Is(err, c.err) || p.Operator {
			t.Errorf("%q: %+v, %v; want %q, %v", c.header, p, err, c.name, c.err)
		}
	}
}

func TestAuthenticateAnyOtherToken(t *testing.T) {
	d := directory(t)
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.StringMatching(`[ -~]{0,60}`).Draw(t, "token")
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if p, err := d.Authenticate(r); err == nil && strings.TrimSpace(token) != p.Name+"-token-0123456789" {
			t.Fatalf("%q is let in as %s", token, p.Name)
		}
	})
}

// A header never makes an operator; the mark of the local socket does, and then no token is needed.
func TestOperator(t *testing.T) {
	d := directory(t)
	r := httptest.NewRequest("GET", "/", nil)
	p, err := d.Authenticate(r.WithContext(AsOperator(r.Context())))
	if err != nil || !p.Operator || len(p.Subscriptions) != 3 {
		t.Fatalf("%+v, %v", p, err)
	}
	if !d.Allows(p, "AAAAAAAA-0000-0000-0000-000000000001") || d.Allows(p, "cccccccc-0000-0000-0000-000000000001") {
		t.Error("the operator may name every subscription that exists, and no other")
	}
}

func TestForeignIsAsUnknown(t *testing.T) {
	d := directory(t)
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer contoso-token-0123456789")
	p, err := d.Authenticate(r)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{
		"aaaaaaaa-0000-0000-0000-000000000001": true,
		"AAAAAAAA-0000-0000-0000-000000000001": true,
		"bbbbbbbb-0000-0000-0000-000000000001": false,
		"cccccccc-0000-0000-0000-000000000001": false,
		"":                                     false,
	} {
		if d.Allows(p, id) != want {
			t.Errorf("Allows(%q) is %v", id, !want)
		}
		if s, ok := d.Subscription(p, id); !want && (ok || s != Subscription{}) {
			t.Errorf("Subscription(%q) tells %+v", id, s)
		}
	}
	if all := d.Subscriptions(p); len(all) != 1 || all[0].Name != "one" || all[0].Tenant != p.Tenant {
		t.Errorf("subscriptions of contoso: %+v", all)
	}
	if (Principal{}).Operator || d.Allows(Principal{}, "aaaaaaaa-0000-0000-0000-000000000001") {
		t.Error("nobody is allowed something")
	}
}

func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func([]Tenant){
		"no name":            func(t []Tenant) { t[0].Name = "" },
		"no id":              func(t []Tenant) { t[0].ID = "" },
		"name twice":         func(t []Tenant) { t[1].Name = "Contoso" },
		"id twice":           func(t []Tenant) { t[1].ID = t[0].ID },
		"short token":        func(t []Tenant) { t[1].Token = "short" },
		"token twice":        func(t []Tenant) { t[1].Token = t[0].Token },
		"subscription twice": func(t []Tenant) { t[1].Subscriptions[0].ID = strings.ToLower(t[0].Subscriptions[0].ID) },
		"subscription empty": func(t []Tenant) { t[1].Subscriptions[0].ID = "" },
		"subscription path":  func(t []Tenant) { t[1].Subscriptions[0].ID = "a/b" },
	} {
		all := tenants()
		spoil(all)
		if _, err := New(all); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "-token-") {
			t.Errorf("%s: the error tells a token: %v", name, err)
		}
	}
}
