package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/pki"
	"ringfence/publish"
)

// askTime bounds how long a host may take to answer the operator.
const askTime = 5 * time.Second

// Operator answers the operator's routes under /ringfence/v1/: the fabric as it is, beside what ARM knows.
func (v *Server) Operator() http.Handler {
	m := http.NewServeMux()
	m.Handle("/", v.monitor())
	m.HandleFunc("GET /ringfence/v1/ready", v.getReady)
	m.HandleFunc("GET /ringfence/v1/hosts", v.getHosts)
	m.HandleFunc("GET /ringfence/v1/hosts/{host}", v.getHost)
	m.HandleFunc("POST /ringfence/v1/hosts/{host}/{action}", v.postHost)
	m.HandleFunc("POST /ringfence/v1/hosts/{name}/add", v.postToken(pki.HostKind, false))
	m.HandleFunc("POST /ringfence/v1/hosts/{name}/token", v.postToken(pki.HostKind, true))
	m.HandleFunc("DELETE /ringfence/v1/hosts/{name}", v.deleteHost)
	m.HandleFunc("GET /ringfence/v1/servers", v.getServers)
	m.HandleFunc("POST /ringfence/v1/servers/{name}/token", v.postToken(pki.ServerKind, true))
	m.HandleFunc("DELETE /ringfence/v1/servers/{name}", v.deleteServer)
	m.HandleFunc("GET /ringfence/v1/goal/{host}", v.getGoal)
	m.HandleFunc("GET /ringfence/v1/sandboxes", v.getSandboxes)
	m.HandleFunc("GET /ringfence/v1/doctor", v.getDoctor)
	m.HandleFunc("GET /ringfence/v1/backup", v.getBackup)
	m.HandleFunc("GET /ringfence/v1/principals", v.getPrincipals)
	m.HandleFunc("POST /ringfence/v1/principals", v.postPrincipal)
	m.HandleFunc("POST /ringfence/v1/principals/{app}/secret", v.postSecret)
	m.HandleFunc("DELETE /ringfence/v1/principals/{app}", v.deletePrincipal)
	m.HandleFunc("GET /ringfence/v1/audit", v.getAudit)
	for _, kind := range []string{"drops", "events", "traffic", "flows", "check"} {
		m.HandleFunc("GET /ringfence/v1/"+kind, func(w http.ResponseWriter, r *http.Request) { v.getAnswers(w, r, kind) })
	}
	m.HandleFunc("GET /ringfence/v1/follow", v.getFollow)
	m.HandleFunc("GET /ringfence/v1/trace", v.getTrace)
	m.HandleFunc("GET /ringfence/v1/capture", v.getCapture)
	m.HandleFunc("/ringfence/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "NotFound", "No such route: hosts, servers, goal/HOST, sandboxes, drops, events, follow, trace, capture, traffic, flows, check, doctor, backup, principals, audit and ready are under /ringfence/v1/.")
	})
	return m
}

func fail(w http.ResponseWriter, status int, code, message string) {
	answer(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

func answer(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"code":"InternalServerError","message":"the answer cannot be written"}}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b)
}

// list is the shape of every collection.
type list[T any] struct {
	Value []T `json:"value"`
	// Missing names hosts that did not answer, and why.
	Missing map[string]string `json:"missing,omitempty"`
}

func (v *Server) getReady(w http.ResponseWriter, r *http.Request) {
	answer(w, http.StatusOK, map[string]any{"revision": v.publisher.Revision()})
}

func (v *Server) getGoal(w http.ResponseWriter, r *http.Request) {
	g, ok := v.Goal(r.PathValue("host"))
	if !ok {
		fail(w, http.StatusNotFound, "HostNotFound", "Host "+r.PathValue("host")+" is not known: it has never connected.")
		return
	}
	if r.URL.Query().Get("format") == "json" {
		answer(w, http.StatusOK, g)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte(goal.Text(g)))
}

// HostSandbox is a sandbox with the host it is on.
type HostSandbox struct {
	Host string `json:"host"`
	publish.Sandbox
}

// getSandboxes lists sandboxes, of one VM by ?id=; with ?wait=10s it answers when that VM's are all configured, or after that time.
func (v *Server) getSandboxes(w http.ResponseWriter, r *http.Request) {
	id := r.URL.Query().Get("id")
	patience, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if r.URL.Query().Has("wait") && (err != nil || patience > time.Minute) {
		fail(w, http.StatusBadRequest, "InvalidParameter", "wait: a duration of at most 1m expected, as 10s.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	for {
		changed := v.publisher.Changed()
		found := v.sandboxes(id)
		ready := len(found) > 0 && !slices.ContainsFunc(found, func(s HostSandbox) bool { return !s.Ready })
		if !ready {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
			}
		}
		answer(w, http.StatusOK, list[HostSandbox]{Value: found})
		return
	}
}

func (v *Server) sandboxes(vm string) []HostSandbox {
	found, snap := []HostSandbox{}, v.store.Snapshot()
	for host, all := range v.publisher.Sandboxes() {
		for _, s := range all {
			if d := snap.Get(strings.ToLower(s.VM)); d != nil && d.System.Host != host {
				continue // what a host said that is away, or that has not let go yet
			}
			if vm == "" || strings.EqualFold(s.VM, vm) {
				found = append(found, HostSandbox{host, s})
			}
		}
	}
	slices.SortFunc(found, func(a, b HostSandbox) int { return int(a.Port) - int(b.Port) })
	return found
}

// getAnswers asks all hosts at once, or the one named by ?host=, and joins what they say, optionally only about ?vm=.
func (v *Server) getAnswers(w http.ResponseWriter, r *http.Request, kind string) {
	only, vm := r.URL.Query().Get("host"), r.URL.Query().Get("vm")
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	var hosts []string
	for _, h := range v.publisher.Hosts() {
		if only == "" || only == h.Name {
			hosts = append(hosts, h.Name)
		}
	}
	if len(hosts) == 0 && only != "" {
		fail(w, http.StatusNotFound, "HostNotFound", "Host "+only+" is not known: it has never connected.")
		return
	}
	bodies, faults := make([]json.RawMessage, len(hosts)), make([]error, len(hosts))
	var asked sync.WaitGroup
	for i, h := range hosts {
		asked.Go(func() { bodies[i], faults[i] = v.publisher.Ask(ctx, h, kind) })
	}
	asked.Wait()
	out := list[map[string]any]{Value: []map[string]any{}, Missing: map[string]string{}}
	for i, h := range hosts {
		records, err := records(bodies[i], faults[i])
		if err != nil {
			out.Missing[h] = err.Error()
			continue
		}
		for _, record := range records {
			if of, _ := record["vm"].(string); vm == "" || strings.EqualFold(of, vm) {
				record["host"] = h
				out.Value = append(out.Value, record)
			}
		}
	}
	answer(w, http.StatusOK, out)
}

func records(body json.RawMessage, err error) (out []map[string]any, _ error) {
	if err != nil {
		if errors.Is(err, publish.ErrNotConnected) {
			err = publish.ErrNotConnected
		}
		return nil, err
	}
	return out, json.Unmarshal(body, &out)
}
