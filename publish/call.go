package publish

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// maxCalls bounds the requests of one host that are under way.
const maxCalls = 64

// Refusal is the server's answer to a call that it does not grant.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// Call asks the server for something in its own vocabulary and waits for the reply. A stream that ends meanwhile gives
// ErrNotConnected: whether the request was done is not known then. A Refusal is the server's own no.
func (c *Client) Call(ctx context.Context, kind string, body any) (json.RawMessage, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", kind, err)
	}
	reply := make(chan answer, 1)
	c.mu.Lock()
	l := c.link
	if l == nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("call %s: control plane: %w", kind, ErrNotConnected)
	}
	c.number++
	n := c.number
	l.open[n] = reply
	l.calls = append(l.calls, call{Number: n, Kind: kind, Body: b})
	c.mu.Unlock()
	l.kick()
	defer func() {
		c.mu.Lock()
		delete(l.open, n)
		c.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("call %s: %w", kind, ctx.Err())
	case <-l.done:
		return nil, fmt.Errorf("call %s: control plane: %w", kind, ErrNotConnected)
	case a := <-reply:
		if a.Error != "" {
			return nil, Refusal(a.Error)
		}
		return a.Body, nil
	}
}

// Connected tells whether there is a stream to the control plane now.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link != nil
}

func (c *Client) replied(l *link, a answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if reply, ok := l.open[a.Number]; ok {
		reply <- a
		delete(l.open, a.Number)
	}
}

// called answers one request of a host.
func (s *session) called(q call) {
	a := answer{Number: q.Number}
	body, err := s.granted(q)
	if err != nil {
		a.Error = err.Error()
	} else {
		a.Body = body
	}
	s.p.mu.Lock()
	s.replies = append(s.replies, a)
	s.p.mu.Unlock()
	s.kick()
}

func (s *session) granted(q call) (json.RawMessage, error) {
	if s.p.o.OnCall == nil {
		return nil, errors.New("this control plane takes no requests of hosts")
	}
	if s.calls.Add(1) > maxCalls {
		s.calls.Add(-1)
		return nil, fmt.Errorf("more than %d requests of host %s are under way", maxCalls, s.name)
	}
	defer s.calls.Add(-1)
	return s.p.o.OnCall(s.name, q.Kind, q.Body)
}

// Since is when the stream began, or when the last one ended.
func (c *Client) Since() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.since
}
