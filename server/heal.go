package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"ringfence/intent/alloc"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

const (
	healEvery  = time.Second
	staleAfter = 3 * sightEvery // a host that another server has called connected and not refreshed since is away
)

// healer is what one server knows of hosts that are away or are to be left. How long a host is away is measured by this server's own
// clock, from the newest sign of life that any server has stored: no two clocks are compared, and a control plane that was
// away itself begins anew.
type healer struct {
	id   string // of this server
	wake chan struct{}

	mu    sync.Mutex
	after time.Duration // how long a host may be away; 0: for ever
	signs map[string]*sign
}

// sign is the state of one host as this server sees it.
type sign struct {
	sighting int64 // revision of the newest sign of life
	since    time.Time
	newer    bool // the newest came after this server began to look

	mark  int64 // the decision that the rest is about
	moves []Move
	left  int // machines on it, and since when it is so many
	idle  time.Time
	busy  bool
	stuck string // why machines stay
}

func newHealer(id string) *healer {
	return &healer{id: id, wake: make(chan struct{}, 1), signs: map[string]*sign{}}
}

func (l *healer) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// forget begins anew with every host's time.
func (l *healer) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.signs {
		s.since = time.Now()
	}
}

// sign is the one of a host, about its newest decision. l.mu is held.
func (l *healer) sign(h store.Host) *sign {
	s := l.signs[h.Name]
	if s == nil {
		s = &sign{sighting: h.Sighting, since: time.Now()}
		l.signs[h.Name] = s
	}
	if s.sighting != h.Sighting {
		s.sighting, s.since, s.newer = h.Sighting, time.Now(), true
	}
	if s.mark != h.Mark.Revision {
		s.mark, s.stuck, s.idle = h.Mark.Revision, "", time.Now()
		if h.Mark.State != "" {
			s.moves = nil
		}
	}
	return s
}

// fresh tells whether a sign of life of a host that speaks to another server came not long ago, by this server's own clock: what that one
// wrote beside it says only what its clock showed.
func (l *healer) fresh(h store.Host) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.sign(h).since) < forgotten
}

// heal looks after the hosts until ctx ends: one that stays away has failed, one that returns is ready, and what is on a host that is to be
// left moves.
func (v *Server) heal(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for last := time.Now(); ; last = time.Now() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-v.healer.wake:
		}
		if time.Since(last) > 5*healEvery { // this process stood still: it knows nothing of the time between
			v.healer.forget()
		}
		snap, here := v.store.Snapshot(), v.here()
		load := machines(snap)
		for _, h := range snap.Hosts() {
			switch {
			case h.Mark.Healed && here[h.Name]:
				v.decideHost(ctx, h, store.Mark{}, "host has returned")
			case h.Mark.State == "" && v.lost(snap, h, here, load[h.Name]):
				v.decideHost(ctx, h, store.Mark{State: store.Failed, Healed: true, By: v.healer.id, Since: time.Now(),
					Reason: "its agent was away for too long"}, "host has failed")
			case v.begins(h, load[h.Name]):
				work.Go(func() { v.empty(ctx, h.Name) })
			}
		}
	}
}

func (v *Server) here() map[string]bool {
	here := map[string]bool{}
	for _, s := range v.publisher.Hosts() {
		here[s.Name] = s.Connected
	}
	return here
}

// machines counts what is on each host.
func machines(snap *store.Snapshot) map[string]int {
	load := map[string]int{}
	snap.Each(vmType, func(d *resource.Doc) { load[d.System.Host]++ })
	return load
}

const vmType = "Microsoft.Compute/virtualMachines"

// lost tells whether a host has been away so long that its machines are to be placed elsewhere, and can be: a server that sees nobody
// is itself the one who is cut off.
func (v *Server) lost(snap *store.Snapshot, h store.Host, here map[string]bool, load int) bool {
	v.healer.mu.Lock()
	defer v.healer.mu.Unlock()
	s := v.healer.sign(h)
	if here[h.Name] || load == 0 || v.healer.after == 0 {
		s.since, s.stuck = time.Now(), ""
		return false
	}
	limit := v.healer.after
	if h.Connected {
		limit = max(limit, staleAfter)
	}
	if time.Since(s.since) < limit {
		return false
	}
	trial := *first(snap, h.Name)
	err := v.alloc.Move(&alloc.Draft{Base: snap, Doc: &trial})
	to := v.healer.signs[trial.System.Host]
	switch {
	case err != nil:
		s.stuck = err.Error()
	case !here[trial.System.Host] && (to == nil || !to.newer || time.Since(to.since) > staleAfter):
		s.stuck = "its machines stay: no server sees the other hosts either"
	default:
		s.stuck = ""
	}
	return s.stuck == ""
}

func first(snap *store.Snapshot, host string) (vm *resource.Doc) {
	snap.Each(vmType, func(d *resource.Doc) {
		if vm == nil && d.System.Host == host {
			vm = d
		}
	})
	return vm
}

// decideHost stores a decision of this server's own; another server may have been faster. A store that answers late may have missed signs
// of life as well: then the host's time begins anew.
func (v *Server) decideHost(ctx context.Context, h store.Host, m store.Mark, what string) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	quick, stop := context.WithTimeout(ctx, healEvery)
	defer stop()
	rev, err := v.store.MarkHost(quick, h, m)
	var conflict *store.Conflict
	switch {
	case err == nil:
		v.log.Warn(what, "host", h.Name, "reason", m.Reason, "revision", rev)
		v.store.Wait(ctx, rev)
		v.healer.kick()
	case !errors.As(err, &conflict):
		v.healer.update(h.Name, func(s *sign) { s.since = time.Now() })
		v.log.Error("decide about host", "host", h.Name, "error", err)
	}
}

func (l *healer) update(host string, f func(*sign)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.signs[host]; s != nil {
		f(s)
	}
}
