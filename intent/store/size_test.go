package store

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence/intent/resource"
)

// A large document that is replaced again and again leaves database, memory and latency as they were. With RINGFENCE_SOAK=1
// it is replaced 100,000 times.
func TestSizeIsBounded(t *testing.T) {
	rounds, history := 150, int64(2<<20)
	if os.Getenv("RINGFENCE_SOAK") == "1" {
		rounds, history = 100_000, 32<<20
	}
	s := start(t, Options{CompactBytes: history, NoSync: true})
	must(t, s, put(group(t)))
	const stages = 10
	var memory [stages]int64
	var mean [stages]time.Duration
	for stage := range stages {
		slowest, largest, began := time.Duration(0), int64(0), time.Now()
		for i := range rounds / stages {
			at := time.Now()
			must(t, s, put(large(t, stage*rounds+i)))
			slowest = max(slowest, time.Since(at))
			if i%50 == 49 || i == rounds/stages-1 {
				largest = max(largest, fileSize(t, s))
			}
		}
		memory[stage], mean[stage] = anonymous(t), time.Since(began)/time.Duration(rounds/stages)
		t.Logf("stage %d: %v each, slowest %v, database %d MiB, memory %d MiB", stage, mean[stage].Round(time.Microsecond),
			slowest.Round(time.Microsecond), largest>>20, memory[stage]>>20)
		if largest > 8*history+16<<20 {
			t.Fatalf("the database grew to %d MiB", largest>>20)
		}
	}
	// The first stage fills what etcd keeps in memory: the entries since its last snapshot.
	if memory[stages-1] > memory[1]+128<<20 {
		t.Errorf("the memory grew from %d to %d MiB", memory[1]>>20, memory[stages-1]>>20)
	}
}

// A store that runs out of space refuses writes as what they are, stays as it was, and takes writes again when the history
// could be dropped.
func TestOutOfSpace(t *testing.T) {
	s := start(t, Options{Quota: 24 << 20, CompactBytes: 1 << 40, CompactRevisions: 1 << 40, NoSync: true, Log: slog.New(slog.DiscardHandler)})
	must(t, s, put(group(t)))
	var err error
	last := 0
	for ; err == nil && last < 500; last++ {
		var rev uint64
		if rev, err = s.Commit(ctx(t), put(large(t, last))); err == nil {
			_, err = s.Wait(ctx(t), rev)
		}
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("after %d writes: %v", last, err)
	}
	want := large(t, last-2).Body
	if got := s.Snapshot().Get(large(t, 0).Key()); !bytes.Equal(got.Body, want) {
		t.Error("the document is not the last one that was accepted")
	}
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		rev, err := s.Commit(ctx(t), put(large(t, 1000)))
		if err == nil {
			if _, err := s.Wait(ctx(t), rev); err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, ErrNoSpace) || time.Since(began) > 20*time.Second {
			t.Fatal(err)
		}
	}
}

func fileSize(t *testing.T, s *Store) int64 {
	t.Helper()
	file, _, err := s.Size(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// anonymous is the memory of this process that no file is behind.
func anonymous(t *testing.T) int64 {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb int64
		if _, err := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatal("no RssAnon in /proc/self/status")
	return 0
}

// noise is a megabyte that compresses to half its size, as hexadecimal digits do.
var noise = sync.OnceValue(func() string {
	r := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	for b.Len() < 1<<20 {
		fmt.Fprintf(&b, "%016x", r.Uint64())
	}
	return b.String()
})

// large is a document of 400 KB that compresses badly.
func large(t testing.TB, seed int) *resource.Doc {
	from := seed * 997 % (600 << 10)
	return doc(t, rg+"/providers/Microsoft.Network/networkSecurityGroups/large",
		fmt.Sprintf(`{"location":"westus","tags":{"a":"%d %s"}}`, seed, noise()[from:from+400<<10]))
}
