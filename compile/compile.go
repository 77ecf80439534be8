// Package compile derives what every host must enforce from what people asked for.
//
// In: the typed view of one revision and the facts of the fabric. Out: one goal.Host per known host. It is a pure function: no
// clock, no I/O, no memory of earlier answers but the memo, which changes how long it takes and never what it says. The same
// input gives the same bytes. What refers to something that is missing fails closed and is listed by Problems.
package compile

import (
	"maps"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// Facts is what is known about the fabric beside the documents.
type Facts struct {
	Hosts       []HostFact                // every known host, by Name
	PrefixLists map[string][]netip.Prefix // the operator's service tags: name → prefixes of both families
	Forwarders  []netip.AddrPort          // DNS servers for names outside, in order
	Limits      goal.Limits               // of every port
	Profile     string                    // contents of the tag Internet: "" or ProfileAzure2024
}

// HostFact is one host of the fabric.
type HostFact struct {
	Name     string
	Underlay netip.Addr
}

// Problem is something that the goals could not take from the documents, and what they enforce instead.
type Problem struct {
	ID     string // resource that refers to it
	Field  string // where
	Value  string // what is missing or unusable
	Effect string // what is enforced instead
}

// Compile returns the goal of every known host, also of one that carries nothing. The goals' generation is the view's revision.
// Goals share memory with each other and with the memo: nobody changes them. A nil memo remembers nothing.
func Compile(v *resource.View, f Facts, memo *Memo) map[string]*goal.Host {
	hosts, _ := Build(v, f, memo)
	return hosts
}

// Problems lists what Compile makes fail closed for the same input. It is empty for documents that passed validation.
func Problems(v *resource.View, f Facts, memo *Memo) []Problem {
	_, problems := Build(v, f, memo)
	return problems
}

// Build is Compile and Problems in one. It is the compiler, from the outside in:
//
//	VMs, NICs ──place──▶ members per VNet ──vnet──▶ ports, endpoints, ASG sets ─┐
//	NSGs ─────group────▶ rules with names of sets ──────────────────────────────┼──host──▶ goal.Host
//	Facts ─────tags────▶ sets that every VNet shares ───────────────────────────┘
func Build(v *resource.View, f Facts, memo *Memo) (map[string]*goal.Host, []Problem) {
	c := &compiler{view: v, facts: f, old: memo.last(), new: newTables()}
	c.tags = c.tagTable()
	c.place()
	c.compileVNets()
	c.compileZones()
	hosts := make(map[string]*goal.Host, len(f.Hosts))
	for _, h := range f.Hosts {
		hosts[h.Name] = c.host(h)
	}
	c.collectProblems()
	memo.keep(c.new)
	return hosts, c.problems
}

// compiler is one run of Build.
type compiler struct {
	view     *resource.View
	facts    Facts
	tags     *tags
	members  map[string][]member // VNet key → its placed NICs
	vnets    []*vnetPart         // by VNI
	zones    []*zonePart         // by ID
	links    map[*vnetPart][]goal.ZoneLink
	old, new *tables
	problems []Problem
}

// host puts together what one host needs of the parts: its ports, their groups, their VNets.
func (c *compiler) host(f HostFact) *goal.Host {
	h := &goal.Host{Name: f.Name, Generation: c.view.Revision, Underlay: f.Underlay, Forwarders: c.facts.Forwarders}
	groups, zones := map[string]*groupPart{}, map[string]bool{}
	for _, n := range c.vnets {
		ports := n.ports[f.Name]
		if len(ports) == 0 {
			continue
		}
		h.Ports = append(h.Ports, ports...)
		sets := map[string]bool{}
		for _, key := range n.groups[f.Name] {
			g := c.group(key)
			groups[key] = g
			for _, s := range g.sets {
				sets[s] = true
			}
		}
		h.VNets = append(h.VNets, n.goal(slices.Sorted(maps.Keys(sets)), c.tags))
		h.VNets[len(h.VNets)-1].Zones = c.links[n]
		for _, l := range c.links[n] {
			zones[l.Zone] = true
		}
	}
	for _, z := range c.zones {
		if zones[z.goal.ID] {
			h.Zones = append(h.Zones, z.goal)
		}
	}
	slices.SortFunc(h.Ports, func(a, b goal.Port) int { return int(a.Index) - int(b.Index) })
	for _, g := range groups {
		h.Groups = append(h.Groups, g.group)
	}
	slices.SortFunc(h.Groups, func(a, b goal.Group) int { return compareText(a.ID, b.ID) })
	return h
}

// collectProblems gathers the problems of the parts that were used, in a fixed order.
func (c *compiler) collectProblems() {
	for _, n := range c.vnets {
		c.problems = append(c.problems, n.problems...)
	}
	for _, key := range slices.Sorted(maps.Keys(c.new.groups)) {
		c.problems = append(c.problems, c.new.groups[key].problems...)
	}
}

func (c *compiler) problem(id, field, value, effect string) {
	c.problems = append(c.problems, Problem{id, field, value, effect})
}
