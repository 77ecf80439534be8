// Package store keeps the documents of the intent in etcd: what clients sent and what was allocated for them.
//
// In: writes, each decided on a snapshot and made in one etcd transaction that compares everything the decision depended
// on, so that deleting what is referenced, referencing what is being deleted, or taking one address twice fails in etcd
// and not in a lock of one process. Out: immutable snapshots, kept current by one watch; facts about hosts and their
// acknowledgements, visible to every server. The server owns the Store; this is the only package that knows etcd.
package store

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/server/v3/embed"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Options says where the store lives. With Endpoints nothing is embedded: the store is one more client of that etcd.
type Options struct {
	DataDir   string   // etcd's files, kept over restarts
	RunDir    string   // unix sockets of the embedded member
	Name      string   // member name
	Endpoints []string // an etcd that runs elsewhere: no embedding
	Cluster   *Cluster // one member of several; nil: alone, reachable by unix sockets only
	Log       *slog.Logger

	// PrefixLists are the operator's named prefix lists, handed on by every snapshot.
	PrefixLists map[string][]netip.Prefix

	// CompactBytes and CompactRevisions bound the history etcd keeps: whichever is reached first. Zero means the default.
	CompactBytes     int64
	CompactRevisions int64

	// Quota is how large etcd's database may grow, dead pages included. Zero means the default.
	Quota int64

	// NoSync spares the disk the wait for each write. A crash of the machine may lose the store: for tests only.
	NoSync bool
}

func (o *Options) defaults() {
	if o.Name == "" {
		o.Name = "server"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.CompactBytes == 0 {
		o.CompactBytes = 32 << 20
	}
	if o.Quota == 0 {
		o.Quota = 8 << 30
	}
	if o.CompactRevisions == 0 {
		o.CompactRevisions = 10_000
	}
}

// Store is one server's access to the documents. All methods are safe for concurrent use.
type Store struct {
	opt     Options
	log     *slog.Logger
	client  *clientv3.Client
	etcd    *embed.Etcd // nil when not embedded
	stop    context.CancelFunc
	loops   sync.WaitGroup
	full    chan struct{} // asks the keeper to make room
	crammed atomic.Bool   // etcd refused a write for lack of space, and has taken none since

	closing   atomic.Bool
	closeOnce sync.Once
	closeErr  error

	mu      sync.Mutex
	snap    *Snapshot
	changed chan struct{} // closed and replaced whenever snap is replaced
	history history
	mine    mine
	room    room

	beforeWatch func() // nil but in tests: runs between a load and its watch
}

// Open starts or joins etcd, loads the newest snapshot and follows the changes until Close.
func Open(ctx context.Context, opt Options) (*Store, error) {
	return open(ctx, opt, nil)
}

func open(ctx context.Context, opt Options, beforeWatch func()) (*Store, error) {
	opt.defaults()
	s := &Store{opt: opt, log: opt.Log, changed: make(chan struct{}), full: make(chan struct{}, 1), beforeWatch: beforeWatch}
	if err := s.connect(ctx); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	rev, err := s.load(ctx)
	if err != nil {
		s.disconnect()
		return nil, fmt.Errorf("open store: %w", err)
	}
	run, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.loops.Go(func() { s.keepCurrent(run, rev) })
	s.loops.Go(func() { s.keepSmall(run) })
	return s, nil
}

// Close ends the watch and the embedded etcd. What was committed is on disk.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.loops.Wait()
		s.closeErr = s.disconnect()
	})
	return s.closeErr
}
