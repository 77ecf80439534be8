package random_test

import (
	"math/rand/v2"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/observe"
)

func TestHostsAreValid(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		for _, h := range random.Hosts(r, 1+r.IntN(60)) {
			if err := goal.Check(h); err != nil {
				t.Fatalf("seed %d: host %s: %v", seed, h.Name, err)
			}
		}
	}
}

// Every reason that a packet can meet under a goal must come up, and every action, or the twin tests less than it says.
func TestPacketsReachEveryVerdict(t *testing.T) {
	reasons, actions := map[observe.Reason]int{}, map[model.Action]int{}
	count := func(v model.Verdict) { reasons[v.Reason]++; actions[v.Action]++ }
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 2))
		for _, h := range random.Hosts(r, 40) {
			m := model.New(h)
			m.FlowLimit, m.FlowQuota, m.HalfOpen, m.MTU = 150, 60, 25, 1450
			for _, p := range h.Ports {
				m.SetDown(p.Index, r.IntN(20) == 0)
				for range 200 {
					packet := random.Packet(r, h, p.Index)
					v, _ := m.Out(p.Index, model.Parse(random.Frame(r, packet)))
					count(v)
				}
			}
			if len(h.Ports) > 0 {
				traffic := random.NewTraffic(r, h)
				for range 300 {
					port, p := traffic.Next()
					v, _ := m.Out(port, model.Parse(p.Frame()))
					count(v)
				}
			}
			for _, p := range h.Ports { // a packet from there says that it is ready
				m.SetReady(p.Index, r.IntN(10) != 0)
			}
			if len(h.VNets) > 0 {
				for range 200 {
					vni, outer, p := random.Overlay(r, h)
					v, _ := m.In(vni, outer, model.Parse(random.Frame(r, p)))
					count(v)
				}
			}
		}
	}
	notFromGoal := map[observe.Reason]bool{observe.PortUnknown: true, observe.ACLStale: true, observe.UplinkClosed: true, observe.Internal: true,
		observe.GuardHost: true, observe.KernelReceive: true, observe.KernelTransmit: true}
	for _, i := range observe.Reasons() {
		if reasons[i.Reason] == 0 && !notFromGoal[i.Reason] {
			t.Errorf("no packet met %s", i.Name)
		}
	}
	for _, a := range []model.Action{model.Drop, model.Deliver, model.Encap, model.Service, model.Answer} {
		if actions[a] == 0 {
			t.Errorf("no packet met %s", a)
		}
	}
	t.Logf("actions %v", actions)
	for _, i := range observe.Reasons() {
		t.Logf("%-20s %d", i.Name, reasons[i.Reason])
	}
}

// Traffic makes flows that later packets hit, in both directions.
func TestTrafficKnowsFlows(t *testing.T) {
	hits := map[model.Dir]int{}
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		for _, h := range random.Hosts(r, 10) {
			if len(h.Ports) == 0 {
				continue
			}
			m, traffic := model.New(h), random.NewTraffic(r, h)
			for range 300 {
				port, p := traffic.Next()
				_, steps := m.Out(port, model.Parse(p.Frame()))
				for _, s := range steps {
					if s.Layer == "flow" && s.Word == "hit" {
						hits[s.Dir]++
					}
				}
			}
		}
	}
	if hits[model.Out] < 500 || hits[model.In] < 500 {
		t.Errorf("hits %v", hits)
	}
}

// Of a thousand rules the last ones have their say too: in every tenth of a group rules are met.
func TestEveryRuleHasItsSay(t *testing.T) {
	var tenths [10]int
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 7))
		for _, h := range random.Hosts(r, 1000) {
			place := map[string]float64{} // group and rule → place in the group, 0 to 1
			for _, g := range h.Groups {
				for _, rules := range [][]goal.Rule{g.In, g.Out} {
					for i, rule := range rules[:len(rules)-3] {
						place[g.ID+rule.Name] = float64(i) / float64(len(rules)-3)
					}
				}
			}
			m := model.New(h)
			for _, p := range h.Ports {
				for range 300 {
					m.Forget()
					v, _ := m.Out(p.Index, random.Packet(r, h, p.Index))
					if at, ok := place[v.Group+v.Rule]; ok && len(h.Groups[0].In) > 100 {
						tenths[int(at*10)]++
					}
				}
			}
		}
	}
	t.Logf("denials by tenth of the group: %v", tenths)
	for i, n := range tenths {
		if n < 50 {
			t.Errorf("tenth %d: %d denials", i, n)
		}
	}
}
