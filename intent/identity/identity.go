// Package identity says who asks, and which subscriptions they may name.
//
// In: the configured tenants with their tokens, subscriptions and clients, what notes in the store add (service principals, role
// assignments, keys that sign tokens), and requests. Out: principals and what they may do; tokens; the audit log; rate limits. A
// request that came over the local socket speaks for the operator; any other needs a bearer token. The server owns the directory.
package identity

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringfence/intent/identity/secret"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// Tenant is one configured tenant.
type Tenant struct {
	Name          string         `yaml:"name"`
	ID            string         `yaml:"id"`
	Token         string         `yaml:"token,omitempty"` // of the tenant's owner; empty: tokens are had with a client's secret alone
	Subscriptions []Subscription `yaml:"subscriptions"`
	// Clients are service principals that exist from the start: with their role, Owner unless said, in all the subscriptions.
	Clients []ServicePrincipal `yaml:"clients,omitempty"`
}

// Subscription is one subscription of a tenant.
type Subscription struct {
	ID     string `yaml:"id"`
	Name   string `yaml:"name"`
	Tenant string `yaml:"-"` // id of its tenant, filled by New
}

// Principal is who makes a request.
type Principal struct {
	Tenant        string // id; "" for the operator
	Name          string
	ID, App       string // object id and application id of a service principal
	Operator      bool
	Owner         bool     // carries the tenant's own token: everything in its subscriptions
	Subscriptions []string // ids in lower case; the operator's are all
}

// Notes is where the directory keeps what is not configured: a *store.Store.
type Notes interface {
	Snapshot() *store.Snapshot
	PutNote(ctx context.Context, key string, value []byte, base int64) error
	DeleteNote(ctx context.Context, key string, base int64) error
}

// Directory knows all tenants. Its configured part is immutable; all methods may be called at any time by anyone.
type Directory struct {
	entries       []entry
	tenants       []Tenant
	subscriptions map[string]Subscription // by id in lower case
	all           []string
	clients       []ServicePrincipal // configured
	fixed         []Assignment       // theirs
	notes         Notes              // nil: there is nothing beside the configuration
	now           func() time.Time
	keys          keyring
}

// Keep makes the directory keep principals, assignments and keys in notes. It is called once, before anybody asks.
func (d *Directory) Keep(notes Notes) { d.notes = notes }

func (d *Directory) notesUnder(prefix string) iter.Seq2[string, store.Note] {
	if d.notes == nil {
		return func(func(string, store.Note) bool) {}
	}
	return d.notes.Snapshot().Notes(prefix)
}

// Tenant finds a tenant by its id or its name.
func (d *Directory) Tenant(word string) (Tenant, bool) {
	for _, t := range d.tenants {
		if strings.EqualFold(t.ID, word) || strings.EqualFold(t.Name, word) {
			return t, true
		}
	}
	return Tenant{}, false
}

type entry struct {
	sum       [sha256.Size]byte // of the token: equal lengths for the comparison, no secret in memory dumps of this table
	principal Principal
}

// Errors of Authenticate.
var (
	ErrNoToken  = errors.New("the request carries no bearer token")
	ErrBadToken = errors.New("the bearer token is not known")
)

// minToken is the shortest token that is accepted in a configuration: shorter ones can be guessed.
const minToken = 16

// New checks the tenants and builds their directory.
func New(tenants []Tenant) (*Directory, error) {
	d := &Directory{subscriptions: map[string]Subscription{}, now: time.Now}
	ids, names := map[string]bool{}, map[string]bool{}
	for _, t := range tenants {
		id, name := strings.ToLower(t.ID), strings.ToLower(t.Name)
		switch {
		case t.ID == "" || t.Name == "":
			return nil, fmt.Errorf("tenant %q: name and id are required", t.Name)
		case ids[id] || names[name]:
			return nil, fmt.Errorf("tenant %q: its name or id %s is configured twice", t.Name, t.ID)
		case t.Token != "" && len(t.Token) < minToken:
			return nil, fmt.Errorf("tenant %q: the token must have at least %d characters", t.Name, minToken)
		}
		ids[id], names[name] = true, true
		if err := d.add(t); err != nil {
			return nil, fmt.Errorf("tenant %q: %w", t.Name, err)
		}
	}
	slices.Sort(d.all)
	return d, nil
}

func (d *Directory) add(t Tenant) error {
	e := entry{sum: sha256.Sum256([]byte(t.Token)), principal: Principal{Tenant: t.ID, Name: t.Name, Owner: true}}
	d.tenants = append(d.tenants, t)
	for _, other := range d.entries {
		if t.Token != "" && other.sum == e.sum {
			return fmt.Errorf("it has the token of tenant %q", other.principal.Name)
		}
	}
	for _, s := range t.Subscriptions {
		id := strings.ToLower(s.ID)
		if id == "" || strings.ContainsAny(id, "/ ") {
			return fmt.Errorf("subscription id %q is not valid", s.ID)
		}
		if _, taken := d.subscriptions[id]; taken {
			return fmt.Errorf("subscription %s is configured twice", s.ID)
		}
		s.Tenant = t.ID
		d.subscriptions[id] = s
		d.all = append(d.all, id)
		e.principal.Subscriptions = append(e.principal.Subscriptions, id)
	}
	slices.Sort(e.principal.Subscriptions)
	if t.Token != "" {
		d.entries = append(d.entries, e)
	}
	for _, c := range t.Clients {
		if err := d.addClient(t, c); err != nil {
			return fmt.Errorf("client %q: %w", c.Name, err)
		}
	}
	return nil
}

// addClient takes a configured service principal with its role in the tenant's subscriptions.
func (d *Directory) addClient(t Tenant, c ServicePrincipal) error {
	if !IsGUID(c.App) || c.Name == "" {
		return fmt.Errorf("a name, and a GUID as id expected, not %q", c.App)
	}
	if err := secret.Check(c.Hash); err != nil {
		return err
	}
	if slices.ContainsFunc(d.clients, func(o ServicePrincipal) bool { return strings.EqualFold(o.App, c.App) }) {
		return fmt.Errorf("the id %s is configured twice", c.App)
	}
	role, ok := FindRole(cmp.Or(c.Role, "Owner"))
	if !ok {
		return fmt.Errorf("role %q: one of Owner, Contributor, Reader, Network Contributor expected", c.Role)
	}
	c.Tenant, c.ID = t.ID, resource.GUID("service principal "+strings.ToLower(c.App))
	d.clients = append(d.clients, c)
	for _, s := range t.Subscriptions {
		d.fixed = append(d.fixed, Assignment{Name: resource.GUID("assignment " + c.ID + strings.ToLower(s.ID)), Scope: "/subscriptions/" + s.ID,
			Role: role.ID, Principal: c.ID, Kind: "ServicePrincipal"})
	}
	return nil
}

type operatorKey struct{}

// AsOperator marks the requests of a listener as the operator's: the server does so for its local socket, whose file mode
// is the authentication.
func AsOperator(ctx context.Context) context.Context {
	return context.WithValue(ctx, operatorKey{}, true)
}

// Authenticate says who makes the request. Every token is compared with every tenant's, all bytes of it, so that the time
// of the answer tells nothing.
func (d *Directory) Authenticate(r *http.Request) (Principal, error) {
	if r.Context().Value(operatorKey{}) != nil {
		return Principal{Name: "operator", Operator: true, Subscriptions: slices.Clone(d.all)}, nil
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Principal{}, ErrNoToken
	}
	if strings.Count(token, ".") == 2 {
		return d.bearer(token, r.Host)
	}
	sum, found := sha256.Sum256([]byte(token)), -1
	for i := range d.entries {
		equal := subtle.ConstantTimeCompare(sum[:], d.entries[i].sum[:])
		found = subtle.ConstantTimeSelect(equal, i, found)
	}
	if found < 0 {
		return Principal{}, ErrBadToken
	}
	p := d.entries[found].principal
	p.Subscriptions = slices.Clone(p.Subscriptions)
	return p, nil
}

// Allows tells whether p may name the subscription. One of another tenant gives the same answer as one that does not
// exist, so that nobody learns which ids are in use.
func (d *Directory) Allows(p Principal, subscription string) bool {
	_, ok := d.Subscription(p, subscription)
	return ok
}

// Subscription is the subscription with this id, if p may name it.
func (d *Directory) Subscription(p Principal, id string) (Subscription, bool) {
	s, known := d.subscriptions[strings.ToLower(id)]
	if !known || !p.Operator && !strings.EqualFold(s.Tenant, p.Tenant) {
		return Subscription{}, false
	}
	return s, true
}

// Subscriptions are all that p may name, by id.
func (d *Directory) Subscriptions(p Principal) []Subscription {
	var all []Subscription
	for _, id := range d.all {
		if s, ok := d.Subscription(p, id); ok {
			all = append(all, s)
		}
	}
	return all
}
