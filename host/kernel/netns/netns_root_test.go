package netns_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

var counter atomic.Int64

// name is unique to this process; the namespace is removed at the test's end.
func name(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := fmt.Sprintf("rftest-%d-%d", os.Getpid(), counter.Add(1))
	t.Cleanup(func() {
		if err := netns.Delete(n); err != nil {
			t.Error(err)
		}
	})
	return n
}

func TestNewListDelete(t *testing.T) {
	n := name(t)
	if netns.Exists(n) {
		t.Fatal("exists before it was made")
	}
	if err := netns.New(n); err != nil {
		t.Fatal(err)
	}
	if err := netns.New(n); err == nil {
		t.Fatal("made twice")
	}
	if created, err := netns.Ensure(n); created || err != nil {
		t.Fatalf("Ensure of an existing namespace: %v, %v", created, err)
	}
	if out, err := exec.Command("ip", "netns", "exec", n, "ip", "-br", "link").CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "lo ") {
		t.Fatalf("ip does not see it: %v: %s", err, out)
	}
	list, err := netns.List(n)
	if err != nil || !slices.Equal(list, []string{n}) {
		t.Fatalf("List: %v, %v", list, err)
	}
	for range 2 {
		if err := netns.Delete(n); err != nil {
			t.Fatal(err)
		}
	}
	if netns.Exists(n) {
		t.Fatal("exists after it was removed")
	}
}

// A name whose mount was lost is replaced, as after somebody unmounted it by hand.
func TestEnsureReplacesLostMount(t *testing.T) {
	n := name(t)
	if err := os.MkdirAll(netns.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(netns.Path(n), nil, 0o444); err != nil {
		t.Fatal(err)
	}
	if created, err := netns.Ensure(n); !created || err != nil {
		t.Fatalf("Ensure: %v, %v", created, err)
	}
	if !netns.Exists(n) {
		t.Fatal("no namespace")
	}
}

func TestDoKeepsThreadsApart(t *testing.T) {
	names := []string{name(t), name(t), name(t)}
	want := map[string]uint64{}
	for _, n := range names {
		if err := netns.New(n); err != nil {
			t.Fatal(err)
		}
		want[n], _ = netns.Inode(n)
	}
	own, err := netns.Inode("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			n := names[i%len(names)]
			err := netns.Do(n, func() error {
				in, err := netns.Inode("/proc/thread-self/ns/net")
				if err != nil || in != want[n] {
					return fmt.Errorf("inside %s: %d, %v", n, in, err)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if after, err := netns.Inode("/proc/thread-self/ns/net"); err != nil || after != own {
				t.Errorf("outside: %d, %v, want %d", after, err, own)
			}
		})
	}
	wg.Wait()
}

// Two namespaces hold the same address; a listener stays in the one it was opened in.
func TestSocketStaysInside(t *testing.T) {
	a, b := name(t), name(t)
	for _, n := range []string{a, b} {
		if err := netns.New(n); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("ip", "-n", n, "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	var l net.Listener
	if err := netns.Do(a, func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:7777")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dial := func() error {
		c, err := net.Dial("tcp", "127.0.0.1:7777")
		if err == nil {
			c.Close()
		}
		return err
	}
	if err := netns.Do(a, dial); err != nil {
		t.Errorf("inside: %v", err)
	}
	if err := netns.Do(b, dial); err == nil {
		t.Error("the listener is reachable from another namespace")
	}
}

func TestDoReturnsErrorsAndPanics(t *testing.T) {
	n := name(t)
	if err := netns.New(n); err != nil {
		t.Fatal(err)
	}
	sentinel := errors.New("sentinel")
	if err := netns.Do(n, func() error { return sentinel }); !errors.Is(err, sentinel) {
		t.Errorf("got %v", err)
	}
	defer func() {
		if r := recover(); r != "boom" {
			t.Errorf("recovered %v", r)
		}
	}()
	netns.Do(n, func() error { panic("boom") })
}

// A name that stands for the machine's own namespace, or for no namespace, endangers nobody.
func TestProcessesOfOwnNamespace(t *testing.T) {
	own, plain := name(t), name(t)
	if err := os.MkdirAll(netns.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{own, plain} {
		if err := os.WriteFile(netns.Path(n), nil, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("/proc/self/ns/net", netns.Path(own), "none", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if !netns.Exists(own) || netns.Exists(plain) {
		t.Fatal("the names do not stand for what they should")
	}
	if pids, err := netns.Processes(own, plain, "rftest-nosuch"); err != nil || len(pids) > 0 {
		t.Errorf("got %v, %v", pids, err)
	}
}

func TestKill(t *testing.T) {
	a, b := name(t), name(t)
	cmds := map[string]*exec.Cmd{}
	for _, n := range []string{a, b} {
		if err := netns.New(n); err != nil {
			t.Fatal(err)
		}
		cmds[n] = exec.Command("sleep", "1000")
		if err := netns.Do(n, cmds[n].Start); err != nil {
			t.Fatal(err)
		}
	}
	if pids, err := netns.Processes(a); err != nil || !slices.Equal(pids, []int{cmds[a].Process.Pid}) {
		t.Errorf("processes: %v, %v", pids, err)
	}
	if err := netns.Kill(a); err != nil {
		t.Fatal(err)
	}
	if err := cmds[a].Wait(); err == nil {
		t.Error("it ended by itself")
	}
	if err := cmds[b].Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other namespace's: %v", err)
	}
	cmds[b].Process.Kill()
	cmds[b].Wait()
}

func TestRefusals(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "a/b", "a\x00b", strings.Repeat("x", 201)} {
		if err := netns.New(bad); err == nil {
			t.Errorf("New(%q) succeeded", bad)
		}
		if err := netns.Delete(bad); err == nil {
			t.Errorf("Delete(%q) succeeded", bad)
		}
	}
	if err := netns.Do("rftest-does-not-exist", func() error { return nil }); err == nil {
		t.Error("entered a namespace that does not exist")
	}
}
