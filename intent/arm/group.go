package arm

import (
	"context"
	"fmt"
	"net/http"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// deleteGroup answers DELETE of a resource group: everything inside goes first.
func (q *request) deleteGroup(id resource.ID) error {
	c, err := q.condition()
	if err != nil {
		return err
	}
	d, err := find(q.h.Snapshot(), id)
	if err != nil {
		return err
	}
	if err := c.holds(id, d, true); err != nil {
		return err
	}
	who := q.who
	op := q.h.ops.run(d.Key(), longest, func(ctx context.Context) error { return q.h.emptyGroup(ctx, who, id, c) })
	op.word("Deleting")
	switch op.wait(q.Context(), q.h.Wait) {
	case succeeded:
		q.empty(http.StatusOK)
		return nil
	case failed:
		q.json(http.StatusConflict, map[string]*errorBody{"error": op.why()})
		return nil
	}
	q.h.ops.keep(op, id.Subscription)
	q.w.Header().Set("Location", fmt.Sprintf("%s/subscriptions/%s/operationresults/%s?api-version=%s", q.base(), id.Subscription, op.id, q.apiVersion))
	q.w.Header().Set("Retry-After", "1")
	q.empty(http.StatusAccepted)
	return nil
}

func (op *operation) why() *errorBody {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.fault
}

// emptyGroup deletes a group with everything inside, in one write, and waits until no host knows of it.
func (h *handler) emptyGroup(ctx context.Context, who identity.Principal, id resource.ID, c condition) error {
	w, err := h.apply(ctx, who, func(s Snapshot) (in Intent, w written, err error) {
		d := s.Get(id.Key())
		if d == nil {
			return in, w, nil
		}
		if err := c.holds(id, d, true); err != nil {
			return in, w, err
		}
		return Intent{Delete: d.Key(), Revision: d.Revision}, w, nil
	})
	if err != nil {
		return err
	}
	return h.Admit.Enforced(ctx, w.Revision)
}
