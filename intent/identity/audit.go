package identity

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Entry is one line of the audit log: a write that somebody asked for, and what became of it.
type Entry struct {
	Time        time.Time `json:"time"`
	Principal   string    `json:"principal"` // name
	Object      string    `json:"object,omitempty"`
	Tenant      string    `json:"tenant,omitempty"` // of the principal
	Client      string    `json:"client,omitempty"` // network address
	Operation   string    `json:"operation"`        // action, like Microsoft.Network/networkSecurityGroups/write
	Resource    string    `json:"resource"`
	Correlation string    `json:"correlation"`
	Request     string    `json:"request"`
	Status      int       `json:"status"`         // of the HTTP answer
	Code        string    `json:"code,omitempty"` // of the error
	Revision    uint64    `json:"revision,omitempty"`
	Took        float64   `json:"took_ms"`
}

// Succeeded tells whether the write was made.
func (e Entry) Succeeded() bool { return e.Status < 400 }

// Bounds of the log's files.
const (
	auditFile     = "audit.jsonl"
	auditPart     = 64 << 20 // bytes after which the file is set aside under a name with its last moment
	auditLine     = 1 << 20
	auditSyncWait = time.Second
	coarse        = time.Minute // a file's time is less exact than an entry's
)

// Audit is the log of one server: a file of JSON lines in its data directory that only grows. What is set aside is never deleted by
// the server. It is safe for use by several goroutines.
type Audit struct {
	dir  string
	part int64

	mu     sync.Mutex
	f      *os.File
	size   int64
	broken error
	synced time.Time
}

// OpenAudit opens the log in dir, which it makes.
func OpenAudit(dir string) (*Audit, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	a := &Audit{dir: dir, part: auditPart}
	if err := a.open(); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return a, nil
}

func (a *Audit) open() error {
	f, err := os.OpenFile(filepath.Join(a.dir, auditFile), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	a.f, a.size = f, info.Size()
	return a.mend()
}

// mend ends a line that a crash cut off, so that it does not swallow the next.
func (a *Audit) mend() error {
	if a.size == 0 {
		return nil
	}
	last := make([]byte, 1)
	if _, err := a.f.ReadAt(last, a.size-1); err != nil {
		return err
	}
	if last[0] == '\n' {
		return nil
	}
	n, err := a.f.Write([]byte("\n"))
	a.size += int64(n)
	return err
}

// Write appends an entry. After a failure Ready says so until an entry could be written again.
func (a *Audit) Write(e Entry) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.broken = a.append(append(b, '\n'))
	return a.broken
}

func (a *Audit) append(line []byte) error {
	if a.size > 0 && a.size+int64(len(line)) > a.part {
		if err := a.setAside(); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	}
	n, err := a.f.Write(line)
	a.size += int64(n)
	if err == nil && time.Since(a.synced) > auditSyncWait {
		err, a.synced = a.f.Sync(), time.Now()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit log: %w", err), a.cut(n, len(line)))
	}
	return nil
}

// cut takes back a line that only began to be written.
func (a *Audit) cut(wrote, want int) error {
	if wrote == 0 || wrote == want {
		return nil
	}
	a.size -= int64(wrote)
	return a.f.Truncate(a.size)
}

func (a *Audit) setAside() error {
	old := filepath.Join(a.dir, "audit-"+time.Now().UTC().Format("20060102T150405.000000000Z")+".jsonl")
	if err := os.Rename(filepath.Join(a.dir, auditFile), old); err != nil {
		return err
	}
	a.f.Close()
	return a.open()
}

// Ready tells whether the log takes entries. While it does not, writes are refused: what cannot be put on record is not done.
func (a *Audit) Ready() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.broken == nil {
		return nil
	}
	// An empty line costs nothing and shows whether the file takes bytes again.
	a.broken = a.append([]byte("\n"))
	return a.broken
}

// Close ends the log.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.f.Sync(), a.f.Close())
}

// Read gives the newest entries that keep wants, newest first, at most most of them, looking no further back than since.
func (a *Audit) Read(since time.Time, most int, keep func(Entry) bool) ([]Entry, error) {
	names, err := filepath.Glob(filepath.Join(a.dir, "audit*.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("read audit log: %w", err)
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(order(y), order(x)) })
	var all []Entry
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.ModTime().Add(coarse).Before(since) {
			continue
		}
		part, err := readAudit(name, since, keep)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read audit log: %w", err)
		}
		slices.Reverse(part)
		if all = append(all, part...); len(all) >= most {
			return all[:most], nil
		}
	}
	return all, nil
}

// order puts the file that is written now after those that were set aside.
func order(name string) string {
	if filepath.Base(name) == auditFile {
		return "~"
	}
	return filepath.Base(name)
}

func readAudit(name string, since time.Time, keep func(Entry) bool) ([]Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []Entry
	r := bufio.NewReaderSize(f, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		var e Entry
		if len(line) > 1 && len(line) <= auditLine && json.Unmarshal(line, &e) == nil && !e.Time.Before(since) && keep(e) {
			all = append(all, e)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
