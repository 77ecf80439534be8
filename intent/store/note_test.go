package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A note is replaced only in the place of the one that its writer knew; it outlives a restart and moves no generation.
func TestNotes(t *testing.T) {
	dir, err := os.MkdirTemp("", "rfs")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	opt := Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r")}
	s := start(t, opt)
	before := s.Snapshot().Revision()
	if err := s.PutNote(ctx(t), "a/1", []byte("one"), 0); err != nil {
		t.Fatal(err)
	}
	one, ok := s.Snapshot().Note("a/1")
	if !ok || string(one.Value) != "one" {
		t.Fatalf("read %q, %v", one.Value, ok)
	}
	var conflict *Conflict
	if err := s.PutNote(ctx(t), "a/1", []byte("two"), 0); !errors.As(err, &conflict) {
		t.Errorf("a second writer who thinks there is none: %v", err)
	}
	if err := s.PutNote(ctx(t), "a/1", []byte("two"), one.Revision); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteNote(ctx(t), "a/1", one.Revision); !errors.As(err, &conflict) {
		t.Errorf("a deletion of what was replaced: %v", err)
	}
	for _, key := range []string{"a/2", "b/1"} {
		if err := s.PutNote(ctx(t), key, []byte(key), 0); err != nil {
			t.Fatal(err)
		}
	}
	two, _ := s.Snapshot().Note("a/2")
	if err := s.DeleteNote(ctx(t), "a/2", two.Revision); err != nil {
		t.Fatal(err)
	}
	if got := s.Snapshot().Revision(); got != before {
		t.Errorf("notes moved the generation from %d to %d", before, got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, opt)
	var keys []string
	for key, n := range s.Snapshot().Notes("a/") {
		keys = append(keys, key+"="+string(n.Value))
	}
	if len(keys) != 1 || keys[0] != "a/1=two" {
		t.Errorf("after a restart: %q", keys)
	}
}
