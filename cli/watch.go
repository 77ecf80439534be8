package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// watchFlags narrow what the hosts are asked about. A subscription that was named narrows it, too.
type watchFlags struct {
	Host  string `help:"Only on this host."`
	VM    string `name:"vm" help:"Only of this virtual machine: its name or id."`
	Group string `name:"resource-group" short:"g" help:"Only of virtual machines in this resource group."`
}

// show asks all hosts and prints what they say.
func (w watchFlags) show(a *app, kind string, columns ...column) error {
	keep, err := w.keep(a)
	if err != nil {
		return err
	}
	return a.operatorList("/ringfence/v1/"+kind+"?"+w.query().Encode(), keep, func() error { return w.known(a) }, append(watchColumns(), columns...)...)
}

func watchColumns() []column {
	return []column{{"Host", "host"}, {"Subscription", "subscription"}, {"VM", "vm"}}
}

// query is what the server itself narrows.
func (w watchFlags) query() url.Values {
	q := url.Values{}
	if w.Host != "" {
		q.Set("host", w.Host)
	}
	if strings.HasPrefix(w.VM, "/") {
		q.Set("vm", w.VM)
	}
	return q
}

// keep says which records are wanted.
func (w watchFlags) keep(a *app) (func(any) bool, error) {
	subscription := ""
	if a.flags.Subscription != "" {
		cl, err := a.operator()
		if err != nil {
			return nil, err
		}
		s := &session{client: cl, app: a}
		if subscription, err = s.subscriptionID(a.flags.Subscription); err != nil {
			return nil, err
		}
	}
	return func(v any) bool {
		id := text(v, "vm")
		parts := strings.Split(id, "/") // "", subscriptions, ID, resourceGroups, NAME, …
		of := func(i int, want string) bool {
			return want == "" || len(parts) > i && strings.EqualFold(parts[i], want)
		}
		return (w.VM == "" || names(id, w.VM)) && of(2, subscription) && of(4, w.Group)
	}, nil
}

// subscriptionID is the id of a subscription that is named by it or by its name.
func (s *session) subscriptionID(name string) (string, error) {
	if isGUID(name) {
		return name, nil
	}
	all, err := s.subscriptions()
	if err != nil {
		return "", err
	}
	for _, sub := range all {
		if strings.EqualFold(sub.DisplayName, name) {
			return sub.SubscriptionID, nil
		}
	}
	return "", fmt.Errorf("subscription %s: %w", name, errNotFound)
}

// names says whether id is called so, whole or by its last word.
func names(id, name string) bool {
	return strings.EqualFold(id, name) || strings.EqualFold(id[strings.LastIndexByte(id, '/')+1:], name)
}

// known refuses a machine that no host has: an empty list would read as if nothing had happened to it.
func (w watchFlags) known(a *app) error {
	if w.VM == "" {
		return nil
	}
	found, err := w.machines(a)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("virtual machine %s: %w on any host", w.VM, errNotFound)
	}
	return nil
}

// machines are the ports of the machines that the flags name, as the hosts report them.
func (w watchFlags) machines(a *app) ([]any, error) {
	cl, err := a.operator()
	if err != nil {
		return nil, err
	}
	keep, err := w.keep(a)
	if err != nil {
		return nil, err
	}
	ans, err := cl.send(a.ctx, http.MethodGet, "/ringfence/v1/sandboxes", nil)
	if err != nil {
		return nil, err
	}
	v, err := decode(ans.body)
	if err != nil {
		return nil, err
	}
	list, _ := v.(map[string]any)
	rows, _ := list["value"].([]any)
	var out []any
	for _, r := range rows {
		if keep(r) && (w.Host == "" || text(r, "host") == w.Host) {
			out = append(out, r)
		}
	}
	return out, nil
}
