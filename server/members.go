package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"ringfence/intent/store"
	"ringfence/pki"
	"ringfence/publish"
)

// serverRecord is what a server tells hosts and other servers about itself.
type serverRecord struct {
	Agents  string    `json:"agents"`
	Version string    `json:"version"`
	Seen    time.Time `json:"seen"`
}

// ServerStatus is one server as the operator sees it.
type ServerStatus struct {
	Name    string    `json:"name"`
	State   string    `json:"state"` // voting, learning, invited, alone
	Peer    string    `json:"peer,omitempty"`
	Agents  string    `json:"agents,omitempty"`
	Version string    `json:"version,omitempty"`
	Seen    time.Time `json:"seen,omitzero"`
	Alive   bool      `json:"alive"`  // it has told something about itself lately
	Leader  bool      `json:"leader"` // orders the writes now
	Here    bool      `json:"here"`   // the one that answers
}

const recordEvery = 5 * time.Second

// keepServers tells the others about this server, and the hosts here about all of them.
func (v *Server) keepServers(ctx context.Context) {
	if v.inst == nil {
		return
	}
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	for {
		if err := v.record(ctx); err != nil && ctx.Err() == nil {
			v.log.Warn("record this server", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (v *Server) record(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	b, err := json.Marshal(serverRecord{v.inst.Agents, publish.Version(), v.now()})
	if err != nil {
		return err
	}
	if err := v.store.PutServer(ctx, v.inst.Name, b); err != nil {
		return err
	}
	v.publisher.SetServers(v.addresses(ctx))
	return nil
}

// addresses is where hosts may call, this server first to be named for those that ask here.
func (v *Server) addresses(ctx context.Context) []string {
	out := []string{v.inst.Agents}
	records, err := v.store.Servers(ctx)
	if err != nil {
		v.log.Warn("read servers", "error", err)
		return out
	}
	for _, b := range records {
		var r serverRecord
		if json.Unmarshal(b, &r) == nil && r.Agents != "" && !slices.Contains(out, r.Agents) {
			out = append(out, r.Agents)
		}
	}
	slices.Sort(out[1:])
	return out
}

func (v *Server) getServers(w http.ResponseWriter, r *http.Request) {
	all, err := v.servers(r.Context())
	if err != nil {
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", "The servers cannot be listed: "+err.Error())
		return
	}
	answer(w, http.StatusOK, list[ServerStatus]{Value: all})
}

func (v *Server) servers(ctx context.Context) ([]ServerStatus, error) {
	if v.inst == nil {
		return []ServerStatus{{Name: "server", State: "alone", Version: publish.Version(), Alive: true, Here: true, Seen: v.now()}}, nil
	}
	members, err := v.store.Members(ctx)
	if err != nil {
		return nil, err
	}
	records, err := v.store.Servers(ctx)
	if err != nil {
		return nil, err
	}
	var out []ServerStatus
	for _, m := range members {
		s := ServerStatus{Name: m.Name, Peer: m.Peer, State: "voting", Here: m.Name == v.inst.Name, Leader: m.Leader}
		switch {
		case m.Name == "":
			s.Name, s.State = "(not started)", "invited"
		case m.Learner:
			s.State = "learning"
		}
		var rec serverRecord
		if b, ok := records[m.Name]; ok && json.Unmarshal(b, &rec) == nil {
			s.Agents, s.Version, s.Seen = rec.Agents, rec.Version, rec.Seen
			s.Alive = v.now().Sub(rec.Seen).Abs() < 3*recordEvery
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b ServerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// tokenAnswer is a token, once: nobody can read it again, the store keeps its hash.
type tokenAnswer struct {
	Name    string    `json:"name"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	Server  string    `json:"server"` // where to join
}

// postToken makes a token: for a host that is new (add), for one that is known and lost its certificate (token), or for a server.
func (v *Server) postToken(kind string, known bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if kind == pki.HostKind {
			_, have := v.known(name)
			if have && !known {
				fail(w, http.StatusConflict, "HostExists", fmt.Sprintf("Host %s is in the inventory: `ringfence host token %s` makes a token for it to join anew.", name, name))
				return
			}
			if !have && known {
				fail(w, http.StatusNotFound, "HostNotFound", fmt.Sprintf("Host %s is not known: `ringfence host add %s` makes a token for a new one.", name, name))
				return
			}
		}
		var life time.Duration
		if text := r.URL.Query().Get("life"); text != "" {
			var err error
			if life, err = time.ParseDuration(text); err != nil {
				fail(w, http.StatusBadRequest, "InvalidParameter", fmt.Sprintf("life %q: a duration expected, as 1h.", text))
				return
			}
		}
		tok, end, err := v.newToken(r.Context(), kind, name, life)
		if err != nil {
			fail(w, http.StatusBadRequest, "InvalidParameter", "No token was made: "+err.Error()+".")
			return
		}
		answer(w, http.StatusOK, tokenAnswer{name, tok, end, v.inst.Agents})
	}
}

// deleteHost takes a host out of the inventory: its certificate opens nothing any more. Machines must have left it before.
func (v *Server) deleteHost(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if _, ok := v.known(name); !ok {
		fail(w, http.StatusNotFound, "HostNotFound", "Host "+name+" is not known.")
		return
	}
	if n := machines(v.store.Snapshot())[name]; n > 0 {
		fail(w, http.StatusConflict, "HostInUse", fmt.Sprintf("Host %s carries %d machines: drain or fail it first.", name, n))
		return
	}
	if err := v.store.DeleteHost(r.Context(), name); err != nil {
		fail(w, http.StatusServiceUnavailable, "ServiceUnavailable", "Host "+name+" is not removed: "+err.Error()+".")
		return
	}
	v.publisher.Dismiss(name, "this host was removed from the inventory")
	v.log.Info("host removed", "host", name)
	w.WriteHeader(http.StatusNoContent)
}

func (v *Server) deleteServer(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	switch err := v.store.RemoveMember(r.Context(), name); {
	case errors.Is(err, store.ErrNoMember):
		fail(w, http.StatusNotFound, "ServerNotFound", "Server "+name+" is not one of the cluster.")
	case err != nil:
		fail(w, http.StatusConflict, "ServerNotRemoved", "Server "+name+" is not removed: "+err.Error()+".")
	default:
		v.log.Info("server removed", "server", name)
		w.WriteHeader(http.StatusNoContent)
	}
}
