package arm

import (
	"context"
	"net/http"
	"time"

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

// patience bounds how long one request asks whether documents are enforced that other processes wrote.
const patience = 50 * time.Millisecond

// state is a document's provisioningState: Succeeded when every connected host enforces its revision. Writes of this process know
// themselves; of others (another server, an earlier life) the hosts' acknowledgements are asked, and remembered.
func (q *request) state(d *resource.Doc) string {
	if state, known := q.h.ops.local(d); known {
		return state
	}
	rev := uint64(max(d.Revision, 0))
	if q.h.ops.isProven(d.Key(), rev) {
		return succeeded
	}
	if q.asking == nil {
		var stop context.CancelFunc
		q.asking, stop = context.WithTimeout(q.Context(), patience)
		context.AfterFunc(q.Context(), stop)
	}
	if err := q.h.Admit.Enforced(q.asking, rev); err != nil {
		return pendingState(d.Type)
	}
	q.h.ops.prove(d.Key(), rev)
	return succeeded
}

// shown is how this request wants a document.
func (q *request) shown(d *resource.Doc) resource.Shown {
	return resource.Shown{APIVersion: q.apiVersion, State: q.state(d), Expand: q.param("$expand")}
}

// render is what this request is shown of a document or of a child in it.
func (q *request) render(d *resource.Doc, s Snapshot, id resource.ID) ([]byte, error) {
	if d.ID.Type == deploymentType {
		d = q.h.orphaned(d)
	}
	return resource.Render(d, s, id, q.shown(d))
}

// read answers GET and HEAD of one resource.
func (q *request) read(id resource.ID) error {
	s := q.h.Snapshot()
	d, err := find(s, id)
	if err != nil {
		return err
	}
	body, err := q.render(d, s, id)
	if err != nil {
		return err
	}
	if body == nil {
		return childNotFound(id)
	}
	if q.Method == http.MethodHead { // existence, as clients ask for it
		q.empty(http.StatusNoContent)
		return nil
	}
	q.w.Header().Set("ETag", d.EntityTag(id))
	q.raw(http.StatusOK, body)
	return nil
}
