package verify

import (
	"math/rand/v2"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// Every path's exact answer is the model's: whether a packet arrives, and which rule or reason stops it.
func TestPathsAreWhatTheModelDoes(t *testing.T) {
	packets, delivered, denied := 0, 0, map[string]int{}
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 9))
		hosts := random.Hosts(r, 1+r.IntN(20))
		n, err := New(Source{Hosts: hosts}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all := n.anyone()
		all.exact = true
		for f := range all.outside { // also platform addresses and multicast
			all.outside[f] = Family(f).everything()[dimSrc]
		}
		paths := n.paths(all, all, false)
		exact := map[*path][]product{}
		for _, h := range hosts {
			for i := range h.Ports {
				port := &h.Ports[i]
				for range 60 {
					p := random.Packet(r, h, port.Index)
					w, ok := Opens(p, port)
					if !ok {
						continue
					}
					judged, ok := n.Judge(port.ID, w)
					if !ok {
						continue
					}
					models := map[string]*model.Model{}
					for _, h := range hosts {
						models[h.Name] = model.New(h)
					}
					v, steps := model.Send(models, h.Name, port.Index, p)
					packets++
					way := wayOf(paths, port, w)
					if way == nil {
						t.Fatalf("seed %d: no path for %v of %s", seed, w, port.ID)
					}
					hops := way.trace(w.point())
					blocked := blockers(hops)
					if b := blockers(judged); len(b) != len(blocked) || len(b) > 0 && b[0] != blocked[0] {
						t.Fatalf("seed %d: %v: judged %v, on its way %v", seed, w, judged, hops)
					}
					arrives := v.Action == model.Deliver || v.Action == model.Service
					if arrives != (len(blocked) == 0) {
						t.Fatalf("seed %d: %v: %s\n%v\nhops %v", seed, w, v, steps, hops)
					}
					if arrives {
						delivered++
					} else if b := blocked[0].By; b.Rule != v.Rule || v.Group != "" && b.Group != v.Group || v.Group == "" && b.Reason != v.Reason {
						t.Fatalf("seed %d: %v: %s\nhops %v", seed, w, v, hops)
					} else {
						denied[v.Reason.String()]++
					}
					if exact[way] == nil {
						exact[way], _ = n.every(way, passing)
						exact[way] = append(exact[way], product{})
					}
					in := 0
					for i := range exact[way] {
						if !exact[way][i].empty() && exact[way][i].holds(w.point()) {
							in++
						}
					}
					if (in == 1) != arrives || in > 1 {
						t.Fatalf("seed %d: %v is in %d boxes: %s", seed, w, in, v)
					}
				}
			}
		}
	}
	t.Log(packets, delivered, denied)
	if packets < 10_000 || delivered < packets/50 || denied["acl_rule"] == 0 || denied["acl_default"] == 0 || denied["acl_platform"] == 0 || denied["route_self"] == 0 {
		t.Errorf("%d packets, %d delivered, denied %v: the test shows little", packets, delivered, denied)
	}
}

func wayOf(paths []*path, port *goal.Port, w Packet) *path {
	for _, p := range paths {
		if p.from == nil || p.from.portOf(w.Src) == nil || p.from.portOf(w.Src).Index != port.Index || p.from.vnet.VNI != port.VNI {
			continue
		}
		x := w.point()
		if p.region[dimSrc].holds(x[dimSrc]) && p.region[dimDst].holds(x[dimDst]) && p.family == familyOf(w.Src) {
			return p
		}
	}
	return nil
}
