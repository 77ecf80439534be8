package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"ringfence/intent/alloc"
	"ringfence/intent/resource"
	"ringfence/intent/store"
)

const (
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

// leave empties a host now, unless this server is already at it; then it waits for that.
func (v *Server) leave(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, arrival)
	defer cancel()
	for ctx.Err() == nil {
		snap := v.store.Snapshot()
		load := machines(snap)[name]
		i := slices.IndexFunc(snap.Hosts(), func(h store.Host) bool { return h.Name == name })
		if i < 0 || load == 0 {
			return
		}
		h := snap.Hosts()[i]
		h.Mark.By = v.healer.id
		if v.begins(h, load) {
			v.empty(ctx, name)
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
