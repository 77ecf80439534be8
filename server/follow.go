package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"ringfence/publish"
)

// pollWait is how long a host may hold a question that waits for something to happen.
const pollWait = 2 * time.Second

// stream writes lines of JSON to one client, from several goroutines, until it goes away or the server ends.
type stream struct {
	mu  sync.Mutex
	ctx context.Context
	end context.CancelFunc
	w   http.ResponseWriter
	c   *http.ResponseController
}

func (v *Server) stream(w http.ResponseWriter, r *http.Request) *stream {
	s := &stream{w: w, c: http.NewResponseController(w)}
	s.ctx, s.end = context.WithCancel(r.Context())
	if v.streams != nil {
		context.AfterFunc(v.streams, s.end)
	}
	s.c.SetReadDeadline(time.Time{}) // there is nothing more to read, for as long as it takes
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	s.c.Flush()
	return s
}

// put writes lines at once; a client that does not take them in time is let go.
func (s *stream) put(lines ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.c.SetWriteDeadline(time.Now().Add(askTime))
	for _, line := range lines {
		b, err := json.Marshal(line)
		if err == nil {
			_, err = s.w.Write(append(b, '\n'))
		}
		if err != nil {
			s.end()
			return
		}
	}
	if s.c.Flush() != nil {
		s.end()
	}
}

// poll asks a host again and again, until the stream ends. A host that does not answer is said to be missing, once, and asked on.
func (v *Server) poll(s *stream, host string, question func() string, take func(json.RawMessage) error) {
	missing := false
	for s.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(s.ctx, pollWait+askTime)
		body, err := v.publisher.Ask(ctx, host, question())
		cancel()
		if err == nil {
			err = take(body)
		}
		switch {
		case s.ctx.Err() != nil:
		case err == nil:
			missing = false
		case !missing:
			if errors.Is(err, publish.ErrNotConnected) {
				err = publish.ErrNotConnected
			}
			s.put(map[string]any{"host": host, "missing": err.Error()})
			missing = true
			fallthrough
		default:
			select {
			case <-s.ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

// getFollow streams dropped packets as they happen, a line of JSON each, from all hosts or one; hosts that come later are followed, too. Lines
// without a reason say what is not in the others: untold and missed packets, hosts that do not answer.
func (v *Server) getFollow(w http.ResponseWriter, r *http.Request) {
	only, vm := r.URL.Query().Get("host"), r.URL.Query().Get("vm")
	if only != "" && !v.knows(only) {
		fail(w, http.StatusNotFound, "HostNotFound", "Host "+only+" is not known: it has never connected.")
		return
	}
	s := v.stream(w, r)
	defer s.end()
	var hosts sync.WaitGroup
	defer hosts.Wait()
	followed := map[string]bool{}
	for {
		changed := v.publisher.Changed()
		for _, h := range v.publisher.Hosts() {
			if !followed[h.Name] && (only == "" || only == h.Name) {
				followed[h.Name] = true
				f := &follower{s: s, host: h.Name, vm: vm}
				hosts.Go(func() { v.poll(s, h.Name, f.question, f.take) })
			}
		}
		select {
		case <-s.ctx.Done():
			return
		case <-changed:
		}
	}
}

func (v *Server) knows(host string) bool {
	for _, h := range v.publisher.Hosts() {
		if h.Name == host {
			return true
		}
	}
	return false
}

// follower is where one host's events are read.
type follower struct {
	s                      *stream
	host, vm, after, epoch string
	untold                 map[string]uint64
}

func (f *follower) question() string {
	return "follow?" + url.Values{"after": {f.after}, "wait": {pollWait.String()}}.Encode()
}

// take passes on what a host answered. Of the untold packets the increase is told; an agent that starts anew counts anew.
func (f *follower) take(body json.RawMessage) error {
	var got following
	if err := json.Unmarshal(body, &got); err != nil {
		return fmt.Errorf("host %s: events: %w", f.host, err)
	}
	var lines []any
	for _, e := range got.Events {
		if of, _ := e["vm"].(string); f.vm == "" || strings.EqualFold(of, f.vm) {
			e["host"] = f.host
			lines = append(lines, e)
		}
	}
	first := f.epoch == ""
	if f.epoch != got.Epoch {
		f.epoch, f.untold = got.Epoch, map[string]uint64{}
	}
	more := map[string]uint64{}
	for reason, n := range got.Untold {
		if n > f.untold[reason] && !first {
			more[reason] = n - f.untold[reason]
		}
	}
	f.untold, f.after = got.Untold, got.Next
	if len(more) > 0 {
		lines = append(lines, map[string]any{"host": f.host, "untold": more})
	}
	if got.Missed > 0 {
		lines = append(lines, map[string]any{"host": f.host, "missed": got.Missed})
	}
	if len(lines) > 0 {
		f.s.put(lines...)
	}
	return nil
}

// following is what an agent answers to "follow".
type following struct {
	Next, Epoch string
	Events      []map[string]any
	Missed      uint64
	Untold      map[string]uint64
}
