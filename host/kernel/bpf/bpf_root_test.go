package bpf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("RINGFENCE_ROOT") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func TestProbe(t *testing.T) {
	needRoot(t)
	if err := Probe(); err != nil {
		t.Error(err)
	}
}

func TestEnsureFS(t *testing.T) {
	needRoot(t)
	dir := filepath.Join(FS, fmt.Sprintf("rft-fs-%d", os.Getpid()), "deep")
	defer os.RemoveAll(filepath.Dir(dir))
	for range 2 {
		if err := EnsureFS(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := EnsureFS(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not on a BPF file system") {
		t.Errorf("a directory elsewhere: %v", err)
	}
}

// Maps are visible as soon as PutInner returns, long before the kernel lets the writer go.
func TestPutInner(t *testing.T) {
	needRoot(t)
	inner := &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 8, InnerMap: inner})
	if err != nil {
		t.Fatal(err)
	}
	defer outer.Close()
	var in []Inner
	for _, slot := range []uint32{1, 5, 7} {
		m, err := ebpf.NewMap(inner)
		if err != nil {
			t.Fatal(err)
		}
		in = append(in, Inner{slot, m})
	}
	start := time.Now()
	var g sync.WaitGroup
	defer g.Wait()
	if err := PutInner(&g, outer, in); err != nil {
		t.Fatal(err)
	}
	t.Logf("visible after %v", time.Since(start))
	if used := UsedSlots(outer); fmt.Sprint(used) != "[1 5 7]" {
		t.Errorf("slots in use: %v", used)
	}
	if err := ClearInner(outer, []uint32{5, 6}); err != nil {
		t.Fatal(err)
	}
	if used := UsedSlots(outer); fmt.Sprint(used) != "[1 7]" {
		t.Errorf("slots in use: %v", used)
	}
}

func TestQuiesce(t *testing.T) {
	needRoot(t)
	for range 3 {
		start := time.Now()
		if err := Quiesce(); err != nil {
			t.Fatal(err)
		}
		t.Log(time.Since(start))
	}
	var after cpuSet
	if err := after.get(); err != nil {
		t.Fatal(err)
	}
	online, err := onlineCPUs()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range online {
		if after[c/64]>>(c%64)&1 == 0 {
			t.Errorf("the thread may not run on CPU %d any more", c)
		}
	}
}

func TestClock(t *testing.T) {
	needRoot(t)
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	time.Sleep(500 * time.Millisecond)
	b, err := c.Now()
	if err != nil {
		t.Fatal(err)
	}
	got, want := float64(b-a)/float64(c.Hz), time.Since(start).Seconds()
	t.Logf("%d Hz", c.Hz)
	if got < want*0.9-0.02 || got > want*1.1+0.02 {
		t.Errorf("%.3f s by the kernel's ticks, %.3f s have passed", got, want)
	}
}
