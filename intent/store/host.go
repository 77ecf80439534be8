package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Host is one host of the fabric: what goals depend on (name, underlay address, capacity), and when a server saw it last.
type Host struct {
	Name     string     `json:"name"`
	Underlay netip.Addr `json:"underlay"`
	Capacity int        `json:"capacity,omitempty"` // VMs it takes; 0: no bound

	Version   string    `json:"-"`
	Seen      time.Time `json:"-"`
	Connected bool      `json:"-"` // as the server that it speaks to has put it
	Server    string    `json:"-"` // that server
	Process   string    `json:"-"` // of the agent
	Sighting  int64     `json:"-"` // revision of these four: each sign of life is a newer one
	Mark      Mark      `json:"-"` // what was decided about it
}

// sighting is stored apart from the host's facts: it changes all the time and no goal depends on it.
type sighting struct {
	Seen      time.Time `json:"seen"`
	Connected bool      `json:"connected"`
	Version   string    `json:"version,omitempty"`
	Server    string    `json:"server,omitempty"`
	Process   string    `json:"process,omitempty"`

	rev int64
}

// Ack is a host's word that it enforces a generation, or why it does not.
type Ack struct {
	Generation uint64 `json:"generation"`
	Problem    string `json:"problem,omitempty"`
}

// NotEnforced says that a host could not apply what it was given.
type NotEnforced struct {
	Host       string
	Generation uint64
	Problem    string
}

func (e *NotEnforced) Error() string {
	return fmt.Sprintf("host %s does not enforce generation %d: %s", e.Host, e.Generation, e.Problem)
}

// PutHost records a host. A change of its facts is a new revision; that it was seen again is not.
func (s *Store) PutHost(ctx context.Context, h Host) error {
	facts, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("put host %s: %w", h.Name, err)
	}
	seen, err := json.Marshal(sighting{Seen: h.Seen, Connected: h.Connected, Version: h.Version, Server: h.Server, Process: h.Process})
	if err != nil {
		return fmt.Errorf("put host %s: %w", h.Name, err)
	}
	known := clientv3.Compare(clientv3.Value(hostPrefix+h.Name), "=", string(facts))
	sight := clientv3.OpPut(seenPrefix+h.Name, string(seen))
	err = s.patient(ctx, func(ctx context.Context) error {
		_, err := s.client.Txn(ctx).If(known).Then(sight).
			Else(sight, clientv3.OpPut(hostPrefix+h.Name, string(facts)), clientv3.OpPut(generationKey, "")).Commit()
		return err
	})
	return s.check("put host "+h.Name, err)
}

// SightHost records that a host was seen, or went. One that was deleted meanwhile stays so.
func (s *Store) SightHost(ctx context.Context, h Host) error {
	seen, err := json.Marshal(sighting{Seen: h.Seen, Connected: h.Connected, Version: h.Version, Server: h.Server, Process: h.Process})
	if err != nil {
		return fmt.Errorf("sight host %s: %w", h.Name, err)
	}
	there := clientv3.Compare(clientv3.CreateRevision(hostPrefix+h.Name), ">", 0)
	err = s.patient(ctx, func(ctx context.Context) error {
		_, err := s.client.Txn(ctx).If(there).Then(clientv3.OpPut(seenPrefix+h.Name, string(seen))).Commit()
		return err
	})
	return s.check("sight host "+h.Name, err)
}

// DeleteHost forgets a host, its sightings and acknowledgements.
func (s *Store) DeleteHost(ctx context.Context, name string) error {
	known := clientv3.Compare(clientv3.CreateRevision(hostPrefix+name), ">", 0)
	rest := []clientv3.Op{clientv3.OpDelete(seenPrefix + name), clientv3.OpDelete(ackPrefix + name), clientv3.OpDelete(markPrefix + name),
		clientv3.OpDelete(enrollPrefix + name)}
	_, err := s.client.Txn(ctx).If(known).
		Then(append(rest, clientv3.OpDelete(hostPrefix+name), clientv3.OpPut(generationKey, ""))...).
		Else(rest...).Commit()
	return s.check("delete host "+name, err)
}

// PutAck records that host enforces generation, or with a problem that it does not. Waiters of this server hear of it at
// once, those of other servers through etcd.
func (s *Store) PutAck(ctx context.Context, host string, generation uint64, problem string) error {
	ack := Ack{generation, problem}
	value, err := json.Marshal(ack)
	if err != nil {
		return fmt.Errorf("put acknowledgement of %s: %w", host, err)
	}
	s.publish(func(snap *Snapshot) *Snapshot {
		acks := maps.Clone(snap.acks)
		acks[host] = ack
		return &Snapshot{snap.c, acks, snap.seen, snap.lists}
	})
	err = s.patient(ctx, func(ctx context.Context) error {
		_, err := s.client.Put(ctx, ackPrefix+host, string(value))
		return err
	})
	return s.check("put acknowledgement of "+host, err)
}

// WaitAcks waits until each host has acknowledged its generation or a later one. A host that says it cannot ends the wait
// with *NotEnforced.
func (s *Store) WaitAcks(ctx context.Context, need map[string]uint64) error {
	for {
		snap, changed := s.current()
		missing := ""
		for host, generation := range need {
			a, ok := snap.acks[host]
			switch {
			case !ok || a.Generation < generation:
				missing = host
			case a.Problem != "":
				return &NotEnforced{host, a.Generation, a.Problem}
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for host %s: %w", missing, ctx.Err())
		}
	}
}

// fact applies one key of hosts, sightings or acknowledgements to s, whose maps and content are the caller's own.
func (s *Snapshot) fact(n news) error {
	switch {
	case strings.HasPrefix(n.key, hostPrefix):
		s.c.hosts = maps.Clone(s.c.hosts)
		return change(s.c.hosts, n.key[len(hostPrefix):], n)
	case strings.HasPrefix(n.key, seenPrefix):
		name := n.key[len(seenPrefix):]
		err := change(s.seen, name, n)
		if seen, ok := s.seen[name]; ok {
			seen.rev = n.rev
			s.seen[name] = seen
		}
		return err
	case strings.HasPrefix(n.key, markPrefix):
		name := n.key[len(markPrefix):]
		s.c.marks = maps.Clone(s.c.marks)
		err := change(s.c.marks, name, n)
		if m, ok := s.c.marks[name]; ok {
			m.Revision = n.rev
			s.c.marks[name] = m
		}
		return err
	case strings.HasPrefix(n.key, ackPrefix):
		return change(s.acks, n.key[len(ackPrefix):], n)
	}
	return nil
}

// change sets or deletes one entry; one that cannot be read is deleted.
func change[V any](m map[string]V, name string, n news) error {
	delete(m, name)
	if n.deleted {
		return nil
	}
	var v V
	if err := json.Unmarshal(n.value, &v); err != nil {
		return err
	}
	m[name] = v
	return nil
}
