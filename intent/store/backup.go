package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Backup is what a backup says of itself. A backup is a zstd stream: this as one line of JSON, then keys and values with their lengths,
// an empty key, and the SHA-256 of all that.
type Backup struct {
	Format   string    `json:"format"` // backupFormat
	Revision int64     `json:"revision"`
	Taken    time.Time `json:"taken"`
	Keys     int       `json:"keys,omitempty"` // counted when it is read
}

const (
	backupFormat = "ringfence-backup-1"
	longestKey   = 64 << 10
	longestValue = 64 << 20
)

// passing are facts about the moment: of no use in a restored store, where hosts say them anew.
var passing = []string{seenPrefix, ackPrefix, serverPrefix, tokenPrefix}

// Backup writes everything that is stored, as it is at one revision.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	at, err := s.client.Get(ctx, generationKey)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	z, err := zstd.NewWriter(w)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer z.Close()
	out := &backupWriter{w: z, sum: sha256.New()}
	head, err := json.Marshal(Backup{Format: backupFormat, Revision: at.Header.Revision, Taken: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	out.write(append(head, '\n'))
	err = s.each(ctx, rootPrefix, at.Header.Revision, func(kv *mvccpb.KeyValue) {
		key := string(kv.Key)
		if !slices.ContainsFunc(passing, func(p string) bool { return strings.HasPrefix(key, p) }) {
			out.field(kv.Key)
			out.field(kv.Value)
		}
	})
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	out.field(nil)
	out.write(out.sum.Sum(nil))
	if err := errors.Join(out.err, z.Close()); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// backupWriter writes until the first error, and sums up what it wrote.
type backupWriter struct {
	w   io.Writer
	sum hash.Hash
	err error
}

func (b *backupWriter) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
		b.sum.Write(p)
	}
}

func (b *backupWriter) field(p []byte) {
	b.write(binary.AppendUvarint(nil, uint64(len(p))))
	b.write(p)
}

// ReadBackup reads a backup to its end and gives fn what is in it; fn may be nil. A backup that is not whole is an error, which comes
// after what was read of it.
func ReadBackup(r io.Reader, fn func(key, value []byte) error) (Backup, error) {
	return readBackup(r, func(int64) error { return nil }, fn)
}

// readBackup tells begin the revision before anything else.
func readBackup(r io.Reader, begin func(revision int64) error, fn func(key, value []byte) error) (Backup, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return Backup{}, fmt.Errorf("read backup: %w", err)
	}
	defer z.Close()
	in := &backupReader{r: bufio.NewReader(z), sum: sha256.New()}
	b, err := in.all(begin, fn)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("it ends too early: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return b, fmt.Errorf("read backup: %w", err)
	}
	return b, nil
}

type backupReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (b *backupReader) all(begin func(revision int64) error, fn func(key, value []byte) error) (Backup, error) {
	head, err := b.r.ReadSlice('\n')
	if err != nil {
		return Backup{}, fmt.Errorf("no head: %w", err)
	}
	b.sum.Write(head)
	var out Backup
	if err := json.Unmarshal(head, &out); err != nil || out.Format != backupFormat || out.Revision < 1 {
		return Backup{}, fmt.Errorf("this is no %s", backupFormat)
	}
	out.Keys = 0
	if err := begin(out.Revision); err != nil {
		return out, err
	}
	for {
		key, err := b.field(longestKey)
		if err != nil {
			return out, err
		}
		if len(key) == 0 {
			return out, b.end()
		}
		value, err := b.field(longestValue)
		if err != nil {
			return out, err
		}
		if !strings.HasPrefix(string(key), rootPrefix) {
			return out, fmt.Errorf("key %q is not the store's", key)
		}
		if out.Keys++; fn != nil {
			if err := fn(key, value); err != nil {
				return out, err
			}
		}
	}
}

func (b *backupReader) field(limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(b.r)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("a field of %d bytes: at most %d expected", n, limit)
	}
	b.sum.Write(binary.AppendUvarint(nil, n))
	p := make([]byte, n)
	if _, err := io.ReadFull(b.r, p); err != nil {
		return nil, err
	}
	b.sum.Write(p)
	return p, nil
}

func (b *backupReader) end() error {
	want := b.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b.r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("the checksum is wrong: it is damaged")
	}
	if _, err := b.r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}
