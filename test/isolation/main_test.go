// Package isolation tests what Ringfence is for: that nobody gets a packet that is not his, and that every packet which goes nowhere is counted
// under its reason. In: a lab of two hosts and two tenants with the same addresses, and raw frames that no honest machine sends. Out: whether any
// of them is seen where it has no business, by listening in every namespace of the lab, and whether the hosts' counters say of each exactly what
// the specification says.
package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var program string

// TestMain builds the program once; the lab comes up with the first test that needs it and goes down behind the last.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "ringfence-isolation-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() == 0 {
		program = filepath.Join(dir, "ringfence")
		if out, err := exec.Command("go", "build", "-o", program, "ringfence/cmd/ringfence").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	defer func() {
		if err := takeDown(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

var (
	once   sync.Once
	shared *lab
	upErr  error
)

// theLab is the one lab of this package's tests.
func theLab(t *testing.T) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root (Geteuid is not 0)")
	}
	once.Do(func() {
		shared = &lab{name: fmt.Sprintf("iso%d", os.Getpid())} // taken down also when it comes up only in part
		upErr = shared.up()
	})
	if upErr != nil {
		t.Fatal(upErr)
	}
	t.Cleanup(func() {
		if t.Failed() {
			shared.tellLogs(t)
		}
	})
	return shared
}

// takeDown removes the lab and looks whether anything is left.
func takeDown() error {
	if shared == nil {
		return nil
	}
	shared.bury()
	if out, err := exec.Command(program, "lab", "down", "--name", shared.name).CombinedOutput(); err != nil {
		return fmt.Errorf("lab down: %w: %s", err, out)
	}
	for _, pattern := range []string{"/run/netns/rf-" + shared.name + "-*", "/sys/fs/bpf/ringfence/" + shared.name, "/run/ringfence/" + shared.name + "/*", "/var/lib/ringfence/" + shared.name} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			return fmt.Errorf("lab down leaves %v", left)
		}
	}
	return nil
}
