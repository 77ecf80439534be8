package datapath

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netdev"
	"ringfence/observe"
)

// counted is every counter of a host that is not zero, as text, by name.
func (h *wireHost) counted(t testing.TB) map[string]uint64 {
	t.Helper()
	out := map[string]uint64{}
	traffic, err := h.dp.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range traffic {
		for name, n := range map[string]uint64{"sent": x.Sent, "delivered": x.Delivered, "local": x.Local, "encap": x.Encap, "service": x.Service, "answered": x.Answered, "served": x.Served} {
			if n > 0 {
				out[fmt.Sprintf("port %d %s", x.Port, name)] = n
			}
		}
	}
	drops, err := h.dp.Drops()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drops {
		name := fmt.Sprintf("port %d %v %v", d.Port, d.Dir, d.Reason)
		if d.Group != "" {
			name += " " + d.Group[strings.LastIndex(d.Group, "/")+1:] + " " + d.Rule
		}
		out[name] = d.Packets
	}
	return out
}

// moved says which counters differ, sorted.
func moved(before, after map[string]uint64) []string {
	var out []string
	for name, n := range after {
		if d := n - before[name]; d > 0 {
			out = append(out, fmt.Sprintf("%s +%d", name, d))
		}
	}
	slices.Sort(out)
	return out
}

// quiet keeps a sandbox from sending by itself: no IPv6, and neighbours that are known.
func (w *wire) quiet(p *wirePort, neighbours ...string) {
	w.t.Helper()
	w.must(netdev.SetSysctls(p.ns, netdev.Sysctl{Key: "net/ipv6/conf/eth0/disable_ipv6", Value: "1"}))
	w.must(netdev.With(p.ns, func(c *netdev.Conn) error {
		for _, n := range neighbours {
			if err := c.EnsureNeighbour("eth0", netip.MustParseAddr(n), net.HardwareAddr(model.Gateway[:])); err != nil {
				return err
			}
		}
		return nil
	}))
}

// A packet's life: from one VM through the layers of two hosts to another, listing exactly which counters moved.
func TestLife(t *testing.T) {
	w, a, b := pair(t, 2)
	deny := goal.Rule{Name: "securityRules/no-9999", Priority: 100, Protocol: goal.UDP, Src: goal.Match{Any: true}, Dst: goal.Match{Any: true},
		SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{{Lo: 9999, Hi: 9999}}}
	denyIn := deny
	denyIn.Name, denyIn.DstPorts = "securityRules/no-8888", []goal.PortRange{{Lo: 8888, Hi: 8888}}
	for _, h := range w.hosts {
		g := *h.goal
		g.Generation++
		gr := g.Groups[0]
		gr.Out = append([]goal.Rule{deny}, gr.Out...)
		gr.In = append([]goal.Rule{denyIn}, gr.In...)
		g.Groups = []goal.Group{gr}
		w.apply(h, &g)
	}
	w.quiet(a, "10.0.0.5", "10.0.0.1")
	w.quiet(b, "10.0.0.4", "10.0.0.1")
	b.packets(t, "10.0.0.5:7000") // receives and says nothing
	pc, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	port := &w.hosts[0].goal.Ports[0]
	udp := func(dst string, dport uint16) model.Packet {
		return model.Open(port, goal.UDP, netip.MustParseAddr(dst), 4000, dport)
	}
	with := func(p model.Packet, change func(*model.Packet)) model.Packet { change(&p); return p }
	for _, c := range []struct {
		name   string
		packet model.Packet
		want   []string // host, colon, counter
	}{
		{"allowed", udp("10.0.0.5", 7000), []string{"1: port 1 encap +1", "1: port 1 sent +1", "2: port 2 delivered +1"}},
		{"again, by its flow", udp("10.0.0.5", 7000), []string{"1: port 1 encap +1", "1: port 1 sent +1", "2: port 2 delivered +1"}},
		{"denied on the way out", udp("10.0.0.5", 9999), []string{"1: port 1 out acl_rule open securityRules/no-9999 +1", "1: port 1 sent +1"}},
		{"denied on the way in", udp("10.0.0.5", 8888), []string{"1: port 1 encap +1", "1: port 1 sent +1", "2: port 2 in acl_rule open securityRules/no-8888 +1"}},
		{"outside the virtual network", udp("192.0.2.1", 53), []string{"1: port 1 out acl_default open defaultSecurityRules/DenyAllOutBound +1", "1: port 1 sent +1"}},
		{"nobody there", udp("10.0.0.77", 53), []string{"1: port 1 out route_no_endpoint +1", "1: port 1 sent +1"}},
		{"somebody else's address", with(udp("10.0.0.5", 7000), func(p *model.Packet) { p.Src = netip.MustParseAddr("10.0.0.9") }),
			[]string{"1: port 1 out guard_source +1", "1: port 1 sent +1"}},
		{"VLAN", with(udp("10.0.0.5", 7000), func(p *model.Packet) { p.VLAN = true }), []string{"1: port 1 out guard_vlan +1", "1: port 1 sent +1"}},
		{"platform", udp("168.63.129.16", 53), []string{"1: port 1 out service_absent +1", "1: port 1 sent +1"}},
	} {
		before := []map[string]uint64{w.hosts[0].counted(t), w.hosts[1].counted(t)}
		if _, err := pc.Write(c.packet.Frame()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for range 50 {
			got = nil
			for i, h := range w.hosts {
				for _, m := range moved(before[i], h.counted(t)) {
					got = append(got, fmt.Sprintf("%d: %s", i+1, m))
				}
			}
			if slices.Equal(got, c.want) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: counters moved:\n\t%s\nnot:\n\t%s", c.name, strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
		}
	}
}

// Every drop tells who, where and why.
func TestEvents(t *testing.T) {
	w, a, _ := pair(t, 1)
	w.quiet(a, "10.0.0.5")
	ctx, cancel := context.WithCancel(context.Background())
	events := make(chan observe.Event, 100)
	done := make(chan error, 1)
	go func() { done <- w.hosts[0].dp.Events(ctx, func(e observe.Event) { events <- e }) }()
	pc, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	p := model.Open(&w.hosts[0].goal.Ports[0], goal.UDP, netip.MustParseAddr("192.0.2.7"), 4000, 53)
	time.Sleep(50 * time.Millisecond)
	if _, err := pc.Write(p.Frame()); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(3 * time.Second)
	for {
		select {
		case e := <-events:
			if e.Tuple.Dst != p.Dst {
				continue
			}
			want := observe.Tuple{Protocol: goal.UDP, Src: p.Src, Dst: p.Dst, SrcPort: 4000, DstPort: 53}
			if e.Port != 1 || e.Reason != observe.ACLDefault || e.Rule != "defaultSecurityRules/DenyAllOutBound" || e.Tuple != want ||
				e.SrcMAC != p.SrcMAC || time.Since(e.Time) > time.Minute || !strings.HasSuffix(e.Group, "/open") {
				t.Errorf("event %+v", e)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			return
		case <-deadline:
			t.Fatal("no event")
		}
	}
}

// A flood makes few events, and all its packets are counted.
func TestEventsAreLimited(t *testing.T) {
	w, a, _ := pair(t, 1)
	w.quiet(a, "10.0.0.5")
	h := w.hosts[0]
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	done := make(chan error, 1)
	go func() { done <- h.dp.Events(ctx, func(e observe.Event) { n++ }) }()
	pc, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	time.Sleep(50 * time.Millisecond)
	before := h.counted(t)
	frame := model.Open(&h.goal.Ports[0], goal.UDP, netip.MustParseAddr("192.0.2.7"), 4000, 53).Frame()
	for range 5000 {
		if _, err := pc.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	<-done
	got := moved(before, h.counted(t))
	if !slices.Contains(got, "port 1 out acl_default open defaultSecurityRules/DenyAllOutBound +5000") {
		t.Errorf("counted %v", got)
	}
	if n == 0 || n > 4000 {
		t.Errorf("%d events of 5000 packets", n)
	}
}

// DHCP goes to the service device with the port's number and comes back to the port alone.
func TestService(t *testing.T) {
	w, a, b := pair(t, 1)
	h := w.hosts[0]
	w.quiet(a)
	svc := w.services(h)
	server, err := netdev.OpenPacket(svc, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	other, err := netdev.OpenPacket(b.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()

	port := &h.goal.Ports[0]
	discover := model.Packet{EtherType: model.EtherIPv4, SrcMAC: port.MAC, DstMAC: goal.MAC{255, 255, 255, 255, 255, 255}, Src: netip.IPv4Unspecified(),
		Dst: netip.MustParseAddr("255.255.255.255"), Protocol: goal.UDP, SrcPort: 68, DstPort: 67, HopLimit: 64, Len: 300}
	if _, err := client.Write(discover.Frame()); err != nil {
		t.Fatal(err)
	}
	got := await(t, server, func(f []byte) bool { return len(f) > 40 && f[23] == goal.UDP && f[37] == 67 })
	if mac := goal.MAC(got[:6]); mac != (goal.MAC{0x02, 0x5f, 0, 0, 0, 1}) {
		t.Errorf("the service sees %v", mac)
	}
	offer := model.Packet{EtherType: model.EtherIPv4, SrcMAC: goal.MAC{0x02, 0x5f, 0, 0, 0, 1}, DstMAC: goal.MAC{255, 255, 255, 255, 255, 255},
		Src: model.WireServer, Dst: netip.MustParseAddr("255.255.255.255"), Protocol: goal.UDP, SrcPort: 67, DstPort: 68, HopLimit: 64, Len: 300}
	if _, err := server.Write(offer.Frame()); err != nil {
		t.Fatal(err)
	}
	isOffer := func(f []byte) bool { return len(f) > 40 && f[23] == goal.UDP && f[37] == 68 && f[35] == 67 }
	got = await(t, client, isOffer)
	if goal.MAC(got[:6]) != port.MAC || goal.MAC(got[6:12]) != model.Gateway {
		t.Errorf("the VM sees %v from %v", goal.MAC(got[:6]), goal.MAC(got[6:12]))
	}
	time.Sleep(50 * time.Millisecond)
	if f := poll(other, 100*time.Millisecond, isOffer); f != nil {
		t.Errorf("another VM sees %x", f)
	}
}

// A VM's question to a service on a socket arrives from the alias of its port, the answer from the address that it asked, both with
// checksums that hold; answers to an alias that is nobody's end at the host.
func TestSockets(t *testing.T) {
	w, a, b := pair(t, 1)
	h := w.hosts[0]
	w.quiet(a)
	svc := w.services(h)
	ends := map[string]*netdev.PacketConn{svc: nil, a.ns: nil, b.ns: nil}
	for ns := range ends {
		c, err := netdev.OpenPacket(ns, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ends[ns] = c
	}
	port, inside := &h.goal.Ports[0], goal.MAC{0x02, 0x5f, 0xff, 0xff, 0xff, 0xff}
	own := port.Addresses[0].IP
	for _, c := range []struct {
		protocol uint8
		to       netip.Addr
		dport    uint16
	}{{goal.UDP, model.WireServer, 53}, {goal.TCP, model.WireServer, 53}, {goal.TCP, model.WireServer, 80}, {goal.TCP, model.Metadata, 80}} {
		ask := model.Open(port, c.protocol, c.to, 40001, c.dport)
		ask.Len = 99
		if _, err := ends[a.ns].Write(ask.Frame()); err != nil {
			t.Fatal(err)
		}
		want := ask
		want.Src, want.DstMAC = goal.Alias(port.Index), inside
		arrives(t, ends[svc], want)

		answer := want.Reply(inside)
		answer.SrcMAC, answer.DstMAC = inside, inside
		if _, err := ends[svc].Write(answer.Frame()); err != nil {
			t.Fatal(err)
		}
		want = answer
		want.Dst, want.DstMAC, want.SrcMAC = own, port.MAC, model.Gateway
		arrives(t, ends[a.ns], want)

		for _, wrong := range []netip.Addr{goal.Alias(99), netip.MustParseAddr("100.128.0.1"), own} {
			answer.Dst = wrong
			if _, err := ends[svc].Write(answer.Frame()); err != nil {
				t.Fatal(err)
			}
		}
		answer.Dst, answer.Src = goal.Alias(port.Index), netip.MustParseAddr("10.0.0.9")
		if _, err := ends[svc].Write(answer.Frame()); err != nil {
			t.Fatal(err)
		}
	}
	for _, ns := range []string{a.ns, b.ns} {
		if f := poll(ends[ns], 100*time.Millisecond, func(f []byte) bool { return len(f) > 40 && (f[23] == goal.UDP || f[23] == goal.TCP) }); f != nil {
			t.Errorf("%s sees %x", ns, f)
		}
	}
}

// arrives waits for exactly these bytes: addresses, ports and checksums.
func arrives(t *testing.T, c *netdev.PacketConn, p model.Packet) {
	t.Helper()
	want := p.Frame()
	got := await(t, c, func(f []byte) bool { return len(f) == len(want) }) // the VM's kernel speaks too, and resets what it does not know
	if !bytes.Equal(got, want) {
		t.Errorf("arrived\n%x, want\n%x", got, want)
	}
}

// services makes the host's service device and returns the namespace of its other end.
func (w *wire) services(h *wireHost) (ns string) {
	ns = w.name + "-svc"
	w.namespace(ns)
	var ifindex int
	w.must(netdev.With(h.ns, func(c *netdev.Conn) (err error) {
		if ifindex, _, err = c.EnsureVeth(netdev.Veth{Name: "svc", Peer: netdev.Peer{Namespace: ns, Name: "eth0"}}); err != nil {
			return err
		}
		return c.Up("svc")
	}))
	w.must(netdev.With(ns, func(c *netdev.Conn) error { return c.Up("eth0") }))
	w.attachIn(h, func() error { return h.dp.AttachService(ifindex) })
	return ns
}

func (w *wire) attachIn(h *wireHost, fn func() error) {
	w.t.Helper()
	w.must(inNamespace(h.ns, fn))
}

func await(t *testing.T, c *netdev.PacketConn, want func([]byte) bool) []byte {
	t.Helper()
	f := poll(c, 3*time.Second, want)
	if f == nil {
		t.Fatal("the frame did not arrive")
	}
	return f
}

// poll reads frames until one is wanted or the time is over.
func poll(c *netdev.PacketConn, d time.Duration, want func([]byte) bool) []byte {
	frames := make(chan []byte, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if want(buf[:n]) {
				select {
				case frames <- slices.Clone(buf[:n]):
				case <-stop:
				}
				return
			}
		}
	}()
	select {
	case f := <-frames:
		return f
	case <-time.After(d):
		return nil
	}
}
