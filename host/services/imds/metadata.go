package imds

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// versions are those that Azure documents, oldest first.
var versions = []string{
	"2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01",
	"2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01", "2020-06-01", "2020-07-15",
	"2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01",
	"2021-11-01", "2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
}

// newest are the three newest, newest first: what an asker is told who names no version.
func newest() []string {
	out := slices.Clone(versions[len(versions)-3:])
	slices.Reverse(out)
	return out
}

// metadata answers one request: form first, then version, then path.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "IMDS")
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		fail(w, http.StatusMethodNotAllowed, "Method not allowed.", nil)
		return
	}
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		fail(w, http.StatusBadRequest, "Bad request. Required metadata header not specified", nil)
		return
	}
	if _, proxied := r.Header["X-Forwarded-For"]; proxied {
		fail(w, http.StatusBadRequest, "Bad request. A request with the header X-Forwarded-For is not answered", nil)
		return
	}
	path, query, ok := parts(r.URL)
	if !ok {
		fail(w, http.StatusBadRequest, "Bad request. The query cannot be read, or names a parameter twice", nil)
		return
	}
	if len(path) == 2 && is(path[0], "metadata") && is(path[1], "versions") {
		write(w, http.StatusOK, object{"apiVersions": versions})
		return
	}
	if len(path) >= 2 && is(path[0], "metadata") {
		for _, b := range beside {
			if is(strings.Join(path[1:], "/"), b.path) {
				b.answer(w, query)
				return
			}
		}
	}
	version := query["api-version"]
	if !slices.Contains(versions, version) {
		fail(w, http.StatusBadRequest, noVersion, newest())
		return
	}
	if len(path) < 2 || !is(path[0], "metadata") || !is(path[1], "instance") {
		fail(w, http.StatusNotFound, "Not found. This host offers /metadata/instance, /metadata/versions and /metadata/scheduledevents", nil)
		return
	}
	value, found := walk(asker(r).instance(version), path[2:])
	if !found {
		fail(w, http.StatusNotFound, "Not found", nil)
		return
	}
	answer(w, value, query["format"])
}

const noVersion = "Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds"

func is(a, b string) bool { return strings.EqualFold(a, b) }

// parts cuts a URL: segments without empty ones, parameters by lower-case name, none twice.
func parts(u *url.URL) (path []string, query map[string]string, ok bool) {
	for s := range strings.SplitSeq(u.Path, "/") {
		if s != "" {
			path = append(path, s)
		}
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, nil, false
	}
	query = map[string]string{}
	for name, list := range values {
		key := strings.ToLower(name)
		if _, twice := query[key]; twice || len(list) != 1 {
			return nil, nil, false
		}
		query[key] = list[0]
	}
	return path, query, true
}

// walk goes down by keys and indexes.
func walk(v any, path []string) (any, bool) {
	for _, step := range path {
		switch at := v.(type) {
		case object:
			found := false
			for key, next := range at {
				if is(key, step) {
					v, found = next, true
				}
			}
			if !found {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != step {
				return nil, false
			}
			v = at[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// answer writes a value: a leaf only as text, because JSON is the default and cannot be one, anything else as JSON; a text of it is
// the list of what is below.
func answer(w http.ResponseWriter, v any, format string) {
	text, leaf := v.(string)
	switch {
	case format != "" && !is(format, "json") && !is(format, "text"):
		fail(w, http.StatusBadRequest, "Bad request. The format is json or text", nil)
	case leaf && !is(format, "text"):
		fail(w, http.StatusBadRequest, "Bad request. A single value is told with format=text only", nil)
	case is(format, "text"):
		if !leaf {
			text = listing(v)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		w.Write([]byte(text))
	default:
		write(w, http.StatusOK, v)
	}
}

// listing names what is below, a line each; what has more below ends with a slash.
func listing(v any) string {
	var names []string
	name := func(s string, below any) {
		if _, leaf := below.(string); !leaf {
			s += "/"
		}
		names = append(names, s)
	}
	switch at := v.(type) {
	case object:
		for _, key := range slices.Sorted(maps.Keys(at)) {
			name(key, at[key])
		}
	case []any:
		for i, below := range at {
			name(strconv.Itoa(i), below)
		}
	}
	return strings.Join(names, "\n")
}

func write(w http.ResponseWriter, code int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil { // maps, lists and strings only
		panic(err)
	}
	body := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	w.Write(body)
}

// fail answers with an error in the service's form.
func fail(w http.ResponseWriter, code int, text string, newest []string) {
	body := object{"error": text}
	if newest != nil {
		body["newest-versions"] = newest
	}
	write(w, code, body)
}
