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

// roomPause is how long the keeper waits after it could not make room: to defragment stops every write.
const roomPause = 2 * time.Second

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
			if err = s.makeRoom(ctx); err != nil {
				pause(ctx, roomPause) // every write would ask for it again
			}
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

// errReserve says that what is live fills the store: compaction gives nothing back.
var errReserve = errors.New("what is left is kept for deletions, which make room")

// reserved tells whether no more than a twentieth of the quota is free: documents are not written there. A deletion is a write, too: it
// could not be made in a store that is full, which would then stay so.
func (s *Store) reserved() bool {
	return s.etcd != nil && s.room.live(s.etcd.Server.Backend().SizeInUse(), 0) > s.opt.Quota-s.opt.Quota/20
}

// room adds to what etcd measures, which it does ten times a second, what was written since.
type room struct {
	mu       sync.Mutex
	measured int64
	since    int64
}

// live is how much is in use when more bytes have just been written.
func (r *room) live(measured, more int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if measured != r.measured {
		r.measured, r.since = measured, 0
	}
	r.since += more
	return r.measured + r.since
}

// wrote counts the values of a write that was made.
func (s *Store) wrote(values map[string][]byte) {
	s.crammed.Store(false)
	if s.etcd == nil {
		return
	}
	size := int64(0)
	for _, v := range values {
		size += int64(len(v))
	}
	s.room.live(s.etcd.Server.Backend().SizeInUse(), size)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
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
	return s.tried(ctx)
}

// tried writes a key that means nothing, to know whether etcd takes writes again.
func (s *Store) tried(ctx context.Context) error {
	if s.reserved() {
		return fmt.Errorf("make room: %w", errReserve)
	}
	if _, err := s.client.Put(ctx, roomKey, ""); err != nil {
		return fmt.Errorf("make room: what is live fills the store: %w", err)
	}
	s.crammed.Store(false)
	s.log.Warn("store: there is room again")
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
