package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"
)

var testCounter atomic.Int32

// needRoot ends the test where it cannot work; under make test that is a failure.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("RINGFENCE_ROOT") == "1" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func testOptions(t testing.TB) Options {
	t.Helper()
	needRoot(t)
	o := Options{Pin: filepath.Join("/sys/fs/bpf", fmt.Sprintf("rft-%d-%d", os.Getpid(), testCounter.Add(1))),
		Instance: "test", Underlay: netip.MustParseAddr("198.18.0.11"), Flows: 1 << 14, Ports: 64, Groups: 256}
	t.Cleanup(func() {
		if err := Remove(o.Pin); err != nil {
			t.Error(err)
		}
	})
	return o
}

func openTest(t testing.TB, o Options) *Datapath {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			t.Fatalf("%+v", ve)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestOpenAndReopen(t *testing.T) {
	o := testOptions(t)
	d := openTest(t, o)
	for name, p := range d.coll.Programs {
		i, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := i.VerifiedInstructions()
		j, _ := i.JitedSize()
		t.Logf("%s: %d instructions verified, %d bytes of machine code", name, n, j)
	}
	if g := d.Generation(); g != 0 {
		t.Errorf("generation %d of a new data plane", g)
	}
	old := filepath.Join(o.Pin, "maps-0")
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	d.Close()
	openTest(t, o)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins of another layout are left: %v", err)
	}
}
