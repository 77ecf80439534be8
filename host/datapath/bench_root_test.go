package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// The benchmarks are program test runs minus an empty program. The sender has the gateway's MAC, so that a frame that was
// delivered can be run again.

const benchGroup = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/"

// bigGroup has n rules per direction over many prefixes and ports, none of which matches the benchmark's packets but the one at
// position hit, and behind them the default rules.
func bigGroup(name string, n, prefixes, hit int) goal.Group {
	r := rand.New(rand.NewPCG(7, uint64(n)))
	g := goal.Group{ID: benchGroup + name}
	for in := range 2 {
		var rules []goal.Rule
		for i := range n {
			rule := goal.Rule{Name: fmt.Sprintf("securityRules/r%d", i), Priority: uint16(100 + i), Allow: i%2 == 0, Protocol: goal.TCP,
				SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{{Lo: uint16(20000 + i), Hi: uint16(20000 + 2*i)}}}
			m := goal.Match{}
			for range max(1, prefixes/max(1, n)) {
				m.Prefixes = append(m.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + r.IntN(150)), byte(r.IntN(256)), byte(r.IntN(256)), 0}), 24+r.IntN(8)).Masked())
			}
			rule.Src, rule.Dst = m, goal.Match{Any: true}
			if i == hit {
				rule.Src, rule.Allow, rule.Protocol = goal.Match{Any: true}, true, goal.ProtocolAny
				rule.DstPorts = []goal.PortRange{goal.AnyPort}
			}
			rules = append(rules, rule)
		}
		rules = append(rules, defaultRules(in == 1)...)
		if in == 1 {
			g.In = rules
		} else {
			g.Out = rules
		}
	}
	return g
}

type runway struct {
	d     *Datapath
	empty *ebpf.Program
	h     *goal.Host

	devices []int // of the ports; the first one's is lo, from which test runs come when nothing is said
}

// runwayDevices makes devices for four ports.
func runwayDevices(ns string) (all []int, err error) {
	err = netdev.With(ns, func(c *netdev.Conn) error {
		for _, name := range []string{"a", "c"} {
			if _, _, err := c.EnsureVeth(netdev.Veth{Name: name, Peer: netdev.Peer{Namespace: ns, Name: name + "2"}}); err != nil {
				return err
			}
		}
		list, err := c.List("")
		for _, l := range list {
			all = append(all, l.Index)
		}
		return err
	})
	slices.Sort(all) // lo is 1
	return all[:min(4, len(all))], err
}

// newRunway opens a data plane with two pairs of local ports; the four NSGs of a pair have n rules each; it calls fn in its namespace.
func newRunway(b testing.TB, flows, n, prefixes, hit int, fn func(*runway)) {
	o := testOptions(b)
	o.Flows, o.Quota, o.HalfOpen = flows, flows/2, flows
	ns := fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { netns.Delete(ns) })
	empty, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "MIT",
		AttachType: ebpf.AttachTCXIngress, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 7), asm.Return()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { empty.Close() })
	if err := netns.Do(ns, func() error {
		runtime.LockOSThread()
		devices, err := runwayDevices(ns)
		if err != nil {
			return err
		}
		d := openTest(b, o)
		h := testGoals([]*wireHost{{underlay: o.Underlay}}, 4)[0]
		h.Groups = nil
		for i := range h.Ports {
			p := &h.Ports[i]
			p.MAC = model.Gateway
			p.NICGroup, p.SubnetGroup = benchGroup+fmt.Sprint("n", i%2), benchGroup+fmt.Sprint("s", i%2)
			if i >= 2 {
				continue
			}
			h.Groups = append(h.Groups, bigGroup(fmt.Sprint("n", i), n, prefixes, hit), bigGroup(fmt.Sprint("s", i), n, prefixes, hit))
		}
		(&wire{t: b}).apply(&wireHost{dp: d, ports: map[uint32]*wirePort{1: {ifindex: devices[0]}, 2: {ifindex: devices[1]}, 3: {ifindex: devices[2]}, 4: {ifindex: devices[3]}}}, h)
		fn(&runway{d, empty, h, devices})
		return nil
	}); err != nil {
		b.Fatal(err)
	}
}

func (r *runway) frame(sport, dport uint16, flags uint8, v6 bool) []byte {
	i := 0
	if v6 {
		i = 1
	}
	p := model.Open(&r.h.Ports[0], goal.TCP, r.h.Ports[1].Addresses[i].IP, sport, dport)
	p.TCPFlags, p.Len = flags, 100
	return p.Frame()
}

// answer is a frame of the second port to the first.
func (r *runway) answer(flags uint8) []byte {
	p := model.Open(&r.h.Ports[1], goal.TCP, r.h.Ports[0].Addresses[0].IP, 0, 0)
	p.TCPFlags, p.Len = flags, 100
	return p.Frame()
}

// agree lets the second port answer a SYN.
func (r *runway) agree(b testing.TB, sport, dport uint16, v6 bool) {
	b.Helper()
	i := map[bool]int{false: 0, true: 1}[v6]
	p := model.Open(&r.h.Ports[1], goal.TCP, r.h.Ports[0].Addresses[i].IP, sport, dport)
	p.TCPFlags = model.SYN | model.ACK
	ret, err := r.d.coll.Programs["port_out"].Run(&ebpf.RunOptions{Data: p.Frame(), Context: skb{Ifindex: uint32(r.devices[1])}})
	if err != nil || ret != 7 {
		b.Fatalf("returned %d: %v", ret, err)
	}
}

// cost runs a frame n times and returns nanoseconds per run, without what an empty program takes.
func (r *runway) cost(b testing.TB, frame []byte, n int) float64 {
	b.Helper()
	ret, all, err := r.d.coll.Programs["port_out"].Benchmark(frame, n, nil)
	if err != nil || ret != 7 {
		b.Fatalf("returned %d: %v", ret, err)
	}
	_, nothing, err := r.empty.Benchmark(frame, n, nil)
	if err != nil {
		b.Fatal(err)
	}
	return float64(all - nothing) // Benchmark gives the time of one run
}

func BenchmarkEstablished(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		b.Run(fmt.Sprintf("v6=%v", v6), func(b *testing.B) {
			newRunway(b, 1<<16, 1000, 4000, -1, func(r *runway) {
				r.cost(b, r.frame(1000, 2000, model.SYN, v6), 1)
				r.agree(b, 2000, 1000, v6)
				frame := r.frame(1000, 2000, model.ACK, v6)
				var ns []float64
				for range 21 {
					ns = append(ns, r.cost(b, frame, 100_000))
				}
				slices.Sort(ns)
				b.ReportMetric(ns[10], "ns/packet")
				b.ReportMetric(ns[0], "ns/packet-best")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// BenchmarkFirst judges fresh tuples, one run each: both ends' four groups and both flow entries.
func BenchmarkFirst(b *testing.B) {
	for _, c := range []struct {
		name           string
		rules, hit, v6 int
	}{{"default", 1000, -1, 0}, {"rule1", 1000, 0, 0}, {"rule500", 1000, 499, 0}, {"rules=1", 1, -1, 0}, {"default6", 1000, -1, 1}} {
		b.Run(c.name, func(b *testing.B) {
			newRunway(b, 1<<18, c.rules, 4*c.rules, c.hit, func(r *runway) {
				var ns []time.Duration
				nothing := r.emptyOnce(b)
				for i := range 20_000 {
					ret, d, err := r.d.coll.Programs["port_out"].Benchmark(r.frame(uint16(1024+i), uint16(2000+i%7), model.SYN, c.v6 == 1), 1, nil)
					if err != nil || ret != 7 {
						b.Fatalf("returned %d: %v", ret, err)
					}
					ns = append(ns, d-nothing)
				}
				slices.Sort(ns)
				b.ReportMetric(float64(ns[len(ns)/2]), "ns-p50")
				b.ReportMetric(float64(ns[len(ns)*99/100]), "ns-p99")
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// emptyOnce is the median of single runs of nothing.
func (r *runway) emptyOnce(b testing.TB) time.Duration {
	var ns []time.Duration
	for range 2001 {
		_, d, err := r.empty.Benchmark(r.frame(1, 2, model.SYN, false), 1, nil)
		if err != nil {
			b.Fatal(err)
		}
		ns = append(ns, d)
	}
	slices.Sort(ns)
	return ns[len(ns)/2]
}

// BenchmarkApply replaces a full NSG (1,000 rules and 4,000 prefixes in each direction) and measures from the goal to enforced.
func BenchmarkApply(b *testing.B) {
	newRunway(b, 1<<16, 1000, 4000, -1, func(r *runway) {
		versions := [2]goal.Group{r.h.Groups[0], r.h.Groups[0]}
		versions[1].In = slices.Clone(versions[1].In)
		slices.Reverse(versions[1].In[:1000])
		var ms []float64
		b.ResetTimer()
		for i := range 100 {
			next := *r.h
			next.Generation = r.d.Generation() + 1
			next.Groups = slices.Clone(r.h.Groups)
			next.Groups[0] = versions[(i+1)%2]
			start := time.Now()
			if err := r.d.Apply(b.Context(), &next, func(p uint32) (int, bool) { return r.devices[p-1], true }); err != nil {
				b.Fatal(err)
			}
			ms = append(ms, float64(time.Since(start).Microseconds())/1000)
			time.Sleep(20 * time.Millisecond)
		}
		slices.Sort(ms)
		b.ReportMetric(ms[len(ms)/2], "ms-p50")
		b.ReportMetric(ms[len(ms)*99/100], "ms-p99")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkFlows judges packets of established flows at random, over tables of two sizes; a local connection takes two entries.
// It also tells what an entry takes.
func BenchmarkFlows(b *testing.B) {
	for _, n := range []uint32{1, 1 << 16, 1 << 20} {
		b.Run(fmt.Sprintf("flows=%d", n), func(b *testing.B) {
			newRunway(b, int(max(1<<16, 5*n/2)), 1000, 4000, -1, func(r *runway) {
				client, server := newDriver(b, n, false), newDriver(b, n, true)
				out := r.d.coll.Programs["port_out"]
				client.every(b, out, 1, r.frame(0, 0, model.SYN, false))
				server.every(b, out, r.devices[1], r.answer(model.SYN|model.ACK))
				ack := r.frame(0, 0, model.ACK, false)
				client.every(b, out, 1, ack)
				median, best := client.cost(b, out, r.empty, ack, 500_000)
				b.ReportMetric(median, "ns/packet")
				b.ReportMetric(best, "ns/packet-best")
				if i, err := r.d.coll.Maps["flows4"].Info(); err == nil {
					if bytes, ok := i.Memlock(); ok {
						entry := float64(bytes) / float64(r.d.coll.Maps["flows4"].MaxEntries())
						b.ReportMetric(entry, "B/entry")
						b.ReportMetric(entry*2*float64(n)/1e6, "MB/flows")
					}
				}
				b.ReportMetric(0, "ns/op")
			})
		})
	}
}

// BenchmarkGroup compiles a full NSG and says how much memory it takes in the kernel.
func BenchmarkGroup(b *testing.B) {
	for _, c := range []struct{ rules, prefixes int }{{3, 3}, {100, 200}, {1000, 1000}, {1000, 2000}, {1000, 4000}} {
		b.Run(fmt.Sprintf("rules=%d/prefixes=%d", c.rules, c.prefixes), func(b *testing.B) {
			g := bigGroup("full", c.rules/2, c.prefixes/2, -1) // half of them in each direction
			n := goal.VNet{VNI: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
			k := newClasses(1)
			if _, err := k.need(planOf(&n).combos()); err != nil {
				b.Fatal(err)
			}
			size := 0
			for b.Loop() {
				class, _, err := groupBlob(&g, k)
				if err != nil {
					b.Fatal(err)
				}
				size = groupClasses[class-1].size
			}
			b.ReportMetric(float64(size)/1024, "KiB")
		})
	}
}
