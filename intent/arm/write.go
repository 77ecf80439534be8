package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// condition is what If-Match and If-None-Match ask for.
type condition struct {
	match     string // an etag, or "*"
	noneMatch bool   // If-None-Match: *
}

func (q *request) condition() (condition, error) {
	c := condition{match: q.Header.Get("If-Match")}
	switch none := q.Header.Get("If-None-Match"); none {
	case "":
	case "*":
		c.noneMatch = true
	default:
		return c, fault(400, "InvalidHeaderValue", "The value '%s' of header If-None-Match is not supported. Expect '*'.", none)
	}
	return c, nil
}

// holds checks the condition on the stored document; exists says whether the resource (which may be a child) is there.
func (c condition) holds(id resource.ID, d *resource.Doc, exists bool) error {
	refuse := func(detail, format string, args ...any) error {
		msg := fmt.Sprintf(format, args...)
		return resource.Faults{{Status: http.StatusPreconditionFailed, Code: "PreconditionFailed", Message: msg,
			Details: []resource.Fault{{Code: detail, Message: msg}}}}
	}
	if t := resource.Find(id.Type); t != nil && t.Style == resource.Bare {
		return c.holdsBare(t, id, d, exists)
	}
	switch {
	case c.noneMatch && exists:
		return refuse("PreconditionFailedResourceExists", "Resource %s exists already and If-None-Match: * was given.", id)
	case c.match == "":
		return nil
	case !exists:
		return refuse("PreconditionFailedEtagMismatch", "Etag provided in if-match header %s does not match: resource %s does not exist.", c.match, id)
	case c.match != "*" && c.match != d.EntityTag(id):
		return refuse("PreconditionFailedEtagMismatch", "Etag provided in if-match header %s does not match etag %s of resource %s.", c.match, d.EntityTag(id), id)
	}
	return nil
}

// holdsBare says it as the providers of names do. They take an empty If-Match for none.
func (c condition) holdsBare(t *resource.Type, id resource.ID, d *resource.Doc, exists bool) error {
	switch {
	case c.noneMatch && exists:
		return fault(http.StatusPreconditionFailed, "PreconditionFailed", "The %s %s exists already and hence cannot be created again.", t.Noun, id.Name())
	case c.match != "" && (!exists || c.match != "*" && strings.Trim(c.match, `"`) != strings.Trim(d.EntityTag(id), `"`)):
		return fault(http.StatusPreconditionFailed, "PreconditionFailed", "The %s %s has been modified (etag mismatch).", t.Noun, id.Name())
	}
	return nil
}

// written is a write that was made.
type written struct {
	Result
	created bool // the resource itself, also a child
	existed bool
}

// change is how a document is to be changed: what follows from what is stored now.
type change func(s Snapshot) (in Intent, w written, err error)

// apply makes a write, deciding it again when another one came between.
func (h *handler) apply(ctx context.Context, who identity.Principal, f change) (written, error) {
	pause := 2 * time.Millisecond
	for try := 0; ; try++ {
		in, w, err := f(h.Snapshot())
		if err != nil || in.Put == nil && in.Delete == "" {
			return w, err
		}
		in.Principal = who
		if in.Put != nil {
			if err := h.linked(who, h.Snapshot(), in.Put); err != nil {
				return w, err
			}
		}
		w.Result, err = h.Admit.Apply(ctx, in)
		if err == nil {
			w.Doc = w.Doc.Beside(in.Put)
			return w, nil
		}
		if !errors.Is(err, ErrConflict) {
			return w, err
		}
		if try == retries {
			return w, fault(http.StatusTooManyRequests, "RetryableError", "A retryable error occurred.")
		}
		select {
		case <-ctx.Done():
			return w, ctx.Err()
		case <-time.After(pause):
			pause *= 3
		}
	}
}

// putChange is a PUT of id with body.
func (h *handler) putChange(id resource.ID, body []byte, apiVersion string, c condition) change {
	t := resource.Find(id.Type)
	return func(s Snapshot) (in Intent, w written, err error) {
		if t.Name != resource.GroupType {
			g, err := inGroup(s, id.Subscription, id.Group)
			if err != nil {
				return in, w, err
			}
			id.Group = g.ID.Group // as it was first written
		}
		old := s.Get(id.Top().Key())
		if t.Parent != nil && old == nil {
			return in, w, fault(404, "ParentResourceNotFound", "Can not perform requested operation on nested resource. Parent resource '%s' not found.", id.Names[0])
		}
		w.existed = old != nil && (t.Parent == nil || old.HasChild(id.Key()))
		w.created = !w.existed
		if err := c.holds(id, old, w.existed); err != nil {
			return in, w, err
		}
		doc, faults := resource.Put(old, id, body, apiVersion)
		if len(faults) > 0 {
			return in, w, faults
		}
		if err := h.located(old, doc); err != nil {
			return in, w, err
		}
		return Intent{Put: doc}, w, nil
	}
}

// located checks that the location is one of ours and did not change.
func (h *handler) located(old, doc *resource.Doc) error {
	where := doc.Location()
	if !doc.Type.Located || where == "" {
		return nil
	}
	if old != nil && old.Location() != where {
		if doc.ID.Type == resource.GroupType {
			return fault(http.StatusConflict, "InvalidResourceGroupLocation", "Invalid resource group location '%s'. The Resource group already exists in location '%s'.", where, old.Location())
		}
		return fault(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.",
			doc.ID.Name(), old.Location(), doc.ID.Group, where)
	}
	if len(h.Locations) == 0 || slices.ContainsFunc(h.Locations, func(l string) bool { return resource.ShortLocation(l) == where }) {
		return nil
	}
	return fault(400, "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is '%s'.", where, doc.ID.Type, joined(h.Locations))
}

func joined(list []string) string {
	out := ""
	for i, l := range list {
		if i > 0 {
			out += ","
		}
		out += resource.ShortLocation(l)
	}
	return out
}

// put answers PUT: 201 or 200 with the resource, Succeeded when every host enforces it, Updating with an operation to poll when
// that takes longer.
func (q *request) put(t *resource.Type, id resource.ID) error {
	c, err := q.condition()
	if err != nil {
		return err
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	var place string
	put := q.h.putChange(id, body, q.apiVersion, c)
	w, err := q.h.apply(q.Context(), q.who, func(s Snapshot) (Intent, written, error) {
		in, w, err := put(s)
		if t.Parent != nil && in.Put != nil {
			place = resource.ChildPlace(in.Put, id)
		}
		return in, w, err
	})
	if err != nil {
		return inChild(place, err)
	}
	return q.wrote(t, id, w)
}

// inChild makes the targets of faults in a child relative to it: its client sent no parent.
func inChild(place string, err error) error {
	var faults resource.Faults
	if place == "" || !errors.As(err, &faults) {
		return err
	}
	out := slices.Clone(faults)
	for i := range out {
		out[i].Target = strings.TrimPrefix(out[i].Target, place+".")
	}
	return out
}

// patch answers PATCH: new tags.
func (q *request) patch(t *resource.Type, id resource.ID) error {
	c, err := q.condition()
	if err != nil {
		return err
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	w, err := q.h.apply(q.Context(), q.who, func(s Snapshot) (in Intent, w written, err error) {
		old, err := find(s, id)
		if err != nil {
			return in, w, err
		}
		if err := c.holds(id, old, true); err != nil {
			return in, w, err
		}
		w.existed = true
		doc, faults := resource.WithTags(old, body)
		return Intent{Put: doc}, w, faults.Err()
	})
	if err != nil {
		return err
	}
	return q.wrote(t, id, w)
}

// patientWait is how much longer a PUT waits whose answer cannot say that it goes on.
const patientWait = 30 * time.Second

// wrote waits for the hosts and answers with the resource.
func (q *request) wrote(t *resource.Type, id resource.ID, w written) error {
	op := q.h.ops.start(w.Doc, w.Revision, q.h.Admit.Enforced)
	state := op.wait(q.Context(), q.h.Wait)
	if state == inProgress && t.Patient {
		state = op.wait(q.Context(), patientWait)
	}
	q.h.ops.settle(op)
	if state != succeeded && t.Patient {
		return fault(http.StatusServiceUnavailable, "EnforcementPending", "%s is stored, but not every host enforces it yet. Write it again to learn when they do.", id)
	}
	if state == inProgress {
		state = pendingState(t)
	}
	how := q.shown(w.Doc)
	how.State = state
	body, err := resource.Render(w.Doc, q.h.Snapshot(), id, how)
	if err != nil {
		return err
	}
	if state != succeeded {
		q.polled(t.Provider(), id.Subscription, w.Doc, op, false)
	}
	q.tellNoEffects(w.Doc)
	if t.Style == resource.Bare {
		q.w.Header().Set("ETag", w.Doc.EntityTag(id))
	}
	status := http.StatusOK
	if w.created {
		status = http.StatusCreated
	}
	q.raw(status, body)
	return nil
}

// mostTold bounds the header that names fields without effect.
const mostTold = 1024

// tellNoEffects names the fields of the document that were accepted and mean nothing here.
func (q *request) tellNoEffects(d *resource.Doc) {
	text := strings.Join(resource.NoEffects(d), ", ")
	if len(text) > mostTold {
		text = text[:strings.LastIndex(text[:mostTold], ",")] + ", ..."
	}
	if text != "" {
		q.w.Header().Set("Ringfence-No-Effect", text)
	}
}

// pendingState is what a resource's provisioningState is until it is enforced.
func pendingState(t *resource.Type) string {
	if t.Style == resource.Compute {
		return "Creating"
	}
	return "Updating"
}
