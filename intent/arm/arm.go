// Package arm is the API: Azure Resource Manager over HTTP.
//
// In: requests of Azure's clients. Out: answers as Azure gives them, from snapshots; writes go through an Admitter. What it
// knows of resource types comes from the table in intent/resource, so that a new type needs no change here. The server owns
// the handler and its listeners.
package arm

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// Snapshot is the documents of one revision.
type Snapshot interface {
	resource.Lookup
	Revision() uint64
	Inside(key string) iter.Seq[*resource.Doc] // documents whose keys lie under key, by key
}

// Admitter decides and makes writes.
type Admitter interface {
	// Apply validates (resource.Validate; resource.InUse on delete), allocates, compiles, commits and publishes one write. It
	// returns when Deps.Snapshot has it. Faults come back as resource.Faults; ErrConflict (wrapped or not) says that the
	// stored document is no longer the one that Put was made from (its Revision, 0 for none), or that another write came
	// between: the caller merges again and retries. On an error nothing is changed. A resource group that is deleted takes
	// everything inside with it, in the same write.
	Apply(ctx context.Context, w Intent) (Result, error)
	// Enforced waits until every connected host that revision concerns has acknowledged it. An error other than ctx's says
	// that a host cannot.
	Enforced(ctx context.Context, revision uint64) error
}

// Intent is one write: Put or Delete.
type Intent struct {
	Put       *resource.Doc // whole; System is filled by allocation. Revision is that of the document it replaces, 0 for none
	Delete    string        // key
	Revision  int64         // of the document that Delete takes away
	Principal identity.Principal
}

// Result is a write that was made.
type Result struct {
	Doc      *resource.Doc // as stored; nil after a delete
	Created  bool
	Revision uint64 // 0 when nothing had to change
}

// Deps is what the handler works with.
type Deps struct {
	Snapshot  func() Snapshot // the newest
	Admit     Admitter
	Questions Diagnoser // nil: none is answered
	Identity  *identity.Directory
	Audit     *identity.Audit // nil: none is kept
	Limits    identity.Limits // zero: none
	Log       *slog.Logger
	Locations []string      // that resources may be in; none: any
	Wait      time.Duration // how long a write waits to be enforced before it answers Updating; 0: 2 s
	Page      int           // length of a list's page; 0: 250
}

// Limits of a request.
const (
	maxBody = 4 << 20
	retries = 5 // of a write that met another one
)

type handler struct {
	Deps
	ops           *operations
	reads, writes *identity.Limiter
}

// New returns the API's handler.
func New(d Deps) http.Handler {
	if d.Wait == 0 {
		d.Wait = 2 * time.Second
	}
	if d.Page == 0 {
		d.Page = 250
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return &handler{Deps: d, ops: newOperations(), reads: identity.NewLimiter(d.Limits.Reads), writes: identity.NewLimiter(d.Limits.Writes)}
}

// request is one request on its way through the handler.
type request struct {
	*http.Request
	w          http.ResponseWriter
	h          *handler
	who        identity.Principal
	path       []string // segments, unescaped, without empty ones
	apiVersion string
	asking     context.Context // bounds the questions of state
	style      resource.Style  // how errors are written: the provider's, once it is known

	held       identity.Rights // once haveRights
	haveRights bool
	doing      string // what the request is about, once it is known: for the audit log
	target     string
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	out := &answer{ResponseWriter: w}
	q := &request{Request: r, w: out, h: h, style: resource.Gateway}
	defer func() {
		if p := recover(); p != nil {
			h.Log.Error("request", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", stack())
			if out.status == 0 {
				q.fail(internalError())
			}
		}
		q.audited(out, began)
		h.Log.Debug("request", "method", r.Method, "path", r.URL.Path, "status", out.status, "took", time.Since(began))
	}()
	q.standardHeaders()
	if err := q.admit(); err != nil {
		q.fail(err)
		return
	}
	if err := q.dispatch(); err != nil {
		q.fail(q.missing(err))
	}
}
