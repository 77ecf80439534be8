package compile

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// guestMTU is told to guests: the underlay carries it with the overlay's headers.
const guestMTU = 1500

// vnetPart is what one VNet gives to the goals. It is made once for all hosts and never changed.
type vnetPart struct {
	vnet      *resource.VNet // what it was made from
	members   []member
	limits    goal.Limits
	prefixes  []netip.Prefix
	local     []netip.Prefix // the tag VirtualNetwork
	endpoints []goal.Endpoint
	names     []goal.Name
	named     map[string]bool           // hosts of names
	asgs      map[string][]netip.Prefix // key → addresses of its members in this VNet
	ports     map[string][]goal.Port    // host → ports
	groups    map[string][]string       // host → keys of the NSGs that its ports use
	problems  []Problem
}

// compileVNets makes the part of every VNet that has a placed NIC, by VNI.
func (c *compiler) compileVNets() {
	seen := map[uint32]bool{}
	for _, key := range slices.Sorted(maps.Keys(c.members)) {
		n, members := c.view.VNets[key], c.members[key]
		if n.VNI == 0 || seen[n.VNI] {
			c.problem(n.ID, "vni", "", "the VNet's NICs are not on the network: it has no VNI of its own")
			continue
		}
		seen[n.VNI] = true
		part := c.old.vnets[key]
		if part == nil || !part.made(n, members, &c.facts.Limits) {
			part = makeVNet(n, members, &c.facts.Limits)
		}
		c.new.vnets[key] = part
		c.vnets = append(c.vnets, part)
	}
	slices.SortFunc(c.vnets, func(a, b *vnetPart) int { return cmp.Compare(a.vnet.VNI, b.vnet.VNI) })
}

// made says whether the part was made from the same contents.
func (p *vnetPart) made(n *resource.VNet, members []member, limits *goal.Limits) bool {
	return p.limits == *limits && (p.vnet == n || equalVNet(p.vnet, n)) && slices.EqualFunc(p.members, members, member.equal)
}

func makeVNet(n *resource.VNet, members []member, limits *goal.Limits) *vnetPart {
	p := &vnetPart{vnet: n, limits: *limits, members: members, asgs: map[string][]netip.Prefix{}, named: map[string]bool{},
		ports: map[string][]goal.Port{}, groups: map[string][]string{}}
	p.prefixes = normalise(n.Prefixes)
	p.local = normalise(append([]netip.Prefix{netip.PrefixFrom(wireServer, 32)}, n.Prefixes...))
	taken := map[netip.Addr]bool{}
	for _, m := range members {
		p.add(m, taken)
	}
	slices.SortFunc(p.names, func(a, b goal.Name) int { return compareText(a.Host, b.Host) })
	slices.SortFunc(p.endpoints, func(a, b goal.Endpoint) int { return a.IP.Compare(b.IP) })
	for k, prefixes := range p.asgs {
		p.asgs[k] = normalise(prefixes)
	}
	for h, keys := range p.groups {
		slices.Sort(keys)
		p.groups[h] = slices.Compact(keys)
	}
	return p
}

// add makes a member's port and endpoints. A port without any usable address is not on the network.
func (p *vnetPart) add(m member, taken map[netip.Addr]bool) {
	port := goal.Port{
		Index: m.nic.Port, ID: m.nic.ID, VM: m.vm.ID, Primary: m.primary, MAC: m.nic.MAC, VNI: p.vnet.VNI,
		Sandbox:  goal.Sandbox{Name: sandboxName(m.vm.ID), HostName: strings.ToLower(m.vm.HostName), Device: fmt.Sprintf("eth%d", m.device)},
		NICGroup: m.nicGroup, SubnetGroup: m.subnetGroup, SubnetID: m.subnet.ID,
		DNS: nameServers(m.nic, p.vnet), Domain: p.vnet.Domain, MTU: guestMTU, Compute: computeOf(m.vm), Limits: p.limits,
	}
	if a := m.nic.Attachment; a != nil {
		port.Sandbox = goal.Sandbox{HostName: port.Sandbox.HostName}
		port.Attachment = goal.Attachment{Kind: goal.Kind(a.Kind), Device: a.Device, Namespace: a.Namespace, Configure: a.Configure}
	}
	for _, ic := range primaryFirst(m.nic.IPConfigs) {
		a, why := p.address(m, ic, taken)
		if why != "" {
			p.problems = append(p.problems, Problem{m.nic.ID, "ipConfigurations/" + ic.Name, ic.IP.String(), "the address is not on the network: " + why})
			continue
		}
		taken[ic.IP] = true
		a.Primary = len(port.Addresses) == 0
		port.Addresses = append(port.Addresses, a)
		p.endpoints = append(p.endpoints, goal.Endpoint{IP: ic.IP, Host: m.host.Underlay, Port: port.Index, MAC: port.MAC})
		for _, asg := range ic.ASGs {
			p.asgs[asg] = append(p.asgs[asg], netip.PrefixFrom(ic.IP, ic.IP.BitLen()))
		}
	}
	if len(port.Addresses) == 0 {
		return
	}
	p.ports[m.host.Name] = append(p.ports[m.host.Name], port)
	if a := m.nic.Attachment; m.primary && (a == nil || a.HostName != "") {
		p.register(m.vm, &port)
	}
	for _, key := range m.groupKeys {
		if key != "" {
			p.groups[m.host.Name] = append(p.groups[m.host.Name], key)
		}
	}
}

// address finds the subnet prefix that an IP configuration's address lies in, or says why it has none.
func (p *vnetPart) address(m member, ic resource.IPConfig, taken map[netip.Addr]bool) (goal.Address, string) {
	switch {
	case ic.Subnet != strings.ToLower(m.subnet.ID):
		return goal.Address{}, "it is in another subnet than the NIC"
	case taken[ic.IP]:
		return goal.Address{}, "another NIC has it"
	}
	for _, prefix := range m.subnet.Prefixes {
		if prefix.Contains(ic.IP) {
			return goal.Address{IP: ic.IP, Subnet: prefix.Masked()}, ""
		}
	}
	return goal.Address{}, "it is in no prefix of its subnet"
}

// goal returns the VNet as a host must know it whose rules refer to the given sets.
func (p *vnetPart) goal(sets []string, t *tags) goal.VNet {
	n := goal.VNet{VNI: p.vnet.VNI, ID: p.vnet.ID, Prefixes: p.prefixes, Endpoints: p.endpoints, IdleMinutes: p.vnet.IdleMinutes,
		Domain: p.vnet.Domain, Names: p.names}
	for _, name := range sets {
		s := goal.Set{Name: name, Prefixes: t.sets[name]}
		if asg, ok := strings.CutPrefix(name, asgPrefix); ok {
			s.Prefixes = p.asgs[strings.ToLower(asg)]
		} else if name == goal.SetVirtualNetwork {
			s.Prefixes = p.local
		}
		n.Sets = append(n.Sets, s)
	}
	return n
}

// nameServers: the NIC's own, else the VNet's, else the platform's.
func nameServers(nic *resource.NIC, n *resource.VNet) []netip.Addr {
	switch {
	case len(nic.DNS) > 0:
		return nic.DNS
	case len(n.DNS) > 0:
		return n.DNS
	}
	return []netip.Addr{wireServer}
}

func primaryFirst(configs []resource.IPConfig) []resource.IPConfig {
	out := slices.Clone(configs)
	slices.SortStableFunc(out, func(a, b resource.IPConfig) int {
		switch {
		case a.Primary == b.Primary:
			return 0
		case a.Primary:
			return -1
		}
		return 1
	})
	return out
}

// sandboxName makes a namespace's name from a VM's id: its name as far as it may stand there, and a hash that keeps VMs of one
// name apart. At most 32 bytes.
func sandboxName(vmID string) string {
	id := strings.ToLower(vmID)
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, id[strings.LastIndexByte(id, '/')+1:])
	sum := sha256.Sum256([]byte(id))
	return name[:min(len(name), 21)] + "-" + hex.EncodeToString(sum[:5])
}
