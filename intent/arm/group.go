package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

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
	op := q.h.ops.run(d.Key(), func(ctx context.Context) error { return q.h.emptyGroup(ctx, who, id) })
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

// emptyGroup deletes what refers before what is referred to, then the group, and waits until all is enforced.
func (h *handler) emptyGroup(ctx context.Context, who identity.Principal, id resource.ID) error {
	var last uint64
	for {
		docs := inside(h.Snapshot(), id)
		if len(docs) == 0 {
			break
		}
		deleted := false
		var blocked resource.Faults
		for _, d := range docs {
			w, err := h.apply(ctx, who, deleteChange(d.ID, condition{}))
			var faults resource.Faults
			if errors.As(err, &faults) {
				blocked = append(blocked, faults...)
				continue
			}
			if err != nil {
				return err
			}
			deleted, last = true, max(last, w.Revision)
		}
		if !deleted {
			return deletionBlocked(id, inside(h.Snapshot(), id), blocked)
		}
	}
	w, err := h.apply(ctx, who, func(s Snapshot) (in Intent, w written, err error) {
		d := s.Get(id.Key())
		if d == nil {
			return in, w, nil
		}
		return Intent{Delete: d.Key(), Revision: d.Revision}, w, nil
	})
	if err != nil {
		return err
	}
	return h.Admit.Enforced(ctx, max(last, w.Revision))
}

// inside lists a group's documents in the order in which they can be deleted: the table backwards.
func inside(s Snapshot, id resource.ID) []*resource.Doc {
	place := map[string]int{}
	for i, t := range resource.Types() {
		place[t.Name] = i
	}
	docs := slices.Collect(s.Inside(id.Key()))
	slices.SortStableFunc(docs, func(a, b *resource.Doc) int { return place[b.ID.Type] - place[a.ID.Type] })
	return docs
}

func deletionBlocked(id resource.ID, left []*resource.Doc, why resource.Faults) error {
	var ids []string
	for _, d := range left {
		ids = append(ids, d.ID.String())
	}
	return resource.Faults{{Status: http.StatusConflict, Code: "ResourceGroupDeletionBlocked", Details: why,
		Message: fmt.Sprintf("Deletion of resource group '%s' failed as resources with identifiers '%s' could not be deleted.", id.Group, strings.Join(ids, "', '"))}}
}
