package store

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// elsewhere are directories of a store that does not exist yet.
func elsewhere(t *testing.T) Options {
	t.Helper()
	dir, err := os.MkdirTemp("", "rfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Options{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), NoSync: true}
}

// filled is a store with documents, references, claims and a host.
func filled(t *testing.T) *Store {
	t.Helper()
	s := start(t, Options{NoSync: true})
	if err := s.PutHost(ctx(t), Host{Name: "host1", Underlay: netip.MustParseAddr("198.18.0.11"), Connected: true}); err != nil {
		t.Fatal(err)
	}
	snap := must(t, s, put(group(t)).on(s.Snapshot()))
	snap = must(t, s, put(nsg(t, "n")).on(snap))
	must(t, s, put(vnet(t, "v", "a=n")).claiming("vni/1").on(snap))
	if err := s.PutAck(ctx(t), "host1", 5, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// What comes back is what was there at one revision, and every revision is newer than any that the lost store can have had.
func TestRestoredStore(t *testing.T) {
	s := filled(t)
	before := s.Snapshot()
	var file bytes.Buffer
	if err := s.Backup(ctx(t), &file); err != nil {
		t.Fatal(err)
	}
	must(t, s, put(nsg(t, "later")).on(before)) // not in the backup; hosts may have seen it
	last := s.Snapshot().Revision()
	said, err := ReadBackup(bytes.NewReader(file.Bytes()), nil)
	if err != nil || said.Revision < int64(before.Revision()) || said.Keys == 0 || said.Taken.IsZero() {
		t.Fatalf("%+v, %v", said, err)
	}
	o := elsewhere(t)
	if _, err := Restore(ctx(t), o, bytes.NewReader(file.Bytes())); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(o.DataDir, "restoring")); err == nil {
		t.Error("the working directory stays")
	}
	again := start(t, o)
	after := again.Snapshot()
	if after.Revision() <= last || after.Revision() < uint64(said.Revision)+ahead {
		t.Errorf("revision %d after the restore; hosts may have %d", after.Revision(), last)
	}
	if after.Len() != before.Len() || after.Get(strings.ToLower(rg+"/providers/Microsoft.Network/networkSecurityGroups/later")) != nil {
		t.Errorf("%d documents, want %d", after.Len(), before.Len())
	}
	for d := range before.Docs() {
		got := after.Get(d.Key())
		if got == nil || !bytes.Equal(got.Body, d.Body) || got.Revision <= int64(last) {
			t.Errorf("%s came back as %+v", d.ID, got)
		}
	}
	if owner, ok := after.Owner("vni/1"); !ok || owner == "" {
		t.Error("a claim is lost")
	}
	if h := after.Hosts(); len(h) != 1 || h[0].Underlay != netip.MustParseAddr("198.18.0.11") || h[0].Connected {
		t.Errorf("hosts %+v", h)
	}
	if len(after.Acks()) != 0 {
		t.Errorf("acknowledgements of the lost store: %v", after.Acks())
	}
	consistent(t, again)
	next := must(t, again, put(nsg(t, "next")).on(after))
	if next.Revision() <= after.Revision() {
		t.Errorf("revision %d after %d", next.Revision(), after.Revision())
	}
	// What refers is still bound to what is referred to.
	w := &Write{Base: next, Delete: []string{strings.ToLower(rg + "/providers/Microsoft.Network/networkSecurityGroups/n")}}
	var inUse *InUse
	if _, err := again.Commit(ctx(t), w); !errors.As(err, &inUse) {
		t.Errorf("what is in use can be deleted: %v", err)
	}
}

// A store is never overwritten, and a backup that is not whole makes none.
func TestRestoreRefuses(t *testing.T) {
	s := filled(t)
	var file bytes.Buffer
	if err := s.Backup(ctx(t), &file); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(ctx(t), s.opt, bytes.NewReader(file.Bytes())); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("over a store: %v", err)
	}
	turned := bytes.Clone(file.Bytes())
	turned[len(turned)/2] ^= 0x10
	o := elsewhere(t)
	for what, b := range map[string][]byte{"cut": file.Bytes()[:file.Len()-10], "damaged": turned, "no backup": []byte("hello"), "empty": nil} {
		if _, err := ReadBackup(bytes.NewReader(b), nil); err == nil {
			t.Errorf("%s: read without an error", what)
		}
		if _, err := Restore(ctx(t), o, bytes.NewReader(b)); err == nil {
			t.Errorf("%s: restored", what)
		}
		if left, _ := os.ReadDir(o.DataDir); len(left) > 0 {
			t.Errorf("%s: left %v", what, left)
		}
	}
	if _, err := Restore(ctx(t), o, bytes.NewReader(file.Bytes())); err != nil {
		t.Errorf("after failures: %v", err)
	}
}

// Whatever is read as a backup is refused or read, and takes no memory that it does not bring itself.
func FuzzReadBackup(f *testing.F) {
	f.Add([]byte("hello"))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, b []byte) { ReadBackup(bytes.NewReader(b), nil) })
}
