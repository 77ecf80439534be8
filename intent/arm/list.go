package arm

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"regexp"
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
		if _, err := inGroup(s, id.Subscription, id.Group); err != nil {
			return err
		}
		return q.list(t, resource.GroupID(id.Subscription, id.Group).String())
	}
	id.Type = t.Parent.Name
	d, err := find(s, id)
	if err != nil {
		return err
	}
	parts, err := resource.RenderChildren(d, s, t, q.shown(d))
	if err != nil {
		return err
	}
	var all []entry
	for i, p := range parts {
		all = append(all, entry{strconv.Itoa(1e9 + i), func() ([]byte, error) { return p, nil }})
	}
	return q.page(all)
}

// list answers GET of all documents of a type below a scope.
func (q *request) list(t *resource.Type, scope string) error {
	s := q.h.Snapshot()
	var all []entry
	s.Each(t.Name, func(d *resource.Doc) {
		if strings.HasPrefix(d.Key(), strings.ToLower(scope)+"/") {
			all = append(all, entry{d.Key(), func() ([]byte, error) { return resource.Render(d, s, d.ID, q.shown(d)) }})
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

var filterRule = regexp.MustCompile(`(?i)^\s*resourceType\s+eq\s+'([^']*)'\s*$`)

// resources answers GET of everything below a scope, whatever its type.
func (q *request) resources(scope string) error {
	s := q.h.Snapshot()
	want := ""
	if f := q.param("$filter"); f != "" {
		m := filterRule.FindStringSubmatch(f)
		if m == nil {
			return fault(400, "InvalidFilterInQueryString", "Invalid $filter '%s' specified in the query string. Expect resourceType eq 'NAMESPACE/TYPE'.", f)
		}
		want = m[1]
	}
	var all []entry
	for d := range s.Inside(strings.ToLower(scope)) {
		if d.ID.Type == resource.GroupType || d.ID.Type == deploymentType || want != "" && !is(want, d.ID.Type) {
			continue
		}
		all = append(all, entry{d.Key(), func() ([]byte, error) { return resource.RenderGeneric(d, q.shown(d)), nil }})
	}
	return q.page(all)
}
