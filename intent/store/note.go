package store

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Note is a small value that is no document: identity keeps its principals, role assignments and keys so. Goals do not depend on
// notes.
type Note struct {
	Value    []byte
	Revision int64
}

// Note is the one with this key.
func (s *Snapshot) Note(key string) (Note, bool) {
	n, ok := s.c.notes[key]
	return n, ok
}

// Notes yields the notes whose keys start with prefix, in the order of their keys.
func (s *Snapshot) Notes(prefix string) iter.Seq2[string, Note] {
	return func(yield func(string, Note) bool) {
		for _, key := range slices.Sorted(maps.Keys(s.c.notes)) {
			if strings.HasPrefix(key, prefix) && !yield(key, s.c.notes[key]) {
				return
			}
		}
	}
}

// PutNote writes a note in the place of the one with revision base, 0 for none; a *Conflict says that another one is there. It
// returns when Snapshot has it.
func (s *Store) PutNote(ctx context.Context, key string, value []byte, base int64) error {
	return s.changeNote(ctx, "put note "+key, key, base, clientv3.OpPut(notePrefix+key, string(value)))
}

// DeleteNote deletes the note with revision base.
func (s *Store) DeleteNote(ctx context.Context, key string, base int64) error {
	return s.changeNote(ctx, "delete note "+key, key, base, clientv3.OpDelete(notePrefix+key))
}

func (s *Store) changeNote(ctx context.Context, what, key string, base int64, op clientv3.Op) error {
	resp, err := s.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(notePrefix+key), "=", base)).Then(op).Commit()
	if err != nil {
		return s.check(what, err)
	}
	if !resp.Succeeded {
		return &Conflict{s.Snapshot().Revision()}
	}
	return s.awaitNote(ctx, what, key, base, resp.Header.Revision, op.IsDelete())
}

// awaitNote waits until the watch has applied the change, or a later one.
func (s *Store) awaitNote(ctx context.Context, what, key string, base, rev int64, deleted bool) error {
	for {
		snap, changed := s.current()
		n, there := snap.Note(key)
		if there && n.Revision >= rev || deleted && (!there || n.Revision != base) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		}
	}
}

// note brings the change of one note into the snapshot, whose content is the caller's own.
func (s *Snapshot) note(n news) {
	key := n.key[len(notePrefix):]
	s.c.notes = maps.Clone(s.c.notes)
	if s.c.notes == nil {
		s.c.notes = map[string]Note{}
	}
	delete(s.c.notes, key)
	if !n.deleted {
		s.c.notes[key] = Note{n.value, n.rev}
	}
}
