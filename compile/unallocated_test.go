package compile_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/resource"
)

// What has no number of its own, or no address, is not on the network; the rest is, and every goal passes its check.
func TestWhatIsNotAllocated(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(*resource.View)
		want  string // in a problem
	}{
		"no VNI": {func(v *resource.View) {
			for _, n := range v.VNets {
				n.VNI = 0
			}
		}, "no VNI of its own"},
		"one VNI for two": {func(v *resource.View) {
			for _, n := range v.VNets {
				n.VNI = 7
			}
		}, "no VNI of its own"},
		"no port": {func(v *resource.View) {
			for _, n := range v.NICs {
				n.Port = 0
			}
		}, "no port number of its own"},
		"one port for all": {func(v *resource.View) {
			for _, n := range v.NICs {
				n.Port = 7
			}
		}, "no port number of its own"},
		"no address": {func(v *resource.View) {
			for _, n := range v.NICs {
				n.IPConfigs = nil
			}
		}, "the NIC is not on the network"},
		"an address in another subnet": {func(v *resource.View) {
			for _, n := range v.NICs {
				if len(n.IPConfigs) > 1 {
					n.IPConfigs[1].Subnet += "x"
				}
			}
		}, "in another subnet"},
	} {
		v, f := randomView(rand.New(rand.NewPCG(11, 9)))
		for _, vm := range v.VMs {
			vm.Host = "host1"
		}
		c.spoil(v)
		hosts, problems := compile.Build(v, f, nil)
		found := false
		for _, p := range problems {
			found = found || strings.Contains(p.Effect, c.want)
		}
		if !found {
			t.Errorf("%s: problems %+v", name, problems)
		}
		for _, h := range hosts {
			if err := goal.Check(h); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
