package datapath

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
	"ringfence/verify"
)

// What is proved is what is programmed: the verifier's word about a packet against the loaded programs, on packets at the borders of
// the rules, for several configurations: the verdict, the rule that decides, and of other layers the reason.

const (
	proofPackets        = 1_000_000 // of each configuration when soaked; a fiftieth in the short form
	proofConfigurations = 6
)

func TestProvedIsProgrammed(t *testing.T) {
	o := testOptions(t)
	o.Flows, o.Ports, o.Groups, o.UnderlayMTU = 1<<17, 256, 1024, 1500
	ns := fmt.Sprintf("rfv%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(ns) })
	if err := netns.Do(ns, func() error { proved(t, ns, o); return nil }); err != nil {
		t.Fatal(err)
	}
}

func proved(t *testing.T, ns string, o Options) {
	j := newJudge(t, ns, o)
	packets := proofPackets / 50
	if os.Getenv("RINGFENCE_SOAK") == "1" {
		packets = proofPackets
	}
	deciding := 0
	for seed := range uint64(proofConfigurations) {
		r := rand.New(rand.NewPCG(seed, 77))
		h := oneHost(random.Hosts(r, []int{8, 40, 400}[seed%3]))
		n, err := verify.New(verify.Source{Hosts: []*goal.Host{h}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		j.load(h)
		seen, rules := map[string]int{}, map[string]bool{}
		for k := 0; k < packets; {
			port := &h.Ports[r.IntN(len(h.Ports))]
			p := model.Parse(random.Packet(r, h, port.Index).Frame()) // as it goes over the wire
			w, ok := verify.Opens(p, port)
			if !ok || !runnable(p.Frame()) {
				continue
			}
			hops, ok := n.Judge(port.ID, w)
			if !ok {
				continue
			}
			if k++; k%20_000 == 0 {
				j.forget()
			}
			want, v := wordOf(hops), model.Verdict{}
			if v, _ = j.out(port.Index, p.Frame()); word(v) != want {
				j.forget() // a conversation of an earlier packet may have let it pass
				v, _ = j.out(port.Index, p.Frame())
			}
			if word(v) != want {
				t.Fatalf("seed %d: %v of port %d: the kernel says %q, the verifier %q\n%v\n%s", seed, w, port.Index, word(v), want, hops, goal.Text(h))
			}
			seen[v.Action.String()+" "+v.Reason.String()]++
			if v.Rule != "" {
				rules[v.Group+v.Rule] = true
			}
		}
		t.Logf("configuration %d: %d ports, %d groups, %d rules that decided: %v", seed, len(h.Ports), len(h.Groups), len(rules), seen)
		if deciding += len(rules); seen["deliver none"] == 0 || len(rules) < 2 {
			t.Errorf("configuration %d: %v by %d rules: the test shows little", seed, seen, len(rules))
		}
	}
	if deciding < 100 {
		t.Errorf("only %d rules decided: the test shows little", deciding)
	}
}

// forget ends every flow.
func (j *judge) forget() {
	if _, err := j.d.sweepAll(func(flowEntry) verdict { return force }); err != nil {
		j.t.Fatal(err)
	}
}

// word is what both can say: arrival, or the rule or the reason of the drop.
func word(v model.Verdict) string {
	switch {
	case v.Action != model.Drop:
		return "arrives"
	case v.Rule != "":
		return v.Group + "/" + v.Rule
	}
	return v.Reason.String()
}

func wordOf(hops []verify.Hop) string {
	for _, h := range hops {
		if !h.Allow && h.By.Reason != observe.None {
			return h.By.Reason.String()
		}
		if !h.Allow {
			return h.By.ID()
		}
	}
	return "arrives"
}

// oneHost puts the ports of all hosts on one, so that every packet meets the rules of both ends, without limits.
func oneHost(hosts []*goal.Host) *goal.Host {
	out := &goal.Host{Name: "host1", Generation: 1, Underlay: hosts[0].Underlay}
	for _, h := range hosts {
		for _, p := range h.Ports {
			p.Limits = goal.Limits{}
			out.Ports = append(out.Ports, p)
		}
		for _, g := range h.Groups {
			if !slices.ContainsFunc(out.Groups, func(o goal.Group) bool { return o.ID == g.ID }) {
				out.Groups = append(out.Groups, g)
			}
		}
		for _, v := range h.VNets {
			i := slices.IndexFunc(out.VNets, func(o goal.VNet) bool { return o.VNI == v.VNI })
			if i < 0 {
				v.Endpoints = slices.Clone(v.Endpoints)
				for k := range v.Endpoints {
					v.Endpoints[k].Host = out.Underlay
				}
				v.Sets = slices.Clone(v.Sets)
				out.VNets = append(out.VNets, v)
				continue
			}
			for _, s := range v.Sets {
				if !slices.ContainsFunc(out.VNets[i].Sets, func(o goal.Set) bool { return o.Name == s.Name }) {
					out.VNets[i].Sets = append(out.VNets[i].Sets, s)
				}
			}
		}
	}
	slices.SortFunc(out.Ports, func(a, b goal.Port) int { return int(a.Index) - int(b.Index) })
	slices.SortFunc(out.Groups, func(a, b goal.Group) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(out.VNets, func(a, b goal.VNet) int { return int(a.VNI) - int(b.VNI) })
	for i := range out.VNets {
		slices.SortFunc(out.VNets[i].Sets, func(a, b goal.Set) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(out.VNets[i].Endpoints, func(a, b goal.Endpoint) int { return a.IP.Compare(b.IP) })
	}
	return out
}
