package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"ringfence/intent/arm"
	"ringfence/intent/resource"
	"ringfence/observe"
	"ringfence/observe/metrics"
	"ringfence/publish"
)

// scrapeTime bounds how long hosts and store may take to tell their numbers.
const scrapeTime = 2 * time.Second

// outcome says how a write ended, in the words of the metrics.
func outcome(err error) string {
	var faults resource.Faults
	switch {
	case err == nil:
		return metrics.OK
	case errors.Is(err, arm.ErrConflict):
		return metrics.Conflict
	case errors.As(err, &faults):
		return metrics.Refused
	}
	return metrics.Failed
}

// wrote counts a write that began a moment ago; of a deletion it must be asked for before that is made.
func (v *Server) wrote(w arm.Intent) (done func(err error)) {
	began, typ, verb := time.Now(), "unknown", "put"
	if w.Put != nil {
		typ = w.Put.Type.Name
	} else {
		verb = "delete"
		if d := v.store.Snapshot().Get(w.Delete); d != nil {
			typ = d.Type.Name
		}
	}
	return func(err error) { v.meter.Wrote(typ, verb, outcome(err), time.Since(began)) }
}

// state is the fabric as a scrape finds it.
func (v *Server) state(ctx context.Context) metrics.State {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	snap := v.store.Snapshot()
	s := metrics.State{Revision: snap.Revision(), Published: v.publisher.Revision(), Documents: snap.Len(), PublishBytes: v.publisher.Sent(),
		Quota: v.store.Quota()}
	hosts := v.publisher.Hosts()
	s.Hosts = make([]metrics.Host, len(hosts))
	var asked sync.WaitGroup
	asked.Go(func() {
		if file, live, err := v.store.Size(ctx); err == nil {
			s.File, s.Live = file, live
		}
	})
	for i, h := range hosts {
		s.Hosts[i] = metrics.Host{Name: h.Name, Connected: h.Connected, Problem: h.Problem != "", Generation: h.Generation, Acked: h.Acked}
		if h.Connected {
			asked.Go(func() { s.Hosts[i].Sample, _ = askHost[observe.Sample](ctx, v.publisher, h.Name, "metrics") })
		}
	}
	asked.Wait()
	return s
}

// askHost asks a host one question, nil when it does not answer it.
func askHost[T any](ctx context.Context, p *publish.Publisher, host, kind string) (*T, error) {
	body, err := p.Ask(ctx, host, kind)
	if err != nil {
		return nil, err
	}
	var out T
	if err := json.Unmarshal(body, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// monitor is what the loopback address for Prometheus serves.
func (v *Server) monitor() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", v.meter.Handler(v.state))
	m.HandleFunc("GET /healthz", healthy)
	m.HandleFunc("GET /readyz", v.ready)
	return m
}
