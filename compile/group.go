package compile

import (
	"cmp"
	"slices"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// groupPart is one NSG as a rule group, with the names of the sets it refers to. It is made once and never changed.
type groupPart struct {
	nsg      *resource.NSG // what it was made from
	refs     map[reference]string
	group    goal.Group
	sets     []string // sorted
	problems []Problem
}

// group returns the part of an NSG, from the memo when nothing it was made from has changed.
func (c *compiler) group(key string) *groupPart {
	if p := c.new.groups[key]; p != nil {
		return p
	}
	nsg := c.view.NSGs[key]
	p := c.old.groups[key]
	switch {
	case nsg == nil:
		p = missingGroup(key)
	case p == nil || !p.made(nsg, c.resolve):
		p = makeGroup(nsg, c.resolve)
	}
	c.new.groups[key] = p
	return p
}

// made says whether the part was made from the same contents, with references that still mean the same.
func (p *groupPart) made(nsg *resource.NSG, resolve func(reference) string) bool {
	if p.nsg != nsg && (p.nsg == nil || !equalNSG(p.nsg, nsg)) {
		return false
	}
	for ref, name := range p.refs {
		if resolve(ref) != name {
			return false
		}
	}
	return true
}

// missingGroup stands for an NSG that a NIC or subnet names and that does not exist: nothing passes.
func missingGroup(key string) *groupPart {
	deny := func(name string) []goal.Rule {
		return []goal.Rule{{Name: "missingSecurityGroup/" + name, Priority: 65500, Src: anyone, Dst: anyone, SrcPorts: anyPort, DstPorts: anyPort}}
	}
	return &groupPart{
		group:    goal.Group{ID: key, In: deny("DenyAllInBound"), Out: deny("DenyAllOutBound")},
		problems: []Problem{{key, "networkSecurityGroup", key, "everything is denied"}},
	}
}

// makeGroup turns an NSG into ordered rules: the user's by priority, then the three defaults of each direction.
func makeGroup(nsg *resource.NSG, resolve func(reference) string) *groupPart {
	b := &groupBuilder{part: &groupPart{nsg: nsg, refs: map[reference]string{}}, resolve: resolve}
	b.part.group = goal.Group{ID: nsg.ID, Flush: nsg.Flush}
	rules := slices.Clone(nsg.Rules)
	slices.SortStableFunc(rules, func(x, y resource.SecurityRule) int {
		return cmp.Or(cmp.Compare(x.Priority, y.Priority), compareText(x.Name, y.Name))
	})
	for i := range rules {
		if r, ok := b.rule(&rules[i]); ok {
			b.add(r, rules[i].Inbound)
		}
	}
	for _, r := range defaultsIn {
		r.Revision = nsg.Revision
		b.add(r, true)
	}
	for _, r := range defaultsOut {
		r.Revision = nsg.Revision
		b.add(r, false)
	}
	slices.Sort(b.part.sets)
	b.part.sets = slices.Compact(b.part.sets)
	return b.part
}

type groupBuilder struct {
	part    *groupPart
	resolve func(reference) string
}

func (b *groupBuilder) add(r goal.Rule, inbound bool) {
	if inbound {
		b.part.group.In = append(b.part.group.In, r)
	} else {
		b.part.group.Out = append(b.part.group.Out, r)
	}
	b.part.sets = append(append(b.part.sets, r.Src.Sets...), r.Dst.Sets...)
}

var (
	anyone  = goal.Match{Any: true}
	anyPort = []goal.PortRange{goal.AnyPort}
)

// The default rules: always last, not stored, not to be removed.
var (
	defaultsIn = []goal.Rule{
		defaultRule("AllowVnetInBound", 65000, true, tag(goal.SetVirtualNetwork), tag(goal.SetVirtualNetwork)),
		defaultRule("AllowAzureLoadBalancerInBound", 65001, true, tag(goal.SetAzureLoadBalancer), anyone),
		defaultRule("DenyAllInBound", 65500, false, anyone, anyone),
	}
	defaultsOut = []goal.Rule{
		defaultRule("AllowVnetOutBound", 65000, true, tag(goal.SetVirtualNetwork), tag(goal.SetVirtualNetwork)),
		defaultRule("AllowInternetOutBound", 65001, true, anyone, tag(goal.SetInternet)),
		defaultRule("DenyAllOutBound", 65500, false, anyone, anyone),
	}
)

func tag(set string) goal.Match { return goal.Match{Sets: []string{set}} }

func defaultRule(name string, priority uint16, allow bool, src, dst goal.Match) goal.Rule {
	return goal.Rule{Name: "defaultSecurityRules/" + name, Priority: priority, Allow: allow, Src: src, Dst: dst, SrcPorts: anyPort, DstPorts: anyPort}
}
