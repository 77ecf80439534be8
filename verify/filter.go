package verify

import (
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/observe"
	"ringfence/verify/space"
)

// Direction of a rule list, always the VM's.
type Direction uint8

// Out leaves the VM, In enters it.
const (
	Out Direction = iota
	In
)

func (d Direction) String() string { return [...]string{"outbound", "inbound"}[d] }

// RuleID names what decided: a rule of a group, or, of the layers that have no rules, a reason of the fabric.
type RuleID struct {
	Group  string         // ARM id of the network security group; "" of other layers
	Rule   string         // as in goal.Rule.Name: securityRules/NAME or defaultSecurityRules/NAME
	Reason observe.Reason // of other layers: why they drop
}

// ID is the ARM id of the rule, or the reason's name.
func (r RuleID) ID() string {
	if r.Group == "" {
		return r.Reason.String()
	}
	return r.Group + "/" + r.Rule
}

// filter is one relation of a path that packets pass or not, unchanged: a first-match list with the names of its lines. Layers
// that rewrite packets (NAT, load balancers) will be relations of their own kind between filters.
type filter struct {
	layer string    // guard, flow, acl, route, edge
	group string    // of acl: Group.ID
	level string    // of acl: nic or subnet
	dir   Direction //
	lines []line
	key   string // content
}

// line is a term of a filter.
type line struct {
	product
	index int // of the rule in the filter; parts of one rule share it
	id    RuleID
	allow bool
}

// setsOf resolves the set names of a VNet in one family.
type setsOf map[string]intervals

// linesOf makes the terms of one direction of a group as the sets resolve them.
func linesOf(f Family, group string, rules []goal.Rule, sets setsOf) []line {
	var out []line
	limits := f.everything()
	for i := range rules {
		r := &rules[i]
		src, dst := matched(f, r.Src, sets, limits[dimSrc]), matched(f, r.Dst, sets, limits[dimDst])
		if len(src) == 0 || len(dst) == 0 {
			continue
		}
		for _, s := range services(f, r, limits) {
			s[dimSrc], s[dimDst] = src, dst
			out = append(out, line{s, i, RuleID{Group: group, Rule: r.Name}, r.Allow})
		}
	}
	return out
}

func matched(f Family, m goal.Match, sets setsOf, all intervals) intervals {
	if m.Any {
		return all
	}
	out := ofPrefixes(f, m.Prefixes)
	if len(out) == 0 && len(m.Sets) == 1 {
		return sets[m.Sets[0]]
	}
	for _, name := range m.Sets {
		out = append(out, sets[name]...)
	}
	return normal(out)
}

// services are the protocols and ports of a rule as at most two products: protocols with ports and the ports; ICMP types that
// both ranges hold and, when these are full, the protocols without ports.
func services(f Family, r *goal.Rule, all product) []product {
	src, dst := ofPorts(r.SrcPorts), ofPorts(r.DstPorts)
	full := slices.Contains(r.SrcPorts, goal.AnyPort) && slices.Contains(r.DstPorts, goal.AnyPort)
	var protocols, types intervals
	switch {
	case r.Protocol == goal.ProtocolAny:
		if full {
			protocols = all[dimProtocol]
			break
		}
		protocols = intervals{{small(uint64(goal.TCP)), small(uint64(goal.TCP))}, {small(uint64(goal.UDP)), small(uint64(goal.UDP))}}
		types = typesIn(src.and(dst))
	case r.Protocol == goal.ICMP || r.Protocol == f.icmp():
		types = typesIn(src.and(dst))
	case full || r.Protocol == goal.TCP || r.Protocol == goal.UDP:
		protocols = one(uint64(r.Protocol))
	}
	var out []product
	if len(protocols) > 0 {
		p := all
		p[dimProtocol], p[dimSrcPort], p[dimDstPort] = protocols, src, dst
		out = append(out, p)
	}
	if len(types) > 0 {
		p := all
		p[dimProtocol] = types
		out = append(out, p)
	}
	return out
}

// typesIn are the ICMP types among ports, where the protocol's dimension has them.
func typesIn(ports intervals) intervals {
	var out intervals
	for _, v := range ports.and(intervals{{small(0), small(255)}}) {
		out = append(out, interval{small(v.lo.lo + icmpTypes), small(v.hi.lo + icmpTypes)})
	}
	return out
}

// axis numbers the intervals between the borders of one dimension.
type axis []number // where each begins; the first begins at 0

func (a axis) at(x number) uint32 {
	lo, hi := 0, len(a)
	for lo < hi {
		if m := (lo + hi) / 2; !x.less(a[m]) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return uint32(lo - 1)
}

func (a axis) set(s intervals) space.Set {
	out := make(space.Set, 0, len(s))
	for _, v := range s {
		w := space.Span{Lo: a.at(v.lo), Hi: a.at(v.hi)}
		if n := len(out); n > 0 && out[n-1].Hi+1 == w.Lo {
			out[n-1].Hi = w.Hi
			continue
		}
		out = append(out, w)
	}
	return out
}

// intervals is the way back.
func (a axis) intervals(s space.Set, last number) intervals {
	out := make(intervals, 0, len(s))
	for _, v := range s {
		hi := last
		if int(v.Hi)+1 < len(a) {
			hi = a[v.Hi+1].previous()
		}
		out = append(out, interval{a[v.Lo], hi})
	}
	return out
}

// question is a region and the filters that packets of it meet, in the coordinates of the engine.
type question struct {
	family  Family
	axes    [space.Dims]axis
	lists   []space.List
	filters []*filter
	region  space.Cell
	lines   [][]*line // of each list
}

// ask numbers what the filters distinguish within the region; lines outside it are left out.
func ask(f Family, region product, filters []*filter) *question {
	q := &question{family: f, filters: filters}
	for _, flt := range filters {
		var in []*line
		for i := range flt.lines {
			if flt.lines[i].overlaps(&region) {
				in = append(in, &flt.lines[i])
			}
		}
		q.lines = append(q.lines, in)
	}
	limits := f.limit()
	for d := range q.axes {
		borders := axis{number{}}
		add := func(s intervals) {
			for _, v := range s {
				borders = append(borders, v.lo)
				if v.hi.less(limits[d]) {
					borders = append(borders, v.hi.next())
				}
			}
		}
		add(region[d])
		var last *interval
		for _, lines := range q.lines {
			for _, l := range lines {
				if s := l.product[d]; len(s) > 0 && &s[0] != last { // lists that are shared come in runs
					add(s)
					last = &s[0]
				}
			}
		}
		slices.SortFunc(borders, number.compare)
		q.axes[d] = slices.Compact(borders)
	}
	q.region = q.cell(&region)
	for _, lines := range q.lines {
		list := make(space.List, len(lines))
		for i, l := range lines {
			list[i] = space.Term{Cell: q.cell(&l.product), Rule: l.index, Allow: l.allow}
		}
		q.lists = append(q.lists, list)
	}
	return q
}

func (q *question) cell(p *product) space.Cell {
	var c space.Cell
	for d := range c {
		c[d] = q.axes[d].set(p[d])
	}
	return c
}

func (q *question) product(c *space.Cell) product {
	var p product
	limits := q.family.limit()
	for d := range p {
		p[d] = q.axes[d].intervals(c[d], limits[d])
	}
	return p
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}
