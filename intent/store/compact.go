package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keepEvery is how often the keeper looks at how much history there is.
const keepEvery = 100 * time.Millisecond

// history measures what etcd keeps of the past. Etcd's own compaction by revision looks every five minutes only: a store
// that takes hundreds of large documents a second would have grown by gigabytes.
type history struct {
	mu        sync.Mutex
	last      int64 // revision of the newest event
	bytes     int64 // written since the mark
	mark      int64 // revision at which measuring began anew
	compacted int64 // revision of the last compaction
}

func (h *history) grown(rev, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last, h.bytes = rev, h.bytes+bytes
	if h.mark == 0 {
		h.mark = rev
	}
}

// due returns the revision to compact to, when enough was written: the previous mark, so that another server's watch that
// is a little behind still finds its place.
func (h *history) due(bytes, revisions int64) (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bytes < bytes && h.last-h.mark < revisions {
		return 0, false
	}
	at := h.mark
	h.mark, h.bytes = h.last, 0
	return at, at > h.compacted
}

func (h *history) done(rev int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.compacted = max(h.compacted, rev)
}

// keepSmall compacts the history as it grows, and makes room when etcd says that it is full.
func (s *Store) keepSmall(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-s.full:
			err = s.makeRoom(ctx)
		case <-tick.C:
			if rev, due := s.history.due(s.opt.CompactBytes, s.opt.CompactRevisions); due {
				err = s.compact(ctx, rev)
			}
		}
		if err != nil && ctx.Err() == nil {
			s.log.Warn("store: compaction failed", "error", err)
		}
	}
}

// compact drops the history before rev. Another server may have done so already.
func (s *Store) compact(ctx context.Context, rev int64, opts ...clientv3.CompactOption) error {
	_, err := s.client.Compact(ctx, rev, opts...)
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact to revision %d: %w", rev, err)
	}
	s.history.done(rev)
	return nil
}

// makeRoom drops all history, gives the space back and clears the alarm, after which etcd takes writes again.
func (s *Store) makeRoom(ctx context.Context) error {
	s.log.Warn("store: out of space; compacting and defragmenting")
	at, err := s.client.Get(ctx, generationKey)
	if err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	if err := s.compact(ctx, at.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return fmt.Errorf("make room: %w", err)
	}
	if err := s.defragment(ctx); err != nil {
		return fmt.Errorf("make room: defragment: %w", err)
	}
	if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("make room: disarm: %w", err)
	}
	return nil
}

// defragment asks the embedded member itself: etcd's in-process client cannot be asked this.
func (s *Store) defragment(ctx context.Context) error {
	if s.etcd != nil {
		return s.etcd.Server.Backend().Defrag()
	}
	for _, ep := range s.opt.Endpoints {
		if _, err := s.client.Defragment(ctx, ep); err != nil {
			return err
		}
	}
	return nil
}

// Size is the size of etcd's database: the file, and what of it is live.
func (s *Store) Size(ctx context.Context) (file, live int64, err error) {
	for _, ep := range s.Endpoints() {
		st, err := s.client.Status(ctx, ep)
		if err != nil {
			return 0, 0, fmt.Errorf("size of the store: %w", err)
		}
		file, live = max(file, st.DbSize), max(live, st.DbSizeInUse)
	}
	return file, live, nil
}
