package datapath

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/bpf"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// echoes sends numbered datagrams at a pace that the path carries until stop is closed, and counts those that came back.
func echoes(t *testing.T, from, to *wirePort, addr string, pace time.Duration, stop chan struct{}) (sent, back func() int) {
	t.Helper()
	s := to.packets(t, net.JoinHostPort(addr, "0"))
	go func() {
		buf := make([]byte, 100)
		for {
			n, peer, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			s.WriteTo(buf[:n], peer)
		}
	}()
	c, err := from.dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var n atomic.Int64
	seen := map[uint32]bool{}
	var mu sync.Mutex
	go func() {
		buf := make([]byte, 100)
		for {
			if _, err := c.Read(buf); err != nil {
				return
			}
			mu.Lock()
			seen[binary.BigEndian.Uint32(buf)] = true
			mu.Unlock()
		}
	}()
	go func() {
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				c.Write(binary.BigEndian.AppendUint32(nil, uint32(n.Load())))
				n.Add(1)
			}
		}
	}()
	return func() int { return int(n.Load()) }, func() int { mu.Lock(); defer mu.Unlock(); return len(seen) }
}

// A process that ends and another that takes over lose no packet, no flow and no counter, and program nothing anew.
func TestRestart(t *testing.T) {
	w, a, b := pair(t, 2)
	stop := make(chan struct{})
	sent, back := echoes(t, a, b, "10.0.0.5", time.Millisecond, stop)
	time.Sleep(300 * time.Millisecond)
	for i := range 8 {
		h := w.hosts[i%2]
		before := *h.goal
		if err := h.dp.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
		w.open(h)
		if g := h.dp.Generation(); g != before.Generation {
			t.Fatalf("generation %d after a restart, %d before", g, before.Generation)
		}
		words := h.groupWords(t)
		before.Generation++
		w.apply(h, &before)
		if got := h.groupWords(t); fmt.Sprint(got) != fmt.Sprint(words) {
			t.Errorf("an equal goal moved groups: %v, before %v", got, words)
		}
	}
	close(stop)
	time.Sleep(200 * time.Millisecond)
	if s, r := sent(), back(); s != r || s < 300 {
		t.Errorf("%d datagrams sent, %d came back", s, r)
		for _, h := range w.hosts {
			w.explain(h)
		}
	}
	w.balance()
}

func (h *wireHost) groupWords(t testing.TB) map[uint32]uint64 {
	t.Helper()
	out := map[uint32]uint64{}
	for _, g := range h.dp.kernel.groups {
		out[g.slot] = uint64(g.word)
	}
	return out
}

// When the first link is lost the second drops everything.
func TestLostLink(t *testing.T) {
	w, a, _ := pair(t, 1)
	h := w.hosts[0]
	w.quiet(a, "10.0.0.5")
	pin := filepath.Join(h.opts.links(), portLink(1))
	if err := bpf.Detach(pin); err != nil {
		t.Fatal(err)
	}
	h.dp.held.Drop(pin) // or the process would keep it
	before := h.counted(t)
	pc, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	frame := model.Open(&h.goal.Ports[0], goal.UDP, netip.MustParseAddr("10.0.0.5"), 4000, 53).Frame()
	for range 3 {
		if _, err := pc.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(100 * time.Millisecond)
	got := slices.DeleteFunc(moved(before, h.counted(t)), func(m string) bool { return !strings.HasPrefix(m, "port 1 ") })
	if len(got) != 1 || got[0] != "port 1 out port_down +3" {
		t.Errorf("counters moved: %v", got)
	}
}

// The uplink lets nothing in, and says so.
func TestUplink(t *testing.T) {
	w := newWire(t, 1)
	h := w.hosts[0]
	outside := w.name + "-out"
	w.namespace(outside)
	var ifindex int
	w.must(netdev.With(h.ns, func(c *netdev.Conn) (err error) {
		if ifindex, _, err = c.EnsureVeth(netdev.Veth{Name: "up", Peer: netdev.Peer{Namespace: outside, Name: "up"}}); err != nil {
			return err
		}
		if err := c.EnsureAddress("up", netdev.Address{Prefix: netip.MustParsePrefix("203.0.113.11/24")}); err != nil {
			return err
		}
		return c.Up("up")
	}))
	w.must(netdev.With(outside, func(c *netdev.Conn) error {
		if err := c.EnsureAddress("up", netdev.Address{Prefix: netip.MustParsePrefix("203.0.113.1/24")}); err != nil {
			return err
		}
		return c.Up("up")
	}))
	o := &wirePort{ns: outside}
	if out, err := o.run("ping", "-c", "1", "-W", "2", "203.0.113.11"); err != nil {
		t.Fatalf("before: %v\n%s", err, out)
	}
	w.attachIn(h, func() error { return h.dp.AttachUplink(ifindex) })
	if out, err := o.run("ping", "-c", "2", "-i", "0.1", "-W", "1", "203.0.113.11"); err == nil {
		t.Errorf("the host answers through a closed uplink:\n%s", out)
	}
	drops, err := h.dp.Drops()
	if err != nil {
		t.Fatal(err)
	}
	n := uint64(0)
	for _, d := range drops {
		if d.Reason == observe.UplinkClosed {
			n += d.Packets
		}
	}
	if n < 2 {
		t.Errorf("%d packets counted as %v", n, observe.UplinkClosed)
	}
}

// twoVersions: packet k meets rule k in either version, and a packet that meets half of each meets another rule or none. The
// versions deny on different ports of a permutation, so that vectors, intervals and rule tables all differ.
func twoVersions(n int) (v [2]goal.Group) {
	for i := range v {
		v[i] = goal.Group{ID: "marked", In: defaultRules(true)}
		for k := range n {
			port := k
			if i == 1 {
				port = n - 1 - k
			}
			v[i].Out = append(v[i].Out, goal.Rule{Name: fmt.Sprintf("securityRules/v%d-%d", i, port), Priority: uint16(100 + k), Protocol: goal.UDP,
				Src: goal.Match{Any: true}, Dst: goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(markedAddr(port), 32)}},
				SrcPorts: []goal.PortRange{{Lo: uint16(10 * port), Hi: uint16(10*port + 9)}}, DstPorts: []goal.PortRange{{Lo: uint16(port), Hi: uint16(port)}}})
		}
		v[i].Out = append(v[i].Out, goal.Rule{Name: "securityRules/rest", Priority: 4096, Allow: true, Src: goal.Match{Any: true}, Dst: goal.Match{Any: true},
			SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{goal.AnyPort}})
	}
	return v
}

func markedAddr(k int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(k >> 8), byte(k)}) }

// A group is replaced while packets are judged by it: every packet is judged by one version or the other, never by a mixture.
func TestReplaceIsAtomic(t *testing.T) {
	const rules, replacements = 400, 120
	o := testOptions(t)
	ns := fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))
	if err := netns.New(ns); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.Delete(ns) })
	o.testing = true
	d := openTest(t, o)
	h := testGoals([]*wireHost{{underlay: o.Underlay}}, 1)[0]
	h.Ports[0].NICGroup, h.Ports[0].SubnetGroup = "marked", ""
	versions := twoVersions(rules)
	put := func(gen int) {
		next := *h
		next.Generation, next.Groups = uint64(gen), versions[gen%2:gen%2+1]
		if err := d.Apply(context.Background(), &next, func(uint32) (int, bool) { return 1, true }); err != nil {
			t.Error(err)
		}
	}
	put(1)
	var judged [2]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := netns.Do(ns, func() error { mark(t, d, h, rules, &judged, stop); return nil })
		if err != nil {
			t.Error(err)
		}
	})
	for gen := range replacements {
		put(gen + 2)
	}
	close(stop)
	wg.Wait()
	t.Logf("%d replacements; judged by version 0: %d, by version 1: %d", replacements, judged[0].Load(), judged[1].Load())
	if judged[0].Load() == 0 || judged[1].Load() == 0 {
		t.Error("one version never judged")
	}
	for range 100 { // what was replaced is let go of beside the caller
		if d.blobsHeld() == 2 { // the group's and the virtual network's
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("%d tables are still held", d.blobsHeld())
}

func (d *Datapath) blobsHeld() (n int) {
	for name := range d.kernel.blobs {
		n += len(bpf.UsedSlots(d.coll.Maps[name]))
	}
	return n
}

// mark runs packets through the program until stop and checks the rule that each met.
func mark(t *testing.T, d *Datapath, h *goal.Host, rules int, judged *[2]atomic.Int64, stop chan struct{}) {
	j := &judge{t: t, d: d, of: map[uint32]int{1: 1}}
	for k := 0; ; k = (k + 1) % rules {
		select {
		case <-stop:
			return
		default:
		}
		p := model.Open(&h.Ports[0], goal.UDP, markedAddr(k), uint16(10*k), uint16(k))
		v, _ := j.out(1, p.Frame())
		switch {
		case v.Reason == observe.ACLRule && v.Rule == fmt.Sprintf("securityRules/v0-%d", k):
			judged[0].Add(1)
		case v.Reason == observe.ACLRule && v.Rule == fmt.Sprintf("securityRules/v1-%d", k):
			judged[1].Add(1)
		default:
			t.Errorf("packet %d: %+v", k, v)
			return
		}
	}
}
