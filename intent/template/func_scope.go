package template

import (
	"fmt"
	"slices"
	"strings"
)

var scopeFunctions = map[string]function{
	"parameters":             {least: 1, most: 1, eager: func(s *scope, a *arguments) (any, error) { return named(a, s.x.params, "parameter") }},
	"variables":              {least: 1, most: 1, eager: func(s *scope, a *arguments) (any, error) { return named(a, s.x.vars, "variable") }},
	"resourceGroup":          {least: 0, most: 0, eager: func(s *scope, _ *arguments) (any, error) { return s.x.group(), nil }},
	"subscription":           {least: 0, most: 0, eager: func(s *scope, _ *arguments) (any, error) { return s.x.subscription(), nil }},
	"tenant":                 {least: 0, most: 0, eager: func(s *scope, _ *arguments) (any, error) { return s.x.tenant(), nil }},
	"deployment":             {least: 0, most: 0, eager: func(s *scope, _ *arguments) (any, error) { return s.x.deployment(), nil }},
	"resourceId":             {least: 2, most: -1, eager: resourceID},
	"subscriptionResourceId": {least: 2, most: -1, eager: subscriptionResourceID},
	"extensionResourceId":    {least: 3, most: -1, eager: extensionResourceID},
	"copyIndex":              {least: 0, most: 2, eager: copyIndex},
	"reference":              {least: 1, most: 3, eager: reference},
}

// named finds a parameter or variable and evaluates it when it is met for the first time.
func named(a *arguments, table *lazyTable, what string) (any, error) {
	name, err := a.str(0)
	if err != nil {
		return nil, err
	}
	entry := table.entries[strings.ToLower(name)]
	if entry == nil {
		return nil, fail(a.call, "the %s '%s' is not defined; there are: %s", what, name, list(table.names))
	}
	if entry.running {
		return nil, fail(a.call, "the %s '%s' is defined by itself", what, name)
	}
	v := entry.get()
	if _, bad := v.(poison); bad {
		return nil, errPoison
	}
	return v, nil
}

func pairs(kv ...any) *object {
	o := newObject(len(kv) / 2)
	for i := 0; i < len(kv); i += 2 {
		o.set(kv[i].(string), kv[i+1])
	}
	return o
}

func (x *expansion) groupID() string {
	return "/subscriptions/" + x.env.Subscription + "/resourceGroups/" + x.env.Group
}

func (x *expansion) group() any {
	tags := newObject(len(x.env.Tags))
	names := make([]string, 0, len(x.env.Tags))
	for name := range x.env.Tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		tags.set(name, x.env.Tags[name])
	}
	return pairs("id", x.groupID(), "name", x.env.Group, "type", "Microsoft.Resources/resourceGroups", "location", x.env.Location,
		"tags", tags, "properties", pairs("provisioningState", "Succeeded"))
}

func (x *expansion) subscription() any {
	return pairs("id", "/subscriptions/"+x.env.Subscription, "subscriptionId", x.env.Subscription, "tenantId", x.env.Tenant,
		"displayName", x.env.SubscriptionName)
}

func (x *expansion) tenant() any { return pairs("tenantId", x.env.Tenant) }

func (x *expansion) deployment() any {
	return pairs("name", x.env.Deployment, "properties", pairs("mode", "Incremental"))
}

// providerID writes "/providers/NS/type/name/…" of a type with as many names as it has segments.
func providerID(a *arguments, typ string, names []string) (string, error) {
	segments := strings.Split(strings.Trim(typ, "/"), "/")
	if len(segments) < 2 {
		return "", a.fail(-1, "%q is no resource type: expected Namespace/type", typ)
	}
	if len(names) != len(segments)-1 {
		return "", a.fail(-1, "the type %s needs %d names, found %d", strings.Trim(typ, "/"), len(segments)-1, len(names))
	}
	var b strings.Builder
	b.WriteString("/providers/" + segments[0])
	for i, name := range names {
		if name == "" {
			return "", a.fail(-1, "name %d of type %s is empty", i+1, strings.Trim(typ, "/"))
		}
		b.WriteString("/" + segments[i+1] + "/" + name)
	}
	return b.String(), nil
}

// resourceID takes [subscription,] [group,] type, name…: the type is the first argument with a slash.
func resourceID(s *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	subscription, group := s.x.env.Subscription, s.x.env.Group
	at := slices.IndexFunc(v, func(t string) bool { return strings.Contains(t, "/") })
	switch at {
	case 0:
	case 1:
		group = v[0]
	case 2:
		subscription, group = v[0], v[1]
	default:
		return nil, a.fail(-1, "none of the first three arguments is a resource type (Namespace/type)")
	}
	tail, err := providerID(a, v[at], v[at+1:])
	return "/subscriptions/" + subscription + "/resourceGroups/" + group + tail, err
}

func subscriptionResourceID(s *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	subscription := s.x.env.Subscription
	if !strings.Contains(v[0], "/") {
		subscription, v = v[0], v[1:]
	}
	tail, err := providerID(a, v[0], v[1:])
	return "/subscriptions/" + subscription + tail, err
}

func extensionResourceID(_ *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	tail, err := providerID(a, v[1], v[2:])
	return strings.TrimSuffix(v[0], "/") + tail, err
}

// copyIndex takes [loop name] [, offset].
func copyIndex(s *scope, a *arguments) (any, error) {
	name, offset := "", int64(0)
	for i := range a.list {
		switch v := a.list[i].(type) {
		case string:
			if i > 0 {
				return nil, a.want(i, "an int")
			}
			name = v
		case int64:
			if i != len(a.list)-1 {
				return nil, a.want(i, "a loop's name")
			}
			offset = v
		default:
			return nil, a.want(i, "a loop's name or an int")
		}
	}
	for i := len(s.loops) - 1; i >= 0; i-- {
		l := s.loops[i]
		if name == "" && !l.body || name != "" && strings.EqualFold(l.name, name) {
			return l.index + offset, nil
		}
	}
	// A loop over an output or a variable is the only one there can be; there the name may be left out.
	if name == "" && len(s.loops) > 0 {
		return s.loops[len(s.loops)-1].index + offset, nil
	}
	if name == "" {
		return nil, fail(a.call, "copyIndex() stands outside of every copy loop")
	}
	return nil, fail(a.call, "copyIndex: no copy loop '%s' is around this place", name)
}

// reference reads the state of a resource: its properties, or with 'Full' the whole.
func reference(s *scope, a *arguments) (any, error) {
	if !s.state || s.reader == nil {
		return nil, fail(a.call, "reference() can stand only in a resource's properties and in outputs")
	}
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	id, api, err := s.x.target(s, v[0])
	if err != nil {
		return nil, a.fail(0, "%v", err)
	}
	if len(v) > 1 {
		api = v[1]
	}
	raw, err := s.reader(id, api)
	if err != nil {
		return nil, a.fail(0, "reading %s: %v", id, err)
	}
	n, err := parseJSON(raw)
	if err != nil {
		return nil, a.fail(0, "reading %s: %v", id, err)
	}
	if len(v) > 2 && strings.EqualFold(v[2], "full") {
		return literal(n), nil
	}
	if n = n.get("properties"); n == nil {
		return newObject(0), nil
	}
	return literal(n), nil
}

// target turns the argument of reference() into an id: a symbolic name, an id, or the name of a resource of the template.
func (x *expansion) target(s *scope, name string) (id, api string, err error) {
	if strings.HasPrefix(name, "/") {
		if i := x.byID[strings.ToLower(name)]; i != nil {
			return i.id, i.api, nil
		}
		return name, "", nil
	}
	found, err := x.find(name)
	if err != nil {
		return "", "", err
	}
	if len(found) != 1 {
		return "", "", fmt.Errorf("'%s' names %d resources of the template, expected one", name, len(found))
	}
	return found[0].id, found[0].api, nil
}
