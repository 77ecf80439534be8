package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"ringfence/intent/resource"
)

// States of an operation.
const (
	inProgress = "InProgress"
	succeeded  = "Succeeded"
	failed     = "Failed"
)

// longest bounds how long an operation is waited for, and how long its end is remembered.
const longest = time.Hour

// operations are the long-running operations that this process started. An operation's id names the revision that it waits for,
// so that any other server can answer for it too.
type operations struct {
	mu      sync.Mutex
	byID    map[string]*operation
	pending map[string]*operation // by key of the document: the newest one that has not succeeded
	proven  map[string]uint64     // by key of the document: its revision that the hosts are known to enforce
}

// mostProven bounds what is remembered; what is forgotten is asked again.
const mostProven = 1 << 17

type operation struct {
	id    string
	sub   string // subscription, lower case
	key   string // document, "" after a delete
	began time.Time
	done  chan struct{}

	mu     sync.Mutex
	status string
	verb   string // provisioningState meanwhile; "": the type's
	ended  time.Time
	fault  *errorBody
	result int // status of the final answer at operationResults
}

func newOperations() *operations {
	return &operations{byID: map[string]*operation{}, pending: map[string]*operation{}, proven: map[string]uint64{}}
}

// start begins to wait until revision is enforced.
func (o *operations) start(d *resource.Doc, revision uint64, enforced func(context.Context, uint64) error) *operation {
	op := &operation{id: operationID(revision), began: time.Now(), done: make(chan struct{}), status: inProgress, result: http.StatusNoContent}
	if d != nil {
		op.key = d.Key()
	}
	o.track(op)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), longest)
		defer cancel()
		err := enforced(ctx, revision)
		if err == nil && d != nil {
			o.prove(op.key, revision)
		}
		op.finish(err)
		o.settle(op)
	}()
	return op
}

// run begins work of its own: a deployment, the deletion of a group.
func (o *operations) run(key string, limit time.Duration, work func(ctx context.Context) error) *operation {
	op := &operation{id: newGUID(), key: key, began: time.Now(), done: make(chan struct{}), status: inProgress, result: http.StatusOK}
	o.track(op)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		op.finish(work(ctx))
		o.forget(op) // work that failed left the document as it was
	}()
	return op
}

func (o *operations) track(op *operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if op.key != "" {
		o.pending[op.key] = op
	}
}

// keep makes an operation pollable; forgotten ones make room.
func (o *operations) keep(op *operation, subscription string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	op.sub = strings.ToLower(subscription)
	for id, old := range o.byID {
		if _, ended := old.state(); !ended.IsZero() && time.Since(ended) > longest {
			delete(o.byID, id)
		}
	}
	o.byID[op.id] = op
}

// running tells whether the document has work going on.
func (o *operations) running(key string) bool {
	o.mu.Lock()
	op := o.pending[key]
	o.mu.Unlock()
	if op == nil {
		return false
	}
	status, _ := op.state()
	return status == inProgress
}

// settle forgets that a document waits, once it does not.
func (o *operations) settle(op *operation) {
	status, _ := op.state()
	o.mu.Lock()
	defer o.mu.Unlock()
	if status == succeeded && o.pending[op.key] == op {
		delete(o.pending, op.key)
	}
}

// forget ends that a document waits, however the operation ended.
func (o *operations) forget(op *operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.pending[op.key] == op {
		delete(o.pending, op.key)
	}
}

// prove remembers that the hosts enforce a document's revision. That of one says nothing about earlier ones of others.
func (o *operations) prove(key string, revision uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.proven) >= mostProven {
		clear(o.proven)
	}
	o.proven[key] = max(o.proven[key], revision)
}

func (o *operations) isProven(key string, revision uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.proven[key] >= revision
}

// local is what this process knows of a document's provisioningState: an operation of its own that has not succeeded.
func (o *operations) local(d *resource.Doc) (string, bool) {
	o.mu.Lock()
	op := o.pending[d.Key()]
	o.mu.Unlock()
	if op == nil {
		return "", false
	}
	op.mu.Lock()
	defer op.mu.Unlock()
	switch {
	case op.status != inProgress:
		return op.status, true
	case op.verb != "":
		return op.verb, true
	}
	return pendingState(d.Type), true
}

// word sets the provisioningState that the document shows meanwhile.
func (op *operation) word(state string) {
	op.mu.Lock()
	defer op.mu.Unlock()
	op.verb = state
}

func (op *operation) state() (string, time.Time) {
	op.mu.Lock()
	defer op.mu.Unlock()
	return op.status, op.ended
}

func (op *operation) finish(err error) {
	op.mu.Lock()
	op.status, op.ended = succeeded, time.Now()
	if err != nil {
		op.status = failed
		op.fault = failure(err)
	}
	op.mu.Unlock()
	close(op.done)
}

// failure is why an operation failed.
func failure(err error) *errorBody {
	var faults resource.Faults
	if errors.As(err, &faults) && len(faults) > 0 {
		e := envelope(faults, resource.Network)
		return &e
	}
	return &errorBody{Code: "EnforcementFailed", Message: fmt.Sprintf("A host did not enforce the change: %v", err), Details: &[]errorBody{}}
}

// wait gives the operation's state after at most d.
func (op *operation) wait(ctx context.Context, d time.Duration) string {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-op.done:
	case <-t.C:
	case <-ctx.Done():
	}
	status, _ := op.state()
	return status
}

// operationID is a GUID that carries a revision.
func operationID(revision uint64) string {
	g := newGUID()
	return fmt.Sprintf("%08x-%04x-%04x-%s", revision>>32, revision>>16&0xffff, revision&0xffff, g[19:])
}

func revisionOf(id string) (uint64, bool) {
	p := strings.Split(id, "-")
	if len(p) != 5 || len(p[0]) != 8 || len(p[1]) != 4 || len(p[2]) != 4 {
		return 0, false
	}
	rev, err := strconv.ParseUint(p[0]+p[1]+p[2], 16, 64)
	return rev, err == nil
}
