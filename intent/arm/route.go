package arm

import (
	"net/http"
	"strings"

	"ringfence/intent/resource"
)

// dispatch finds what a path means: the fixed places of ARM, then the type table.
func (q *request) dispatch() error {
	p := q.path
	switch {
	case len(p) == 0:
		return q.unknownPath()
	case len(p) == 1 && is(p[0], "tenants"):
		return q.get(q.tenants)
	case q.authorizing():
		return q.authorization()
	case is(p[0], "providers"):
		return q.get(func() error { return q.providers(p[1:]) })
	case !is(p[0], "subscriptions"):
		return q.unknownPath()
	case len(p) == 1:
		return q.get(q.subscriptions)
	case len(p) == 2:
		return q.get(func() error { return q.subscription(p[1]) })
	}
	return q.inSubscription(p[1], p[2:])
}

func (q *request) unknownPath() error {
	return unserved{fault(404, "InvalidRequestUri", "The request URI '%s' is not one of this API's.", q.URL.Path)}
}

// get lets only reading methods through.
func (q *request) get(f func() error) error {
	if q.Method != http.MethodGet && q.Method != http.MethodHead {
		return notAllowed(q.Method)
	}
	return f()
}

func (q *request) inSubscription(sub string, p []string) error {
	switch {
	case is(p[0], "resourceGroups") && len(p) == 1:
		return q.get(func() error {
			return q.list(resource.Find(resource.GroupType), "/subscriptions/"+sub+"/resourceGroups")
		})
	case is(p[0], "resourceGroups"):
		return q.inResourceGroup(sub, p[1], p[2:])
	case is(p[0], "resources") && len(p) == 1:
		return q.get(func() error { return q.resources("/subscriptions/" + sub) })
	case is(p[0], "locations") && len(p) == 1:
		return q.get(func() error { return q.locations(sub) })
	case is(p[0], "operationResults") && len(p) == 2:
		return q.get(func() error { return q.operationResult(sub, p[1]) })
	case is(p[0], "tagNames") && len(p) == 1:
		return q.get(func() error { return q.page(nil) })
	case !is(p[0], "providers"):
		return q.unknownPath()
	}
	return q.inProvider(sub, p[1:])
}

// inProvider: what a provider has in a subscription.
func (q *request) inProvider(sub string, p []string) error {
	switch {
	case len(p) <= 1:
		return q.get(func() error { return q.providersOf(sub, p) })
	case len(p) == 2 && is(p[1], "register"):
		if q.Method != http.MethodPost {
			return notAllowed(q.Method)
		}
		return q.providersOf(sub, p[:1])
	case len(p) == 5 && is(p[1], "locations") && is(p[3], "operations"):
		q.styleOf(p[0])
		return q.get(func() error { return q.operation(sub, p[4]) })
	case len(p) == 5 && is(p[1], "locations") && is(p[3], "operationResults"):
		q.styleOf(p[0])
		return q.get(func() error { return q.operationResult(sub, p[4]) })
	}
	t, err := q.typeOf(p[0], p[1:2])
	if err != nil {
		return err
	}
	if len(p) != 2 {
		return q.unknownPath()
	}
	return q.get(func() error { return q.list(t, "/subscriptions/"+sub+"/resourceGroups") })
}

func (q *request) styleOf(provider string) {
	for _, t := range resource.Types() {
		if is(t.Provider(), provider) {
			q.style = t.Style
			return
		}
	}
}

// typeOf finds a type in the table and takes over its habits.
func (q *request) typeOf(provider string, segments []string) (*resource.Type, error) {
	if t := resource.Find(provider + "/" + strings.Join(segments, "/")); t != nil && t.Name != resource.GroupType {
		q.style = t.Style
		return t, nil
	}
	for _, known := range resource.Providers() {
		if is(known, provider) {
			return nil, unserved{fault(404, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s' for api version '%s'.", strings.Join(segments, "/"), known, q.apiVersion)}
		}
	}
	return nil, unserved{fault(404, "InvalidResourceNamespace", "The resource namespace '%s' is invalid.", provider)}
}

func (q *request) inResourceGroup(sub, group string, p []string) error {
	scope := "/subscriptions/" + sub + "/resourceGroups/" + group
	switch {
	case len(p) == 0:
		return q.resource(resource.Find(resource.GroupType), resource.GroupID(sub, group))
	case is(p[0], "resources") && len(p) == 1:
		if err := q.seen(scope, groupAction+"/resources/read"); err != nil {
			return err
		}
		if _, err := inGroup(q.h.Snapshot(), sub, group); err != nil {
			return err
		}
		return q.get(func() error { return q.resources(scope) })
	case !is(p[0], "providers") || len(p) < 3:
		return q.unknownPath()
	}
	return q.inGroupProvider(sub, group, p[1], p[2:])
}

// inGroupProvider: TYPE, TYPE/NAME, TYPE/NAME/TYPE, TYPE/NAME/TYPE/NAME …
func (q *request) inGroupProvider(sub, group, provider string, p []string) error {
	id := resource.ID{Subscription: sub, Group: group}
	var types []string
	for i, s := range p {
		if i%2 == 0 {
			types = append(types, s)
		} else {
			id.Names = append(id.Names, s)
		}
	}
	if len(types) > 1 && len(id.Names) > 0 {
		if done, err := q.action(id, provider, types); done {
			return err
		}
	}
	if len(types) == len(id.Names)+1 && len(types) > 1 {
		if list := q.together(id, provider, types); list != nil {
			return q.get(list)
		}
	}
	t, err := q.typeOf(provider, types)
	if err != nil {
		return err
	}
	id.Type = t.Name
	if len(p)%2 == 0 {
		return q.resource(t, id)
	}
	return q.get(func() error { return q.collection(t, id) })
}

// action handles what hangs below a resource without being one: its parent's type says so.
func (q *request) action(id resource.ID, provider string, types []string) (done bool, err error) {
	if resource.Find(provider+"/"+strings.Join(types, "/")) != nil {
		return false, nil
	}
	parent := resource.Find(provider + "/" + types[0])
	do := actions[keyOfAction(parent, types[1])]
	if do == nil {
		return false, nil
	}
	id.Type = parent.Name
	q.style = parent.Style
	right := "action"
	if !changes(q.Method) {
		right = "read"
	}
	on := id
	on.Names = id.Names[:1]
	q.act(parent.Name+"/"+types[1]+"/"+right, on.String())
	if err := q.may(q.doing, q.target); err != nil {
		return true, err
	}
	return true, do(q, id)
}

func keyOfAction(t *resource.Type, word string) string {
	if t == nil {
		return ""
	}
	return t.Name + " " + strings.ToLower(word)
}

// resource handles the verbs on one resource.
func (q *request) resource(t *resource.Type, id resource.ID) error {
	q.style = t.Style
	if err := q.mayResource(id); err != nil {
		return err
	}
	switch q.Method {
	case http.MethodGet, http.MethodHead:
		return q.read(id)
	case http.MethodPut:
		if t.ReadOnly {
			return notAllowed(q.Method)
		}
		if t.Name == deploymentType {
			return q.putDeployment(id)
		}
		return q.put(t, id)
	case http.MethodPatch:
		if t.Parent != nil {
			return notAllowed(q.Method)
		}
		return q.patch(t, id)
	case http.MethodDelete:
		switch {
		case t.ReadOnly:
			return notAllowed(q.Method)
		case t.Name == resource.GroupType:
			return q.deleteGroup(id)
		}
		return q.delete(t, id)
	}
	return notAllowed(q.Method)
}
