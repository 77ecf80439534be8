package model_test

import (
	"net/netip"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
)

var (
	any4   = []goal.PortRange{goal.AnyPort}
	anyone = goal.Match{Any: true}
	host1  = netip.MustParseAddr("198.18.0.11")
	host2  = netip.MustParseAddr("198.18.0.12")
)

func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ports(lo, hi uint16) []goal.PortRange {
	return []goal.PortRange{{Lo: lo, Hi: hi}}
}
func net(s ...string) (m goal.Match) {
	for _, p := range s {
		m.Prefixes = append(m.Prefixes, prefix(p))
	}
	return m
}
func sets(names ...string) goal.Match { return goal.Match{Sets: names} }

func rule(name string, allow bool, protocol uint8, src, dst goal.Match, dports []goal.PortRange) goal.Rule {
	return goal.Rule{Name: "securityRules/" + name, Priority: 100, Allow: allow, Protocol: protocol, Src: src, Dst: dst, SrcPorts: any4, DstPorts: dports}
}

// group adds the default rules.
func group(id string, in, out []goal.Rule) goal.Group {
	d := func(name string, prio uint16, allow bool, src, dst goal.Match) goal.Rule {
		return goal.Rule{Name: "defaultSecurityRules/" + name, Priority: prio, Allow: allow, Src: src, Dst: dst, SrcPorts: any4, DstPorts: any4}
	}
	vnet := sets(goal.SetVirtualNetwork)
	in = append(in, d("AllowVnetInBound", 65000, true, vnet, vnet),
		d("AllowAzureLoadBalancerInBound", 65001, true, sets(goal.SetAzureLoadBalancer), anyone), d("DenyAllInBound", 65500, false, anyone, anyone))
	out = append(out, d("AllowVnetOutBound", 65000, true, vnet, vnet),
		d("AllowInternetOutBound", 65001, true, anyone, sets(goal.SetInternet)), d("DenyAllOutBound", 65500, false, anyone, anyone))
	return goal.Group{ID: id, In: in, Out: out}
}

// The fabric of these tests: VNet 100 with web1 (port 1) and web2 (2) on host1 and db1 (3) on host2; VNet 200 with the same
// addresses: other1 (4) on host1 and other2 (5) on host2. web1, web2 and db1 have IPv6 addresses, and web1 a second IPv4 one.
func fabric(change ...func(*goal.Host)) map[string]*model.Model {
	endpoints := func(vni uint32) []goal.Endpoint {
		if vni == 200 {
			return []goal.Endpoint{{IP: ip("10.0.1.4"), Host: host1, Port: 4, MAC: mac(4)}, {IP: ip("10.0.1.5"), Host: host2, Port: 5, MAC: mac(5)}}
		}
		return []goal.Endpoint{
			{IP: ip("10.0.1.4"), Host: host1, Port: 1, MAC: mac(1)}, {IP: ip("10.0.1.5"), Host: host1, Port: 2, MAC: mac(2)},
			{IP: ip("10.0.1.44"), Host: host1, Port: 1, MAC: mac(1)}, {IP: ip("10.0.2.4"), Host: host2, Port: 3, MAC: mac(3)},
			{IP: ip("fd00::1:4"), Host: host1, Port: 1, MAC: mac(1)}, {IP: ip("fd00::1:5"), Host: host1, Port: 2, MAC: mac(2)},
			{IP: ip("fd00::2:4"), Host: host2, Port: 3, MAC: mac(3)}}
	}
	vnet := func(vni uint32) goal.VNet {
		space := []netip.Prefix{prefix("10.0.0.0/16"), prefix("fd00::/48")}
		return goal.VNet{VNI: vni, ID: "vnet", Prefixes: space, Endpoints: endpoints(vni), Sets: []goal.Set{
			{Name: goal.SetAzureLoadBalancer, Prefixes: []netip.Prefix{prefix("168.63.129.16/32")}},
			{Name: goal.SetPlatformDNS, Prefixes: []netip.Prefix{prefix("168.63.129.16/32")}},
			{Name: goal.SetPlatformIMDS, Prefixes: []netip.Prefix{prefix("169.254.169.254/32")}},
			{Name: goal.SetInternet, Prefixes: []netip.Prefix{prefix("8.0.0.0/8"), prefix("2000::/3")}},
			{Name: goal.SetVirtualNetwork, Prefixes: []netip.Prefix{prefix("10.0.0.0/16"), prefix("168.63.129.16/32"), prefix("fd00::/48")}}}}
	}
	port := func(n uint32, vni uint32, subnet string, addresses ...string) goal.Port {
		p := goal.Port{Index: n, MAC: mac(n), VNI: vni, NICGroup: "nic", SubnetGroup: "subnet",
			Sandbox: goal.Sandbox{Name: "vm-" + string('0'+rune(n)), Device: "eth0"}}
		for i, a := range addresses {
			s := prefix(subnet)
			if !ip(a).Is4() {
				s = netip.PrefixFrom(ip(a), 112).Masked()
			}
			p.Addresses = append(p.Addresses, goal.Address{IP: ip(a), Subnet: s, Primary: i == 0})
		}
		return p
	}
	groups := func() []goal.Group { return []goal.Group{group("nic", nil, nil), group("subnet", nil, nil)} }
	hosts := []*goal.Host{
		{Name: "host1", Underlay: host1, Groups: groups(), VNets: []goal.VNet{vnet(100), vnet(200)}, Ports: []goal.Port{
			port(1, 100, "10.0.1.0/24", "10.0.1.4", "10.0.1.44", "fd00::1:4"), port(2, 100, "10.0.1.0/24", "10.0.1.5", "fd00::1:5"), port(4, 200, "10.0.1.0/24", "10.0.1.4")}},
		{Name: "host2", Underlay: host2, Groups: groups(), VNets: []goal.VNet{vnet(100), vnet(200)}, Ports: []goal.Port{
			port(3, 100, "10.0.2.0/24", "10.0.2.4", "fd00::2:4"), port(5, 200, "10.0.1.0/24", "10.0.1.5")}},
	}
	out := map[string]*model.Model{}
	for _, h := range hosts {
		for _, f := range change {
			f(h)
		}
		if err := goal.Check(h); err != nil {
			panic(err)
		}
		out[h.Name] = model.New(h)
	}
	return out
}

func mac(n uint32) goal.MAC { return goal.MAC{2, 0x52, 0x46, 0, 0, byte(n)} }

// portOf finds a port and the host that it is on.
func portOf(t *testing.T, hosts map[string]*model.Model, index uint32) (string, *goal.Port) {
	t.Helper()
	for name, m := range hosts {
		for i, p := range m.Goal().Ports {
			if p.Index == index {
				return name, &m.Goal().Ports[i]
			}
		}
	}
	t.Fatalf("no port %d", index)
	return "", nil
}

// rules changes the rules of a group: what is given comes before the defaults.
func rules(id string, in, out []goal.Rule) func(*goal.Host) {
	return func(h *goal.Host) {
		for i := range h.Groups {
			if h.Groups[i].ID == id {
				h.Groups[i] = group(id, in, out)
			}
		}
	}
}

// life sends a packet through its whole life.
func life(t *testing.T, hosts map[string]*model.Model, from uint32, p model.Packet) model.Verdict {
	t.Helper()
	host, _ := portOf(t, hosts, from)
	v, _ := model.Send(hosts, host, from, p)
	return v
}

// open is the first packet of a conversation.
func open(t *testing.T, hosts map[string]*model.Model, from uint32, protocol uint8, to string, dport uint16) model.Packet {
	t.Helper()
	_, p := portOf(t, hosts, from)
	return model.Open(p, protocol, ip(to), 50000, dport)
}
