package verify

import (
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/verify/space"
)

// Edit is a rule to add to a group, in front of what decides now: the smallest change for one packet. Every Edit that an answer
// gives was tried: with all edits of the answer the packet's verdict is the other one.
type Edit struct {
	Group     string // ARM id of the network security group
	Direction Direction
	Rule      goal.Rule // its Priority is free in the group
	Before    RuleID    // the rule that decides now
}

// fix is what makes a packet arrive (open) or not arrive, by rules; nil when no rule can.
func (n *Network) fix(p *path, w Packet, hops []Hop, open bool) []Edit {
	var edits []Edit
	x := w.point()
	for _, h := range hops {
		switch {
		case h.Layer != "acl" && !h.Allow:
			return nil // no rule opens that
		case h.Layer != "acl" || h.Allow == open || h.By.Group == "":
			continue
		}
		e, ok := n.edit(p.family, x, h, open)
		if !ok {
			return nil
		}
		if !slices.ContainsFunc(edits, func(o Edit) bool { return o.Group == e.Group && o.Direction == e.Direction }) {
			edits = append(edits, e)
		}
		if !open {
			break // one that denies is enough
		}
	}
	if len(edits) == 0 || p.arrivesWith(edits, x) != open {
		return nil
	}
	return edits
}

// edit is a rule for one packet in front of the rule that decides about it.
func (n *Network) edit(f Family, x [space.Dims]number, h Hop, allow bool) (Edit, bool) {
	g := n.groups[h.By.Group]
	rules := g.Out
	if h.Direction == In {
		rules = g.In
	}
	i := slices.IndexFunc(rules, func(r goal.Rule) bool { return r.Name == h.By.Rule })
	if i < 0 {
		return Edit{}, false
	}
	priority, ok := freeBefore(rules, i)
	if !ok {
		return Edit{}, false
	}
	single := func(d int) goal.Match {
		a := x[d].addr(f)
		return goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen())}}
	}
	any := []goal.PortRange{goal.AnyPort}
	r := goal.Rule{Name: "securityRules/" + map[bool]string{true: "allow-", false: "deny-"}[allow] + "packet", Priority: priority, Allow: allow,
		Src: single(dimSrc), Dst: single(dimDst), SrcPorts: any, DstPorts: any}
	switch n := x[dimProtocol].lo; {
	case n >= icmpTypes:
		r.Protocol = goal.ICMP
	case n == uint64(goal.TCP), n == uint64(goal.UDP):
		r.Protocol = uint8(n)
		port := uint16(x[dimDstPort].lo)
		r.DstPorts = []goal.PortRange{{Lo: port, Hi: port}}
	default:
		r.Protocol = uint8(n)
	}
	return Edit{h.By.Group, h.Direction, r, h.By}, true
}

// freeBefore is the highest priority for users that no rule has and that comes before the rule at index i.
func freeBefore(rules []goal.Rule, i int) (uint16, bool) {
	for p := min(int(rules[i].Priority)-1, 4096); p >= 100; p-- {
		if !slices.ContainsFunc(rules, func(r goal.Rule) bool { return int(r.Priority) == p }) {
			return uint16(p), true
		}
	}
	return 0, false
}

// arrivesWith says whether a packet passes every filter of the path when edits are made.
func (p *path) arrivesWith(edits []Edit, x [space.Dims]number) bool {
	for _, flt := range p.filters {
		if flt.layer == exceptLayer {
			continue
		}
		allow, decided := false, false
		for _, e := range edits {
			if flt.layer != "acl" || e.Group != flt.group || e.Direction != flt.dir {
				continue
			}
			for _, l := range linesOf(p.family, e.Group, []goal.Rule{e.Rule}, nil) {
				if l.holds(x) && !decided && !p.decidedBefore(flt, x, e) {
					allow, decided = e.Rule.Allow, true
				}
			}
		}
		for i := 0; i < len(flt.lines) && !decided; i++ {
			if flt.lines[i].holds(x) {
				allow, decided = flt.lines[i].allow, true
			}
		}
		if !allow {
			return false
		}
	}
	return true
}

// decidedBefore says whether a rule in front of the edit's place decides about the packet.
func (p *path) decidedBefore(flt *filter, x [space.Dims]number, e Edit) bool {
	for i := range flt.lines {
		if flt.lines[i].id == e.Before {
			return false
		}
		if flt.lines[i].holds(x) {
			return true
		}
	}
	return true
}
