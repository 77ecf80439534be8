package datapath

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"ringfence/goal"
	"ringfence/goal/random"
)

// The process dies between any two steps of putting a goal into force; a fresh one is given another goal. Then every packet is
// judged as if nothing had happened, and nothing of the half update is left.
func TestDieAnywhere(t *testing.T) {
	inJudge(t, func(o *Options) { o.Ports, o.Groups, o.Flows = 256, 1024, 1<<14 }, func(j *judge) {
		n := len((&update{}).steps())
		for k := range n {
			r := rand.New(rand.NewPCG(uint64(k), 11))
			h := random.Hosts(r, 12)[0]
			for len(h.Ports) == 0 {
				h = random.Hosts(r, 12)[0]
			}
			j.load(h)
			next := change(r, h)
			next.Generation = j.d.Generation() + 1
			u := j.d.begin(next, func(p uint32) (int, bool) { i, ok := j.of[p]; return i, ok })
			for i, step := range u.steps()[:k+1] {
				if err := step(); err != nil {
					t.Fatalf("step %d: %v", i, err)
				}
			}
			underlay := j.d.opts.Underlay
			if err := j.d.Close(); err != nil {
				t.Fatal(err)
			}
			o := j.d.opts
			o.Underlay = underlay
			j.d = openTest(t, o)
			last := change(r, next)
			j.apply(last)
			if _, err := j.d.sweepAll(func(flowEntry) verdict { return force }); err != nil {
				t.Fatal(err)
			}
			seen := map[string]int{}
			j.play(j.model(last), last, r, 300, seen)
			j.holdsOnly(fmt.Sprintf("after dying at step %d", k), last)
			if t.Failed() {
				return
			}
		}
	})
}

// holdsOnly reads the kernel's maps back: they hold what the goal says and nothing else.
func (j *judge) holdsOnly(when string, h *goal.Host) {
	j.t.Helper()
	var back state
	if err := back.read(j.d.coll); err != nil {
		j.t.Fatal(err)
	}
	groups, vnets, endpoints := map[groupKey]bool{}, map[uint32]bool{}, 0
	for _, p := range h.Ports {
		for _, id := range []string{p.NICGroup, p.SubnetGroup} {
			if id != "" {
				groups[groupKey{hash16([]byte(id)), p.VNI}] = true
			}
		}
	}
	for i := range h.VNets {
		n := &h.VNets[i]
		vnets[n.VNI] = true
		v := back.vnets[n.VNI]
		if v == nil {
			j.t.Errorf("%s: virtual network %d is missing", when, n.VNI)
			continue
		}
		if len(v.endpoints) != len(n.Endpoints) {
			j.t.Errorf("%s: virtual network %d has %d endpoints, not %d", when, n.VNI, len(v.endpoints), len(n.Endpoints))
		}
		if got, want := len(v.classes.ids), len(planOf(n).combos()); got != want {
			j.t.Errorf("%s: virtual network %d has %d classes, not %d", when, n.VNI, got, want)
		}
		endpoints += len(n.Endpoints)
	}
	all := 0
	var k endpointKey
	var v endpointValue
	it := j.d.coll.Maps["endpoints"].Iterate()
	for it.Next(&k, &v) {
		all++
	}
	if all != endpoints || len(back.vnets) != len(vnets) || len(back.groups) != len(groups) || len(back.ports) != len(h.Ports) {
		j.t.Errorf("%s: %d endpoints, %d virtual networks, %d groups, %d ports; not %d, %d, %d, %d", when, all, len(back.vnets), len(back.groups), len(back.ports), endpoints, len(vnets), len(groups), len(h.Ports))
	}
	if n := j.d.blobsHeld(); n != len(groups)+len(vnets) {
		j.t.Errorf("%s: %d tables held, not %d", when, n, len(groups)+len(vnets))
	}
	for _, p := range h.Ports {
		if s := back.ports[p.Index]; s == nil || !s.word.up() {
			j.t.Errorf("%s: port %d is not up", when, p.Index)
		}
	}
}
