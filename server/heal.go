package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ringfence/intent/alloc"
	"ringfence/intent/resource"
	"ringfence/intent/store"
	"ringfence/publish"
)

const (
	healEvery   = time.Second
	staleAfter  = 3 * sightEvery   // a host that another server has called connected and not refreshed since is away
	drainAtOnce = 4                // machines that are on their way from a host that is drained
	failAtOnce  = 64               // machines of a failed host in one transaction
	deputyAfter = 10 * time.Second // how long the server that decided may do nothing before another one goes on
	arrival     = 10 * time.Second // how long a drained machine may take until it is configured before the next ones follow
	kept        = 1000             // moves that are remembered per host
)

// Move is one machine that has left a host.
type Move struct {
	VM     string    `json:"vm"` // ARM id
	From   string    `json:"from"`
	To     string    `json:"to"`
	Pinned bool      `json:"pinned,omitempty"` // its tag names the host that it left
	At     time.Time `json:"at"`
}

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

// heal looks after the hosts until ctx ends: one that stays away has failed, one that returns is ready, and what is on a host that is to be
// left moves.
func (v *Server) heal(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	tick := time.NewTicker(healEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-v.healer.wake:
		}
		snap, here := v.store.Snapshot(), v.here()
		load := machines(snap)
		for _, h := range snap.Hosts() {
			switch {
			case h.Mark.Healed && here[h.Name]:
				v.decideHost(ctx, h, store.Mark{}, "host has returned")
			case h.Mark.State == "" && v.lost(snap, h, here[h.Name], load[h.Name]):
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
func (v *Server) lost(snap *store.Snapshot, h store.Host, here bool, load int) bool {
	v.healer.mu.Lock()
	defer v.healer.mu.Unlock()
	s := v.healer.sign(h)
	if here || load == 0 || v.healer.after == 0 {
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
	s.stuck = ""
	if err != nil {
		s.stuck = err.Error()
	}
	return err == nil
}

func first(snap *store.Snapshot, host string) (vm *resource.Doc) {
	snap.Each(vmType, func(d *resource.Doc) {
		if vm == nil && d.System.Host == host {
			vm = d
		}
	})
	return vm
}

// decideHost stores a decision of this server's own; another server may have been faster.
func (v *Server) decideHost(ctx context.Context, h store.Host, m store.Mark, what string) {
	rev, err := v.store.MarkHost(ctx, h, m)
	var conflict *store.Conflict
	switch {
	case err == nil:
		v.log.Warn(what, "host", h.Name, "reason", m.Reason, "revision", rev)
		v.store.Wait(ctx, rev)
		v.healer.kick()
	case !errors.As(err, &conflict) && ctx.Err() == nil:
		v.log.Error("decide about host", "host", h.Name, "error", err)
	}
}

// begins tells whether this server now moves what is on a marked host: the one that decided does, or one that sees nothing happen.
func (v *Server) begins(h store.Host, load int) bool {
	v.healer.mu.Lock()
	defer v.healer.mu.Unlock()
	s := v.healer.sign(h)
	if s.left != load {
		s.left, s.idle = load, time.Now()
	}
	if h.Mark.State == "" || load == 0 || s.busy || h.Mark.By != v.healer.id && time.Since(s.idle) < deputyAfter {
		return false
	}
	s.busy = true
	return true
}

// empty moves machines away from a host until none is left or none can move.
func (v *Server) empty(ctx context.Context, host string) {
	defer v.healer.update(host, func(s *sign) { s.busy = false })
	for ctx.Err() == nil {
		moved, revision, err := v.relocate(ctx, host)
		v.healer.update(host, func(s *sign) {
			s.moves = append(s.moves, moved...)
			s.moves = s.moves[max(0, len(s.moves)-kept):]
			s.stuck = ""
			if err != nil {
				s.stuck = err.Error()
			}
		})
		for _, m := range moved {
			v.log.Info("machine moved", "vm", m.VM, "from", m.From, "to", m.To)
		}
		if err != nil || len(moved) == 0 {
			return
		}
		v.arrive(ctx, moved, revision)
	}
}

func (l *healer) update(host string, f func(*sign)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.signs[host]; s != nil {
		f(s)
	}
}

// relocate places the next machines of a host elsewhere, in one transaction that holds only while the host is marked as it is and the
// others are not. With machines that moved the error says why not more did.
func (v *Server) relocate(ctx context.Context, host string) (moved []Move, revision uint64, err error) {
	v.admission.Lock()
	defer v.admission.Unlock()
	for try := 1; ; try++ {
		base := v.store.Snapshot()
		write, moves, why := v.moving(base, host)
		if len(moves) == 0 {
			return nil, 0, why
		}
		revision, err = v.store.Commit(ctx, write)
		var conflict *store.Conflict
		switch {
		case err == nil:
			_, err = v.store.Wait(ctx, revision)
			return moves, revision, errors.Join(err, why)
		case !errors.As(err, &conflict) || try == tries:
			return nil, 0, fmt.Errorf("move machines away from host %s: %w", host, err)
		}
		v.await(ctx, base.Revision()+1)
	}
}

// moving is the write that takes the next machines away from a host.
func (v *Server) moving(base *store.Snapshot, host string) (*store.Write, []Move, error) {
	i := slices.IndexFunc(base.Hosts(), func(h store.Host) bool { return h.Name == host })
	if i < 0 {
		return nil, nil, nil
	}
	bound := failAtOnce
	switch base.Hosts()[i].Mark.State {
	case "":
		return nil, nil, nil
	case store.Draining:
		bound = drainAtOnce
	}
	write, after, now := &store.Write{Base: base}, base, time.Now()
	var moves []Move
	var why error
	base.Each(vmType, func(d *resource.Doc) {
		if d.System.Host != host || len(moves) == bound || why != nil {
			return
		}
		moving := *d
		draft := &alloc.Draft{Base: after, Doc: &moving}
		if why = v.alloc.Move(draft); why != nil {
			return
		}
		put := store.Put{Doc: &moving, Claims: draft.Claims}
		write.Put, write.Hosts = append(write.Put, put), append(write.Hosts, draft.Hosts...)
		after = after.With(&store.Write{Put: []store.Put{put}})
		moves = append(moves, Move{VM: d.ID.String(), From: host, To: moving.System.Host, Pinned: alloc.Pinned(d) == host, At: now})
	})
	slices.Sort(write.Hosts)
	write.Hosts = slices.Compact(write.Hosts)
	return write, moves, why
}

// arrive waits, for machines of a host that is drained, until they are where they are to be: enforced everywhere and configured. One that
// does not get there in time does not hold up the others.
func (v *Server) arrive(ctx context.Context, moved []Move, revision uint64) {
	ctx, cancel := context.WithTimeout(ctx, arrival)
	defer cancel()
	if i := slices.IndexFunc(v.store.Snapshot().Hosts(), func(h store.Host) bool { return h.Name == moved[0].From }); i < 0 ||
		v.store.Snapshot().Hosts()[i].Mark.State != store.Draining {
		return
	}
	if err := v.Enforced(ctx, revision); err != nil {
		v.log.Warn("moved machines are not enforced", "revision", revision, "error", err)
		return
	}
	for _, m := range moved {
		for !v.arrived(m) && ctx.Err() == nil {
			select {
			case <-v.publisher.Changed():
			case <-time.After(healEvery):
			case <-ctx.Done():
			}
		}
	}
}

// arrived tells whether a moved machine is configured; of a host that speaks to another server nothing is known here.
func (v *Server) arrived(m Move) bool {
	if !v.here()[m.To] {
		return true
	}
	found := slices.DeleteFunc(v.sandboxes(m.VM), func(s HostSandbox) bool { return s.Host != m.To })
	return len(found) > 0 && !slices.ContainsFunc(found, func(s HostSandbox) bool { return !s.Ready })
}

// status is what a host's line says, beside what its stream does.
func (v *Server) status(h store.Host, s publish.Status, load int) HostStatus {
	v.healer.mu.Lock()
	defer v.healer.mu.Unlock()
	mine := v.healer.sign(h)
	out := HostStatus{Status: s, State: "ready", Reason: h.Mark.Reason, Capacity: h.Capacity, VMs: load, Seen: h.Seen, moves: slices.Clone(mine.moves)}
	out.Name, out.Underlay = h.Name, h.Underlay
	if !s.Connected && h.Connected && h.Server != v.healer.id && mine.newer {
		out.Connected, out.Version = true, h.Version // at another server
	}
	switch {
	case h.Mark.State == store.Draining && load == 0:
		out.State = "drained"
	case h.Mark.State != "":
		out.State = h.Mark.State
	}
	if mine.stuck != "" && load > 0 {
		if out.Problem != "" {
			out.Problem += "; "
		}
		out.Problem += mine.stuck
	}
	return out
}
