package arm

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// changes tells whether a request asks for a change: only such are put on record.
func changes(method string) bool { return method != http.MethodGet && method != http.MethodHead }

// audited puts the request on record when it has been answered.
func (q *request) audited(out *answer, began time.Time) {
	if q.h.Audit == nil || !changes(q.Method) || q.who.Name == "" {
		return
	}
	if q.target == "" {
		q.act(q.Method, q.URL.Path)
	}
	q.h.enter(identity.Entry{Time: began.UTC(), Principal: q.who.Name, Object: q.who.ID, Tenant: q.who.Tenant, Client: q.RemoteAddr,
		Operation: q.doing, Resource: q.target, Correlation: out.Header().Get("x-ms-correlation-request-id"),
		Request: out.Header().Get("x-ms-request-id"), Status: out.status, Code: out.Header().Get("x-ms-error-code"),
		Took: float64(time.Since(began).Microseconds()) / 1000})
}

// enter writes an entry. What fails is logged; Audit.Ready then keeps further writes out.
func (h *handler) enter(e identity.Entry) {
	if err := h.Audit.Write(e); err != nil {
		h.Log.Error("audit log", "error", err, "operation", e.Operation, "resource", e.Resource, "principal", e.Principal)
	}
}

// recordable refuses a change while the audit log takes no entries.
func (q *request) recordable() error {
	if q.h.Audit == nil || !changes(q.Method) {
		return nil
	}
	if err := q.h.Audit.Ready(); err != nil {
		q.h.Log.Error("audit log", "error", err)
		return fault(http.StatusServiceUnavailable, "AuditLogUnavailable", "The audit log cannot be written, so nothing is changed: %s.", err)
	}
	return nil
}

// stepKey carries the correlation id of a deployment to the writes that it makes.
type stepKey struct{}

// step puts one write of a deployment on record.
func (h *handler) step(ctx context.Context, who identity.Principal, id resource.ID, began time.Time, w written, err error) {
	if h.Audit == nil {
		return
	}
	correlation, _ := ctx.Value(stepKey{}).(string)
	e := identity.Entry{Time: began.UTC(), Principal: who.Name, Object: who.ID, Tenant: who.Tenant, Operation: actionType(id.Type) + "/write",
		Resource: id.String(), Correlation: correlation, Request: newGUID(), Status: http.StatusOK, Revision: w.Revision,
		Took: float64(time.Since(began).Microseconds()) / 1000}
	if err != nil {
		f := h.faultsOf(err)[0]
		e.Status, e.Code = f.Status, f.Code
		if e.Status == 0 {
			e.Status = http.StatusBadRequest
		}
	} else if w.created {
		e.Status = http.StatusCreated
	}
	h.enter(e)
}

// within takes one from the caller's rate; the answer says how many are left.
func (q *request) withinRate() error {
	if q.who.Operator || len(q.path) < 2 || !is(q.path[0], "subscriptions") {
		return nil
	}
	limiter, word := q.h.reads, "reads"
	if changes(q.Method) {
		limiter, word = q.h.writes, "writes"
	}
	left, wait := limiter.Take(q.who.Tenant + " " + q.who.ID + " " + q.path[1])
	if wait == 0 {
		q.w.Header().Set("x-ms-ratelimit-remaining-subscription-"+word, strconv.Itoa(left))
		return nil
	}
	q.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
	return fault(http.StatusTooManyRequests, "SubscriptionRequestsThrottled",
		"Number of '%s' requests for subscription '%s' actor '%s' exceeded. Please try again after '%d' seconds.", word[:len(word)-1], q.path[1], q.who.Name, int(wait/time.Second)+1)
}

// unauthenticated words why a token was not taken.
func unauthenticated(err error) error {
	switch {
	case errors.Is(err, identity.ErrNoToken):
		return fault(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	case errors.Is(err, identity.ErrTokenExpired):
		return fault(http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
	case errors.Is(err, identity.ErrTokenAudience):
		return fault(http.StatusUnauthorized, "InvalidAuthenticationTokenAudience", "The access token has been obtained for wrong audience or resource. It should be for this API.")
	}
	return fault(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
}
