package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// client speaks ARM with one endpoint as one principal.
type client struct {
	http  *http.Client
	base  string // scheme and host
	token string
}

// apiError is an answer that is a refusal.
type apiError struct {
	Status  int
	Code    string
	Message string
	Target  string
	Details []apiError
}

func (e *apiError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

// text is what people see: Azure's code and message, then the details.
func (e *apiError) text() string {
	var b strings.Builder
	b.WriteString("ERROR: ")
	e.line(&b)
	e.details(&b, "  ")
	return b.String()
}

// line says one error, and the field that it is about unless the message does.
func (e *apiError) line(b *strings.Builder) {
	fmt.Fprintf(b, "(%s) %s", e.Code, e.Message)
	if e.Target != "" && !strings.Contains(e.Message, e.Target) {
		fmt.Fprintf(b, " [%s]", e.Target)
	}
}

func (e *apiError) details(b *strings.Builder, indent string) {
	for i := range e.Details {
		d := &e.Details[i]
		b.WriteString("\n" + indent)
		d.line(b)
		d.details(b, indent+"  ")
	}
}

// decodeError reads {"error":{…}} and the bare {"code","message"}; anything else is quoted.
func decodeError(status int, body []byte) *apiError {
	var wrapped struct{ Error *apiError }
	e := &apiError{}
	if json.Unmarshal(body, &wrapped) == nil && wrapped.Error != nil {
		e = wrapped.Error
	} else {
		_ = json.Unmarshal(body, e) // what is no JSON stays empty and is quoted below
	}
	e.Status = status
	if e.Code == "" {
		e.Code = "HTTP" + strconv.Itoa(status)
	}
	if e.Message == "" {
		e.Message = strings.TrimSpace(string(body))
	}
	if e.Message == "" {
		e.Message = http.StatusText(status)
	}
	return e
}

// answer is one answer of the API that is no refusal.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// newClient connects by the flags: an endpoint with a token, or the socket (operator) or endpoint (tenant) of what runs here.
func (a *app) newClient() (*client, error) {
	f := a.flags
	if f.Endpoint != "" && !strings.HasPrefix(f.Endpoint, "unix:") {
		return tlsClient(f.Endpoint, f.CA, f.Token)
	}
	p, err := a.site()
	if err != nil {
		return nil, err
	}
	return p.client(a.ctx, f.As)
}

// answerTime is longer than any request is held by a server that lives.
const answerTime = 2 * time.Minute

func socketClient(path string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &client{http: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, ResponseHeaderTimeout: answerTime}}, base: "http://operator"}
}

func tlsClient(endpoint, ca, token string) (*client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return nil, usagef("--endpoint %q: expected https://HOST:PORT or unix:PATH", endpoint)
	}
	tr := &http.Transport{MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: true, ResponseHeaderTimeout: answerTime}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read the endpoint's certificate: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read the endpoint's certificate: %s holds none", ca)
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &client{http: &http.Client{Transport: tr}, base: strings.TrimSuffix(endpoint, "/"), token: token}, nil
}

// send makes one request. A status of 400 and above is an *apiError.
func (c *client) send(ctx context.Context, method, path string, body []byte) (*answer, error) {
	if u, err := url.Parse(path); err == nil && u.IsAbs() {
		path = u.RequestURI() // operations are polled where the request went
	}
	var in io.Reader
	if body != nil {
		in = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return nil, usagef("request %s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the control plane does not answer: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 256<<20))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		return nil, decodeError(resp.StatusCode, b)
	}
	return &answer{resp.StatusCode, resp.Header, b}, nil
}

// operation is what a pollable operation answers.
type operation struct {
	Status string    `json:"status"`
	Error  *apiError `json:"error"`
}

func finished(state string) bool {
	switch strings.ToLower(state) {
	case "succeeded", "failed", "canceled", "cancelled":
		return true
	}
	return false
}

// wait follows a long-running operation to its end and gives the resource's last state (for a deletion: nothing).
func (c *client) wait(ctx context.Context, method, path string, first *answer) (*answer, error) {
	poll := pace{}
	switch {
	case first.header.Get("Azure-AsyncOperation") != "":
		if err := c.waitOperation(ctx, first, &poll); err != nil {
			return nil, err
		}
	case first.status == http.StatusAccepted && first.header.Get("Location") != "":
		at := first.header.Get("Location")
		for a := first; a.status == http.StatusAccepted; {
			var err error
			if err = poll.sleep(ctx, a.header); err != nil {
				return nil, err
			}
			if a, err = c.send(ctx, http.MethodGet, at, nil); err != nil {
				return nil, err
			}
		}
	case method == http.MethodPut || method == http.MethodPatch:
		return c.waitState(ctx, path, first, &poll)
	default:
		return first, nil
	}
	if method == http.MethodDelete {
		return &answer{status: http.StatusNoContent}, nil
	}
	last, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return c.waitState(ctx, path, last, &poll)
}

func (c *client) waitOperation(ctx context.Context, first *answer, poll *pace) error {
	at, header := first.header.Get("Azure-AsyncOperation"), first.header
	for {
		a, err := c.send(ctx, http.MethodGet, at, nil)
		if err != nil {
			return err
		}
		var op operation
		if err := json.Unmarshal(a.body, &op); err != nil {
			return fmt.Errorf("read the operation's state: %w", err)
		}
		if finished(op.Status) {
			return op.failure()
		}
		if a.header.Get("Retry-After") != "" {
			header = a.header
		}
		if err := poll.sleep(ctx, header); err != nil {
			return err
		}
	}
}

func (op operation) failure() error {
	if strings.EqualFold(op.Status, "succeeded") {
		return nil
	}
	if op.Error == nil {
		return &apiError{Status: 200, Code: "OperationFailed", Message: "The operation ended as " + op.Status + "."}
	}
	op.Error.Status = http.StatusOK
	return op.Error
}

// waitState reads a resource until its provisioning state is final.
func (c *client) waitState(ctx context.Context, path string, a *answer, poll *pace) (*answer, error) {
	for {
		var r struct {
			Properties struct {
				ProvisioningState string
				Error             *apiError
			}
		}
		_ = json.Unmarshal(a.body, &r) // an answer without a state is final
		state := r.Properties.ProvisioningState
		if state == "" || strings.EqualFold(state, "succeeded") {
			return a, nil
		}
		if finished(state) {
			return nil, operation{Status: state, Error: r.Properties.Error}.failure()
		}
		if err := poll.sleep(ctx, a.header); err != nil {
			return nil, err
		}
		var err error
		if a, err = c.send(ctx, http.MethodGet, path, nil); err != nil {
			return nil, err
		}
	}
}

// pace is how often is polled: as often as the server asks for, and quicker when it says that this is welcome.
type pace struct{ last time.Duration }

func (p *pace) sleep(ctx context.Context, h http.Header) error {
	p.last = min(max(2*p.last, 25*time.Millisecond), time.Second)
	d := p.last
	if s, err := strconv.Atoi(h.Get("Retry-After")); err == nil && !strings.EqualFold(h.Get("X-Go-Azure-Sdk-Skip-Polling-Delay"), "true") {
		d = time.Duration(min(s, 60)) * time.Second
	}
	select {
	case <-ctx.Done():
		return errors.New("interrupted while waiting; the operation goes on")
	case <-time.After(d):
		return nil
	}
}
