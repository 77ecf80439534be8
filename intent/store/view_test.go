package store

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"ringfence/intent/resource"
)

func vm(t testing.TB, name string, nics ...string) *resource.Doc {
	var list []string
	for _, n := range nics {
		list = append(list, fmt.Sprintf(`{"id":"%s/providers/Microsoft.Network/networkInterfaces/%s"}`, rg, n))
	}
	return doc(t, rg+"/providers/Microsoft.Compute/virtualMachines/"+name,
		`{"location":"westus","properties":{"networkProfile":{"networkInterfaces":[`+strings.Join(list, ",")+`]}}}`)
}

var compareViews = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

// Whichever views were asked for on the way, the last one is what building it from all documents gives, and the earlier
// ones are as they were.
func TestViewStepByStepIsViewFromScratch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		snap := Offline(nil, nil).With(put(group(t), vnet(t, "v", "web")))
		kept := snap
		before, _ := resource.BuildView(0, snap.Docs())
		for range rapid.IntRange(1, 30).Draw(rt, "steps") {
			n := fmt.Sprint("x", rapid.IntRange(0, 3).Draw(rt, "name"))
			some := rapid.SliceOfN(rapid.SampledFrom([]string{"x0", "x1", "X2", "gone"}), 0, 3).Draw(rt, "nics")
			d := rapid.SampledFrom([]*resource.Doc{nic(t, n, "v/web"), vm(t, n, some...), nsg(t, n), vnet(t, n, "web="+n)}).Draw(rt, "doc")
			w := put(d)
			if rapid.IntRange(0, 2).Draw(rt, "delete") == 0 {
				w = &Write{Delete: []string{d.Key()}}
			}
			snap = snap.With(w)
			if rapid.Bool().Draw(rt, "look") {
				snap.View()
			}
			if rapid.IntRange(0, 9).Draw(rt, "keep") == 0 {
				kept = snap
				before, _ = resource.BuildView(0, snap.Docs())
			}
		}
		for _, s := range []*Snapshot{snap, kept} {
			want, _ := resource.BuildView(0, s.Docs())
			if diff := cmp.Diff(want, s.View(), compareViews); diff != "" {
				rt.Fatal(diff)
			}
		}
		if diff := cmp.Diff(before, kept.View(), compareViews); diff != "" {
			rt.Fatal("an earlier view changed: ", diff)
		}
	})
}
