package machine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The disk of a control plane gets full in the middle of writes: what cannot be kept is refused or the process ends with the reason, never
// answered with success; with room again, in the same process or a new one, every acknowledged write is there and writes go on.
func TestDiskIsFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root (Geteuid is not 0)")
	}
	n := newNode(t, "s1")
	if err := os.MkdirAll(n.c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", n.c.DataDir, "tmpfs", 0, "size=256m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		if err := unix.Unmount(n.c.DataDir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	n.start(n.file())
	sub := n.subscription()
	path := func(name string) string {
		return "/subscriptions/" + sub + "/resourcegroups/" + name + "?api-version=2021-04-01"
	}
	var acked []string
	count := 0
	write := func() (string, int) {
		count++
		name := fmt.Sprintf("g%d", count)
		text, status := n.ask("PUT", path(name), `{"location":"westeurope"}`)
		if status == 200 || status == 201 {
			acked = append(acked, name)
		}
		return text, status
	}
	for range 5 {
		if text, status := write(); status != 201 {
			t.Fatalf("%d %s", status, text)
		}
	}
	filler := filepath.Join(n.c.DataDir, "filler")
	fill(t, filler)
	refused, status := "", 201
	for end := time.Now().Add(20 * time.Second); status/100 == 2 && time.Now().Before(end); {
		refused, status = write()
	}
	switch {
	case status == 503 && strings.Contains(refused, "no space left on device"):
		if text, status := n.ask("GET", path("g1"), ""); status != 200 {
			t.Errorf("reading without room: %d %s", status, text)
		}
		if text, _ := n.ask("GET", "/ringfence/v1/doctor", ""); !strings.Contains(text, "without any, no write is stored") {
			t.Errorf("doctor: %s", text)
		}
	case status == 0: // it has ended
		n.cmd.Wait()
		if !strings.Contains(n.log.String(), "no space left on device") {
			t.Errorf("it ended without the reason: %s", n.log.String())
		}
	default:
		t.Fatalf("a write on a full disk: %d %s", status, refused)
	}
	t.Logf("%d writes were acknowledged, then %d %.200s", len(acked), status, refused)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, status := n.ask("GET", "/healthz", ""); status != 200 {
		n.kill()
		n.start(n.file())
	}
	n.eventually("takes writes", func() bool { _, status := write(); return status == 201 })
	n.kill()
	n.start(n.file())
	for _, name := range acked {
		if text, status := n.ask("GET", path(name), ""); status != 200 {
			t.Errorf("%s was acknowledged: %d %s", name, status, text)
		}
	}
}

// fill writes until there is no room.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := make([]byte, 1<<20)
	rand.Read(noise)
	for size := len(noise); size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(noise[:size])
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
}
