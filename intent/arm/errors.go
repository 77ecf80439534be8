package arm

import (
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	"ringfence/intent/resource"
)

// ErrConflict is Apply's answer to a write that another one came before: it is decided again.
var ErrConflict = errors.New("another write came between")

func stack() string { return string(debug.Stack()) }

// fault makes a refusal of the gateway's own.
func fault(status int, code, format string, args ...any) error {
	return resource.Faults{{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}}
}

func internalError() error {
	return fault(500, "InternalServerError", "The server encountered an internal error. Please retry the request.")
}

func subscriptionNotFound(id string) error {
	return fault(404, "SubscriptionNotFound", "The subscription '%s' could not be found.", id)
}

func resourceNotFound(id resource.ID) error {
	segments := strings.Split(id.Type, "/")
	path := segments[0]
	for i, name := range id.Names {
		path += "/" + segments[i+1] + "/" + name
	}
	return fault(404, "ResourceNotFound", "The Resource '%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", path, id.Group)
}

// childNotFound is the provider's own answer, when the parent is there.
func childNotFound(id resource.ID) error {
	return fault(404, "NotFound", "Resource %s not found.", id)
}

func notAllowed(method string) error {
	return unserved{fault(405, "MethodNotAllowed", "The requested resource does not support http method '%s'.", method)}
}

// body is an error as JSON.
type errorBody struct {
	Code    string       `json:"code"`
	Message string       `json:"message"`
	Target  string       `json:"target,omitempty"`
	Details *[]errorBody `json:"details,omitempty"`
}

// envelope turns faults into one error: the first is the error, the others are its details.
func envelope(f resource.Faults, style resource.Style) errorBody {
	e := single(f[0], style)
	for _, more := range f[1:] {
		if e.Details == nil {
			e.Details = &[]errorBody{}
		}
		*e.Details = append(*e.Details, single(more, style))
	}
	return e
}

func single(f resource.Fault, style resource.Style) errorBody {
	e := errorBody{Code: f.Code, Message: f.Message, Target: f.Target}
	if style == resource.Network {
		e.Details = &[]errorBody{}
	}
	for _, d := range f.Details {
		if e.Details == nil {
			e.Details = &[]errorBody{}
		}
		*e.Details = append(*e.Details, single(d, resource.Gateway))
	}
	return e
}

// faultsOf gives the faults that an error is made of; an error that is no refusal is logged and answered as 500.
func (h *handler) faultsOf(err error) resource.Faults {
	var faults resource.Faults
	var one resource.Fault
	switch {
	case errors.As(err, &faults) && len(faults) > 0:
		return faults
	case errors.As(err, &one):
		return resource.Faults{one}
	}
	h.Log.Error("request failed", "error", err)
	errors.As(internalError(), &faults)
	return faults
}

// fail answers with an error.
func (q *request) fail(err error) {
	faults := q.h.faultsOf(err)
	cause := "service"
	if q.style == resource.Gateway || strings.HasSuffix(faults[0].Code, "NotFound") {
		cause = "gateway"
	}
	header := q.w.Header()
	header.Set("x-ms-failure-cause", cause)
	header.Set("x-ms-error-code", faults[0].Code)
	status := faults[0].Status
	switch status {
	case 0:
		status = 400
	case http.StatusTooManyRequests:
		if header.Get("Retry-After") == "" {
			header.Set("Retry-After", "1")
		}
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	}
	style := q.errorStyle(faults[0])
	if style == resource.Bare {
		q.json(status, envelope(faults, style))
		return
	}
	q.json(status, map[string]errorBody{"error": envelope(faults, style)})
}

// errorStyle: what the gateway itself says has its own form, whatever the provider.
func (q *request) errorStyle(f resource.Fault) resource.Style {
	switch f.Code {
	case "ResourceNotFound", "ResourceGroupNotFound", "ParentResourceNotFound", "InvalidResourceType", "LocationRequired",
		"InvalidResourceLocation", "InvalidRequestContent", "SubscriptionNotFound", "LocationNotAvailableForResourceType",
		"CannotDeleteResource", "AuthorizationFailed", "LinkedAuthorizationFailed":
		return resource.Gateway
	}
	return q.style
}
