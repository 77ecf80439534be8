package datapath

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/goal/model"
)

// What others do to a port's packets: a full table, a tenant at its cap, rules that are replaced all the time.

// udp is a frame from one port to another.
func (r *runway) udp(from, to int) []byte {
	p := model.Open(&r.h.Ports[from-1], goal.UDP, r.h.Ports[to-1].Addresses[0].IP, 0, 0)
	p.Len = 100
	return p.Frame()
}

// load puts the goal into force again.
func (r *runway) load(b testing.TB) {
	b.Helper()
	r.h.Generation = r.d.Generation() + 1
	if err := r.d.Apply(b.Context(), r.h, func(p uint32) (int, bool) { return r.devices[p-1], true }); err != nil {
		b.Fatal(err)
	}
}

// flood sends n packets of new flows, whatever becomes of them.
func (d *driver) flood(b testing.TB, what *ebpf.Program, ifindex int, frame []byte, n int) {
	b.Helper()
	d.aim(b, what)
	if _, err := d.inOrder.Run(&ebpf.RunOptions{Data: frame, Context: skb{Ifindex: uint32(ifindex)}, Repeat: uint32(n)}); err != nil {
		b.Fatal(err)
	}
}

// fresh is what one packet of a new flow takes, in nanoseconds, over n of them.
func (d *driver) fresh(b testing.TB, what, empty *ebpf.Program, frame []byte, n int) float64 {
	b.Helper()
	var took [2]time.Duration
	for i, p := range []*ebpf.Program{what, empty} {
		d.aim(b, p)
		ret, t, err := d.inOrder.Benchmark(frame, n, nil)
		if err != nil || ret != 7 {
			b.Fatalf("returned %d: %v", ret, err)
		}
		took[i] = t
	}
	return float64(took[0] - took[1])
}

func (r *runway) delivered(b testing.TB, port uint32) uint64 {
	b.Helper()
	c, err := r.d.counts(r.d.kernel.ports[port].slot)
	if err != nil {
		b.Fatal(err)
	}
	return c[64+cDeliver]
}

// BenchmarkFullTable establishes connections, fills the table with other flows, and counts how many of the connections are lost.
func BenchmarkFullTable(b *testing.B) {
	newRunway(b, 1<<16, 1, 4, -1, func(r *runway) {
		const n = 1 << 13
		client, server, other := newDriver(b, n, false), newDriver(b, n, true), newDriver(b, 1<<17, false)
		out := r.d.coll.Programs["port_out"]
		client.every(b, out, 1, r.frame(0, 0, model.SYN, false))
		server.every(b, out, r.devices[1], r.answer(model.SYN|model.ACK))
		ack := r.frame(0, 0, model.ACK, false)
		client.every(b, out, 1, ack)
		other.flood(b, out, 1, r.udp(1, 2), 1<<17)
		other.flood(b, out, r.devices[2], r.udp(3, 4), 1<<17)
		drops, err := r.d.Drops()
		if err != nil {
			b.Fatal(err)
		}
		refused := uint64(0)
		for _, d := range drops {
			refused += d.Packets
		}
		before := r.delivered(b, 2)
		client.flood(b, out, 1, ack, n)
		b.ReportMetric(float64(n-(r.delivered(b, 2)-before)), "lost")
		b.ReportMetric(n, "established")
		b.ReportMetric(float64(refused), "refused")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkCap compares new flows of one pair of ports before and while another pair is at its cap.
func BenchmarkCap(b *testing.B) {
	newRunway(b, 1<<19, 1000, 4000, -1, func(r *runway) {
		r.d.opts.Quota /= 2 // of one conversation both ends are here
		r.load(b)
		mine, theirs := newDriver(b, 1<<22, false), newDriver(b, 1<<22, false)
		out := r.d.coll.Programs["port_out"]
		measure := func() (ns []float64) {
			for range 15 {
				ns = append(ns, mine.fresh(b, out, r.empty, r.udp(1, 2), 2048))
			}
			slices.Sort(ns)
			return ns
		}
		alone := measure()
		theirs.flood(b, out, r.devices[2], r.udp(3, 4), 1<<19)
		crowded := measure()
		b.ReportMetric(alone[len(alone)/2], "ns-alone")
		b.ReportMetric(crowded[len(crowded)/2], "ns-beside")
		b.ReportMetric(0, "ns/op")
	})
}

// BenchmarkReplaced compares new flows while a full NSG is replaced ten times a second with new flows while it is not, in turns.
func BenchmarkReplaced(b *testing.B) {
	newRunway(b, 1<<20, 1000, 4000, -1, func(r *runway) {
		mine := newDriver(b, 1<<22, false)
		out := r.d.coll.Programs["port_out"]
		versions := [2]goal.Group{r.h.Groups[0], r.h.Groups[0]}
		versions[1].In = slices.Clone(versions[1].In)
		slices.Reverse(versions[1].In[:1000])
		n := 0
		replace := func() {
			next := *r.h
			next.Generation = r.d.Generation() + 1
			next.Groups = slices.Clone(r.h.Groups)
			n++
			next.Groups[0] = versions[n%2]
			if err := r.d.Apply(b.Context(), &next, func(p uint32) (int, bool) { return r.devices[p-1], true }); err != nil {
				b.Error(err)
			}
		}
		var ns [2][]float64
		rnd := rand.New(rand.NewPCG(3, 3))
		for range 10 {
			for _, busy := range rnd.Perm(2) {
				stop := make(chan struct{})
				var done sync.WaitGroup
				if busy == 1 {
					done.Go(func() {
						for t := time.NewTicker(100 * time.Millisecond); ; {
							select {
							case <-stop:
								t.Stop()
								return
							case <-t.C:
								replace()
							}
						}
					})
				}
				for until := time.Now().Add(400 * time.Millisecond); time.Now().Before(until); {
					ns[busy] = append(ns[busy], mine.fresh(b, out, r.empty, r.udp(1, 2), 512))
					time.Sleep(8 * time.Millisecond)
				}
				close(stop)
				done.Wait()
			}
		}
		slices.Sort(ns[0])
		slices.Sort(ns[1])
		quiet, busy := ns[0][len(ns[0])/2], ns[1][len(ns[1])/2]
		b.ReportMetric(quiet, "ns-quiet")
		b.ReportMetric(busy, "ns-replaced")
		b.ReportMetric(quiet/busy, "ratio")
		b.ReportMetric(float64(n), "replaced")
		b.ReportMetric(0, "ns/op")
	})
}
