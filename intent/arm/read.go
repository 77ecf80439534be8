package arm

import (
	"net/http"

	"ringfence/intent/resource"
)

// find gives the document that holds id, or the 404 that says what is missing.
func find(s Snapshot, id resource.ID) (*resource.Doc, error) {
	if id.Type != resource.GroupType {
		if _, err := inGroup(s, id.Subscription, id.Group); err != nil {
			return nil, err
		}
	}
	top := id.Top()
	d := s.Get(top.Key())
	switch {
	case d != nil:
		return d, nil
	case id.Type == resource.GroupType:
		return nil, resource.Faults{resource.GroupNotFound(id.Group)}
	}
	return nil, resourceNotFound(top)
}

// shown is how this request wants a document.
func (q *request) shown(d *resource.Doc) resource.Shown {
	return resource.Shown{APIVersion: q.apiVersion, State: q.h.ops.state(d), Expand: q.param("$expand")}
}

// read answers GET and HEAD of one resource.
func (q *request) read(t *resource.Type, id resource.ID) error {
	s := q.h.Snapshot()
	d, err := find(s, id)
	if err != nil {
		return err
	}
	body, err := resource.Render(d, s, id, q.shown(d))
	if err != nil {
		return err
	}
	if body == nil {
		return childNotFound(id)
	}
	if q.Method == http.MethodHead && t.Name == resource.GroupType {
		q.empty(http.StatusNoContent)
		return nil
	}
	q.w.Header().Set("ETag", d.ETag())
	q.raw(http.StatusOK, body)
	return nil
}
