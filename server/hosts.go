package server

import (
	"context"
	"fmt"
	"time"

	"ringfence/intent/store"
	"ringfence/publish"
)

const (
	sightEvery = 10 * time.Second
	forgotten  = 30 * time.Second // a host that another server has not seen for so long is not waited for
	storeTime  = 5 * time.Second
)

// hello records a host before it gets its goal. A tunnel endpoint belongs to one host.
func (v *Server) hello(h publish.Hello) error {
	if err := v.underlayFree(h.Host, h.Underlay.String(), h.Underlay.IsValid()); err != nil {
		return err
	}
	if known, ok := v.known(h.Host); ok && v.elsewhereAlive(known, h) {
		return fmt.Errorf("a second agent with this host's certificate calls from %s; the one that is connected to another server stays: stop one of them, and give each host a certificate of its own", h.From)
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	if err := v.enrolled(ctx, h); err != nil {
		return err
	}
	return v.store.PutHost(ctx, store.Host{Name: h.Host, Underlay: h.Underlay, Capacity: h.Capacity, Version: h.Version,
		Seen: time.Now(), Connected: true, Server: v.healer.id, Process: h.Process})
}

// elsewhereAlive tells whether another process of a host speaks to another server now. Only times that this server has itself seen pass
// are compared: a sighting that has not changed for as long as it takes to forget a host is no life.
func (v *Server) elsewhereAlive(known store.Host, h publish.Hello) bool {
	if !known.Connected || known.Server == v.healer.id || h.Process == "" || known.Process == "" || known.Process == h.Process {
		return false
	}
	v.healer.mu.Lock()
	defer v.healer.mu.Unlock()
	s := v.healer.sign(known)
	return s.newer && time.Since(s.since) < forgotten
}

// keepHosts records from time to time which hosts are connected here, and at once when one comes or goes.
func (v *Server) keepHosts(ctx context.Context) {
	connected := map[string]bool{}
	tick := time.NewTicker(sightEvery)
	defer tick.Stop()
	for {
		changed := v.publisher.Changed()
		for _, s := range v.publisher.Hosts() {
			if s.Connected != connected[s.Name] {
				connected[s.Name] = s.Connected
				v.sight(ctx, s)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
			for _, s := range v.publisher.Hosts() {
				if s.Connected {
					v.sight(ctx, s)
				}
			}
		}
	}
}

// sight stores that a host is connected here, or no longer.
func (v *Server) sight(ctx context.Context, s publish.Status) {
	for _, h := range v.store.Snapshot().Hosts() {
		if h.Name != s.Name || !s.Connected && h.Server != v.healer.id {
			continue // another one, or one that speaks to another server now
		}
		h.Seen, h.Connected, h.Version, h.Server, h.Process = time.Now(), s.Connected, s.Version, v.healer.id, s.Process
		if err := v.store.SightHost(ctx, h); err != nil && ctx.Err() == nil {
			v.log.Warn("record host", "host", s.Name, "error", err)
		}
	}
}

// noteAck keeps an acknowledgement until keepAcks has stored it; of several only the newest counts.
func (v *Server) noteAck(host string, generation uint64, problem string) {
	v.mu.Lock()
	v.acks[host] = ackNote{generation, problem}
	v.mu.Unlock()
	select {
	case v.kick <- struct{}{}:
	default:
	}
}

// keepAcks makes acknowledgements visible to every server. Revisions that changed nothing for a host follow a little later: another
// server that saw a change which this one never saw, because the next one undid it, waits for them.
func (v *Server) keepAcks(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.kick:
		case <-tick.C:
			stored := v.store.Snapshot().Acks()
			for _, s := range v.publisher.Hosts() {
				if s.Connected && s.Acked > stored[s.Name] {
					v.noteAck(s.Name, s.Acked, s.Problem)
				}
			}
		}
		v.mu.Lock()
		notes := v.acks
		v.acks = map[string]ackNote{}
		v.mu.Unlock()
		for host, a := range notes {
			if err := v.store.PutAck(ctx, host, a.generation, a.problem); err != nil && ctx.Err() == nil {
				v.log.Warn("record acknowledgement", "host", host, "error", err)
			}
		}
	}
}
