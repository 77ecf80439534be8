package arm

import (
	"net/http"

	"ringfence/intent/resource"
)

// deleteChange is a DELETE of id; what is not there needs no change.
func deleteChange(id resource.ID, c condition) change {
	return func(s Snapshot) (in Intent, w written, err error) {
		if _, err := inGroup(s, id.Subscription, id.Group); err != nil {
			return in, w, err
		}
		d := s.Get(id.Top().Key())
		child := len(id.Names) > 1
		if d == nil && child {
			return in, w, resourceNotFound(id.Top())
		}
		w.existed = d != nil && (!child || d.HasChild(id.Key()))
		if err := c.holds(id, d, w.existed); err != nil || !w.existed {
			return in, w, err
		}
		if !child {
			return Intent{Delete: d.Key(), Revision: d.Revision}, w, nil
		}
		return Intent{Put: resource.Without(d, id)}, w, nil
	}
}

// delete answers DELETE: 204 when there was nothing, 200 when no host knows it any more, 202 when that takes longer.
func (q *request) delete(t *resource.Type, id resource.ID) error {
	c, err := q.condition()
	if err != nil {
		return err
	}
	old := q.h.Snapshot().Get(id.Top().Key())
	w, err := q.h.apply(q.Context(), q.who, deleteChange(id, c))
	if err != nil {
		return err
	}
	if !w.existed {
		q.empty(http.StatusNoContent)
		return nil
	}
	op := q.h.ops.start(w.Doc, w.Revision, q.h.Admit.Enforced)
	state := op.wait(q.Context(), q.h.Wait)
	q.h.ops.settle(op)
	switch {
	case t.Emptied && state == succeeded, t.Style == resource.Gateway: // nothing that hosts enforce; its clients know no 200
		q.empty(http.StatusNoContent)
		return nil
	case state == succeeded:
		q.empty(http.StatusOK)
		return nil
	}
	q.polled(t.Provider(), id.Subscription, old, op, true)
	q.empty(http.StatusAccepted)
	return nil
}
