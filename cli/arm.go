package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// API versions that the command line asks for, by provider.
var apiVersions = map[string]string{
	"microsoft.network":   "2024-05-01",
	"microsoft.compute":   "2024-07-01",
	"microsoft.resources": "2021-04-01",
}

// armVersion finds the version for a path: that of the provider, else that of ARM itself.
func armVersion(path string) string {
	low := strings.ToLower(path)
	if i := strings.LastIndex(low, "/providers/"); i >= 0 {
		provider, _, _ := strings.Cut(low[i+len("/providers/"):], "/")
		if v := apiVersions[provider]; v != "" {
			return v
		}
	}
	return apiVersions["microsoft.resources"]
}

// versioned adds api-version to a path that has none.
func versioned(path string) string {
	plain, query, _ := strings.Cut(path, "?")
	if strings.HasPrefix(plain, "/ringfence/") {
		return path
	}
	if q, err := url.ParseQuery(query); err == nil {
		for name := range q {
			if strings.EqualFold(name, "api-version") {
				return path
			}
		}
	}
	sep := "?"
	if query != "" {
		sep = "&"
	}
	return path + sep + "api-version=" + armVersion(plain)
}

// session is a client with the subscription that the flags mean.
type session struct {
	*client
	app          *app
	subscription string
}

type subscription struct {
	SubscriptionID string `json:"subscriptionId"`
	DisplayName    string `json:"displayName"`
	TenantID       string `json:"tenantId"`
}

// connect makes a client and finds the subscription.
func (a *app) connect() (*session, error) {
	c, err := a.newClient()
	if err != nil {
		return nil, err
	}
	s := &session{client: c, app: a}
	want := a.flags.Subscription
	if isGUID(want) {
		s.subscription = want
		return s, nil
	}
	all, err := s.subscriptions()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, sub := range all {
		if strings.EqualFold(sub.DisplayName, want) || want == "" && len(all) == 1 {
			s.subscription = sub.SubscriptionID
			return s, nil
		}
		names = append(names, fmt.Sprintf("%s (%s)", sub.DisplayName, sub.SubscriptionID))
	}
	slices.Sort(names)
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("there is no subscription: %w", errNotFound)
	case want == "":
		return nil, usageError{&severalSubscriptions{client: c, all: all, names: names}}
	}
	return nil, usagef("there is no subscription %q; there are: %s", want, strings.Join(names, ", "))
}

// severalSubscriptions is the refusal to guess which one is meant.
type severalSubscriptions struct {
	client *client
	all    []subscription
	names  []string
}

func (e *severalSubscriptions) Error() string {
	return "which subscription? Name one with --subscription or speak as a tenant with --as: " + strings.Join(e.names, ", ")
}

func (s *session) subscriptions() ([]subscription, error) {
	a, err := s.send(s.app.ctx, http.MethodGet, "/subscriptions?api-version=2022-12-01", nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Value []subscription }
	if err := json.Unmarshal(a.body, &list); err != nil {
		return nil, fmt.Errorf("read the list of subscriptions: %w", err)
	}
	return list.Value, nil
}

func isGUID(s string) bool {
	return len(s) == 36 && strings.Count(s, "-") == 4 && strings.Trim(strings.ToLower(s), "0123456789abcdef-") == ""
}

// groupPath is the path of a resource group.
func (s *session) groupPath(group string) string {
	return "/subscriptions/" + s.subscription + "/resourceGroups/" + url.PathEscape(group)
}

// path writes a resource's path: type "Microsoft.Network/virtualNetworks/subnets" with the names of parent and child; with a
// name less it is the collection. Without a group it is the subscription's collection.
func (s *session) path(group, typ string, names ...string) string {
	segments := strings.Split(typ, "/")
	p := "/subscriptions/" + s.subscription
	if group != "" {
		p = s.groupPath(group)
	}
	p += "/providers/" + segments[0]
	for i, seg := range segments[1:] {
		p += "/" + seg
		if i < len(names) {
			p += "/" + url.PathEscape(names[i])
		}
	}
	return p
}

// id is path as it stands in bodies; a reference that is an id already stays.
func (s *session) id(group, typ string, names ...string) string {
	if last := names[len(names)-1]; strings.HasPrefix(last, "/") {
		return last
	}
	p := s.path(group, typ, names...)
	if plain, err := url.PathUnescape(p); err == nil {
		return plain
	}
	return p
}

// get reads a path into v.
func (s *session) get(path string, v any) error {
	a, err := s.send(s.app.ctx, http.MethodGet, versioned(path), nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(a.body, v)
}

// put writes a resource and waits until it is enforced.
func (s *session) put(path string, body any, wait bool) (any, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("write the request: %w", err)
	}
	return s.putRaw(path, raw, wait)
}

func (s *session) putRaw(path string, raw []byte, wait bool) (any, error) {
	path = versioned(path)
	a, err := s.send(s.app.ctx, http.MethodPut, path, raw)
	if err == nil && wait {
		a, err = s.wait(s.app.ctx, http.MethodPut, path, a)
	}
	if err != nil {
		return nil, err
	}
	return decode(a.body)
}

// remove deletes and waits until the deletion is enforced.
func (s *session) remove(path string, wait bool) error {
	path = versioned(path)
	a, err := s.send(s.app.ctx, http.MethodDelete, path, nil)
	if err == nil && wait {
		_, err = s.wait(s.app.ctx, http.MethodDelete, path, a)
	}
	return err
}

// list reads all pages of a collection.
func (s *session) list(path string) ([]any, error) {
	var out []any
	for next := versioned(path); next != ""; {
		a, err := s.send(s.app.ctx, http.MethodGet, next, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Value    []any
			NextLink string
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		out, next = append(out, page.Value...), page.NextLink
	}
	return out, nil
}

// decode turns an answer's body into a value; an empty body is nil.
func decode(body []byte) (any, error) {
	if len(strings.TrimSpace(string(body))) == 0 {
		return nil, nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return v, nil
}
