package datapath

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/bpf"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// tap makes a persistent tap on a host, attaches the programs and gives its file, which is what a virtual machine's program holds.
func (w *wire) tap(h *wireHost, p *goal.Port, name string) (file *os.File) {
	w.t.Helper()
	p.Attachment = goal.Attachment{Kind: goal.KindTap, Device: name}
	w.must(netns.Do(h.ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		r, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			return err
		}
		if err := unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1); err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	}))
	w.t.Cleanup(func() { file.Close() })
	wp := &wirePort{host: h}
	w.must(netdev.SetSysctls(h.ns, netdev.Sysctl{Key: "net/ipv6/conf/" + name + "/disable_ipv6", Value: "1"}))
	w.must(netdev.With(h.ns, func(c *netdev.Conn) error {
		l, _, err := c.Link(name)
		wp.ifindex = l.Index
		return err
	}))
	w.must(netns.Do(h.ns, func() error { return h.dp.AttachPort(wp.ifindex, p.Index) }))
	w.must(netdev.With(h.ns, func(c *netdev.Conn) error { return c.Up(name) }))
	h.ports[p.Index] = wp
	return file
}

// twoAndTap is a host with two sandboxes, a and b, and a tap behind port 3, all of them quiet.
func twoAndTap(t *testing.T) (w *wire, h *wireHost, a, b *wirePort, tap *os.File) {
	w = newWire(t, 1)
	h = w.hosts[0]
	g := testGoals(w.hosts, 3)[0]
	a, b = w.port(h, &g.Ports[0]), w.port(h, &g.Ports[1])
	tap = w.tap(h, &g.Ports[2], "vm0")
	w.apply(h, g)
	w.quiet(a, "10.0.0.5", "10.0.0.6", "10.0.0.1")
	w.quiet(b, "10.0.0.4", "10.0.0.6", "10.0.0.1")
	return w, h, a, b, tap
}

// sends puts a frame on a device n times, at a pace that everybody carries.
func sends(t *testing.T, ns, device string, frame []byte, n int) {
	t.Helper()
	pc, err := netdev.OpenPacket(ns, device)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	for range n {
		if _, err := pc.Write(frame); err != nil && !errors.Is(err, unix.ENOBUFS) { // what is dropped on the way out is said so
			t.Fatal(err)
		}
		time.Sleep(200 * time.Microsecond)
	}
}

// frames reads what a tap's program gets, until nothing more comes for a while.
func frames(tap *os.File) (out [][]byte) {
	for b := make([]byte, 2048); ; {
		tap.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := tap.Read(b)
		if err != nil {
			return out
		}
		out = append(out, slices.Clone(b[:n]))
	}
}

// hears collects what comes to a sandbox's device until the function that it returns is called.
func (p *wirePort) hears(t *testing.T) (heard func() [][]byte) {
	t.Helper()
	pc, err := netdev.OpenPacket(p.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2048); ; {
			n, err := pc.Read(b)
			if err != nil {
				return
			}
			all = append(all, slices.Clone(b[:n]))
		}
	}()
	return func() [][]byte {
		time.Sleep(100 * time.Millisecond)
		pc.Close()
		<-done
		return all
	}
}

// Nothing that the host itself sends reaches a VM, neither behind a veth nor behind a tap, whoever sends it and whatever it is; it is counted.
// What the programs let through reaches both.
func TestHostReachesNoVM(t *testing.T) {
	w, h, a, _, tap := twoAndTap(t)
	g := h.goal
	forged := func(to int, from model.Packet) []byte {
		f := from.Frame()
		copy(f, g.Ports[to].MAC[:])
		copy(f[6:], model.Gateway[:])
		return f
	}
	for _, c := range []struct {
		device string
		to     int
	}{{"p1", 0}, {"vm0", 2}} {
		port := &g.Ports[c.to]
		udp := model.Open(&g.Ports[1], goal.UDP, port.Addresses[0].IP, 4000, 53)
		arp := make([]byte, 60)
		copy(arp, []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1})
		solicitation := slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255},
			netip.MustParseAddr("fe80::1").AsSlice(), netip.MustParseAddr("ff02::2").AsSlice(), []byte{133, 0, 0, 0, 0, 0, 0, 0})
		heard := func() [][]byte { return frames(tap) }
		if c.device == "p1" {
			heard = a.hears(t)
		}
		before := h.counted(t)
		for _, f := range [][]byte{forged(c.to, udp), arp, solicitation} {
			sends(t, h.ns, c.device, f, 3)
		}
		w.must(netdev.With(h.ns, func(n *netdev.Conn) error {
			mine := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(4*c.to + 1)}), 30)
			return errors.Join(n.SetARP(c.device, false), n.EnsureAddress(c.device, netdev.Address{Prefix: mine}))
		}))
		w.must(netns.Do(h.ns, func() error { // the host's own stack
			s, err := net.Dial("udp4", netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(4*c.to + 2)}), 9).String())
			if err != nil {
				return err
			}
			defer s.Close()
			for range 3 {
				s.Write([]byte("anybody there?"))
			}
			return nil
		}))
		if got := heard(); len(got) > 0 {
			t.Errorf("%s: the VM gets %d frames, first %x", c.device, len(got), got[0])
		}
		want := []string{"port " + string('1'+byte(c.to)) + " in guard_host +12"}
		if got := moved(before, h.counted(t)); !slices.Equal(got, want) {
			t.Errorf("%s: counters moved: %v, want %v", c.device, got, want)
		}
	}
	before := h.counted(t)
	sends(t, a.ns, "eth0", model.Open(&g.Ports[0], goal.UDP, g.Ports[2].Addresses[0].IP, 4000, 53).Frame(), 5)
	if got := frames(tap); len(got) != 5 {
		t.Errorf("the tap gets %d of 5 packets that are allowed", len(got))
	}
	want := []string{"port 1 local +5", "port 1 sent +5", "port 3 delivered +5"}
	if got := moved(before, h.counted(t)); !slices.Equal(got, want) {
		t.Errorf("counters moved: %v, want %v", got, want)
	}
}

// When the link is lost that keeps the host out, doctor's question tells, and the next attachment puts it back.
func TestLostGuard(t *testing.T) {
	w, h, a, _, _ := twoAndTap(t)
	pin := h.opts.links() + "/" + portLink(1) + sentSuffix
	w.must(bpf.Detach(pin))
	if missing := strings.Join(h.dp.Missing([]uint32{1, 2, 3}), "; "); !strings.Contains(missing, "port-1-sent is not pinned") {
		t.Errorf("missing: %s", missing)
	}
	w.must(inNamespace(h.ns, func() error { return h.dp.AttachPort(a.ifindex, 1) }))
	if missing := strings.Join(h.dp.Missing([]uint32{1, 2, 3}), "; "); strings.Contains(missing, "port-1") {
		t.Errorf("missing: %s", missing)
	}
}

// A device that is down at one of its ends loses nothing silently: what would be handed to it is dropped by name, also of flows that the
// sender knows by heart. The first frame that comes through it says that it is up again.
func TestDeviceNotReady(t *testing.T) {
	w, h, a, b, tap := twoAndTap(t)
	g := h.goal
	udp := func(from, to int) []byte {
		return model.Open(&g.Ports[from], goal.UDP, g.Ports[to].Addresses[0].IP, 4000, 53).Frame()
	}
	b.packets(t, "10.0.0.5:53")
	for _, c := range []struct {
		to   int
		down func()
		up   func()
	}{
		{1, func() { w.must(netdev.With(b.ns, func(c *netdev.Conn) error { return c.Down("eth0") })) },
			func() {
				w.must(netdev.With(b.ns, func(c *netdev.Conn) error { return c.Up("eth0") }))
				time.Sleep(50 * time.Millisecond)
				sends(t, b.ns, "eth0", udp(1, 0), 1)
			}},
		{2, func() { w.must(netdev.With(h.ns, func(c *netdev.Conn) error { return c.Down("vm0") })) },
			func() {
				w.must(netdev.With(h.ns, func(c *netdev.Conn) error { return c.Up("vm0") }))
				if _, err := tap.Write(udp(2, 0)); err != nil {
					t.Fatal(err)
				}
			}},
	} {
		n := string('1' + byte(c.to))
		count := func(what string, frame []byte, want ...string) {
			t.Helper()
			before := h.counted(t)
			sends(t, a.ns, "eth0", frame, 7)
			time.Sleep(50 * time.Millisecond)
			if got := moved(before, h.counted(t)); !slices.Equal(got, want) {
				t.Errorf("to port %s, %s: counters moved: %v, want %v", n, what, got, want)
			}
		}
		delivered := []string{"port 1 local +7", "port 1 sent +7", "port " + n + " delivered +7"}
		lost := []string{"port " + n + " in port_not_ready +7", "port 1 sent +7"}
		slices.Sort(lost)
		fresh := model.Open(&g.Ports[0], goal.UDP, g.Ports[c.to].Addresses[0].IP, 4001, 53).Frame()
		count("up", udp(0, c.to), delivered...)
		c.down()
		w.must(h.dp.SetReady(uint32(c.to+1), false))
		count("down, a known flow", udp(0, c.to), lost...)
		count("down, a new flow", fresh, lost...)
		next := *g
		next.Generation = h.dp.Generation() + 1
		w.apply(h, &next)
		count("down, after another goal", udp(0, c.to), lost...)
		c.up()
		time.Sleep(50 * time.Millisecond)
		count("up again", udp(0, c.to), delivered...)
		w.must(h.dp.SetReady(uint32(c.to+1), true))
		count("and so it is told", fresh, delivered...)
	}
}

// What a tap's program does not read is lost in the kernel and told: delivered = read + lost.
func TestKernelLosses(t *testing.T) {
	w, h, a, _, tap := twoAndTap(t)
	g := h.goal
	losses := func() map[string]uint64 {
		out := map[string]uint64{}
		w.must(netns.Do(h.ns, func() error {
			all, err := h.dp.Losses()
			for _, d := range all {
				if d.Port == 3 {
					out[d.Dir.String()+" "+d.Reason.String()] = d.Packets
				}
			}
			return err
		}))
		return out
	}
	if got := losses(); len(got) > 0 {
		t.Fatalf("before: %v", got)
	}
	const sent = 1500 // more than the device keeps
	before := h.counted(t)
	sends(t, a.ns, "eth0", model.Open(&g.Ports[0], goal.UDP, g.Ports[2].Addresses[0].IP, 4000, 53).Frame(), sent)
	read := len(frames(tap))
	got := losses()
	if lost := got["in kernel_transmit"]; lost == 0 || uint64(read)+lost != sent || len(got) != 1 {
		t.Errorf("%d sent, %d read, lost: %v", sent, read, got)
	}
	if got := moved(before, h.counted(t)); !slices.Equal(got, []string{"port 1 local +1500", "port 1 sent +1500", "port 3 delivered +1500"}) {
		t.Errorf("counters moved: %v", got)
	}
	w.must(netdev.With(h.ns, func(c *netdev.Conn) error { return c.Down("vm0") }))
	for range 4 {
		if _, err := tap.Write(model.Open(&g.Ports[2], goal.UDP, g.Ports[0].Addresses[0].IP, 1, 2).Frame()); err == nil {
			t.Error("a device that is down takes a frame")
		}
	}
	if n := losses()["out kernel_receive"]; n != 4 {
		t.Errorf("%d of 4 frames counted that a device lost which was down", n)
	}
}
