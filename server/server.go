// Package server is one process of the control plane: it wires store, compiler, publisher and API together.
//
// In: the configuration file, requests of the API, hosts' hellos and acknowledgements. Out: admitted writes in the store, the newest
// goals at the hosts, answers that say Succeeded only when every connected host that a write concerns enforces it. The process owns
// the store, the publisher and the listeners; another process on the same etcd may do the same at the same time.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/alloc"
	"ringfence/intent/identity"
	"ringfence/intent/resource"
	"ringfence/intent/store"
	"ringfence/observe/journal"
	"ringfence/observe/metrics"
	"ringfence/publish"
)

// Server is the control plane without its listeners.
type Server struct {
	store     *store.Store
	publisher *publish.Publisher
	alloc     alloc.Allocator
	profile   string
	patience  time.Duration    // how long a host's problem may last before a write has failed
	forwards  []netip.AddrPort // DNS servers for names outside
	limits    goal.Limits      // of every port
	streams   context.Context  // ends with the server; nil in tests
	log       *slog.Logger
	meter     *metrics.Server
	condition condition
	healer    *healer
	identity  *identity.Directory
	audit     *identity.Audit
	inst      *Installation // nil: a lab
	data      string        // data directory, "" when the store is elsewhere

	certificates []namedPair // its own

	admission sync.Mutex // one write is decided at a time here; races with other servers are decided by etcd
	memo      *compile.Memo

	told map[string]bool // what was logged of the newest revision; Run's own

	mu    sync.Mutex
	goals map[string]*goal.Host // of the newest compiled revision
	acks  map[string]ackNote    // still to be stored
	kick  chan struct{}
}

type ackNote struct {
	generation uint64
	problem    string
}

// New returns a server on an open store. Run makes it work.
func New(s *store.Store, profile string, log *slog.Logger) *Server {
	v := &Server{store: s, profile: profile, patience: time.Second, log: journal.Component(log, "server"), meter: metrics.New(), memo: compile.NewMemo(), acks: map[string]ackNote{}, kick: make(chan struct{}, 1), healer: newHealer(rand.Text())}
	v.publisher = publish.New(publish.Options{Log: journal.Component(log, "publish"), OnHello: v.hello, OnAck: v.noteAck, OnCall: v.called,
		OnJoin: func(ctx context.Context, q publish.JoinRequest) (publish.JoinAnswer, error) {
			if v.inst == nil {
				return publish.JoinAnswer{}, errors.New("nobody joins a lab: its hosts are laid out with it")
			}
			return v.join(ctx, q)
		},
		OnRenew: func(host string, csr []byte) ([]byte, error) {
			if v.inst == nil {
				return nil, errors.New("a lab's certificates are not renewed")
			}
			return v.renew(host, csr)
		}})
	return v
}

// Run compiles and publishes every newest snapshot and keeps the stored facts about hosts current, until ctx ends.
func (v *Server) Run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { v.keepAcks(ctx) })
	work.Go(func() { v.keepHosts(ctx) })
	work.Go(func() { v.heal(ctx) })
	work.Go(func() { v.keepServers(ctx) })
	for snap := range v.store.Watch(ctx) {
		err := v.publish(snap)
		v.condition.gaveOut(err)
		if err != nil {
			v.log.Error("publish goals", "revision", snap.Revision(), "error", err)
		}
	}
}

// publish compiles one snapshot and gives the goals to the hosts.
func (v *Server) publish(snap *store.Snapshot) error {
	began := time.Now()
	goals, problems := v.compile(snap)
	v.tell(snap.Faults(), problems)
	v.mu.Lock()
	v.goals = goals
	v.mu.Unlock()
	if err := v.publisher.Publish(snap.Revision(), goals); err != nil {
		return err
	}
	v.log.Debug("published", "revision", snap.Revision(), "hosts", len(goals), "took", time.Since(began))
	return nil
}

// tell logs what the goals do not have as asked, once as long as it stays the same.
func (v *Server) tell(faults []resource.Fault, problems []compile.Problem) {
	now := map[string]bool{}
	for _, f := range faults {
		now[f.Error()] = true
		if !v.told[f.Error()] {
			v.log.Warn("stored document is left out", "error", f)
		}
	}
	for _, p := range problems {
		key := fmt.Sprint(p)
		now[key] = true
		if !v.told[key] {
			v.log.Warn("enforced otherwise than asked", "id", p.ID, "field", p.Field, "value", p.Value, "effect", p.Effect)
		}
	}
	v.told = now
}

// compile is the pure step: the same snapshot always gives the same goals.
func (v *Server) compile(snap *store.Snapshot) (map[string]*goal.Host, []compile.Problem) {
	facts := compile.Facts{PrefixLists: snap.PrefixLists(), Profile: v.profile, Forwarders: v.forwards, Limits: v.limits}
	for _, h := range snap.Hosts() {
		facts.Hosts = append(facts.Hosts, compile.HostFact{Name: h.Name, Underlay: h.Underlay})
	}
	return compile.Build(snap.View(), facts, v.memo)
}

// Goal is the newest goal of a host.
func (v *Server) Goal(host string) (*goal.Host, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, ok := v.goals[host]
	return g, ok
}

// Enforced waits until every connected host that revision concerns has acknowledged it. A host that cannot enforce it gives an error
// that says why.
func (v *Server) Enforced(ctx context.Context, revision uint64) (err error) {
	done := v.meter.Waiting()
	defer func() { done(outcome(err)) }()
	need, err := v.publisher.Concerned(ctx, revision)
	if err != nil {
		return fmt.Errorf("wait for revision %d: %w", revision, err)
	}
	if err := v.enforcedHere(ctx, need); err != nil {
		return err
	}
	for {
		others := v.elsewhere(need)
		if len(others) == 0 {
			return nil
		}
		within, cancel := context.WithTimeout(ctx, time.Second)
		err := v.store.WaitAcks(within, others)
		cancel()
		if err == nil || within.Err() == nil || ctx.Err() != nil {
			return err
		}
	}
}

// enforcedHere waits for the hosts that speak to this server. A problem counts when it lasts: the host tries again by itself.
func (v *Server) enforcedHere(ctx context.Context, need map[string]uint64) error {
	var since time.Time
	for {
		changed := v.publisher.Changed()
		err := v.publisher.Wait(ctx, need)
		var problem *publish.Problem
		if !errors.As(err, &problem) {
			return err
		}
		if since.IsZero() {
			since = time.Now()
		}
		left := v.patience - time.Since(since)
		if left <= 0 {
			return err
		}
		select {
		case <-changed:
		case <-time.After(left):
		case <-ctx.Done():
			return err
		}
	}
}

// elsewhere are the hosts of need that speak to another server now.
func (v *Server) elsewhere(need map[string]uint64) map[string]uint64 {
	here := map[string]bool{}
	for _, h := range v.publisher.Hosts() {
		here[h.Name] = h.Connected
	}
	out := map[string]uint64{}
	for _, h := range v.store.Snapshot().Hosts() {
		revision, concerned := need[h.Name]
		if concerned && !here[h.Name] && h.Connected && v.healer.fresh(h) {
			out[h.Name] = revision
		}
	}
	return out
}
