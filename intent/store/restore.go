package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
)

// ahead is how far a restored store's revisions begin above the backup's: further than any store gets between a backup and the loss
// that makes it needed. Hosts refuse goals older than theirs, and ETags of the lost store must not name other content.
const ahead = 1_000_000_000

// Bounds of one transaction of a restore.
const (
	restoreOps   = 2000
	restoreBytes = 4 << 20
)

// ErrNotEmpty says that there is a store already where one shall be restored.
var ErrNotEmpty = errors.New("there is a store already")

// Restore makes the store of a backup in opt.DataDir, which must not hold one. It is made beside and put into place when it is
// complete: one that fails, or is killed, leaves nothing that a server would take for a store.
func Restore(ctx context.Context, opt Options, r io.Reader) (Backup, error) {
	opt.Endpoints = nil
	opt.defaults()
	place := filepath.Join(opt.DataDir, "etcd")
	if _, err := os.Lstat(place); err == nil {
		return Backup{}, fmt.Errorf("restore to %s: %w", opt.DataDir, ErrNotEmpty)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return Backup{}, fmt.Errorf("restore: %w", err)
	}
	work := opt
	work.DataDir = filepath.Join(opt.DataDir, "restoring")
	if err := os.RemoveAll(work.DataDir); err != nil { // of a restore that was killed
		return Backup{}, fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(work.DataDir)
	b, err := restoreIn(ctx, work, r)
	if err != nil {
		return b, fmt.Errorf("restore: %w", err)
	}
	if err := os.Rename(filepath.Join(work.DataDir, "etcd"), place); err != nil {
		return b, fmt.Errorf("restore: %w", err)
	}
	return b, syncDir(opt.DataDir)
}

// restoreIn fills an empty store. What is read of the backup is written before the checksum at its end is known: the caller throws all
// away when it is wrong.
func restoreIn(ctx context.Context, opt Options, r io.Reader) (b Backup, err error) {
	var w *restoreWriter
	var s *Store
	defer func() {
		if s != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	first := func(revision int64) error {
		empty, err := Open(ctx, opt)
		if err != nil {
			return err
		}
		if err := empty.Close(); err != nil {
			return err
		}
		if err := startAt(filepath.Join(opt.DataDir, "etcd", "member", "snap", "db"), revision+ahead); err != nil {
			return err
		}
		if s, err = Open(ctx, opt); err != nil {
			return err
		}
		w = &restoreWriter{ctx: ctx, s: s}
		return nil
	}
	b, err = readBackup(r, first, func(key, value []byte) error {
		if string(key) == generationKey {
			return nil
		}
		return w.put(key, value)
	})
	if err != nil {
		return b, err
	}
	if err := w.put([]byte(generationKey), nil); err != nil { // last: nothing that goals depend on is newer
		return b, err
	}
	return b, w.flush()
}

type restoreWriter struct {
	ctx  context.Context
	s    *Store
	ops  []clientv3.Op
	size int
}

func (w *restoreWriter) put(key, value []byte) error {
	w.ops = append(w.ops, clientv3.OpPut(string(key), string(value)))
	w.size += len(key) + len(value)
	if len(w.ops) < restoreOps && w.size < restoreBytes {
		return nil
	}
	return w.flush()
}

func (w *restoreWriter) flush() error {
	if len(w.ops) == 0 {
		return nil
	}
	_, err := w.s.client.Txn(w.ctx).Then(w.ops...).Commit()
	w.ops, w.size = nil, 0
	return w.s.check("write what the backup holds", err)
}

// startAt makes a stopped member's next revision the one after rev, as etcd's own tool does: an empty record of that revision, and all
// before it compacted.
func startAt(db string, rev int64) error {
	if _, err := os.Stat(db); err != nil {
		return fmt.Errorf("raise the revision: %w", err)
	}
	be := backend.NewDefaultBackend(nil, db)
	tx := be.BatchTx()
	tx.LockOutsideApply()
	key := mvcc.BucketKeyToBytes(mvcc.BucketKey{Revision: mvcc.Revision{Main: rev}}, mvcc.NewRevBytes())
	tx.UnsafePut(schema.Key, key, []byte{})
	mvcc.UnsafeSetScheduledCompact(tx, rev)
	tx.Unlock()
	be.ForceCommit()
	if err := be.Close(); err != nil {
		return fmt.Errorf("raise the revision: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
