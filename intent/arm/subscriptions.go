package arm

import (
	"slices"
	"strings"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

type subscriptionBody struct {
	ID                  string         `json:"id"`
	AuthorizationSource string         `json:"authorizationSource"`
	SubscriptionID      string         `json:"subscriptionId"`
	TenantID            string         `json:"tenantId"`
	DisplayName         string         `json:"displayName"`
	State               string         `json:"state"`
	Policies            map[string]any `json:"subscriptionPolicies"`
}

func subscriptionJSON(s identity.Subscription) subscriptionBody {
	return subscriptionBody{
		ID: "/subscriptions/" + s.ID, AuthorizationSource: "RoleBased", SubscriptionID: s.ID, TenantID: s.Tenant, DisplayName: s.Name, State: "Enabled",
		Policies: map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "Ringfence", "spendingLimit": "Off"},
	}
}

// values writes a list that needs no paging.
func values[T any](q *request, all []T) error {
	if all == nil {
		all = []T{}
	}
	q.json(200, map[string][]T{"value": all})
	return nil
}

func (q *request) subscriptions() error {
	var all []subscriptionBody
	for _, s := range q.h.Identity.Subscriptions(q.who) {
		if q.rights().Sees("/subscriptions/" + s.ID) {
			all = append(all, subscriptionJSON(s))
		}
	}
	return values(q, all)
}

func (q *request) subscription(id string) error {
	s, ok := q.h.Identity.Subscription(q.who, id)
	if !ok {
		return subscriptionNotFound(id)
	}
	if err := q.seen("/subscriptions/"+s.ID, "Microsoft.Resources/subscriptions/read"); err != nil {
		return err
	}
	q.json(200, subscriptionJSON(s))
	return nil
}

// tenants are those whose subscriptions the client may name.
func (q *request) tenants() error {
	type tenant struct {
		ID       string `json:"id"`
		TenantID string `json:"tenantId"`
	}
	var all []tenant
	for _, s := range q.h.Identity.Subscriptions(q.who) {
		if t := (tenant{"/tenants/" + s.Tenant, s.Tenant}); !slices.Contains(all, t) {
			all = append(all, t)
		}
	}
	return values(q, all)
}

func (q *request) locations(sub string) error {
	type location struct {
		ID          string `json:"id"`
		Name        string `json:"name"`
		DisplayName string `json:"displayName"`
	}
	var all []location
	for _, l := range q.h.Locations {
		name := resource.ShortLocation(l)
		all = append(all, location{"/subscriptions/" + sub + "/locations/" + name, name, l})
	}
	return values(q, all)
}

type providerBody struct {
	ID                string             `json:"id,omitempty"`
	Namespace         string             `json:"namespace"`
	RegistrationState string             `json:"registrationState,omitempty"`
	ResourceTypes     []resourceTypeBody `json:"resourceTypes"`
}

type resourceTypeBody struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
}

// shownVersions are named to clients that ask; every date is served.
var shownVersions = []string{"2025-05-01", "2025-03-01", "2025-01-01", "2024-05-01", "2023-11-01", "2023-09-01", "2022-07-01", "2021-04-01", "2020-11-01", "2020-05-01"}

func (q *request) provider(namespace, sub string) providerBody {
	p := providerBody{Namespace: namespace, ResourceTypes: []resourceTypeBody{}}
	if sub != "" {
		p.ID, p.RegistrationState = "/subscriptions/"+sub+"/providers/"+namespace, "Registered"
	}
	locations := q.h.Locations
	if locations == nil {
		locations = []string{}
	}
	for _, t := range resource.Types() {
		if t.Provider() == namespace {
			p.ResourceTypes = append(p.ResourceTypes, resourceTypeBody{strings.Join(t.Segments(), "/"), locations, shownVersions})
		}
	}
	return p
}

// providers answers /providers and /providers/NAMESPACE.
func (q *request) providers(p []string) error { return q.providersOf("", p) }

// providersOf answers for one namespace or for all. Every provider of the table is registered with every subscription.
func (q *request) providersOf(sub string, p []string) error {
	var all []providerBody
	for _, namespace := range resource.Providers() {
		if len(p) > 0 && !is(p[0], namespace) {
			continue
		}
		all = append(all, q.provider(namespace, sub))
	}
	switch {
	case len(p) == 0:
		return values(q, all)
	case len(p) > 1 || len(all) == 0:
		return unserved{fault(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", strings.Join(p, "/"))}
	}
	q.json(200, all[0])
	return nil
}
