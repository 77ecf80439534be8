// Package login is where clients find out about the cloud and get their tokens, as Microsoft Entra and the metadata endpoints of Azure
// do it.
//
// In: requests without a token, and the directory of intent/identity. Out: metadata documents in the shapes that clients of
// different ages read, OpenID configuration, keys, access tokens for the client credentials flow (RFC 6749, section 4.4). The server
// owns the handler.
package login

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"ringfence/intent/identity"
)

// Login answers.
type Login struct {
	Directory *identity.Directory
	Log       *slog.Logger
	Locations []string

	tries   *identity.Limiter // of one client with wrong secrets
	asked   *identity.Limiter // by one address
	nowText func() string     // RFC 3339 in UTC
}

// New returns the login of a directory.
func New(d *identity.Directory, log *slog.Logger, locations []string) *Login {
	return &Login{Directory: d, Log: log, Locations: locations,
		tries:   identity.NewLimiter(identity.Rate{PerSecond: 0.2, Burst: 20}),
		asked:   identity.NewLimiter(identity.Rate{PerSecond: 20, Burst: 200}),
		nowText: func() string { return time.Now().UTC().Format(time.RFC3339) },
	}
}

// Handles tells whether a request is the login's: all that it answers is outside of ARM's paths.
func (l *Login) Handles(r *http.Request) bool { return l.find(r) != nil }

func (l *Login) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := l.find(r); h != nil {
		h(w, r)
		return
	}
	http.NotFound(w, r)
}

// find gives the answer to a path; its first segment is a tenant but for the metadata document.
func (l *Login) find(r *http.Request) http.HandlerFunc {
	p := strings.FieldsFunc(r.URL.Path, func(c rune) bool { return c == '/' })
	if len(p) < 2 || strings.EqualFold(p[0], "subscriptions") || strings.EqualFold(p[0], "providers") {
		return nil
	}
	if len(p) == 2 && strings.EqualFold(p[0], "metadata") && strings.EqualFold(p[1], "endpoints") {
		return only(http.MethodGet, l.metadata)
	}
	tenant := p[0]
	in := func(f func(http.ResponseWriter, *http.Request, identity.Tenant)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { l.inTenant(w, r, tenant, f) }
	}
	switch strings.ToLower(strings.Join(p[1:], "/")) {
	case ".well-known/openid-configuration", "v2.0/.well-known/openid-configuration":
		return only(http.MethodGet, in(l.configuration))
	case "discovery/keys", "discovery/v2.0/keys":
		return only(http.MethodGet, in(l.keys))
	case "oauth2/token", "oauth2/v2.0/token":
		return only(http.MethodPost, in(l.token))
	}
	return nil
}

func only(method string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && !(method == http.MethodGet && r.Method == http.MethodHead) {
			w.Header().Set("Allow", method)
			answer(w, http.StatusMethodNotAllowed, map[string]string{"error": "invalid_request", "error_description": "The method " + r.Method + " is not allowed here."})
			return
		}
		h(w, r)
	}
}

// inTenant finds the tenant; those who only want to know the cloud name common or organizations.
func (l *Login) inTenant(w http.ResponseWriter, r *http.Request, word string, f func(http.ResponseWriter, *http.Request, identity.Tenant)) {
	t, ok := l.Directory.Tenant(word)
	shared := strings.EqualFold(word, "common") || strings.EqualFold(word, "organizations")
	switch {
	case shared && r.Method != http.MethodPost:
		f(w, r, identity.Tenant{ID: strings.ToLower(word)})
	case !ok:
		l.refuse(w, r, refusal{400, "invalid_request", 90002, "Tenant '" + printable(word) + "' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud."})
	default:
		f(w, r, t)
	}
}

// printable keeps what a client sent out of the way of whoever reads the answer.
func printable(s string) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s)
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}

// base is the URL under which the client reached us: everything that it is told lies there.
func base(r *http.Request) string {
	host := r.Host
	if host == "" {
		host = "localhost"
	}
	return "https://" + host
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that has gone away is its own business
}

// address is the client's, without its port.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
