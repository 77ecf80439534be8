// Package verify answers questions about all packets at once: what can reach what, which rule decides, what a change changes.
//
// In: the goals of the hosts, which are what the kernel is programmed with, and questions as values. Out: exact answers: sets of
// packets, deciding rules by their resource ids, and witness packets that goal/model and the kernel can be asked about. What
// cannot be decided (an unsupported resource on the way, a spent budget) is Unknown, never a pass. Pure; a Network and its Memo
// belong to one caller. docs/verify.md explains how and how far.
package verify

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
)

// Source is what a Network is made of. Goals and groups are not changed afterwards by anybody.
type Source struct {
	Hosts []*goal.Host // the goals of all hosts

	// Groups are further rule groups that no port refers to, as a directory of exports has them: they are linted, and
	// nothing passes them.
	Groups []goal.Group

	// Unsupported are resources that change what packets do and that goals do not hold yet: answers about networks that they
	// matter for are Unknown by their name.
	Unsupported []Unsupported
}

// Unsupported is a resource that the goals do not model.
type Unsupported struct {
	ID   string // ARM id, or the name in its file
	Type string // ARM type, "" when it is not known
	// VNets are the ARM ids of the virtual networks it matters for; none: it may matter everywhere.
	VNets []string
	// Edge says that it only matters for packets from or to addresses outside virtual networks (public addresses, load
	// balancers, gateways).
	Edge bool
}

// Network is everything that a Source says, ready to be asked.
type Network struct {
	vnets       []*vnet
	groups      map[string]*goal.Group
	unsupported []Unsupported
	memo        *Memo
	sides       map[string]*side // of zones that were asked about
	named       map[string][]named
}

// named is a resource id and the ports that have it.
type named struct {
	id    string
	ports []*goal.Port
	class []*class
}

// vnet is a virtual network with its ports by class.
type vnet struct {
	*goal.VNet
	sets    [2]setsOf
	setsKey string
	classes []*class
	space   [2]intervals // address space
	nics    [2]intervals // addresses that a NIC has
}

// class is the ports of a VNet that meet the same rule groups. What else tells them apart, membership in sets and prefixes, is in
// their addresses, which are one set.
type class struct {
	vnet        *vnet
	nic, subnet string // Group.ID
	ports       []*goal.Port
	addresses   [2]intervals

	guards [2][2]*filter   // by family; towards other classes and towards itself
	acls   [2][2][]*filter // by family and direction
	byAddr map[netip.Addr]*goal.Port
}

// Memo keeps what was worked out, by content: a Network made with the memo of an earlier one works out only what changed. It
// grows with what is asked; Trim forgets what was not asked since the last Trim.
type Memo struct {
	filters map[string]*filter
	hashes  map[groupKey]string
	answers map[string]found
	used    map[string]bool
}

// NewMemo is an empty one.
func NewMemo() *Memo {
	return &Memo{filters: map[string]*filter{}, hashes: map[groupKey]string{}, answers: map[string]found{}, used: map[string]bool{}}
}

// Trim forgets everything that was not used since it was called last.
func (m *Memo) Trim() {
	for k := range m.filters {
		if !m.used[k] {
			delete(m.filters, k)
		}
	}
	for k := range m.answers {
		if !m.used[k] {
			delete(m.answers, k)
		}
	}
	clear(m.used)
	clear(m.hashes)
}

// groupKey names a group's content by where its rules lie: they are never changed.
type groupKey struct {
	id        string
	flush     bool
	in, out   *goal.Rule
	ins, outs int
}

// New makes a Network. The memo may be nil. Goals that contradict each other are an error: the same VNet or group with different
// content on two hosts means that they are not of one moment.
func New(src Source, memo *Memo) (*Network, error) {
	if memo == nil {
		memo = NewMemo()
	}
	n := &Network{groups: map[string]*goal.Group{}, unsupported: src.Unsupported, memo: memo, sides: map[string]*side{}, named: map[string][]named{}}
	byVNI := map[uint32]*vnet{}
	for _, h := range src.Hosts {
		if err := n.add(h, byVNI); err != nil {
			return nil, fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	for i := range src.Groups {
		g := &src.Groups[i]
		if old := n.groups[g.ID]; old != nil && n.content(old) != n.content(g) {
			return nil, fmt.Errorf("group %s: two contents", g.ID)
		}
		n.groups[g.ID] = g
	}
	for _, vni := range slices.Sorted(maps.Keys(byVNI)) {
		n.vnets = append(n.vnets, byVNI[vni])
	}
	for _, h := range src.Hosts {
		if err := n.classify(h, byVNI); err != nil {
			return nil, fmt.Errorf("host %s: %w", h.Name, err)
		}
	}
	for _, v := range n.vnets {
		n.finish(v)
	}
	return n, nil
}

func (n *Network) add(h *goal.Host, byVNI map[uint32]*vnet) error {
	for i := range h.Groups {
		g := &h.Groups[i]
		if old := n.groups[g.ID]; old == nil {
			n.groups[g.ID] = g
		} else if n.content(old) != n.content(g) {
			return fmt.Errorf("group %s: another host has other rules: the goals are not of one moment", g.ID)
		}
	}
	for i := range h.VNets {
		v := &h.VNets[i]
		old := byVNI[v.VNI]
		if old == nil {
			byVNI[v.VNI] = newVNet(v)
			continue
		}
		if old.ID != v.ID || !slices.Equal(old.Prefixes, v.Prefixes) {
			return fmt.Errorf("virtual network %s: another host knows it as something else: the goals are not of one moment", v.ID)
		}
		if err := old.merge(v); err != nil {
			return err
		}
	}
	return nil
}

func newVNet(v *goal.VNet) *vnet {
	out := &vnet{VNet: v, sets: [2]setsOf{{}, {}}}
	for f := range out.sets {
		out.space[f] = ofPrefixes(Family(f), v.Prefixes)
	}
	for _, s := range v.Sets {
		out.resolve(s)
	}
	return out
}

func (v *vnet) resolve(s goal.Set) {
	for f := range v.sets {
		v.sets[f][s.Name] = ofPrefixes(Family(f), s.Prefixes)
	}
}

// merge takes over sets that only this host's groups refer to.
func (v *vnet) merge(o *goal.VNet) error {
	for _, s := range o.Sets {
		old, ok := v.sets[V4][s.Name]
		if !ok {
			v.resolve(s)
			continue
		}
		if !slices.Equal(old, ofPrefixes(V4, s.Prefixes)) || !slices.Equal(v.sets[V6][s.Name], ofPrefixes(V6, s.Prefixes)) {
			return fmt.Errorf("set %s of virtual network %s: another host knows other addresses: the goals are not of one moment", s.Name, v.ID)
		}
	}
	return nil
}

// classify puts the ports of a host into classes.
func (n *Network) classify(h *goal.Host, byVNI map[uint32]*vnet) error {
	type place struct {
		vni         uint32
		nic, subnet string
	}
	of := map[place]*class{}
	for _, v := range n.vnets {
		for _, c := range v.classes {
			of[place{v.VNI, c.nic, c.subnet}] = c
		}
	}
	for i := range h.Ports {
		p := &h.Ports[i]
		v := byVNI[p.VNI]
		if v == nil {
			return fmt.Errorf("port %s: virtual network %d is not in the goal", p.ID, p.VNI)
		}
		for _, g := range []string{p.NICGroup, p.SubnetGroup} {
			if g != "" && n.groups[g] == nil {
				return fmt.Errorf("port %s: group %s is not in the goal", p.ID, g)
			}
		}
		k := place{p.VNI, p.NICGroup, p.SubnetGroup}
		c := of[k]
		if c == nil {
			c = &class{vnet: v, nic: p.NICGroup, subnet: p.SubnetGroup}
			of[k], v.classes = c, append(v.classes, c)
		}
		c.ports = append(c.ports, p)
	}
	return nil
}

// finish orders a VNet's classes and collects their addresses.
func (n *Network) finish(v *vnet) {
	slices.SortFunc(v.classes, func(a, b *class) int {
		return cmp.Or(strings.Compare(a.nic, b.nic), strings.Compare(a.subnet, b.subnet))
	})
	v.setsKey = v.contentOfSets()
	for _, c := range v.classes {
		c.byAddr = map[netip.Addr]*goal.Port{}
		for _, p := range c.ports {
			for _, a := range p.Addresses {
				f := familyOf(a.IP)
				c.byAddr[a.IP] = p
				c.addresses[f] = append(c.addresses[f], interval{numberOf(a.IP), numberOf(a.IP)})
			}
		}
		for f := range c.addresses {
			c.addresses[f] = normal(c.addresses[f])
			v.nics[f] = append(v.nics[f], c.addresses[f]...)
		}
	}
	for f := range v.nics {
		v.nics[f] = normal(v.nics[f])
	}
}

// portOf is the port of the class with the address, nil when it is none's.
func (c *class) portOf(ip netip.Addr) *goal.Port { return c.byAddr[ip] }

// groupIDs are the rule groups of the class in the order that the direction asks them.
func (c *class) groupIDs(dir Direction) []string {
	ids := []string{c.nic, c.subnet}
	if dir == In {
		slices.Reverse(ids)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}
