package netdev_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

var counter atomic.Int64

// space makes a namespace that is removed at the test's end.
func space(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	n := fmt.Sprintf("rftest-dev-%d-%d", os.Getpid(), counter.Add(1))
	if err := netns.New(n); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Delete(n); err != nil {
			t.Error(err)
		}
	})
	return n
}

func open(t *testing.T, ns string) *netdev.Conn {
	t.Helper()
	c, err := netdev.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ip(t *testing.T, ns string, args ...string) string {
	t.Helper()
	out, err := exec.Command("ip", append([]string{"-n", ns}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
	return string(out)
}

var macA, macB = net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}

func pair(b string) netdev.Veth {
	return netdev.Veth{Name: "left", MAC: macA, MTU: 1600, Alias: "mine 1", Peer: netdev.Peer{Namespace: b, Name: "right", MAC: macB, MTU: 1500}}
}

func TestVeth(t *testing.T) {
	a, b := space(t), space(t)
	ca, cb := open(t, a), open(t, b)
	index, created, err := ca.EnsureVeth(pair(b))
	if err != nil || !created {
		t.Fatalf("first: %v, %v", created, err)
	}
	left, ok, err := ca.Link("left")
	must(t, err)
	if !ok || left.Kind != "veth" || left.MTU != 1600 || !bytes.Equal(left.MAC, macA) || left.Alias != "mine 1" || left.Index != index || left.Up {
		t.Errorf("left: %+v", left)
	}
	right, _, err := cb.Link("right")
	must(t, err)
	if right.MTU != 1500 || !bytes.Equal(right.MAC, macB) || right.Peer != index || left.Peer != right.Index {
		t.Errorf("right: %+v", right)
	}

	again, created, err := ca.EnsureVeth(pair(b))
	if err != nil || created || again != index {
		t.Errorf("again: %d, %v, %v", again, created, err)
	}
	changed := pair(b)
	changed.MTU = 1500
	if _, created, err = ca.EnsureVeth(changed); err != nil || created {
		t.Errorf("other MTU: %v, %v", created, err)
	}
	if left, _, _ = ca.Link("left"); left.MTU != 1500 {
		t.Errorf("MTU not corrected: %+v", left)
	}
}

// Whatever differs in identity is another pair: another alias, another MAC, the other end somewhere else or gone.
func TestVethReplaced(t *testing.T) {
	a, b, c := space(t), space(t), space(t)
	ca := open(t, a)
	for name, change := range map[string]func(*netdev.Veth){
		"alias":     func(v *netdev.Veth) { v.Alias = "mine 2" },
		"peer MAC":  func(v *netdev.Veth) { v.Peer.MAC = macA },
		"MAC":       func(v *netdev.Veth) { v.MAC = macB },
		"namespace": func(v *netdev.Veth) { v.Peer.Namespace = c },
		"peer name": func(v *netdev.Veth) { v.Peer.Name = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			v := pair(b)
			_, _, err := ca.EnsureVeth(v)
			must(t, err)
			change(&v)
			if _, created, err := ca.EnsureVeth(v); err != nil || !created {
				t.Errorf("created %v, err %v", created, err)
			}
			must(t, ca.Delete("left"))
		})
	}
	must(t, ca.Delete("left"))
	if list, err := ca.List("l"); err != nil || len(list) != 1 || list[0].Name != "lo" {
		t.Errorf("left over: %v, %v", list, err)
	}
}

func TestDeleteAll(t *testing.T) {
	a, b := space(t), space(t)
	ca := open(t, a)
	var names []string
	for i := range 20 {
		v := netdev.Veth{Name: fmt.Sprintf("l%d", i), Peer: netdev.Peer{Namespace: b, Name: fmt.Sprintf("r%d", i)}}
		_, _, err := ca.EnsureVeth(v)
		must(t, err)
		names = append(names, v.Name)
	}
	must(t, ca.DeleteAll(append(names[:19:19], "nosuch")))
	for ns, want := range map[string]string{a: "l19", b: "r19"} {
		list, err := open(t, ns).List("")
		if err != nil || len(list) != 2 || list[1].Name != want {
			t.Errorf("left in %s: %+v, %v", ns, list, err)
		}
	}
	must(t, ca.DeleteAll(nil))
	must(t, ca.DeleteAll([]string{"nosuch"}))
}

func TestVXLANAndBridge(t *testing.T) {
	ns := space(t)
	c := open(t, ns)
	index, err := c.EnsureVXLAN("rfvx", 4789, 1550)
	must(t, err)
	out := ip(t, ns, "-d", "link", "show", "rfvx")
	for _, want := range []string{"external", "nolearning", "dstport 4789", "mtu 1550"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in %s", want, out)
		}
	}
	if again, err := c.EnsureVXLAN("rfvx", 4789, 1500); err != nil || again != index {
		t.Errorf("again: %d, %v", again, err)
	}
	for _, want := range []bool{false, false, true} {
		must(t, c.SetGRO("rfvx", want))
		if on, err := c.GRO("rfvx"); err != nil || on != want {
			t.Errorf("GRO %v, %v, want %v", on, err, want)
		}
	}
	if other, err := c.EnsureVXLAN("rfvx", 4790, 1500); err != nil || other == index {
		t.Errorf("other port: %d, %v", other, err)
	}
	if _, err := c.EnsureBridge("rfvx", 1500); err != nil {
		t.Errorf("a bridge in its place: %v", err)
	}
	if l, _, _ := c.Link("rfvx"); l.Kind != "bridge" {
		t.Errorf("got %+v", l)
	}
}

func TestAddressesRoutesNeighbours(t *testing.T) {
	a, b := space(t), space(t)
	ca := open(t, a)
	_, _, err := ca.EnsureVeth(pair(b))
	must(t, err)
	must(t, ca.Up("left"))
	must(t, open(t, b).Up("right"))
	v4, v6 := netip.MustParsePrefix("10.0.0.4/24"), netip.MustParsePrefix("fd00::4/128")
	for range 2 {
		must(t, ca.EnsureAddress("left", netdev.Address{Prefix: v4}))
		must(t, ca.EnsureAddress("left", netdev.Address{Prefix: v6, NoDAD: true}))
	}
	got, err := ca.Addresses("left")
	must(t, err)
	if !slices.Equal(got, []netip.Prefix{v4, v6}) {
		t.Errorf("addresses: %v", got)
	}
	for range 100 { // duplicate address detection takes its time here
		if _, ok, _ := ca.LinkLocal("left"); ok {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if ll, ok, err := ca.LinkLocal("left"); err != nil || !ok || ll != netip.MustParseAddr("fe80::ff:fe00:1") {
		t.Errorf("link-local: %v, %v, %v", ll, ok, err)
	}
	default4 := netdev.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Device: "left", Via: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}
	default6 := netdev.Route{Destination: netip.MustParsePrefix("::/0"), Device: "left", Via: []netip.Addr{netip.MustParseAddr("fe80::1")}}
	several := netdev.Route{Destination: netip.MustParsePrefix("172.16.0.0/12"), Device: "left",
		Via: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}}
	onlink := netdev.Route{Destination: netip.MustParsePrefix("192.0.2.0/24"), Device: "left"}
	for range 2 {
		for _, r := range []netdev.Route{default4, default6, several, onlink} {
			must(t, ca.EnsureRoute(r))
		}
	}
	text := ip(t, a, "route") + ip(t, a, "-6", "route")
	for _, want := range []string{"default via 10.0.0.1 dev left", "default via fe80::1 dev left", "nexthop via 10.0.0.2 dev left", "192.0.2.0/24 dev left proto static scope link"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if n := strings.Count(text, "default"); n != 2 {
		t.Errorf("%d default routes:\n%s", n, text)
	}
	must(t, ca.DeleteRoute(default4))
	must(t, ca.DeleteRoute(default4))
	must(t, ca.DeleteAddress("left", v4))
	must(t, ca.DeleteAddress("left", v4))
	must(t, ca.EnsureNeighbour("left", netip.MustParseAddr("192.0.2.9"), macB))
	must(t, ca.EnsureNeighbour("left", netip.MustParseAddr("192.0.2.9"), macB))
	if out := ip(t, a, "neigh"); !strings.Contains(out, "192.0.2.9 dev left lladdr 02:00:00:00:00:02 PERMANENT") {
		t.Errorf("neighbours: %s", out)
	}
}

func TestSysctl(t *testing.T) {
	a, b := space(t), space(t)
	const key = "net/ipv4/ping_group_range"
	before, err := netdev.ReadSysctl(b, key)
	must(t, err)
	must(t, netdev.SetSysctls(a, netdev.Sysctl{Key: key, Value: "0 2147483647"}, netdev.Sysctl{Key: "net/not/there", Value: "1", Optional: true}))
	if got, err := netdev.ReadSysctl(a, key); err != nil || got != "0\t2147483647" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, _ := netdev.ReadSysctl(b, key); got != before {
		t.Errorf("the other namespace changed too: %q", got)
	}
	if err := netdev.SetSysctls(a, netdev.Sysctl{Key: "net/not/there", Value: "1"}); err == nil || !strings.Contains(err.Error(), "net/not/there") {
		t.Errorf("got %v", err)
	}
}

// Frames arrive whole, one's own are not heard, and Close ends a blocked Read.
func TestPacketConn(t *testing.T) {
	a, b := space(t), space(t)
	ca, cb := open(t, a), open(t, b)
	_, _, err := ca.EnsureVeth(pair(b))
	must(t, err)
	for _, quiet := range []string{a, b} {
		must(t, netdev.SetSysctls(quiet, netdev.Sysctl{Key: "net/ipv6/conf/all/disable_ipv6", Value: "1"}))
	}
	must(t, ca.Up("left"))
	must(t, cb.Up("right"))
	left, err := netdev.OpenPacket(a, "left")
	must(t, err)
	right, err := netdev.OpenPacket(b, "right")
	must(t, err)
	defer right.Close()

	frame := append([]byte{2, 0x5f, 0, 0, 0, 7, 2, 0, 0, 0, 0, 1, 0x88, 0xb5}, bytes.Repeat([]byte{0xab}, 60)...)
	exchange(t, left, right, frame)
	exchange(t, right, left, frame)
	done := make(chan error)
	own := 0
	go func() {
		for {
			if _, err := left.Read(make([]byte, 2000)); err != nil {
				done <- err
				return
			}
			own++
		}
	}()
	for range 10 {
		left.Write(frame)
	}
	time.Sleep(50 * time.Millisecond)
	left.Close()
	select {
	case <-done:
		if own > 3 { // a repetition from above may be among them
			t.Errorf("%d frames arrived: one's own", own)
		}
	case <-time.After(5 * time.Second):
		t.Error("Close did not end Read")
	}
}

// exchange sends the frame until it has arrived: a device that just came up loses what is sent before its carrier is noticed.
func exchange(t *testing.T, from, to *netdev.PacketConn, frame []byte) {
	t.Helper()
	got := make(chan []byte, 1)
	go func() {
		buf := make([]byte, 2000)
		n, _ := to.Read(buf)
		got <- buf[:n]
	}()
	for range 500 {
		if _, err := from.Write(frame); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-got:
			if !bytes.Equal(b, frame) {
				t.Fatalf("got %x", b)
			}
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatal("nothing arrived")
}

func TestErrorsNameTheOperation(t *testing.T) {
	ns := space(t)
	c := open(t, ns)
	for want, err := range map[string]error{
		"find nosuch in " + ns: c.Up("nosuch"),
		"device name":          func() error { _, err := c.EnsureBridge("sixteen-bytes-xx", 0); return err }(),
		"open namespace":       func() error { _, _, err := c.EnsureVeth(pair("rftest-nosuch")); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q expected, got %v", want, err)
		}
	}
	if err := c.Delete("nosuch"); err != nil {
		t.Errorf("deleting nothing: %v", err)
	}
}
