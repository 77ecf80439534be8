package arm

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"ringfence/intent/resource"
)

// polled adds the headers of a long-running operation.
func (q *request) polled(provider, sub string, d *resource.Doc, op *operation, location bool) {
	q.h.ops.keep(op, sub)
	where := "global"
	if d != nil && d.Location() != "" {
		where = d.Location()
	}
	base := q.base() + "/subscriptions/" + sub + "/providers/" + provider + "/locations/" + where + "/"
	query := op.id + "?api-version=" + q.apiVersion
	h := q.w.Header()
	h.Set("Azure-AsyncOperation", base+"operations/"+query)
	h.Set("azure-asyncnotification", "Enabled")
	h.Set("Retry-After", "1")
	if location {
		h.Set("Location", base+"operationResults/"+query)
	}
}

// lookup finds an operation of a subscription. Those of other servers are known by their revision.
func (q *request) lookup(sub, id string) (*operation, error) {
	o := q.h.ops
	o.mu.Lock()
	op := o.byID[strings.ToLower(id)]
	o.mu.Unlock()
	if op != nil && op.sub == strings.ToLower(sub) {
		return op, nil
	}
	rev, ok := revisionOf(id)
	if op != nil || !ok || rev > q.h.Snapshot().Revision() {
		return nil, fault(404, "OperationNotFound", "The operation '%s' could not be found.", id)
	}
	op = &operation{id: id, status: inProgress, began: time.Now(), done: make(chan struct{}), result: http.StatusNoContent}
	ctx, cancel := context.WithTimeout(q.Context(), 50*time.Millisecond)
	defer cancel()
	if err := q.h.Admit.Enforced(ctx, rev); err == nil || ctx.Err() == nil {
		op.finish(err)
	}
	return op, nil
}

// operation answers the poll of Azure-AsyncOperation.
func (q *request) operation(sub, id string) error {
	op, err := q.lookup(sub, id)
	if err != nil {
		return err
	}
	q.soon()
	q.raw(http.StatusOK, op.report(q.style))
	return nil
}

// report is an operation as its provider writes it.
func (op *operation) report(style resource.Style) []byte {
	op.mu.Lock()
	defer op.mu.Unlock()
	type stamped struct {
		StartTime string     `json:"startTime,omitempty"`
		EndTime   string     `json:"endTime,omitempty"`
		Status    string     `json:"status"`
		Error     *errorBody `json:"error,omitempty"`
		Name      string     `json:"name,omitempty"`
	}
	s := stamped{Status: op.status, Error: op.fault}
	if style == resource.Compute {
		s.StartTime, s.Name = op.began.UTC().Format(time.RFC3339Nano), op.id
		if !op.ended.IsZero() {
			s.EndTime = op.ended.UTC().Format(time.RFC3339Nano)
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`{"status":"Failed"}`) // strings always encode
	}
	return b
}

// operationResult answers the poll of Location: 202 until the end, then what the end is.
func (q *request) operationResult(sub, id string) error {
	op, err := q.lookup(sub, id)
	if err != nil {
		return err
	}
	op.mu.Lock()
	status, why, result := op.status, op.fault, op.result
	op.mu.Unlock()
	switch status {
	case inProgress:
		q.soon()
		q.w.Header().Set("Location", q.base()+q.URL.RequestURI())
		q.empty(http.StatusAccepted)
	case failed:
		q.json(http.StatusConflict, map[string]*errorBody{"error": why})
	default:
		q.empty(result)
	}
	return nil
}

// soon tells pollers to come back shortly: Azure's SDK reads milliseconds, others seconds.
func (q *request) soon() {
	q.w.Header().Set("retry-after-ms", "50")
	q.w.Header().Set("Retry-After", "1")
}
