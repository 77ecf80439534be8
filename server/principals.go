package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/identity/secret"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// Principal is a service principal as the operator's routes show it: never with a secret but in the answer that makes one.
type Principal struct {
	Name       string   `json:"name"`
	App        string   `json:"appId"`
	ID         string   `json:"objectId"`
	Tenant     string   `json:"tenant"`
	TenantName string   `json:"tenantName"`
	Created    string   `json:"created,omitempty"`
	Configured bool     `json:"configured"` // in the server's configuration, and changed there
	Machine    string   `json:"machine,omitempty"`
	Secrets    []string `json:"secrets"` // when they expire, "never" for those that do not
	Password   string   `json:"password,omitempty"`
}

func (v *Server) shown(p identity.ServicePrincipal) Principal {
	t, _ := v.identity.Tenant(p.Tenant)
	out := Principal{Name: p.Name, App: p.App, ID: p.ID, Tenant: p.Tenant, TenantName: t.Name, Created: p.Created, Configured: p.Revision == 0, Machine: p.Machine, Secrets: []string{}}
	if p.Hash != "" {
		out.Secrets = append(out.Secrets, "never")
	}
	for _, s := range p.Secrets {
		if s.Expires == "" {
			s.Expires = "never"
		}
		out.Secrets = append(out.Secrets, s.Expires)
	}
	return out
}

func (v *Server) getPrincipals(w http.ResponseWriter, r *http.Request) {
	tenant := r.URL.Query().Get("tenant")
	if tenant != "" {
		t, ok := v.identity.Tenant(tenant)
		if !ok {
			fail(w, http.StatusNotFound, "TenantNotFound", "Tenant "+tenant+" is not configured.")
			return
		}
		tenant = t.ID
	}
	out := list[Principal]{Value: []Principal{}}
	for _, p := range v.identity.ServicePrincipals(tenant) {
		out.Value = append(out.Value, v.shown(p))
	}
	answer(w, http.StatusOK, out)
}

// newSecret is a body that asks for a principal or for a secret.
type newSecret struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	Years  int    `json:"years"` // until the secret expires; 0: one
}

// longestName of a principal.
const longestName = 120

func readNew(r *http.Request) (n newSecret, err error) {
	d := json.NewDecoder(io.LimitReader(r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&n); err != nil && !errors.Is(err, io.EOF) {
		return n, err
	}
	if n.Years == 0 {
		n.Years = 1
	}
	if n.Years < 0 || n.Years > 100 {
		return n, errors.New("years: 1 to 100 expected")
	}
	return n, nil
}

// secretOf makes a secret; its text is told once and never kept.
func secretOf(years int, now time.Time) (identity.Secret, string) {
	text := secret.New()
	return identity.Secret{ID: resource.GUID("secret " + text), Hash: secret.Hash(text), Created: now.Format(time.RFC3339),
		Expires: now.AddDate(years, 0, 0).Format(time.RFC3339)}, text
}

func (v *Server) postPrincipal(w http.ResponseWriter, r *http.Request) {
	if !v.recordable(w) {
		return
	}
	n, err := readNew(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "InvalidRequestContent", "The request cannot be read: "+err.Error()+".")
		return
	}
	t, ok := v.identity.Tenant(n.Tenant)
	switch {
	case !ok:
		fail(w, http.StatusNotFound, "TenantNotFound", "Tenant "+n.Tenant+" is not configured.")
		return
	case n.Name == "" || len(n.Name) > longestName || strings.ContainsFunc(n.Name, func(c rune) bool { return c < ' ' }):
		fail(w, http.StatusBadRequest, "InvalidParameter", "name: 1 to 120 printable characters expected.")
		return
	}
	for _, p := range v.identity.ServicePrincipals(t.ID) {
		if strings.EqualFold(p.Name, n.Name) {
			fail(w, http.StatusConflict, "PrincipalExists", "Tenant "+t.Name+" has a service principal of the name "+n.Name+" already: give it a new secret, or delete it.")
			return
		}
	}
	now := time.Now().UTC()
	s, text := secretOf(n.Years, now)
	p := identity.ServicePrincipal{App: randomGUID(), ID: randomGUID(), Name: n.Name, Tenant: t.ID, Secrets: []identity.Secret{s}, Created: now.Format(time.RFC3339)}
	if err := v.identity.PutPrincipal(r.Context(), p); err != nil {
		refusePrincipal(w, err)
		return
	}
	v.enter("write", p, http.StatusCreated)
	out := v.shown(p)
	out.Configured, out.Password = false, text
	answer(w, http.StatusCreated, out)
}

// enter puts on record what the operator did to a principal. An audit log that takes nothing keeps the change out: see recordable.
func (v *Server) enter(operation string, p identity.ServicePrincipal, status int) {
	err := v.audit.Write(identity.Entry{Time: time.Now().UTC(), Principal: "operator", Operation: "ringfence/principals/" + operation, Resource: "/ringfence/v1/principals/" + p.App,
		Correlation: randomGUID(), Request: randomGUID(), Status: status})
	if err != nil {
		v.log.Error("audit log", "error", err, "operation", operation, "principal", p.App)
	}
}

// recordable refuses a change while the audit log takes no entries.
func (v *Server) recordable(w http.ResponseWriter) bool {
	if err := v.audit.Ready(); err != nil {
		fail(w, http.StatusServiceUnavailable, "AuditLogUnavailable", "The audit log cannot be written, so nothing is changed: "+err.Error()+".")
		return false
	}
	return true
}

func randomGUID() string { return resource.GUID(secret.New()) }

// storedPrincipal finds the principal of a path.
func (v *Server) storedPrincipal(w http.ResponseWriter, r *http.Request) (identity.ServicePrincipal, bool) {
	app := r.PathValue("app")
	p, ok := v.identity.ByApp(app)
	if !ok {
		p, ok = v.identity.ByID(app)
	}
	if !ok {
		fail(w, http.StatusNotFound, "PrincipalNotFound", "There is no service principal "+app+".")
	}
	return p, ok
}

// postSecret adds a secret; with ?append=false the older ones end.
func (v *Server) postSecret(w http.ResponseWriter, r *http.Request) {
	if !v.recordable(w) {
		return
	}
	p, ok := v.storedPrincipal(w, r)
	if !ok {
		return
	}
	n, err := readNew(r)
	if err != nil {
		fail(w, http.StatusBadRequest, "InvalidRequestContent", "The request cannot be read: "+err.Error()+".")
		return
	}
	add, _ := strconv.ParseBool(r.URL.Query().Get("append"))
	if add && len(p.Secrets) >= identity.MostSecrets {
		fail(w, http.StatusConflict, "TooManySecrets", "The service principal has "+strconv.Itoa(identity.MostSecrets)+" secrets, as many as it may have: replace them.")
		return
	}
	s, text := secretOf(n.Years, time.Now().UTC())
	if !add {
		p.Secrets = nil
	}
	p.Secrets = append(append([]identity.Secret{}, p.Secrets...), s)
	if err := v.identity.PutPrincipal(r.Context(), p); err != nil {
		refusePrincipal(w, err)
		return
	}
	v.enter("secret/write", p, http.StatusOK)
	out := v.shown(p)
	out.Password = text
	answer(w, http.StatusOK, out)
}

func (v *Server) deletePrincipal(w http.ResponseWriter, r *http.Request) {
	if !v.recordable(w) {
		return
	}
	p, ok := v.storedPrincipal(w, r)
	if !ok {
		return
	}
	if err := v.identity.DeletePrincipal(r.Context(), p); err != nil {
		refusePrincipal(w, err)
		return
	}
	v.enter("delete", p, http.StatusOK)
	answer(w, http.StatusOK, v.shown(p))
}

func refusePrincipal(w http.ResponseWriter, err error) {
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		fail(w, http.StatusConflict, "Conflict", "Somebody else changed the service principal at this moment. Try again.")
		return
	}
	fail(w, http.StatusConflict, "PrincipalNotChanged", err.Error()+".")
}

// mostEntries bounds an answer from the audit log.
const mostEntries = 10_000

// getAudit answers with what this server put on record, newest first: ?since=24h&subscription=ID&principal=NAME&failed=true&top=100.
func (v *Server) getAudit(w http.ResponseWriter, r *http.Request) {
	ask := r.URL.Query()
	back, top := 24*time.Hour, 100
	var err error
	if s := ask.Get("since"); s != "" {
		if back, err = time.ParseDuration(s); err != nil || back <= 0 {
			fail(w, http.StatusBadRequest, "InvalidParameter", "since: a duration expected, as 24h.")
			return
		}
	}
	if s := ask.Get("top"); s != "" {
		if top, err = strconv.Atoi(s); err != nil || top < 1 || top > mostEntries {
			fail(w, http.StatusBadRequest, "InvalidParameter", "top: 1 to "+strconv.Itoa(mostEntries)+" expected.")
			return
		}
	}
	failed, _ := strconv.ParseBool(ask.Get("failed"))
	scope := strings.ToLower(ask.Get("scope"))
	all, err := v.audit.Read(time.Now().Add(-back), top, func(e identity.Entry) bool {
		return (!failed || !e.Succeeded()) && (ask.Get("principal") == "" || strings.EqualFold(e.Principal, ask.Get("principal"))) &&
			strings.HasPrefix(strings.ToLower(e.Resource), scope)
	})
	if err != nil {
		fail(w, http.StatusInternalServerError, "AuditLogUnreadable", err.Error())
		return
	}
	if all == nil {
		all = []identity.Entry{}
	}
	answer(w, http.StatusOK, list[identity.Entry]{Value: all})
}
