package datapath

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
)

// What is booked is counted, and what is not pinned is said.
func TestUse(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		j.out(1, model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 1000, 53).Frame())
		used, limit, err := j.d.FlowUse()
		if want := uint64(j.d.opts.Flows + j.d.opts.Flows/4); err != nil || used != 2 || limit != want {
			t.Errorf("%d of %d flows (%v), want 2 of %d", used, limit, err, want)
		}
		all := []string{"link overlay is not pinned", "link overlay-closed is not pinned", "link service is not pinned", "link service-closed is not pinned",
			"link port-1 is not pinned", "link port-1-closed is not pinned", "link port-1-sent is not pinned"}
		if got := j.d.Missing([]uint32{1}); !slices.Equal(got, all) {
			t.Errorf("missing is %q", got)
		}
		const loopback = 1
		if err := j.d.AttachPort(loopback, 1); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(j.d.opts.maps(), "flows4")); err != nil {
			t.Fatal(err)
		}
		if got, want := j.d.Missing([]uint32{1}), append([]string{"map flows4 is not pinned"}, all[:4]...); !slices.Equal(got, want) {
			t.Errorf("missing is %q, want %q", got, want)
		}
		if err := j.d.detach(portLink(1)); err != nil {
			t.Fatal(err)
		}
	})
}
