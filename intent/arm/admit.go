package arm

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"ringfence/intent/resource"
)

var apiVersionRule = regexp.MustCompile(`^(201[5-9]|202[0-6])-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(-preview)?$`)

// admit reads what every request has: who, where, which version.
func (q *request) admit() error {
	var err error
	if q.who, err = q.h.Identity.Authenticate(q.Request); err != nil {
		return unauthenticated(err)
	}
	if q.path, err = segments(q.URL.EscapedPath()); err != nil {
		return err
	}
	if len(q.path) >= 2 && is(q.path[0], "subscriptions") {
		s, ok := q.h.Identity.Subscription(q.who, q.path[1])
		if !ok {
			return subscriptionNotFound(q.path[1])
		}
		q.path[1] = s.ID // as it is configured: ids are written in one way
	}
	if err := q.withinRate(); err != nil {
		return err
	}
	switch q.apiVersion = q.param("api-version"); {
	case q.apiVersion == "":
		return fault(400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	case !apiVersionRule.MatchString(q.apiVersion):
		return fault(400, "InvalidApiVersionParameter", "The api-version '%s' is invalid. The supported versions are dates from '2015-01-01' to '2026-12-31', also with '-preview'.", q.apiVersion)
	}
	if _, err := time.Parse(time.DateOnly, strings.TrimSuffix(q.apiVersion, "-preview")); err != nil {
		return fault(400, "InvalidApiVersionParameter", "The api-version '%s' is invalid: there is no such day.", q.apiVersion)
	}
	return q.recordable()
}

// segments splits a path; doubled and trailing slashes are tolerated, as Azure does.
func segments(escaped string) ([]string, error) {
	var out []string
	for _, s := range strings.Split(escaped, "/") {
		if s == "" {
			continue
		}
		plain, err := url.PathUnescape(s)
		if err != nil || strings.ContainsAny(plain, "/\\?#%\x00") || plain == "." || plain == ".." {
			return nil, fault(400, "InvalidRequestUri", "The request URI contains the invalid segment '%s'.", s)
		}
		out = append(out, plain)
	}
	return out, nil
}

func is(segment, word string) bool { return strings.EqualFold(segment, word) }

// param is a query parameter, in any casing.
func (q *request) param(name string) string {
	for k, v := range q.URL.Query() {
		if strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

// body reads a request's body, up to 4 MiB.
func (q *request) body() ([]byte, error) {
	tooLarge := fault(413, "RequestContentTooLarge", "The request content size exceeds the maximum size of %d bytes.", maxBody)
	if q.ContentLength > maxBody {
		return nil, tooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(q.w, q.Body, maxBody))
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &max):
		return nil, tooLarge
	case err != nil:
		return nil, fault(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	return b, nil
}

// inGroup finds the resource group of a path.
func inGroup(s Snapshot, subscription, group string) (*resource.Doc, error) {
	if d := s.Get(resource.GroupID(subscription, group).Key()); d != nil {
		return d, nil
	}
	return nil, resource.Faults{resource.GroupNotFound(group)}
}
