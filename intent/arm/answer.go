package arm

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer remembers the status for the log.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// newGUID is a random GUID of version 4.
func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// standardHeaders are those that every answer carries.
func (q *request) standardHeaders() {
	h := q.w.Header()
	id := newGUID()
	correlation := q.Header.Get("x-ms-correlation-request-id")
	if correlation == "" || len(correlation) > 64 {
		correlation = id
	}
	h.Set("x-ms-request-id", id)
	h.Set("x-ms-correlation-request-id", correlation)
	h.Set("x-ms-routing-request-id", "RINGFENCE:"+time.Now().UTC().Format("20060102T150405Z")+":"+id)
	if c := q.Header.Get("x-ms-client-request-id"); c != "" && len(c) <= 64 && strings.EqualFold(q.Header.Get("x-ms-return-client-request-id"), "true") {
		h.Set("x-ms-client-request-id", c)
	}
	h.Set("Cache-Control", "no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Go-Azure-Sdk-Skip-Polling-Delay", "true") // HashiCorp's SDK otherwise waits 10 s before its first look
}

// raw answers with JSON text.
func (q *request) raw(status int, body []byte) {
	h := q.w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(status)
	if q.Method != http.MethodHead {
		_, _ = q.w.Write(body) // a client that has gone away is its own business
	}
}

// json answers with a value.
func (q *request) json(status int, v any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		q.h.Log.Error("encode answer", "error", err)
		q.w.WriteHeader(http.StatusInternalServerError)
		return
	}
	q.raw(status, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// empty answers without a body.
func (q *request) empty(status int) { q.w.WriteHeader(status) }

// base is the URL under which the client reached us: polling URLs and next links are absolute.
func (q *request) base() string {
	scheme := "https"
	if q.TLS == nil {
		scheme = "http"
	}
	host := q.Host
	if host == "" {
		host = "localhost"
	}
	return scheme + "://" + host
}
