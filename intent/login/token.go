package login

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"ringfence/intent/identity"
)

// longestForm bounds a request for a token.
const longestForm = 64 << 10

// refusal is an error as Entra words it.
type refusal struct {
	status int
	name   string // RFC 6749, section 5.2
	code   int    // AADSTS
	text   string
}

func (l *Login) refuse(w http.ResponseWriter, r *http.Request, e refusal) {
	now := time.Now().UTC().Format("2006-01-02 15:04:05Z")
	l.Log.Info("token refused", "client", address(r), "code", e.code)
	correlation := r.Header.Get("client-request-id")
	if !identity.IsGUID(correlation) {
		correlation = ""
	}
	answer(w, e.status, map[string]any{
		"error": e.name, "error_description": fmt.Sprintf("AADSTS%d: %s Timestamp: %s", e.code, e.text, now), "error_codes": []int{e.code},
		"timestamp": now, "correlation_id": correlation,
	})
}

// asking is a request for a token, read.
type asking struct {
	client, secret string
	audience       string
	v2             bool
}

// token answers a client credentials request.
func (l *Login) token(w http.ResponseWriter, r *http.Request, t identity.Tenant) {
	if _, wait := l.asked.Take(address(r)); wait > 0 {
		l.throttle(w, r, wait)
		return
	}
	a, bad := read(w, r)
	if bad != nil {
		l.refuse(w, r, *bad)
		return
	}
	key := t.ID + " " + strings.ToLower(a.client)
	if _, wait := l.tries.Take(key); wait > 0 {
		l.throttle(w, r, wait)
		return
	}
	p, err := l.Directory.Client(t.ID, a.client, a.secret, l.nowText())
	if err != nil {
		l.refuse(w, r, wrong(err, a.client, t))
		return
	}
	l.tries.Forget(key) // who has the right secret is bounded by the address alone
	l.issue(w, r, t, p, a)
}

func (l *Login) throttle(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	l.refuse(w, r, refusal{429, "temporarily_unavailable", 50196, "The server terminated an operation because it encountered a client request loop or too many failures."})
}

func wrong(err error, client string, t identity.Tenant) refusal {
	switch {
	case errors.Is(err, identity.ErrNoClient):
		return refusal{400, "unauthorized_client", 700016, fmt.Sprintf("Application with identifier '%s' was not found in the directory '%s'.", printable(client), t.Name)}
	case errors.Is(err, identity.ErrExpired):
		return refusal{401, "invalid_client", 7000222, fmt.Sprintf("The provided client secret keys for app '%s' are expired.", printable(client))}
	}
	return refusal{401, "invalid_client", 7000215, fmt.Sprintf("Invalid client secret provided for app '%s'. Ensure the secret being sent in the request is the client secret value, not the client secret ID.", printable(client))}
}

// read reads the form: version 2 names a scope, version 1 a resource.
func read(w http.ResponseWriter, r *http.Request) (a asking, bad *refusal) {
	r.Body = http.MaxBytesReader(w, r.Body, longestForm)
	if err := r.ParseForm(); err != nil {
		return a, &refusal{400, "invalid_request", 900144, "The request body is not a form, or it is too long."}
	}
	if grant := r.PostForm.Get("grant_type"); grant != "client_credentials" {
		return a, &refusal{400, "unsupported_grant_type", 70003, fmt.Sprintf("The app requested an unsupported grant type '%s'.", printable(grant))}
	}
	if r.PostForm.Has("client_assertion") {
		return a, &refusal{400, "invalid_request", 700027, "Client assertions are not supported here: give a client_secret."}
	}
	a.v2 = strings.Contains(strings.ToLower(r.URL.Path), "/v2.0/")
	a.client, a.secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if user, password, ok := r.BasicAuth(); ok && a.client == "" { // RFC 6749, section 2.3.1: both are form-encoded first
		a.client, a.secret = unescape(user), unescape(password)
	} else if ok && a.secret == "" {
		a.secret = unescape(password)
	}
	switch {
	case a.client == "":
		return a, &refusal{400, "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'."}
	case a.secret == "":
		return a, &refusal{401, "invalid_client", 7000216, "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type."}
	}
	return a, a.readAudience(r)
}

func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// ownScopes are of OpenID Connect: MSAL asks for them beside the resource, and for an application they mean nothing.
var ownScopes = []string{"openid", "offline_access", "profile", "email"}

// readAudience: what the token is to be for, this API or the graph whose name the metadata gives.
func (a *asking) readAudience(r *http.Request) *refusal {
	word := r.PostForm.Get("resource")
	if a.v2 {
		scope := r.PostForm.Get("scope")
		for _, one := range strings.Fields(scope) {
			if slices.Contains(ownScopes, one) {
				continue
			}
			if !strings.HasSuffix(one, "/.default") {
				return &refusal{400, "invalid_scope", 1002012, fmt.Sprintf("The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", printable(scope))}
			}
			word = strings.TrimSuffix(one, "/.default")
		}
	}
	a.audience = strings.TrimRight(word, "/")
	switch {
	case word == "":
		return &refusal{400, "invalid_request", 900144, "The request body must contain the following parameter: 'scope'."}
	case identity.ForManagement(a.audience, r.Host), strings.EqualFold(a.audience, graph(base(r))):
		return nil
	}
	return &refusal{400, "invalid_resource", 500011, fmt.Sprintf("The resource principal named %s was not found in the tenant.", printable(word))}
}

func (l *Login) issue(w http.ResponseWriter, r *http.Request, t identity.Tenant, p identity.ServicePrincipal, a asking) {
	issuer := base(r) + "/" + t.ID + "/"
	if a.v2 {
		issuer += "v2.0"
	}
	token, err := l.Directory.Issue(p, issuer, a.audience)
	if err != nil {
		l.Log.Error("issue token", "error", err)
		l.refuse(w, r, refusal{503, "temporarily_unavailable", 90033, "A transient error has occurred. Please try again."})
		return
	}
	seconds := int(time.Until(token.Expires) / time.Second)
	out := map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token.Text}
	if !a.v2 { // version 1 writes numbers as text
		out["expires_in"], out["ext_expires_in"] = strconv.Itoa(seconds), strconv.Itoa(seconds)
		out["expires_on"], out["not_before"] = strconv.FormatInt(token.Expires.Unix(), 10), strconv.FormatInt(token.From.Unix(), 10)
		out["resource"] = a.audience
	}
	answer(w, http.StatusOK, out)
}
