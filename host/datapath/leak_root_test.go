package datapath

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netdev"
)

// What Remove leaves behind: nothing. Pins, links, programs and maps are gone from the kernel.
func TestRemoveLeavesNothing(t *testing.T) {
	w, _, _ := pair(t, 1)
	h := w.hosts[0]
	next := *h.goal
	for range 5 { // some churn before
		next.Generation++
		next.Groups = []goal.Group{bigGroup("churn", int(next.Generation)*20, 100, -1)}
		for i := range next.Ports {
			next.Ports[i].NICGroup, next.Ports[i].SubnetGroup = benchGroup+"churn", ""
		}
		w.apply(h, &next)
	}
	var maps []ebpf.MapID
	for _, m := range h.dp.coll.Maps {
		i, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := i.ID()
		maps = append(maps, id)
	}
	for name := range h.dp.kernel.blobs {
		m := h.dp.coll.Maps[name]
		for s := range m.MaxEntries() {
			var id uint32
			if m.Lookup(s, &id) == nil {
				maps = append(maps, ebpf.MapID(id))
			}
		}
	}
	var programs []ebpf.ProgramID
	for _, p := range h.dp.coll.Programs {
		i, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := i.ID()
		programs = append(programs, id)
	}
	w.must(h.dp.Close())
	w.must(inNamespace(h.ns, func() error { return Remove(h.opts.Pin) }))
	if _, err := os.Stat(h.opts.Pin); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins are left: %v", err)
	}
	for _, p := range h.ports {
		w.must(inNamespace(h.ns, func() error {
			q, err := link.QueryPrograms(link.QueryOptions{Target: p.ifindex, Attach: ebpf.AttachTCXIngress})
			if err == nil && len(q.Programs) > 0 {
				t.Errorf("%d programs are left on device %d", len(q.Programs), p.ifindex)
			}
			return err
		}))
	}
	var names []string
	gone := func() (left int) {
		names = nil
		for _, id := range maps {
			if m, err := ebpf.NewMapFromID(id); err == nil {
				names = append(names, m.String())
				m.Close()
				left++
			}
		}
		for _, id := range programs {
			if p, err := ebpf.NewProgramFromID(id); err == nil {
				names = append(names, p.String())
				p.Close()
				left++
			}
		}
		return left
	}
	for range 200 {
		if gone() == 0 {
			break
		}
		runtime.GC() // constants stay mapped until then
		time.Sleep(20 * time.Millisecond)
	}
	if n := gone(); n > 0 {
		t.Errorf("%d of %d maps and programs are left: %v", n, len(maps)+len(programs), names)
	}
	w.open(h) // the cleanup closes it
}

// A port whose device was made anew is attached anew, and one that left the goal drops everything by name.
func TestPortComesAndGoes(t *testing.T) {
	w, a, b := pair(t, 1)
	h := w.hosts[0]
	pingable := func() bool {
		_, err := a.run("ping", "-c", "2", "-i", "0.05", "-W", "1", "10.0.0.5")
		return err == nil
	}
	if !pingable() {
		t.Fatal("no way to the second port")
	}
	without := *h.goal
	without.Generation++
	without.Ports = h.goal.Ports[:1]
	v := without.VNets[0]
	v.Endpoints = v.Endpoints[:2]
	without.VNets = []goal.VNet{v}
	whole := *h.goal
	w.apply(h, &without)
	w.attachIn(h, func() error { return h.dp.DetachPort(2) })
	if pingable() {
		t.Error("a port that is gone answers")
	}
	if flows, err := h.dp.Flows(); err != nil || len(flows) == 0 {
		t.Logf("flows of the first port: %v, %v", flows, err)
	} else {
		for _, f := range flows {
			if f.Port == 2 {
				t.Errorf("flow of a port that is gone: %+v", f)
			}
		}
	}
	// another device, as after the sandbox was made anew
	w.must(netdev.With(h.ns, func(c *netdev.Conn) (err error) {
		if err := c.Delete("p2"); err != nil {
			return err
		}
		mac := whole.Ports[1].MAC
		b.ifindex, _, err = c.EnsureVeth(netdev.Veth{Name: "p2", Peer: netdev.Peer{Namespace: b.ns, Name: "eth0", MAC: net.HardwareAddr(mac[:])}})
		if err != nil {
			return err
		}
		return c.Up("p2")
	}))
	w.must(netdev.With(b.ns, func(c *netdev.Conn) error {
		if err := c.Up("eth0"); err != nil {
			return err
		}
		return c.EnsureAddress("eth0", netdev.Address{Prefix: netip.MustParsePrefix("10.0.0.5/24")})
	}))
	w.attachIn(h, func() error { return h.dp.AttachPort(b.ifindex, 2) })
	whole.Generation = without.Generation + 1
	w.apply(h, &whole)
	traffic, err := h.dp.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range traffic {
		if x.Port == 2 && x.Delivered > 0 {
			t.Errorf("a new port begins with %+v", x)
		}
	}
	if !pingable() {
		t.Error("no way to the port after it came back")
		w.explain(h)
	}
	if _, err := os.Stat(filepath.Join(h.opts.links(), portLink(2))); err != nil {
		t.Error(err)
	}
}

// Frames that end within their headers, sent for real: test runs do not take the shortest.
func TestTruncated(t *testing.T) {
	w, a, _ := pair(t, 1)
	h := w.hosts[0]
	w.quiet(a, "10.0.0.5")
	pc, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	port := &h.goal.Ports[0]
	m := model.New(h.goal)
	want := map[string]uint64{}
	before := h.counted(t)
	n := uint64(0)
	for _, addr := range h.goal.Ports[1].Addresses {
		for _, proto := range []uint8{goal.TCP, goal.UDP, goal.ICMP} {
			whole := model.Open(port, proto, addr.IP, 5000, 53).Frame()
			if proto == goal.ICMP { // an error, one byte longer than what is sent of it
				e := model.Open(port, goal.UDP, addr.IP, 5000, 53).Reply(port.MAC).Error(port.MAC, model.TimeExceeded6, 0)
				whole = e.Frame()
			}
			for size := 14; size < len(whole); size++ {
				v, _ := m.Out(1, model.Parse(whole[:size]))
				if v.Action != model.Drop {
					t.Fatalf("the model lets %d bytes of %d through", size, len(whole))
				}
				want["port 1 out "+v.Reason.String()]++
				n++
				if _, err := pc.Write(whole[:size]); err != nil {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
		}
	}
	want["port 1 sent"] = n
	var got map[string]uint64
	for range 50 {
		got = h.counted(t)
		if got["port 1 sent"]-before["port 1 sent"] == n {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for name, n := range want {
		if d := got[name] - before[name]; d != n {
			t.Errorf("%s: %d, not %d", name, d, n)
		}
	}
}
