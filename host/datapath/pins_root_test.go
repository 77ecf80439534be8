package datapath

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ringfence/goal"
	"ringfence/goal/model"
)

// Somebody removes the pins, all of them with their directories: the programs stay on their devices with the same maps, and are pinned
// again as the links that they were.
func TestPinsAreRemoved(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		const loopback = 1
		if err := j.d.AttachPort(loopback, 1); err != nil {
			t.Fatal(err)
		}
		send := func(what string) {
			t.Helper()
			v, _ := j.out(1, model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 1000, 53).Frame())
			j.want(what, v, model.Deliver, 0)
		}
		send("before")
		links, generation, missing := idsOf(t, j.d), j.d.Generation(), j.d.Missing([]uint32{1})
		if err := os.RemoveAll(j.d.opts.Pin); err != nil {
			t.Fatal(err)
		}
		if n := onDevice(t, loopback); n != 2 {
			t.Errorf("%d programs are on the device without pins, want both", n)
		}
		send("without pins")
		if got := j.d.Missing([]uint32{1}); len(got) < len(missing)+10 {
			t.Errorf("missing is %q", got)
		}
		put, err := j.d.Restore()
		if err != nil || len(put) < 12 {
			t.Fatalf("put back %q: %v", put, err)
		}
		if got := j.d.Missing([]uint32{1}); !slices.Equal(got, missing) {
			t.Errorf("missing is %q, was %q", got, missing)
		}
		if got := idsOf(t, j.d); !slices.Equal(got, links) {
			t.Errorf("links are %v, were %v", got, links)
		}
		if put, err := j.d.Restore(); err != nil || put != nil {
			t.Errorf("again: %q, %v", put, err)
		}

		// One link's pin alone: attaching again, as every look at the host does, puts no second link beside it.
		if err := os.Remove(filepath.Join(j.d.opts.links(), portLink(1))); err != nil {
			t.Fatal(err)
		}
		if err := j.d.AttachPort(loopback, 1); err != nil {
			t.Fatal(err)
		}
		if got, n := idsOf(t, j.d), onDevice(t, loopback); !slices.Equal(got, links) || n != 2 {
			t.Errorf("links are %v, were %v; %d programs", got, links, n)
		}

		// The successor finds everything.
		o := j.d.opts
		j.d.Close()
		j.d = openTest(t, o)
		if g := j.d.Generation(); g != generation {
			t.Errorf("generation %d, was %d", g, generation)
		}
		send("with a successor")
		if err := j.d.DetachPort(1); err != nil {
			t.Fatal(err)
		}
		if n := onDevice(t, loopback); n != 0 {
			t.Errorf("%d programs stay on a device that is let go", n)
		}
	})
}

func idsOf(t *testing.T, d *Datapath) (ids []link.ID) {
	t.Helper()
	for _, name := range []string{portLink(1), portLink(1) + closedSuffix, portLink(1) + sentSuffix} {
		l, err := link.LoadPinnedLink(filepath.Join(d.opts.links(), name), nil)
		if err != nil {
			t.Fatal(err)
		}
		i, err := l.Info()
		l.Close()
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, i.ID)
	}
	return ids
}

func onDevice(t *testing.T, ifindex int) int {
	t.Helper()
	r, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		t.Fatal(err)
	}
	return len(r.Programs)
}
