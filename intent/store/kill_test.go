package store

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// childDir tells the test's own binary, started anew, to be the process that is killed.
const childDir = "RINGFENCE_STORE_CHILD"

// A process that is killed at any moment has lost no write that it had acknowledged, has made none by half, and its
// revisions go on from where they were.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		writeUntilKilled(t, dir)
	}
	dir, err := os.MkdirTemp("", "rfk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	last, written := uint64(0), map[string]bool{}
	for round := range 4 {
		last = max(last, killAfter(t, dir, 30+17*round, written))
		s := start(t, Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r")})
		snap := s.Snapshot()
		if snap.Revision() < last {
			t.Errorf("revision %d, acknowledged was %d", snap.Revision(), last)
		}
		for name := range written {
			if snap.Get(nsg(t, name).Key()) == nil {
				t.Errorf("%s was acknowledged and is lost", name)
			}
		}
		consistent(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killAfter starts the child, collects what it says it has written, and kills it in the middle of the next write.
func killAfter(t *testing.T, dir string, lines int, written map[string]bool) (last uint64) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestKill$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	scan := bufio.NewScanner(out)
	for n := 0; scan.Scan(); n++ {
		var name string
		if _, err := fmt.Sscanf(scan.Text(), "written %s %d", &name, &last); err != nil {
			t.Fatalf("the child says %q", scan.Text())
		}
		written[name] = true
		if n == lines {
			child.Process.Kill()
		}
	}
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended: %v", err)
	}
	return last
}

func writeUntilKilled(t *testing.T, dir string) {
	s := start(t, Options{DataDir: filepath.Join(dir, "d"), RunDir: filepath.Join(dir, "r")})
	must(t, s, put(group(t), vnet(t, "v", "web")))
	run := time.Now().UnixNano()
	for i := 0; ; i++ {
		name := fmt.Sprintf("n%d-%d", run, i)
		w := put(nsg(t, name), nic(t, name, "v/web")).claiming("vni/" + name)
		rev, err := s.Commit(ctx(t), w)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("written", name, rev)
	}
}
