package datapath

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netns"
)

// successor is what a process is told that takes over the data plane of a host.
type successor struct {
	Namespace, Layout, Object string
	Options                   Options
	Goal                      goal.Host
	Devices                   map[uint32]int
}

const successorEnv = "RINGFENCE_TEST_SUCCESSOR"

// A process of its own: it takes over, puts the goal into force and ends. It is no test by itself.
func TestMain(m *testing.M) {
	path := os.Getenv(successorEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	if err := succeed(path); err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func succeed(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var s successor
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	o := s.Options
	if s.Object != "" {
		if o.Object, err = os.ReadFile(s.Object); err != nil {
			return err
		}
	}
	o.Layout = s.Layout
	return netns.Do(s.Namespace, func() error {
		d, err := Open(o)
		if err != nil {
			return err
		}
		defer d.Close()
		return d.Apply(context.Background(), &s.Goal, func(port uint32) (int, bool) { i, ok := s.Devices[port]; return i, ok })
	})
}

// kills is how many processes die in the middle of replacing the programs.
func kills() int {
	if os.Getenv("RINGFENCE_SOAK") == "1" {
		return 100
	}
	return 10
}

// Processes that replace the whole set of programs by one with another layout, there and back, are killed at any moment, and their successors,
// too: an established flow loses nothing, what is denied stays out, and nothing of the replaced sets is left.
func TestKilledWhileReplacing(t *testing.T) {
	w, a, b := pair(t, 1)
	h := w.hosts[0]
	stop := make(chan struct{})
	sent, back := echoes(t, a, b, "10.0.0.5", 2*time.Millisecond, stop)
	time.Sleep(200 * time.Millisecond)
	next := *h.goal
	next.Groups = append([]goal.Group(nil), next.Groups...)
	next.Generation++
	denyAll(&next)
	w.apply(h, &next)
	w.must(h.dp.Close())

	dir := t.TempDir()
	wide := filepath.Join(dir, "wide.o")
	w.must(os.WriteFile(wide, programs(t, "state.h", "struct flow {\n", "struct flow {\n\tu64 spare[2];\n"), 0o600))
	s := successor{Namespace: h.ns, Options: h.opts, Goal: next, Devices: map[uint32]int{}}
	s.Options.Log = nil
	for index, p := range h.ports {
		s.Devices[index] = p.ifindex
	}
	take := func(patience time.Duration) (killed bool) {
		t.Helper()
		s.Goal.Generation++
		body, err := json.Marshal(s)
		w.must(err)
		path := filepath.Join(dir, "successor.json")
		w.must(os.WriteFile(path, body, 0o600))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0]) // SIGKILL when the patience ends
		cmd.Env = append(os.Environ(), successorEnv+"="+path)
		out, err := cmd.CombinedOutput()
		if err != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("a successor ends by itself: %v: %s", err, out)
		}
		return err != nil
	}
	began := time.Now()
	take(time.Minute) // with the same programs
	usual := time.Since(began)
	r := rand.New(rand.NewPCG(1, uint64(os.Getpid())))
	died, replaced := 0, 0
	for died < kills() {
		if s.Layout, s.Object = "other", wide; replaced%2 == 1 {
			s.Layout, s.Object = "", ""
		}
		if r.IntN(3) == 0 { // the successor of one that died is of the other version
			replaced++
		}
		if take(time.Duration(r.Int64N(int64(usual)))) {
			died++
		} else {
			replaced++
		}
		if n, m := sent(), back(); n-m > 15 {
			t.Fatalf("after %d kills %d of %d datagrams are lost", died, n-m, n)
		}
		if out, err := a.run("ping", "-c", "1", "-W", "0.2", "10.0.0.5"); err == nil {
			t.Fatalf("after %d kills what is denied gets through:\n%s", died, out)
		}
	}
	s.Layout, s.Object = "", ""
	take(time.Minute)
	t.Logf("%d killed, %d times replaced", died, replaced)
	close(stop)
	time.Sleep(200 * time.Millisecond)
	if n, m := sent(), back(); n != m || n < 300 {
		t.Errorf("%d datagrams sent, %d came back", n, m)
	}
	w.open(h)
	if t.Failed() {
		w.explain(h)
	}
	left, err := filepath.Glob(filepath.Join(h.opts.Pin, "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("pins: %v, %v", left, err)
	}
}
