package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"ringfence/intent/identity/secret"
	"ringfence/intent/store"
)

// ServicePrincipal is an application that may ask for tokens.
type ServicePrincipal struct {
	ID      string   `json:"id" yaml:"-"` // object id: what roles are assigned to
	App     string   `json:"app" yaml:"id"`
	Name    string   `json:"name" yaml:"name"`
	Tenant  string   `json:"tenant" yaml:"-"`
	Secrets []Secret `json:"secrets,omitempty" yaml:"-"`
	Created string   `json:"created,omitempty" yaml:"-"`
	// Machine is the key of the virtual machine whose identity this is: it has no secret, its metadata address asks for it.
	Machine string `json:"machine,omitempty" yaml:"-"`

	Hash string `json:"-" yaml:"secret_hash"`    // of a configured one
	Role string `json:"-" yaml:"role,omitempty"` // that a configured one has in the tenant's subscriptions

	Revision int64 `json:"-" yaml:"-"` // of the stored one; 0: configured
}

// Secret is one password of a principal, hashed.
type Secret struct {
	ID      string `json:"id"`
	Hash    string `json:"hash"`
	Created string `json:"created,omitempty"`
	Expires string `json:"expires,omitempty"` // RFC 3339; empty: never
}

// MostSecrets bounds the secrets of one principal: each costs time when a wrong one is tried.
const MostSecrets = 4

const principalNotes = "identity/principal/"

func principalKey(app string) string { return principalNotes + strings.ToLower(app) }

var guidRule = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// IsGUID tells whether s has the form of one.
func IsGUID(s string) bool { return guidRule.MatchString(s) }

// ServicePrincipals are all of a tenant, or of all tenants for "", by name.
func (d *Directory) ServicePrincipals(tenant string) []ServicePrincipal {
	var all []ServicePrincipal
	for _, p := range d.clients {
		if tenant == "" || strings.EqualFold(p.Tenant, tenant) {
			all = append(all, p)
		}
	}
	for _, n := range d.notesUnder(principalNotes) {
		if p, ok := readPrincipal(n); ok && (tenant == "" || strings.EqualFold(p.Tenant, tenant)) {
			all = append(all, p)
		}
	}
	slices.SortStableFunc(all, func(a, b ServicePrincipal) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func readPrincipal(n store.Note) (ServicePrincipal, bool) {
	var p ServicePrincipal
	if json.Unmarshal(n.Value, &p) != nil {
		return p, false
	}
	p.Revision = n.Revision
	return p, true
}

// ByApp finds a service principal by the id of its application.
func (d *Directory) ByApp(app string) (ServicePrincipal, bool) {
	for _, p := range d.clients {
		if strings.EqualFold(p.App, app) {
			return p, true
		}
	}
	if d.notes == nil {
		return ServicePrincipal{}, false
	}
	n, ok := d.notes.Snapshot().Note(principalKey(app))
	if !ok {
		return ServicePrincipal{}, false
	}
	return readPrincipal(n)
}

// ByID finds a service principal by its object id.
func (d *Directory) ByID(id string) (ServicePrincipal, bool) {
	for _, p := range d.ServicePrincipals("") {
		if strings.EqualFold(p.ID, id) {
			return p, true
		}
	}
	return ServicePrincipal{}, false
}

// PutPrincipal stores p in the place of its Revision.
func (d *Directory) PutPrincipal(ctx context.Context, p ServicePrincipal) error {
	for _, c := range d.clients {
		if strings.EqualFold(c.App, p.App) || strings.EqualFold(c.ID, p.ID) {
			return fmt.Errorf("service principal %s: it stands in the server's configuration and is changed there", p.App)
		}
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("put service principal: %w", err)
	}
	return d.notes.PutNote(ctx, principalKey(p.App), b, p.Revision)
}

// DeletePrincipal deletes a service principal with its role assignments: those first, so that one that stays after a crash is at
// worst without rights.
func (d *Directory) DeletePrincipal(ctx context.Context, p ServicePrincipal) error {
	if p.Revision == 0 {
		return fmt.Errorf("service principal %s: it stands in the server's configuration and is changed there", p.App)
	}
	for _, a := range d.Assignments() {
		if strings.EqualFold(a.Principal, p.ID) {
			if err := d.Unassign(ctx, a.Name); err != nil {
				return err
			}
		}
	}
	return d.notes.DeleteNote(ctx, principalKey(p.App), p.Revision)
}

// Errors of Client.
var (
	ErrNoClient  = errors.New("the application is not known in this tenant")
	ErrBadSecret = errors.New("the client secret is wrong")
	ErrExpired   = errors.New("the client secret has expired")
)

// Client finds the service principal that app and password belong to, in a tenant. now is RFC 3339 in UTC.
func (d *Directory) Client(tenant, app, password, now string) (ServicePrincipal, error) {
	p, ok := d.ByApp(app)
	if !ok || !strings.EqualFold(p.Tenant, tenant) || p.Machine != "" {
		_ = secret.Matches(nobodysHash(), password) // as long as with a known one
		return ServicePrincipal{}, ErrNoClient
	}
	secrets := p.Secrets
	if p.Hash != "" {
		secrets = append([]Secret{{Hash: p.Hash}}, secrets...)
	}
	for _, s := range secrets {
		if !secret.Matches(s.Hash, password) {
			continue
		}
		if s.Expires != "" && s.Expires <= now {
			return ServicePrincipal{}, ErrExpired
		}
		return p, nil
	}
	return ServicePrincipal{}, ErrBadSecret
}

var nobodysHash = sync.OnceValue(func() string { return secret.Hash(secret.New()) })

// Configured finds a service principal of the configuration by its object id.
func (d *Directory) Configured(id string) (ServicePrincipal, bool) {
	for _, p := range d.clients {
		if strings.EqualFold(p.ID, id) {
			return p, true
		}
	}
	return ServicePrincipal{}, false
}
