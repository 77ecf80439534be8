// Package identity says who asks, and which subscriptions they may name.
//
// In: the configured tenants with their tokens and subscriptions, and requests. Out: principals. A request that came over
// the local socket speaks for the operator; any other needs a tenant's bearer token. The server owns the directory.
package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Tenant is one configured tenant.
type Tenant struct {
	Name          string         `yaml:"name"`
	ID            string         `yaml:"id"`
	Token         string         `yaml:"token"`
	Subscriptions []Subscription `yaml:"subscriptions"`
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
	Operator      bool
	Subscriptions []string // ids in lower case; the operator's are all
}

// Directory knows all tenants. It is immutable.
type Directory struct {
	entries       []entry
	subscriptions map[string]Subscription // by id in lower case
	all           []string
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
	d := &Directory{subscriptions: map[string]Subscription{}}
	ids, names := map[string]bool{}, map[string]bool{}
	for _, t := range tenants {
		id, name := strings.ToLower(t.ID), strings.ToLower(t.Name)
		switch {
		case t.ID == "" || t.Name == "":
			return nil, fmt.Errorf("tenant %q: name and id are required", t.Name)
		case ids[id] || names[name]:
			return nil, fmt.Errorf("tenant %q: its name or id %s is configured twice", t.Name, t.ID)
		case len(t.Token) < minToken:
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
	e := entry{sum: sha256.Sum256([]byte(t.Token)), principal: Principal{Tenant: t.ID, Name: t.Name}}
	for _, other := range d.entries {
		if other.sum == e.sum {
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
	d.entries = append(d.entries, e)
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
