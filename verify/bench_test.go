package verify

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/random"
)

// The benchmarks are over lists of random.List: every manner, both families, several seeds. Figures per list are reported as
// median and worst, because the lists differ more than the runs.

type benchList struct {
	name  string
	rules []goal.Rule
}

func benchLists(n, seeds int) []benchList {
	var out []benchList
	for _, m := range random.Manners {
		for _, v6 := range []bool{false, true} {
			for seed := range seeds {
				r := rand.New(rand.NewPCG(uint64(seed), 11))
				out = append(out, benchList{fmt.Sprintf("%s v6=%t seed %d", m.Name, v6, seed), random.List(r, n, m, v6)})
			}
		}
	}
	return out
}

// report says median and worst of the lists' best times.
func report(b *testing.B, times []time.Duration, names []string) {
	worst := 0
	for i := range times {
		if times[i] > times[worst] {
			worst = i
		}
	}
	b.Logf("worst: %s", names[worst])
	sorted := slices.Sorted(slices.Values(times))
	b.ReportMetric(float64(sorted[len(sorted)/2].Microseconds())/1000, "ms/median")
	b.ReportMetric(float64(sorted[len(sorted)-1].Microseconds())/1000, "ms/worst")
	b.ReportMetric(float64(sorted[len(sorted)*95/100].Microseconds())/1000, "ms/p95")
}

// each runs a question on every list, the best of three.
func each(b *testing.B, lists []benchList, ask func(i int)) {
	var times []time.Duration
	var names []string
	for b.Loop() {
		times, names = nil, nil
		for i, l := range lists {
			best := time.Hour
			for range 3 {
				at := time.Now()
				ask(i)
				best = min(best, time.Since(at))
			}
			times, names = append(times, best), append(names, l.name)
		}
	}
	report(b, times, names)
}

// BenchmarkJudge1000: every rule of a list of 1,000 is dead, with its covering rules, or has a witness.
func BenchmarkJudge1000(b *testing.B) {
	lists := benchLists(1000, 5)
	dead := 0
	each(b, lists, func(i int) {
		dead = 0
		for _, j := range JudgeRules(lists[i].rules, nil) {
			if j.Unknown {
				b.Fatalf("%s: rule %d is not judged", lists[i].name, j.Index)
			}
			if !j.Live {
				dead++
			}
		}
	})
	b.ReportMetric(float64(dead), "dead")
}

// BenchmarkJudge10000 is the same on 10,000.
func BenchmarkJudge10000(b *testing.B) {
	lists := benchLists(10_000, 1)
	each(b, lists, func(i int) {
		for _, j := range JudgeRules(lists[i].rules, nil) {
			if j.Unknown {
				b.Fatalf("%s: rule %d is not judged", lists[i].name, j.Index)
			}
		}
	})
}

// BenchmarkDiffOneEdit: the exact difference that one edit of a list of 1,000 makes.
func BenchmarkDiffOneEdit(b *testing.B) {
	lists := benchLists(1000, 4)
	edited := make([][]goal.Rule, len(lists))
	for i := range lists {
		edited[i] = mutate(rand.New(rand.NewPCG(uint64(i), 12)), lists[i].rules)
	}
	each(b, lists, func(i int) {
		if _, known := CompareRules(lists[i].rules, edited[i], nil, nil); !known {
			b.Fatalf("%s: unknown", lists[i].name)
		}
	})
}

// BenchmarkEquivalence1000: a list of 1,000 against the same rewritten in a hundred places without changing anything.
func BenchmarkEquivalence1000(b *testing.B) {
	lists := benchLists(1000, 4)
	rewritten := make([][]goal.Rule, len(lists))
	for i := range lists {
		r := rand.New(rand.NewPCG(uint64(i), 13))
		rewritten[i] = lists[i].rules
		for range 100 {
			rewritten[i] = rewrite(r, rewritten[i])
		}
	}
	each(b, lists, func(i int) {
		if yes, known := Equivalent(lists[i].rules, rewritten[i], nil, nil); !yes || !known {
			b.Fatalf("%s: %v %v", lists[i].name, yes, known)
		}
	})
}

// BenchmarkNetwork: 5,000 NICs of 100 subnets, each with a group of 1,000 rules, and 50 invariants: cold, and again after one rule
// of one group was edited.
func BenchmarkNetwork(b *testing.B) {
	h := largeHost(5000, 100, 1000)
	checks := largeChecks(100, 50)
	var cold, edit time.Duration
	for b.Loop() {
		memo := NewMemo()
		at := time.Now()
		ask := func(h *goal.Host) []Result {
			n, err := New(Source{Hosts: []*goal.Host{h}}, memo)
			if err != nil {
				b.Fatal(err)
			}
			rs, err := n.Check(checks, nil)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range rs {
				if r.Status == Unknown {
					b.Fatalf("%s: %s", r.ID, r.Text)
				}
			}
			return rs
		}
		ask(h)
		cold = time.Since(at)
		h.Groups[7].In = mutate(rand.New(rand.NewPCG(1, 1)), h.Groups[7].In)
		at = time.Now()
		rs := ask(h)
		edit = time.Since(at)
		n := map[Status]int{}
		for _, r := range rs {
			n[r.Status]++
		}
		b.Log(n)
	}
	b.ReportMetric(float64(cold.Milliseconds()), "ms/cold")
	b.ReportMetric(float64(edit.Milliseconds()), "ms/edit")
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys>>20), "MiB/sys")
}

// largeHost is one VNet with a group of rules per subnet, between the subnets' addresses and others.
func largeHost(nics, subnets, rules int) *goal.Host {
	r := rand.New(rand.NewPCG(5, 5))
	h := &goal.Host{Name: "host1", Generation: 1, Underlay: netip.MustParseAddr("198.18.0.11")}
	v := goal.VNet{VNI: 100, ID: prod, Prefixes: pfx("10.0.0.0/8"), Sets: []goal.Set{
		{Name: goal.SetAzureLoadBalancer, Prefixes: pfx("168.63.129.16/32")},
		{Name: goal.SetInternet, Prefixes: pfx("1.0.0.0/8", "8.0.0.0/7", "16.0.0.0/4", "128.0.0.0/3", "203.0.113.0/24")},
		{Name: goal.SetVirtualNetwork, Prefixes: pfx("10.0.0.0/8", "168.63.129.16/32")},
	}}
	subnet := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16) }
	for g := range subnets {
		in := random.List(r, rules, random.Manners[g%3], false)
		for i := range in[:rules] { // between subnets of this network, mostly
			if r.IntN(3) > 0 {
				in[i].Src = goal.Match{Prefixes: []netip.Prefix{subnet(r.IntN(subnets))}}
			}
			if r.IntN(3) > 0 {
				s := subnet(g)
				a := s.Addr().As4()
				a[3] = byte(4 + r.IntN(60))
				in[i].Dst = goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(a), []int{16, 26, 28, 32}[r.IntN(4)]).Masked()}}
			}
		}
		in, out := defaults(in[:rules], nil)
		h.Groups = append(h.Groups, goal.Group{ID: fmt.Sprintf("/groups/nsg%03d", g), In: in, Out: out})
	}
	for i := range nics {
		g := i % subnets
		a := netip.AddrFrom4([4]byte{10, byte(g), 0, byte(4 + i/subnets)})
		h.Ports = append(h.Ports, goal.Port{Index: uint32(i + 1), ID: fmt.Sprintf("/nics/nic%04d", i), VNI: 100, SubnetGroup: h.Groups[g].ID, SubnetID: fmt.Sprintf("%s/subnets/s%03d", prod, g),
			Addresses: []goal.Address{{IP: a, Subnet: subnet(g), Primary: true}}})
	}
	h.VNets = []goal.VNet{v}
	return h
}

// largeChecks are invariants of every kind about few subnets, and some about many.
func largeChecks(subnets, n int) Checks {
	c := Checks{Zones: Zones{"net": {Tags: []string{"Internet"}}}}
	name := func(i int) string { return fmt.Sprintf("s%03d", i%subnets) }
	for i := range subnets {
		c.Zones[name(i)] = Zone{Subnets: []string{"prod/" + name(i)}}
	}
	for i := range n {
		a := Assertion{ID: fmt.Sprint(i)}
		switch i % 5 {
		case 0:
			a.None = &Traffic{To: name(i), Protocols: []uint8{goal.TCP}, DstPorts: []goal.PortRange{{Lo: 3389, Hi: 3389}}} // from anywhere
		case 1:
			a.None = &Traffic{From: "net", To: name(i)}
		case 2:
			a.All = tcp(name(i), name(i+7), 443)
		case 3:
			a.Some = tcp(name(i), name(i+3), 1433)
		case 4:
			a.None, a.Except = &Traffic{From: name(i), To: name(i + 1)}, []Traffic{*tcp(name(i), name(i+1), 80)}
		}
		c.Assert = append(c.Assert, a)
	}
	return c
}

// BenchmarkLint1000: everything that lint says about a network with one group of 1,000 rules.
func BenchmarkLint1000(b *testing.B) {
	h := largeHost(50, 1, 1000)
	for b.Loop() {
		n, err := New(Source{Hosts: []*goal.Host{h}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		fs, unknown := n.Lint()
		if len(unknown) > 0 {
			b.Fatal(unknown)
		}
		b.ReportMetric(float64(len(fs)), "findings")
	}
}
