package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Inner is one map to be put into a slot of a map of maps.
type Inner struct {
	Slot uint32
	Map  *ebpf.Map
}

// PutInner puts maps into slots and returns as soon as lookups see them; it closes them. The kernel holds the writer back for
// a grace period of many milliseconds, for which nobody has to wait who puts into unused slots: the writer stays in g, and
// outer stays open until g is done.
func PutInner(g *sync.WaitGroup, outer *ebpf.Map, in []Inner) error {
	if len(in) == 0 {
		return nil
	}
	keys, fds := make([]uint32, len(in)), make([]uint32, len(in))
	for i, e := range in {
		keys[i], fds[i] = e.Slot, uint32(e.Map.FD())
	}
	last := in[len(in)-1]
	info, err := last.Map.Info()
	if err != nil {
		return fmt.Errorf("inner map: %w", err)
	}
	want, _ := info.ID()
	done := make(chan error, 1)
	g.Go(func() {
		_, err := outer.BatchUpdate(keys, fds, nil)
		for _, e := range in {
			e.Map.Close()
		}
		done <- err
	})
	for {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("fill %s: %w", outer, err)
			}
			return nil
		case <-time.After(20 * time.Microsecond):
			var id uint32
			if outer.Lookup(last.Slot, &id) == nil && ebpf.MapID(id) == want {
				return nil
			}
		}
	}
}

// ClearInner empties slots. It waits for a grace period.
func ClearInner(outer *ebpf.Map, slots []uint32) error {
	for _, s := range slots {
		if err := outer.Delete(s); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("clear %s: %w", outer, err)
		}
	}
	return nil
}

// UsedSlots lists the slots of a map of maps that hold a map.
func UsedSlots(outer *ebpf.Map) []uint32 {
	var used []uint32
	for s := uint32(0); s < outer.MaxEntries(); s++ {
		var id uint32
		if outer.Lookup(s, &id) == nil {
			used = append(used, s)
		}
	}
	return used
}

// Quiesce returns when every program run that was under way has ended: programs on packets run with softirqs off, so a
// thread that has been scheduled on a CPU has seen them end there. Where that does not hold, or a CPU cannot be visited, it
// waits for a grace period instead.
func Quiesce() error {
	if !preemptible && visitCPUs() == nil {
		return nil
	}
	const global = 1 // MEMBARRIER_CMD_GLOBAL
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); e != 0 {
		return fmt.Errorf("wait for a grace period: %w", e)
	}
	return nil
}

var preemptible = func() bool {
	b, err := os.ReadFile("/sys/kernel/realtime")
	return err == nil && strings.TrimSpace(string(b)) == "1"
}()

func visitCPUs() error {
	online, err := onlineCPUs()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before cpuSet
	if err := before.get(); err != nil {
		return err
	}
	defer before.set()
	for _, cpu := range online {
		var one cpuSet
		one[cpu/64] = 1 << (cpu % 64)
		if err := one.set(); err != nil {
			return err
		}
	}
	return nil
}

type cpuSet [64]uint64 // 4,096 CPUs

func (s *cpuSet) get() error { return s.call(unix.SYS_SCHED_GETAFFINITY) }
func (s *cpuSet) set() error { return s.call(unix.SYS_SCHED_SETAFFINITY) }

func (s *cpuSet) call(nr uintptr) error {
	if _, _, e := unix.Syscall(nr, 0, unsafe.Sizeof(*s), uintptr(unsafe.Pointer(s))); e != 0 {
		return e
	}
	return nil
}

// onlineCPUs reads a list such as 0-3,8.
func onlineCPUs() ([]int, error) {
	b, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return nil, fmt.Errorf("online CPUs: %w", err)
	}
	var cpus []int
	for part := range strings.SplitSeq(strings.TrimSpace(string(b)), ",") {
		var lo, hi int
		if n, _ := fmt.Sscanf(part, "%d-%d", &lo, &hi); n == 1 {
			hi = lo
		} else if n != 2 {
			return nil, fmt.Errorf("online CPUs: unexpected %q", part)
		}
		for c := lo; c <= hi && c < len(cpuSet{})*64; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}
