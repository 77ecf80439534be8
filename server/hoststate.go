package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringfence/intent/store"
	"ringfence/publish"
)

// HostStatus is one host as the operator sees it.
type HostStatus struct {
	publish.Status
	State    string    `json:"state"` // ready, draining, drained or failed
	Reason   string    `json:"reason,omitempty"`
	Capacity int       `json:"capacity"` // machines that it takes, 0: no bound
	VMs      int       `json:"vms"`      // machines that are placed on it
	Seen     time.Time `json:"seen"`

	moves []Move
}

// HostMoves is one host with what has left it since the last decision about it.
type HostMoves struct {
	HostStatus
	Moves []Move `json:"moves"`
}

func (v *Server) hostStatus() []HostStatus {
	snap, streams := v.store.Snapshot(), map[string]publish.Status{}
	for _, s := range v.publisher.Hosts() {
		streams[s.Name] = s
	}
	load, acks, out := machines(snap), snap.Acks(), []HostStatus{}
	for _, h := range snap.Hosts() {
		s := v.status(h, streams[h.Name], load[h.Name])
		if s.Connected && !streams[h.Name].Connected {
			s.Acked = acks[h.Name]
		}
		out = append(out, s)
	}
	return out
}

func (v *Server) getHosts(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, list[HostStatus]{Value: v.hostStatus()})
}

func (v *Server) getHost(w http.ResponseWriter, r *http.Request) {
	v.answerHost(w, r.PathValue("host"))
}

func (v *Server) answerHost(w http.ResponseWriter, name string) {
	for _, h := range v.hostStatus() {
		if h.Name == name {
			answer(w, http.StatusOK, HostMoves{h, append([]Move{}, h.moves...)})
			return
		}
	}
	fail(w, http.StatusNotFound, "HostNotFound", "Host "+name+" is not known: it has never connected.")
}

// postHost decides about a host: drain and fail have its machines moved, undrain makes it ready again. A failed host's machines have
// been placed elsewhere when this answers; a drained one's are on their way.
func (v *Server) postHost(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("host")
	var m store.Mark
	switch r.PathValue("action") {
	case "drain":
		m = store.Mark{State: store.Draining}
	case "fail":
		m = store.Mark{State: store.Failed}
	case "undrain":
	default:
		fail(w, http.StatusNotFound, "NotFound", "No such action: drain, undrain and fail are those of a host.")
		return
	}
	if m.State != "" {
		m.By, m.Since, m.Reason = v.healer.id, time.Now(), "asked for by the operator"
	}
	known, err := v.mark(r.Context(), name, m)
	switch {
	case err != nil:
		fail(w, http.StatusConflict, "AnotherOperationInProgress", fmt.Sprintf("Nothing was decided about host %s: %v.", name, err))
		return
	case known && m.State == store.Failed:
		v.leave(r.Context(), name)
	}
	v.healer.kick()
	v.answerHost(w, name)
}

// mark stores the operator's decision about a host, whatever was decided before.
func (v *Server) mark(ctx context.Context, name string, m store.Mark) (known bool, err error) {
	for try := 1; ; try++ {
		snap := v.store.Snapshot()
		hosts := snap.Hosts()
		i := slices.IndexFunc(hosts, func(h store.Host) bool { return h.Name == name })
		if i < 0 {
			return false, nil
		}
		if hosts[i].Mark.State == m.State && !hosts[i].Mark.Healed {
			return true, nil // as it is already
		}
		rev, err := v.store.MarkHost(ctx, hosts[i], m)
		var conflict *store.Conflict
		switch {
		case err == nil:
			_, err = v.store.Wait(ctx, rev)
			return true, err
		case !errors.As(err, &conflict) || try == tries:
			return true, err
		}
		v.await(ctx, snap.Revision()+1)
	}
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
	case h.Mark.State == store.Draining && load == 0 && !mine.busy:
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
