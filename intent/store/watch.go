package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// loadPage bounds one answer while loading: documents can be large.
const loadPage = 256

// Snapshot is the newest one that the watch has applied.
func (s *Store) Snapshot() *Snapshot {
	snap, _ := s.current()
	return snap
}

func (s *Store) current() (*Snapshot, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snap, s.changed
}

// publish replaces the newest snapshot and wakes everyone who waits.
func (s *Store) publish(next func(*Snapshot) *Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap = next(s.snap)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Wait waits until the watch has applied revision rev.
func (s *Store) Wait(ctx context.Context, rev uint64) (*Snapshot, error) {
	for {
		snap, changed := s.current()
		if snap.c.rev >= rev {
			return snap, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for revision %d: %w", rev, ctx.Err())
		}
	}
}

// Watch yields the newest snapshot now and after each change that goals depend on. Whoever is slow misses those between:
// the channel always holds the newest. It is closed when ctx ends.
func (s *Store) Watch(ctx context.Context) <-chan *Snapshot {
	out := make(chan *Snapshot)
	go func() {
		defer close(out)
		sent := (*content)(nil)
		for {
			snap, changed := s.current()
			offer := out
			if snap.c == sent {
				offer = nil
			}
			select {
			case offer <- snap:
				sent = snap.c
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// keepCurrent follows etcd from revision rev on. When that is no longer possible (the history was compacted, the
// connection was lost for long) it loads everything anew.
func (s *Store) keepCurrent(ctx context.Context, rev int64) {
	for {
		err := s.follow(ctx, rev+1)
		for ctx.Err() == nil {
			s.log.Warn("store: load anew", "error", err)
			if rev, err = s.load(ctx); err == nil {
				break
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// load reads everything at one revision, and returns that revision.
func (s *Store) load(ctx context.Context) (int64, error) {
	at, err := s.client.Get(ctx, generationKey)
	if err != nil {
		return 0, fmt.Errorf("load: %w", err)
	}
	rev := at.Header.Revision
	s.mine.clear() // events that are passed over would leave theirs there for ever
	old := s.Snapshot()
	snap := &Snapshot{c: &content{hosts: map[string]Host{}, marks: map[string]Mark{}}, acks: map[string]Ack{}, seen: map[string]sighting{}, lists: s.opt.PrefixLists}
	if len(at.Kvs) > 0 {
		snap.c.rev = uint64(at.Kvs[0].ModRevision)
	}
	for _, prefix := range []string{docPrefix, hostPrefix, seenPrefix, ackPrefix, markPrefix, notePrefix} {
		err := s.each(ctx, prefix, rev, func(kv *mvccpb.KeyValue) {
			if n, relevant := s.read(kv, false, old); relevant {
				s.apply(snap, n)
			}
		})
		if err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
	}
	s.publish(func(*Snapshot) *Snapshot { return snap })
	return rev, nil
}

// each reads the keys under prefix at rev, a page at a time.
func (s *Store) each(ctx context.Context, prefix string, rev int64, fn func(*mvccpb.KeyValue)) error {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		page, err := s.client.Get(ctx, from, clientv3.WithRange(end), clientv3.WithRev(rev), clientv3.WithLimit(loadPage))
		if err != nil {
			return err
		}
		for _, kv := range page.Kvs {
			fn(kv)
		}
		if !page.More {
			return nil
		}
		from = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
}

// follow applies what happens from revision from on, until the watch breaks.
func (s *Store) follow(ctx context.Context, from int64) error {
	if s.beforeWatch != nil {
		s.beforeWatch()
	}
	ctx, stop := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer stop()
	for resp := range s.client.Watch(ctx, rootPrefix, clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFragment()) {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		s.advance(resp.Events)
	}
	return errors.New("watch: ended")
}

// advance applies a batch of events: always whole transactions.
func (s *Store) advance(events []*clientv3.Event) {
	size := 0
	var news []news
	old := s.Snapshot()
	for _, ev := range events {
		size += len(ev.Kv.Key) + len(ev.Kv.Value)
		if n, relevant := s.read(ev.Kv, ev.Type == clientv3.EventTypeDelete, old); relevant {
			news = append(news, n)
		}
	}
	if len(events) > 0 {
		s.history.grown(events[len(events)-1].Kv.ModRevision, int64(size))
	}
	if len(news) == 0 {
		return
	}
	s.publish(func(old *Snapshot) *Snapshot {
		next := &Snapshot{old.c, maps.Clone(old.acks), maps.Clone(old.seen), old.lists}
		for _, n := range news {
			if n.decides() && next.c == old.c {
				next.c = old.c.clone()
			}
			s.apply(next, n)
		}
		return next
	})
}

// news is one key that was set or deleted, decoded before anyone is kept waiting.
type news struct {
	key     string
	rev     int64
	deleted bool
	value   []byte
	doc     *entry
}

// decides tells whether the key changes the content: goals depend on all of it but the notes.
func (n news) decides() bool {
	return n.key == generationKey || strings.HasPrefix(n.key, docPrefix) || strings.HasPrefix(n.key, hostPrefix) ||
		strings.HasPrefix(n.key, markPrefix) || strings.HasPrefix(n.key, notePrefix)
}

// read decodes a key. A document that old holds in the same revision is taken over; one that cannot be read counts as
// absent, so that what refers to it fails closed.
func (s *Store) read(kv *mvccpb.KeyValue, deleted bool, old *Snapshot) (n news, relevant bool) {
	n = news{key: string(kv.Key), rev: kv.ModRevision, deleted: deleted, value: kv.Value}
	switch {
	case strings.HasPrefix(n.key, refPrefix), strings.HasPrefix(n.key, allocPrefix), strings.HasPrefix(n.key, serverPrefix),
		strings.HasPrefix(n.key, tokenPrefix), strings.HasPrefix(n.key, enrollPrefix), n.key == roomKey:
		return n, false
	case deleted || !strings.HasPrefix(n.key, docPrefix):
		return n, true
	}
	if n.doc = s.mine.take(n.key[len(docPrefix):], kv); n.doc != nil {
		return n, true
	}
	if old != nil {
		if e, ok := old.c.docs.get(n.key[len(docPrefix):]); ok && e.doc.Revision == kv.ModRevision {
			n.doc = e
			return n, true
		}
	}
	e, err := decode(kv.Value, kv.CreateRevision, kv.ModRevision)
	if err != nil {
		s.log.Error("store: unreadable document counts as absent", "key", n.key, "revision", n.rev, "error", err)
		n.deleted = true
	}
	n.doc = e
	return n, true
}

// apply brings one key into snap, whose maps and content are the caller's own.
func (s *Store) apply(snap *Snapshot, n news) {
	var err error
	switch {
	case n.key == generationKey:
		snap.c.rev = uint64(n.rev)
	case strings.HasPrefix(n.key, notePrefix):
		snap.note(n)
	case !strings.HasPrefix(n.key, docPrefix):
		err = snap.fact(n)
	case n.deleted:
		snap.c.drop(n.key[len(docPrefix):])
	default:
		snap.c.put(n.key[len(docPrefix):], n.doc)
	}
	if err != nil {
		s.log.Error("store: unreadable value counts as absent", "key", n.key, "revision", n.rev, "error", err)
	}
}
