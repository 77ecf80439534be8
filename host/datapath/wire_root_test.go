package datapath

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// bench is a set of host namespaces with a data plane each, joined by an underlay, and sandboxes behind their ports.
type wire struct {
	t     testing.TB
	name  string
	mtu   int // of the underlay
	hosts []*wireHost
}

type wireHost struct {
	ns       string
	underlay netip.Addr
	opts     Options
	dp       *Datapath
	ports    map[uint32]*wirePort
	goal     *goal.Host
}

type wirePort struct {
	ns      string
	ifindex int
	host    *wireHost
}

func newWire(t testing.TB, hosts int) *wire {
	t.Helper()
	return newWireOver(t, hosts, 1600)
}

func newWireOver(t testing.TB, hosts, mtu int) *wire {
	t.Helper()
	needRoot(t)
	w := &wire{t: t, mtu: mtu, name: fmt.Sprintf("rft%d-%d", os.Getpid(), testCounter.Add(1))}
	for i := range hosts {
		h := &wireHost{ns: fmt.Sprintf("%s-h%d", w.name, i+1), underlay: netip.AddrFrom4([4]byte{198, 18, 0, byte(11 + i)}), ports: map[uint32]*wirePort{}}
		h.opts = testOptions(t)
		h.opts.Underlay, h.opts.UnderlayMTU = h.underlay, mtu
		w.hosts = append(w.hosts, h)
		w.namespace(h.ns)
		w.open(h)
		t.Cleanup(func() { h.dp.Close() })
	}
	if hosts > 1 {
		w.join()
	}
	return w
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *wire) namespace(ns string) {
	w.t.Helper()
	w.must(netns.New(ns))
	w.t.Cleanup(func() { netns.Delete(ns) })
	w.must(netdev.With(ns, func(c *netdev.Conn) error { return c.Up("lo") }))
}

func (w *wire) open(h *wireHost) {
	w.t.Helper()
	w.must(netns.Do(h.ns, func() (err error) { h.dp, err = Open(h.opts); return err }))
}

// join puts two hosts on one underlay wire with a collect-metadata VXLAN device each.
func (w *wire) join() {
	w.t.Helper()
	a, b := w.hosts[0], w.hosts[1]
	w.must(netdev.With(a.ns, func(c *netdev.Conn) error {
		_, _, err := c.EnsureVeth(netdev.Veth{Name: "under", MTU: w.mtu, Peer: netdev.Peer{Namespace: b.ns, Name: "under", MTU: w.mtu}})
		return err
	}))
	for _, h := range w.hosts {
		var vx int
		w.must(netdev.With(h.ns, func(c *netdev.Conn) (err error) {
			if err := c.Up("under"); err != nil {
				return err
			}
			if err := c.EnsureAddress("under", netdev.Address{Prefix: netip.PrefixFrom(h.underlay, 24)}); err != nil {
				return err
			}
			if vx, err = c.EnsureVXLAN("vxlan", 4789, w.mtu-encapsulation); err != nil {
				return err
			}
			return c.Up("vxlan")
		}))
		w.must(netns.Do(h.ns, func() error { return h.dp.AttachOverlay(vx) }))
	}
}

// port makes a sandbox with its device and attaches the programs; p's addresses are configured by hand.
func (w *wire) port(h *wireHost, p *goal.Port) *wirePort {
	w.t.Helper()
	wp := &wirePort{ns: fmt.Sprintf("%s-p%d", w.name, p.Index), host: h}
	w.namespace(wp.ns)
	w.must(netdev.With(h.ns, func(c *netdev.Conn) (err error) {
		dev := fmt.Sprintf("p%d", p.Index)
		wp.ifindex, _, err = c.EnsureVeth(netdev.Veth{Name: dev, MTU: 1500, Peer: netdev.Peer{Namespace: wp.ns, Name: "eth0", MAC: net.HardwareAddr(p.MAC[:]), MTU: 1500}})
		if err != nil {
			return err
		}
		w.must(netdev.SetSysctls(h.ns, netdev.Sysctl{Key: "net/ipv6/conf/" + dev + "/disable_ipv6", Value: "1"}))
		return c.Up(dev)
	}))
	w.must(netdev.With(wp.ns, func(c *netdev.Conn) error {
		if err := c.Up("eth0"); err != nil {
			return err
		}
		gw4 := netip.Addr{}
		for _, a := range p.Addresses {
			if err := c.EnsureAddress("eth0", netdev.Address{Prefix: netip.PrefixFrom(a.IP, a.Subnet.Bits()), NoDAD: true}); err != nil {
				return err
			}
			if a.IP.Is4() {
				gw4 = a.Subnet.Masked().Addr().Next()
			} else if err := c.EnsureRoute(netdev.Route{Destination: netip.MustParsePrefix("::/0"), Device: "eth0", Via: []netip.Addr{netip.MustParseAddr("fe80::1234:5678:9abc")}, OnLink: true}); err != nil {
				return err
			}
		}
		if gw4.IsValid() {
			return c.EnsureRoute(netdev.Route{Destination: netip.MustParsePrefix("0.0.0.0/0"), Device: "eth0", Via: []netip.Addr{gw4}})
		}
		return nil
	}))
	w.must(netns.Do(h.ns, func() error { return h.dp.AttachPort(wp.ifindex, p.Index) }))
	h.ports[p.Index] = wp
	return wp
}

func (w *wire) apply(h *wireHost, g *goal.Host) {
	w.t.Helper()
	h.goal = g
	w.must(h.dp.Apply(context.Background(), g, h.device))
}

func (h *wireHost) device(port uint32) (int, bool) {
	p := h.ports[port]
	if p == nil {
		return 0, false
	}
	return p.ifindex, true
}

// run runs a command in a sandbox.
func (p *wirePort) run(args ...string) ([]byte, error) {
	var out []byte
	err := netns.Do(p.ns, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var err error
		out, err = exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		return err
	})
	return out, err
}

// testGoals makes goals of hosts with two ports each in one virtual network, IPv4 and IPv6, under one open group.
func testGoals(hosts []*wireHost, ports int) []*goal.Host {
	const group = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/open"
	net4, net6 := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00:db8::/64")
	vnet := goal.VNet{VNI: 100, ID: "vnet", Prefixes: []netip.Prefix{net4, net6},
		Sets: []goal.Set{{Name: goal.SetVirtualNetwork, Prefixes: []netip.Prefix{net4, net6}}}}
	g := goal.Group{ID: group, In: defaultRules(true), Out: defaultRules(false)}
	var out []*goal.Host
	n := uint32(0)
	for i, h := range hosts {
		gh := &goal.Host{Name: fmt.Sprintf("host%d", i+1), Generation: 1, Underlay: h.underlay, Groups: []goal.Group{g}}
		for range ports {
			n++
			mac := goal.MAC{2, 0x52, 0x46, 0, 0, byte(n)}
			v4, v6 := netip.AddrFrom4([4]byte{10, 0, 0, byte(3 + n)}), netip.MustParseAddr(fmt.Sprintf("fd00:db8::%d", 3+n))
			gh.Ports = append(gh.Ports, goal.Port{Index: n, ID: fmt.Sprintf("nic%d", n), VM: fmt.Sprintf("vm%d", n), MAC: mac, VNI: 100, Primary: true,
				Addresses: []goal.Address{{IP: v4, Subnet: net4, Primary: true}, {IP: v6, Subnet: net6}}, NICGroup: group, SubnetGroup: group})
			vnet.Endpoints = append(vnet.Endpoints, goal.Endpoint{IP: v4, Host: h.underlay, Port: n, MAC: mac}, goal.Endpoint{IP: v6, Host: h.underlay, Port: n, MAC: mac})
		}
		out = append(out, gh)
	}
	for _, gh := range out {
		gh.VNets = []goal.VNet{vnet}
	}
	return out
}

// defaultRules: inside the virtual network everything, else nothing.
func defaultRules(in bool) []goal.Rule {
	vnet := goal.Match{Sets: []string{goal.SetVirtualNetwork}}
	all := []goal.PortRange{goal.AnyPort}
	name := map[bool]string{true: "InBound", false: "OutBound"}[in]
	return []goal.Rule{
		{Name: "defaultSecurityRules/AllowVnet" + name, Priority: 65000, Allow: true, Src: vnet, Dst: vnet, SrcPorts: all, DstPorts: all},
		{Name: "defaultSecurityRules/DenyAll" + name, Priority: 65500, Src: goal.Match{Any: true}, Dst: goal.Match{Any: true}, SrcPorts: all, DstPorts: all},
	}
}

func (w *wire) explain(h *wireHost) {
	drops, _ := h.dp.Drops()
	for _, d := range drops {
		w.t.Logf("%s: port %d %v %v %s %s: %d", h.ns, d.Port, d.Dir, d.Reason, d.Group, d.Rule, d.Packets)
	}
	traffic, _ := h.dp.Traffic()
	for _, x := range traffic {
		w.t.Logf("%s: %+v", h.ns, x)
	}
	flows, _ := h.dp.Flows()
	for _, f := range flows {
		w.t.Logf("%s: %+v", h.ns, f)
	}
}

func TestLocalPing(t *testing.T) {
	w := newWire(t, 1)
	h := w.hosts[0]
	g := testGoals(w.hosts, 2)[0]
	for i := range g.Ports {
		w.port(h, &g.Ports[i])
	}
	w.apply(h, g)
	for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
		if out, err := h.ports[1].run("ping", "-c", "3", "-i", "0.05", "-W", "1", to); err != nil {
			t.Errorf("ping %s: %v\n%s", to, err, out)
		}
	}
	w.explain(h)
}

func TestRemotePing(t *testing.T) {
	w := newWire(t, 2)
	for i, g := range testGoals(w.hosts, 1) {
		w.port(w.hosts[i], &g.Ports[0])
		w.apply(w.hosts[i], g)
	}
	for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
		if out, err := w.hosts[0].ports[1].run("ping", "-c", "3", "-i", "0.05", "-W", "1", to); err != nil {
			t.Errorf("ping %s: %v\n%s", to, err, out)
		}
	}
	for _, h := range w.hosts {
		w.explain(h)
	}
}

func inNamespace(ns string, fn func() error) error { return netns.Do(ns, fn) }
