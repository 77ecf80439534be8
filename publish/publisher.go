package publish

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/goal"
)

// Options are a Publisher's dependencies. The callbacks are called from streams' goroutines and must not block for long.
type Options struct {
	Log      *slog.Logger
	Beat     time.Duration // a stream that is silent for three of them is dead; 0: 3 s
	OnHello  func(Hello) error
	OnAck    func(host string, enforced uint64, problem string)
	OnReport func(host string, r Report)
	OnCall   func(host, kind string, body json.RawMessage) (json.RawMessage, error) // a host's request, on a goroutine of its own
	OnJoin   func(ctx context.Context, q JoinRequest) (JoinAnswer, error)           // nil: nobody joins here
	OnRenew  func(host string, csr []byte) (cert []byte, err error)                 // nil: certificates are the operator's
}

// Publisher holds the newest goal of every host and who has enforced it.
type Publisher struct {
	o       Options
	encoder encoder
	sent    atomic.Uint64 // bytes

	mu       sync.Mutex
	revision uint64
	servers  []string // where hosts may call
	hosts    map[string]*host
	changed  chan struct{} // closed and replaced whenever a host's state changes: Wait looks again
}

// host is what the publisher knows of one host. Guarded by Publisher.mu.
type host struct {
	name     string
	goal     *manifest // the newest content, nil when none was published
	since    uint64    // revision in which that content came
	offered  uint64    // newest revision that still had it
	acked    uint64    // generation of the newest goal that the host acknowledged, with or without a problem
	current  bool      // that goal was the newest content
	problem  string    // of that goal
	session  *session  // nil while disconnected
	hello    Hello
	changed  time.Time // when it was connected or disconnected
	report   Report
	reported bool
	expires  time.Time     // of its certificate
	skew     time.Duration // its clock against the server's
	within   time.Duration // how exactly that is known; 0: not measured
	refused  string        // why another who says to be this host was refused last
	at       time.Time     // when that was
}

// remembered is how long a host's line says that somebody else was refused.
const remembered = time.Minute

// enforced is the newest revision that the host acknowledged, counting those that changed nothing for it.
func (h *host) enforced() uint64 {
	if h.current {
		return max(h.acked, h.offered)
	}
	return h.acked
}

// trouble is why the host does not enforce what it shall.
func (h *host) trouble() string {
	if h.session != nil && h.goal != nil && h.offered < h.hello.Generation {
		return fmt.Sprintf("it enforces generation %d, and this control plane has none newer than %d: was the store set back?",
			h.hello.Generation, h.offered)
	}
	if h.refused != "" && time.Since(h.at) < remembered {
		return join(h.problem, h.refused)
	}
	return h.problem
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// Status is one host as the operator sees it.
type Status struct {
	Name       string     `json:"name"`
	Underlay   netip.Addr `json:"underlay"`
	Version    string     `json:"version"`
	Connected  bool       `json:"connected"`
	Since      time.Time  `json:"since"`
	Generation uint64     `json:"generation"` // revision in which its goal changed last
	Acked      uint64     `json:"acked"`      // newest revision acknowledged
	Problem    string     `json:"problem,omitempty"`
	Degraded   []string   `json:"degraded,omitempty"`   // what else is not as it should be
	Expires    time.Time  `json:"expires,omitzero"`     // its certificate
	Skew       string     `json:"skew,omitempty"`       // its clock against the server's
	SkewWithin string     `json:"skewWithin,omitempty"` // how exactly that is known
	Process    string     `json:"-"`
}

// New returns a Publisher without goals.
func New(o Options) *Publisher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Beat == 0 {
		o.Beat = 3 * time.Second
	}
	return &Publisher{o: o, hosts: map[string]*host{}, changed: make(chan struct{})}
}

// notify wakes every Wait. p.mu is held.
func (p *Publisher) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Publisher) host(name string) *host {
	h := p.hosts[name]
	if h == nil {
		h = &host{name: name}
		p.hosts[name] = h
	}
	return h
}

// Publish makes goals, compiled from revision, the newest. A revision smaller than one before is refused. Hosts whose goal's
// content is what it was are left alone.
func (p *Publisher) Publish(revision uint64, goals map[string]*goal.Host) error {
	p.encoder.next()
	manifests := make(map[string]*manifest, len(goals))
	for name, g := range goals {
		m, err := p.encoder.take(g)
		if err != nil {
			return err
		}
		manifests[name] = m
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if revision < p.revision {
		return fmt.Errorf("publish: revision %d is older than %d", revision, p.revision)
	}
	p.revision = revision
	for name, m := range manifests {
		h := p.host(name)
		h.offered = m.frame.Host.Generation
		if h.goal == nil || h.goal.content != m.content {
			h.goal, h.since, h.current = m, h.offered, false
		}
		if h.session != nil {
			h.session.kick()
		}
	}
	p.notify()
	return nil
}

// SetServers tells every host where it may call.
func (p *Publisher) SetServers(addresses []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(p.servers, addresses) {
		return
	}
	p.servers = slices.Clone(addresses)
	for _, h := range p.hosts {
		if h.session != nil {
			h.session.servers = true
			h.session.kick()
		}
	}
}

// Dismiss ends a host's stream and forgets the host.
func (p *Publisher) Dismiss(name, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hosts[name]; h != nil {
		if h.session != nil {
			h.session.bye = reason
			h.session.kick()
		}
		delete(p.hosts, name)
		p.notify()
	}
}

// refuse keeps why somebody who says to be a host was not let in.
func (p *Publisher) refuse(name, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hosts[name]
	if h == nil {
		return // nobody's name: a list of hosts is not to grow by strangers
	}
	h.refused, h.at = reason, time.Now()
	p.notify()
}

// Revision is the newest published revision.
func (p *Publisher) Revision() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

// Changed is closed when anything that Hosts and Sandboxes say has changed since this call.
func (p *Publisher) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

// Hosts lists every host that has a goal or was ever connected, by name.
func (p *Publisher) Hosts() []Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Status, 0, len(p.hosts))
	for _, h := range p.hosts {
		s := Status{Name: h.name, Underlay: h.hello.Underlay, Version: h.hello.Version, Connected: h.session != nil,
			Since: h.changed, Generation: h.since, Acked: h.enforced(), Problem: h.trouble(), Process: h.hello.Process,
			Degraded: h.report.Degraded, Expires: h.expires}
		if h.session != nil && h.within > 0 {
			s.Skew, s.SkewWithin = h.skew.Round(time.Millisecond).String(), h.within.Round(10*time.Microsecond).String()
		}
		if h.goal != nil {
			s.Underlay = h.goal.frame.Host.Underlay
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Sandboxes lists what the hosts reported, by host.
func (p *Publisher) Sandboxes() map[string][]Sandbox {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string][]Sandbox{}
	for name, h := range p.hosts {
		out[name] = slices.Clone(h.report.Sandboxes)
	}
	return out
}

// Problem is a host's refusal of a goal.
type Problem struct {
	Host string
	Text string
}

func (p *Problem) Error() string { return "host " + p.Host + ": " + p.Text }

// Wait returns when every host of need that is connected has acknowledged the revision it is listed with, and at once for hosts
// that are not connected, now or meanwhile: they are not waited for. A host that could not enforce it gives a *Problem.
func (p *Publisher) Wait(ctx context.Context, need map[string]uint64) error {
	for {
		p.mu.Lock()
		done, err := p.settled(need)
		changed := p.changed
		p.mu.Unlock()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// settled looks at every host of need. p.mu is held.
func (p *Publisher) settled(need map[string]uint64) (bool, error) {
	done := true
	var problems []error
	for name, revision := range need {
		h := p.hosts[name]
		switch {
		case h == nil || h.session == nil:
		case h.enforced() < revision && h.offered >= h.hello.Generation:
			done = false
		case h.trouble() != "":
			problems = append(problems, &Problem{Host: name, Text: h.trouble()})
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	if !done {
		return false, nil
	}
	return true, errors.Join(problems...)
}

// Concerned waits until revision, or a later one, is published and returns the hosts whose goal it changed, each with the
// revision: what Wait takes. A host whose newest goal is older has nothing to do with it, however far behind it is.
func (p *Publisher) Concerned(ctx context.Context, revision uint64) (map[string]uint64, error) {
	for {
		p.mu.Lock()
		reached, changed := p.revision >= revision, p.changed
		need := map[string]uint64{}
		for name, h := range p.hosts {
			if h.goal != nil && h.since >= revision {
				need[name] = revision
			}
		}
		p.mu.Unlock()
		if reached {
			return need, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

// Waiting lists the hosts of need that Wait would wait for, sorted.
func (p *Publisher) Waiting(need map[string]uint64) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for name, revision := range need {
		if h := p.hosts[name]; h != nil && h.session != nil && h.enforced() < revision {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// ErrNotConnected is Ask's answer for a host that has no stream here.
var ErrNotConnected = errors.New("not connected")

// Ask asks a connected host a question of its agent's own vocabulary (drops, events, flows) and waits for the answer.
func (p *Publisher) Ask(ctx context.Context, name, kind string) (json.RawMessage, error) {
	p.mu.Lock()
	var s *session
	if h := p.hosts[name]; h != nil {
		s = h.session
	}
	p.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("host %s: %w", name, ErrNotConnected)
	}
	body, err := s.ask(ctx, kind)
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return body, nil
}
