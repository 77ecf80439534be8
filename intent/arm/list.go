package arm

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ringfence/intent/resource"
)

// entry is one element of a list, and where the list goes on after it.
type entry struct {
	key  string
	body func() ([]byte, error)
}

// collection answers GET of a type in a resource group, or of a child type in its parent.
func (q *request) collection(t *resource.Type, id resource.ID) error {
	s := q.h.Snapshot()
	if t.Parent == nil {
		if err := q.seen(resource.GroupID(id.Subscription, id.Group).String(), actionType(t.Name)+"/read"); err != nil {
			return err
		}
		if _, err := inGroup(s, id.Subscription, id.Group); err != nil {
			return err
		}
		return q.list(t, resource.GroupID(id.Subscription, id.Group).String())
	}
	id.Type = t.Parent.Name
	if err := q.may(actionType(t.Name)+"/read", id.String()); err != nil {
		return err
	}
	d, err := find(s, id)
	if err != nil {
		return err
	}
	return q.children(s, d, t)
}

// children lists the children of some types together, in the order of the types.
func (q *request) children(s Snapshot, d *resource.Doc, types ...*resource.Type) error {
	var all []entry
	for _, t := range types {
		parts, err := resource.RenderChildren(d, s, t, q.shown(d))
		if err != nil {
			return err
		}
		for _, p := range parts {
			all = append(all, entry{strconv.Itoa(1e9 + len(all)), func() ([]byte, error) { return p, nil }})
		}
	}
	return q.page(all)
}

// together answers GET of a word below a resource that lists several types of its children; nil when there is no such word.
func (q *request) together(id resource.ID, provider string, types []string) func() error {
	parent := resource.Find(provider + "/" + strings.Join(types[:len(types)-1], "/"))
	if parent == nil || parent.Lists[strings.ToLower(types[len(types)-1])] == nil {
		return nil
	}
	id.Type, q.style = parent.Name, parent.Style
	return func() error {
		of := parent.Lists[strings.ToLower(types[len(types)-1])]
		if err := q.may(actionType(parent.Name)+"/"+strings.ToLower(types[len(types)-1])+"/read", id.String()); err != nil {
			return err
		}
		s := q.h.Snapshot()
		d, err := find(s, id)
		if err != nil {
			return err
		}
		return q.children(s, d, of...)
	}
}

// list answers GET of all documents of a type below a scope.
func (q *request) list(t *resource.Type, scope string) error {
	s := q.h.Snapshot()
	keep, err := q.filter()
	if err != nil {
		return err
	}
	var all []entry
	s.Each(t.Name, func(d *resource.Doc) {
		if strings.HasPrefix(d.Key(), strings.ToLower(scope)+"/") && keep(d) && (q.visible(d) || t.Name == resource.GroupType && q.rights().Sees(d.ID.String())) {
			all = append(all, entry{d.Key(), func() ([]byte, error) { return q.render(d, s, d.ID) }})
		}
	})
	return q.page(all)
}

// page writes one page of a list: the entries after $skiptoken, up to the page length or $top.
func (q *request) page(all []entry) error {
	length, total := q.h.Page, len(all)
	if top := q.param("$top"); top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 {
			return fault(400, "InvalidTopParameter", "The $top parameter value '%s' is invalid. Expect a positive integer.", top)
		}
		length = min(length, n)
	}
	if token := q.param("$skiptoken"); token != "" {
		after, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return fault(400, "InvalidSkipToken", "The $skiptoken parameter value '%s' is invalid.", token)
		}
		for total > 0 && len(all) > 0 && all[0].key <= string(after) {
			all = all[1:]
		}
	}
	out := []byte(`{"value":[`)
	more := len(all) > length
	if more {
		all = all[:length]
	}
	for i, e := range all {
		body, err := e.body()
		if err != nil {
			return err
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, body...)
	}
	out = append(out, ']')
	if more {
		link, err := json.Marshal(q.next(all[len(all)-1].key))
		if err != nil {
			return err
		}
		out = append(append(out, `,"nextLink":`...), link...)
	}
	q.raw(200, append(out, '}'))
	return nil
}

// next is the absolute URL of the page after key.
func (q *request) next(key string) string {
	v := url.Values{}
	for name, values := range q.URL.Query() {
		if !strings.EqualFold(name, "$skiptoken") {
			v[name] = values
		}
	}
	v.Set("$skiptoken", base64.RawURLEncoding.EncodeToString([]byte(key)))
	return q.base() + q.URL.EscapedPath() + "?" + v.Encode()
}

// resources answers GET of everything below a scope, whatever its type.
func (q *request) resources(scope string) error {
	s := q.h.Snapshot()
	keep, err := q.filter()
	if err != nil {
		return err
	}
	var all []entry
	for d := range s.Inside(strings.ToLower(scope)) {
		if d.ID.Type != resource.GroupType && d.ID.Type != deploymentType && keep(d) && q.visible(d) {
			all = append(all, entry{d.Key(), func() ([]byte, error) { return resource.RenderGeneric(d, q.shown(d)), nil }})
		}
	}
	return q.page(all)
}

var filterRule = regexp.MustCompile(`(?i)^\s*(resourceType|tagName|tagValue|name|resourceGroup|location)\s+eq\s+'([^']*)'\s*$`)
var andRule = regexp.MustCompile(`(?i)\s+and\s+`)

// filter reads $filter: comparisons joined by "and". What it cannot judge it refuses.
func (q *request) filter() (keep func(*resource.Doc) bool, err error) {
	var tests []func(*resource.Doc) bool
	tag := ""
	text := q.param("$filter")
	if text == "" {
		return func(*resource.Doc) bool { return true }, nil
	}
	for _, part := range andRule.Split(text, -1) {
		m := filterRule.FindStringSubmatch(part)
		if m == nil {
			return nil, fault(400, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string. Expect comparisons like resourceType eq 'NAMESPACE/TYPE' or tagName eq 'NAME', joined by and.", text)
		}
		value := m[2]
		switch strings.ToLower(m[1]) {
		case "resourcetype":
			tests = append(tests, func(d *resource.Doc) bool { return is(d.ID.Type, value) })
		case "name":
			tests = append(tests, func(d *resource.Doc) bool { return is(d.ID.Name(), value) })
		case "resourcegroup":
			tests = append(tests, func(d *resource.Doc) bool { return is(d.ID.Group, value) })
		case "location":
			tests = append(tests, func(d *resource.Doc) bool { return d.Location() == resource.ShortLocation(value) })
		case "tagname":
			tag = value
			tests = append(tests, func(d *resource.Doc) bool { _, ok := tagOf(d, value); return ok })
		case "tagvalue":
			tests = append(tests, func(d *resource.Doc) bool { v, _ := tagOf(d, tag); return v == value })
		}
	}
	return func(d *resource.Doc) bool {
		return !slices.ContainsFunc(tests, func(t func(*resource.Doc) bool) bool { return !t(d) })
	}, nil
}

// tagOf finds a tag; names of tags are compared without regard to case.
func tagOf(d *resource.Doc, name string) (string, bool) {
	for k, v := range d.Tags() {
		if is(k, name) {
			return v, true
		}
	}
	return "", false
}
