// Package random makes goals and packets for tests that compare two judges: valid, varied, and biased to the edges.
//
// In: a source of randomness that the caller seeds, so that every finding can be repeated. Out: goals of several hosts that
// carry the same virtual networks, and packets that hit what their rules distinguish. Tests own it; nothing else imports it.
package random

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/goal/model"
)

// Hosts makes the goals of one to three hosts that share one to three VNets with overlapping addresses. Groups have one to size
// rules (at most 1,000) and the defaults. Every goal passes goal.Check.
func Hosts(r *rand.Rand, size int) []*goal.Host {
	f := &fabric{r: r, size: min(max(size, 1), 1000)}
	for i := range 1 + r.IntN(3) {
		f.hosts = append(f.hosts, &goal.Host{
			Name: fmt.Sprintf("host%d", i+1), Generation: 1 + uint64(r.IntN(1000)), Underlay: netip.AddrFrom4([4]byte{198, 18, 0, byte(11 + i)}),
		})
	}
	f.ports = rarely(r, uint32(1+r.IntN(4)), 1<<22-40) // also the largest numbers
	for i := range 1 + r.IntN(3) {
		f.vnet(i)
	}
	return f.hosts
}

// fabric is one making of goals.
type fabric struct {
	r     *rand.Rand
	size  int
	hosts []*goal.Host
	ports uint32 // next port index
}

// vnet makes one VNet: its ports on the hosts, the groups they use, its sets and endpoints.
func (f *fabric) vnet(number int) {
	r := f.r
	v := &maker{fabric: f, vni: rarely(r, uint32(100+number), 1<<24-1-uint32(number)), id: fmt.Sprintf("%s/virtualNetworks/vnet%d", base, number)}
	v.space()
	v.sets()
	for i := range 1 + r.IntN(4) {
		v.groups = append(v.groups, v.group(fmt.Sprintf("%s/networkSecurityGroups/nsg%d-%d", base, number, i)))
	}
	for i := range 2 + r.IntN(7) {
		v.port(number, i)
	}
	slices.SortFunc(v.endpoints, func(a, b goal.Endpoint) int { return a.IP.Compare(b.IP) })
	for _, h := range f.hosts {
		v.give(h)
	}
}

const base = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/random/providers/Microsoft.Network"

// maker is one VNet in the making.
type maker struct {
	*fabric
	vni       uint32
	id        string
	prefixes  []netip.Prefix
	subnets   [][]netip.Prefix // each with one IPv4 and perhaps one IPv6 prefix
	bySet     map[string][]netip.Prefix
	setNames  []string
	endpoints []goal.Endpoint
	names     []goal.Name
	groups    []goal.Group
	byHost    map[*goal.Host][]goal.Port
	taken     map[netip.Addr]bool
}

// space chooses from few plans, so that VNets overlap.
func (v *maker) space() {
	plans := [][]string{
		{"10.0.0.0/16", "fd00:db8::/48"},
		{"10.0.0.0/16"},
		{"10.0.0.0/8", "fd00:db8::/48"},
		{"10.0.0.0/24", "10.0.2.0/23", "2001:db8::/48"},
		{"203.0.113.0/24", "192.168.0.0/16", "fd00:db8::/48"},
	}
	v.prefixes = prefixes(plans[v.r.IntN(len(plans))]...)
	v.byHost, v.taken = map[*goal.Host][]goal.Port{}, map[netip.Addr]bool{}
	for i := range 1 + v.r.IntN(3) {
		var s []netip.Prefix
		for _, p := range v.prefixes {
			at := p.Addr().As16()
			if p.Addr().Is4() {
				if len(s) == 0 && p.Bits() <= 24 {
					b := p.Addr().As4()
					b[2] += byte(i * min(1, 24-p.Bits()))
					s = append(s, netip.PrefixFrom(netip.AddrFrom4(b), 24+3*v.r.IntN(2)))
				}
			} else if v.r.IntN(4) > 0 {
				at[7] = byte(i)
				s = append(s, netip.PrefixFrom(netip.AddrFrom16(at), 64))
			}
		}
		v.subnets = append(v.subnets, s)
	}
}

// port makes one NIC with one or two addresses of each family that its subnet has.
func (v *maker) port(vnet, i int) {
	r := v.r
	h := v.hosts[r.IntN(len(v.hosts))]
	subnet := v.subnets[r.IntN(len(v.subnets))]
	p := goal.Port{
		Index: v.ports, ID: fmt.Sprintf("%s/networkInterfaces/nic%d-%d", base, vnet, i), VM: fmt.Sprintf("%s/vm%d-%d", base, vnet, i), Primary: true,
		Sandbox: goal.Sandbox{Name: fmt.Sprintf("vm%d-%d", vnet, i), HostName: fmt.Sprintf("vm%d", i), Device: "eth0"},
		MAC:     goal.MAC{2, 0x52, 0x46, byte(v.ports >> 16), byte(v.ports >> 8), byte(v.ports)},
		VNI:     v.vni, SubnetID: fmt.Sprintf("%s/subnets/s%d", v.id, len(subnet)),
		DNS: []netip.Addr{model.WireServer}, Domain: "random.internal", MTU: 1500,
	}
	for _, s := range subnet {
		for range 1 + r.IntN(2)*r.IntN(2) {
			ip := v.address(s)
			p.Addresses = append(p.Addresses, goal.Address{IP: ip, Subnet: s, Primary: len(p.Addresses) == 0})
			v.endpoints = append(v.endpoints, goal.Endpoint{IP: ip, Host: h.Underlay, Port: p.Index, MAC: p.MAC})
		}
	}
	p.NICGroup, p.SubnetGroup = v.groupOrNone(), v.groupOrNone()
	if r.IntN(4) == 0 {
		v.limit(&p.Limits)
	}
	v.names = append(v.names, goal.Name{Host: p.Sandbox.HostName, IPs: []netip.Addr{p.Addresses[0].IP}})
	p.Compute = goal.Compute{Name: p.Sandbox.Name, Location: "westeurope", Group: "random", Size: "Standard_B1s"}
	v.byHost[h] = append(v.byHost[h], p)
	v.ports++
}

// limit sets some of a port's limits, low enough to be met.
func (v *maker) limit(l *goal.Limits) {
	for k := range goal.LimitKinds {
		switch {
		case v.r.IntN(2) == 0:
		case k == goal.LimitFlows:
			*l.Of(k) = goal.Rate{PerSecond: 1 + v.r.Uint32N(5000), Burst: 1 + v.r.Uint32N(60)}
		default:
			*l.Of(k) = goal.Rate{PerSecond: 1 + v.r.Uint32N(500), Burst: 1 + v.r.Uint32N(1<<v.r.IntN(4))}
		}
	}
}

// address takes a free usable address, near the beginning, so that ports are neighbours.
func (v *maker) address(s netip.Prefix) netip.Addr {
	ip := s.Addr()
	for range 4 + v.r.IntN(4) {
		ip = ip.Next()
	}
	for v.taken[ip] {
		ip = ip.Next()
	}
	v.taken[ip] = true
	return ip
}

func (v *maker) groupOrNone() string {
	if v.r.IntN(4) == 0 {
		return ""
	}
	return v.groups[v.r.IntN(len(v.groups))].ID
}

// give puts into a host's goal what it must know of the VNet, when it has a port there.
func (v *maker) give(h *goal.Host) {
	ports := v.byHost[h]
	if len(ports) == 0 {
		return
	}
	h.Ports = append(h.Ports, ports...)
	sets := map[string]bool{}
	for _, g := range v.groups {
		if !slices.ContainsFunc(ports, func(p goal.Port) bool { return p.NICGroup == g.ID || p.SubnetGroup == g.ID }) {
			continue
		}
		h.Groups = append(h.Groups, g)
		for _, rule := range slices.Concat(g.In, g.Out) {
			for _, name := range slices.Concat(rule.Src.Sets, rule.Dst.Sets) {
				sets[name] = true
			}
		}
	}
	n := goal.VNet{VNI: v.vni, ID: v.id, Prefixes: v.prefixes, Endpoints: v.endpoints, Domain: "random.internal", Names: v.names}
	for _, name := range v.setNames {
		if sets[name] {
			n.Sets = append(n.Sets, goal.Set{Name: name, Prefixes: v.bySet[name]})
		}
	}
	h.VNets = append(h.VNets, n)
	slices.SortFunc(h.Ports, func(a, b goal.Port) int { return int(a.Index) - int(b.Index) })
	slices.SortFunc(h.VNets, func(a, b goal.VNet) int { return int(a.VNI) - int(b.VNI) })
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, s := range texts {
		out[i] = netip.MustParsePrefix(s)
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return out
}

func rarely[T any](r *rand.Rand, usual, rare T) T {
	if r.IntN(8) == 0 {
		return rare
	}
	return usual
}
