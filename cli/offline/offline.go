// Package offline makes networks that the verifier can be asked about from files that no server has: it compiles what intent/load has read.
//
// In: a load.Source. Out: a Network pair that holds the truth between them, with what neither can say. Rules whose match is not known are
// taken once as if they let through as much as they can and once as little: what both networks answer alike does not depend on them.
// The command line owns its Networks.
package offline

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/load"
	"ringfence/intent/resource"
	"ringfence/verify"
)

// Network is what a source describes.
type Network struct {
	Source *load.Source
	Open   *verify.Network // rules that are not known let through what they can
	Closed *verify.Network // and here they stop what they can; the same one when every rule is known
	Goal   *goal.Host      // of Open
	Groups []goal.Group    // every security group of Open, attached or not
	Doubts []string        // why Open and Closed differ
}

// New compiles a source.
func New(s *load.Source, memo *verify.Memo) (*Network, error) {
	n := &Network{Source: s}
	open, doubts := bound(s, true)
	n.Doubts = doubts
	var err error
	if n.Open, n.Goal, n.Groups, err = build(s, open, memo); err != nil {
		return nil, err
	}
	n.Closed = n.Open
	if len(doubts) > 0 {
		closed, _ := bound(s, false)
		if n.Closed, _, _, err = build(s, closed, memo); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// facts are those of a fabric of one host.
func facts(s *load.Source) compile.Facts {
	return compile.Facts{Hosts: []compile.HostFact{{Name: load.Host, Underlay: netip.AddrFrom4([4]byte{192, 0, 2, 1})}}, PrefixLists: s.PrefixLists}
}

func build(s *load.Source, v *resource.View, memo *verify.Memo) (*verify.Network, *goal.Host, []goal.Group, error) {
	hosts := compile.Compile(v, facts(s), nil)
	host := withTags(s, hosts[load.Host])
	groups := allGroups(s, v, host)
	n, err := verify.New(verify.Source{Hosts: []*goal.Host{host}, Groups: groups, Unsupported: unsupported(s)}, memo)
	return n, host, groups, err
}

// withTags gives every network the service tags that no rule in it names, so that zones can name them.
func withTags(s *load.Source, host *goal.Host) *goal.Host {
	rules := []resource.SecurityRule{}
	for _, tag := range append(slices.Sorted(maps.Keys(s.PrefixLists)), "Internet", "AzureLoadBalancer", "VirtualNetwork") {
		if list, given := s.PrefixLists[tag]; given && len(list) == 0 {
			continue // its contents are not known
		}
		r := whole(tag, true)[0]
		r.Src.Prefixes = []string{tag}
		rules = append(rules, r)
	}
	const id = "/subscriptions/0/resourceGroups/0/providers/Microsoft.Network/networkSecurityGroups/0"
	one := &resource.View{Revision: 1, VNets: map[string]*resource.VNet{}, NSGs: map[string]*resource.NSG{strings.ToLower(id): {ID: id, Rules: rules}}, NICs: map[string]*resource.NIC{}, VMs: map[string]*resource.VM{}}
	lonely(one, strings.ToLower(id), 1)
	tags := compile.Compile(one, facts(s), nil)[load.Host].VNets[0].Sets
	out := *host
	out.VNets = slices.Clone(host.VNets)
	for i := range out.VNets {
		v := &out.VNets[i]
		sets := slices.Clone(v.Sets)
		for _, t := range tags {
			if slices.ContainsFunc(sets, func(s goal.Set) bool { return s.Name == t.Name }) {
				continue
			}
			if t.Name == goal.SetVirtualNetwork {
				t.Prefixes = v.Prefixes
			}
			sets = append(sets, t)
		}
		slices.SortFunc(sets, func(a, b goal.Set) int { return strings.Compare(a.Name, b.Name) })
		v.Sets = sets
	}
	return &out
}

// lonely puts an interface with a group of its own, in a network of its own, into a view.
func lonely(v *resource.View, nsg string, port uint32) {
	const vnet, subnet = "/subscriptions/0/resourceGroups/0/providers/Microsoft.Network/virtualNetworks/0", "/subscriptions/0/resourceGroups/0/providers/Microsoft.Network/virtualNetworks/0/subnets/0"
	space := netip.MustParsePrefix("10.0.0.0/8")
	v.VNets[strings.ToLower(vnet)] = &resource.VNet{ID: vnet, Prefixes: []netip.Prefix{space}, VNI: 1, Subnets: []resource.Subnet{{ID: subnet, Name: "0", Prefixes: []netip.Prefix{space}}}}
	nic := fmt.Sprintf("/subscriptions/0/resourcegroups/0/providers/microsoft.network/networkinterfaces/%d", port)
	v.NICs[nic] = &resource.NIC{ID: nic, NSG: nsg, VM: nic, Port: port, MAC: [6]byte{2, 0, 0, byte(port >> 16), byte(port >> 8), byte(port)},
		IPConfigs: []resource.IPConfig{{Name: "c", Primary: true, Subnet: strings.ToLower(subnet), IP: netip.AddrFrom4([4]byte{10, byte(port >> 16), byte(port >> 8), byte(port)})}}}
	v.VMs[nic] = &resource.VM{ID: nic, HostName: "x", NICs: []string{nic}, Host: load.Host}
}

// allGroups are the groups of the goal, and those that nothing is attached to: they are compiled on an interface of their own, so that
// they mean what they would mean.
func allGroups(s *load.Source, v *resource.View, host *goal.Host) []goal.Group {
	groups := slices.Clone(host.Groups)
	have := map[string]bool{}
	for _, g := range groups {
		have[strings.ToLower(g.ID)] = true
	}
	rest := &resource.View{Revision: 1, VNets: map[string]*resource.VNet{}, NSGs: v.NSGs, ASGs: v.ASGs, NICs: map[string]*resource.NIC{}, VMs: map[string]*resource.VM{}}
	port := uint32(0)
	for _, key := range slices.Sorted(maps.Keys(v.NSGs)) {
		if !have[key] {
			port++
			lonely(rest, key, port)
		}
	}
	if port == 0 {
		return groups
	}
	return append(groups, compile.Compile(rest, facts(s), nil)[load.Host].Groups...)
}

// Attached says whether a group filters some interface.
func (n *Network) Attached(group string) bool {
	return slices.ContainsFunc(n.Goal.Groups, func(g goal.Group) bool { return strings.EqualFold(g.ID, group) })
}

// Check answers assertions: what both bounds answer alike is so; else it depends on a rule that is not known.
func (n *Network) Check(c verify.Checks, old *Network) ([]verify.Result, error) {
	var oldOpen, oldClosed *verify.Network
	if old != nil {
		oldOpen, oldClosed = old.Open, old.Closed
	}
	out, err := n.Open.Check(c, oldOpen)
	if n.Closed == n.Open && oldOpen == oldClosed {
		return out, err
	}
	other, _ := n.Closed.Check(c, oldClosed)
	for i := range out {
		at := slices.IndexFunc(other, func(r verify.Result) bool { return r.ID == out[i].ID })
		if at >= 0 && other[at].Status == out[i].Status {
			if closing(c.Assert, out[i].ID) { // its packet arrives even so
				out[i] = other[at]
			}
			continue
		}
		doubts := n.Doubts
		if old != nil {
			doubts = slices.Concat(doubts, old.Doubts)
		}
		out[i] = verify.Result{ID: out[i].ID, Status: verify.Unknown, Text: "it depends on a rule that is not known", Unknown: doubts}
	}
	return out, err
}

// closing says whether an assertion is about what shall not arrive.
func closing(list []verify.Assertion, id string) bool {
	i := slices.IndexFunc(list, func(a verify.Assertion) bool { return a.ID == id })
	return i >= 0 && (list[i].None != nil || list[i].Packet != nil && !list[i].Packet.Allow)
}

// unsupported are the unknowns that no bound covers.
func unsupported(s *load.Source) []verify.Unsupported {
	var out []verify.Unsupported
	for _, u := range s.Unknowns {
		if bounded(u) {
			continue
		}
		edge := u.Kind == load.KindPublic || u.Kind == load.KindPeering || u.Kind == load.KindGateway
		x := verify.Unsupported{ID: name(u), VNets: vnets(s, u), Edge: edge}
		if len(x.VNets) == 0 && !slices.Contains(u.Touches, load.Everything) {
			continue // it concerns nothing that a machine is in
		}
		if slices.Contains(u.Touches, load.Everything) {
			x.VNets = nil
		}
		out = append(out, x)
	}
	return out
}

// name says what is not known, and where.
func name(u load.Unknown) string { return u.String() }

// vnets are the virtual networks that an unknown concerns.
func vnets(s *load.Source, u load.Unknown) []string {
	found := map[string]bool{}
	add := func(key string) {
		if v := s.View.VNets[resource.TopKey(key)]; v != nil {
			found[v.ID] = true
		}
	}
	for _, key := range u.Touches {
		add(key)
		if nic := s.View.NICs[key]; nic != nil && len(nic.IPConfigs) > 0 {
			add(nic.IPConfigs[0].Subnet)
		}
		for _, v := range s.View.VNets {
			for _, sub := range v.Subnets {
				if sub.NSG == key {
					add(strings.ToLower(v.ID))
				}
			}
		}
		for _, nic := range s.View.NICs {
			if len(nic.IPConfigs) > 0 && (nic.NSG == key || slices.ContainsFunc(nic.IPConfigs, func(c resource.IPConfig) bool { return slices.Contains(c.ASGs, key) })) {
				add(nic.IPConfigs[0].Subnet)
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// Memberless are the ids of the application security groups that rules name and no interface is in.
func (n *Network) Memberless() []string {
	members, named := map[string]bool{}, map[string]bool{}
	for _, nic := range n.Source.View.NICs {
		for _, c := range nic.IPConfigs {
			for _, key := range c.ASGs {
				members[key] = true
			}
		}
	}
	for _, g := range n.Source.View.NSGs {
		for _, r := range g.Rules {
			for _, key := range slices.Concat(r.Src.ASGs, r.Dst.ASGs) {
				named[key] = true
			}
		}
	}
	var out []string
	for _, key := range slices.Sorted(maps.Keys(named)) {
		if g := n.Source.View.ASGs[key]; g != nil && !members[key] {
			out = append(out, g.ID)
		}
	}
	return out
}
