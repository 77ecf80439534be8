package verify

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
)

// Zone is a named set of ends of conversations: the union of what its fields name. Resources are named by their ARM id, or by as
// many of its last segments as are unique: sql, prod/sql (subnet sql of the VNet prod).
type Zone struct {
	ASGs, Subnets, VNets, NICs, VMs []string
	Prefixes                        []netip.Prefix // NICs with these addresses, and these addresses outside virtual networks
	Tags                            []string       // service tags, as rules write them: Internet, VirtualNetwork, Storage
	Via                             string         // for people: how addresses outside are reached (vpn, expressroute …)
}

// side is a resolved zone: which addresses of each class, and which outside.
type side struct {
	classes map[*class][2]intervals
	outside [2]intervals
	exact   bool // what leaves a virtual network meets its routes, of which there are none; else it is taken to get out
}

func (s *side) empty() bool {
	for _, a := range s.classes {
		if len(a[V4])+len(a[V6]) > 0 {
			return false
		}
	}
	return len(s.outside[V4])+len(s.outside[V6]) == 0
}

// anyone is every NIC and every address outside.
func (n *Network) anyone() *side {
	s := &side{classes: map[*class][2]intervals{}}
	for _, v := range n.vnets {
		for _, c := range v.classes {
			s.classes[c] = c.addresses
		}
	}
	for f := range s.outside {
		s.outside[f] = outside(Family(f))
	}
	return s
}

// resolve finds what a zone names. Something that names nothing is an error, and so is a zone without an end: an assertion
// about nothing would hold.
func (n *Network) resolve(name string, z Zone) (*side, error) {
	s := &side{classes: map[*class][2]intervals{}}
	for _, add := range []struct {
		kind  string
		names []string
		find  func(string) error
	}{
		{"application security group", z.ASGs, func(x string) error { return n.addSet(s, "asg:", x) }},
		{"tag", z.Tags, func(x string) error { return n.addTag(s, x) }},
		{"subnet", z.Subnets, func(x string) error {
			return n.addPorts(s, x, "subnetid", func(p *goal.Port) string { return p.SubnetID })
		}},
		{"NIC", z.NICs, func(x string) error { return n.addPorts(s, x, "id", func(p *goal.Port) string { return p.ID }) }},
		{"virtual machine", z.VMs, func(x string) error { return n.addPorts(s, x, "vm", func(p *goal.Port) string { return p.VM }) }},
		{"virtual network", z.VNets, func(x string) error { return n.addVNet(s, x) }},
	} {
		for _, x := range add.names {
			if err := add.find(x); err != nil {
				return nil, fmt.Errorf("zone %s: %s %q: %w", name, add.kind, x, err)
			}
		}
	}
	for f := range s.outside {
		n.addAddresses(s, Family(f), ofPrefixes(Family(f), z.Prefixes), true)
	}
	if s.empty() {
		return nil, fmt.Errorf("zone %s: no NIC and no address is in it", name)
	}
	return s, nil
}

// called says whether a resource id is what a name means: all of it, or its last names without the types between them.
func called(id, name string) bool {
	if strings.EqualFold(id, name) {
		return true
	}
	if strings.HasPrefix(name, "/") || id == "" {
		return false
	}
	var names []string
	for i, part := range strings.Split(strings.TrimPrefix(id, "/"), "/") {
		if i%2 == 1 {
			names = append(names, part)
		}
	}
	want := strings.Split(name, "/")
	return len(want) <= len(names) && slices.EqualFunc(names[len(names)-len(want):], want, strings.EqualFold)
}

// only says that one resource is meant.
func only(ids map[string]bool) error {
	switch len(ids) {
	case 0:
		return fmt.Errorf("there is none")
	case 1:
		return nil
	}
	return fmt.Errorf("%d have that name: write more of the resource id", len(ids))
}

func (n *Network) addPorts(s *side, name, kind string, of func(*goal.Port) string) error {
	ids := map[string]bool{}
	for _, x := range n.idsOf(kind, of) {
		if !called(x.id, name) {
			continue
		}
		ids[x.id] = true
		for i, p := range x.ports {
			for _, a := range p.Addresses {
				s.add(x.class[i], familyOf(a.IP), ofAddrs(familyOf(a.IP), a.IP))
			}
		}
	}
	return only(ids)
}

// idsOf lists the ids that ports have of a kind, and whose they are.
func (n *Network) idsOf(kind string, of func(*goal.Port) string) []named {
	if out, ok := n.named[kind]; ok {
		return out
	}
	at := map[string]int{}
	var out []named
	for _, v := range n.vnets {
		for _, c := range v.classes {
			for _, p := range c.ports {
				id := of(p)
				i, ok := at[id]
				if !ok {
					i = len(out)
					at[id], out = i, append(out, named{id: id})
				}
				out[i].ports, out[i].class = append(out[i].ports, p), append(out[i].class, c)
			}
		}
	}
	n.named[kind] = out
	return out
}

func (n *Network) addVNet(s *side, name string) error {
	ids := map[string]bool{}
	for _, v := range n.vnets {
		if called(v.ID, name) {
			ids[v.ID] = true
			for _, c := range v.classes {
				for f := range c.addresses {
					s.add(c, Family(f), c.addresses[f])
				}
			}
		}
	}
	return only(ids)
}

// addSet adds the members of an application security group.
func (n *Network) addSet(s *side, prefix, name string) error {
	ids := map[string]bool{}
	for _, v := range n.vnets {
		for set := range v.sets[V4] {
			id, ok := strings.CutPrefix(set, prefix)
			if !ok || !called(id, name) {
				continue
			}
			ids[id] = true
			for f := range v.sets {
				for _, c := range v.classes {
					s.add(c, Family(f), c.addresses[f].and(v.sets[f][set]))
				}
			}
		}
	}
	return only(ids)
}

// addTag adds what a service tag holds. Internet is every address outside virtual networks that rules take for the Internet;
// VirtualNetwork is every NIC.
func (n *Network) addTag(s *side, name string) error {
	found := false
	for _, v := range n.vnets {
		for set := range v.sets[V4] {
			if tag, ok := strings.CutPrefix(set, "tag:"); !ok || !strings.EqualFold(tag, name) {
				continue
			}
			found = true
			for f := range v.sets {
				if strings.EqualFold("tag:"+name, goal.SetVirtualNetwork) {
					for _, c := range v.classes {
						s.add(c, Family(f), c.addresses[f])
					}
					continue
				}
				if strings.EqualFold("tag:"+name, goal.SetInternet) { // the tag holds the platform's address too, which nobody on the Internet has
					n.addAddresses(s, Family(f), v.sets[f][set].and(outside(Family(f))), false)
					continue
				}
				n.addAddresses(s, Family(f), v.sets[f][set], true)
			}
		}
	}
	if !found {
		return fmt.Errorf("no rule of the network uses that tag, so that what it holds is not known")
	}
	return nil
}

// addAddresses adds the NICs that have the addresses, when asked, and the addresses outside.
func (n *Network) addAddresses(s *side, f Family, a intervals, nics bool) {
	if nics {
		for _, v := range n.vnets {
			for _, c := range v.classes {
				s.add(c, f, c.addresses[f].and(a))
			}
		}
	}
	s.outside[f] = normal(append(slices.Clone(s.outside[f]), a...))
}

func (s *side) add(c *class, f Family, a intervals) {
	if len(a) == 0 {
		return
	}
	have := s.classes[c]
	have[f] = normal(append(slices.Clone(have[f]), a...))
	s.classes[c] = have
}
