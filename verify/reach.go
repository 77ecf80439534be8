package verify

import (
	"fmt"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/verify/space"
)

// Budgets of one question: term visits of the search, and of the diagram that is built when the search gives up. They bound the
// time of a question to about a second and are the same on every machine, so that answers are too.
const (
	searchSteps  = 4_000_000
	diagramSteps = 60_000_000
)

// Traffic is a set of packets: those that satisfy every field that is set.
type Traffic struct {
	From, To           string           // names of zones; "" is any NIC and any address outside
	Protocols          []uint8          // goal.ICMP means both families'; none: any
	SrcPorts, DstPorts []goal.PortRange // of TCP and UDP; with ports and no protocols, these two
	ICMPTypes          []uint8          // of ICMP
	Src, Dst           []netip.Prefix   // addresses, beside the zones
	Through            string           // a resource that the packets must pass; not modelled yet: the answer is Unknown
}

// products are the packets of a family, as products that do not overlap. Zones are the paths' matter.
func (t *Traffic) products(f Family) []product {
	all := f.packets()
	if t.Src != nil {
		all[dimSrc] = ofPrefixes(f, t.Src)
	}
	if t.Dst != nil {
		all[dimDst] = ofPrefixes(f, t.Dst)
	}
	withPorts := intervals{{small(uint64(goal.TCP)), small(uint64(goal.TCP))}, {small(uint64(goal.UDP)), small(uint64(goal.UDP))}}
	types := intervals{{small(icmpTypes), small(icmpTypes + 255)}}
	protocols := all[dimProtocol]
	if len(t.Protocols) > 0 {
		var s intervals
		for _, p := range t.Protocols {
			if p == goal.ICMP || p == f.icmp() {
				s = append(s, types...)
			} else if p != goal.ICMPv6 {
				s = append(s, one(uint64(p))...)
			}
		}
		protocols = normal(s).and(protocols)
	}
	ports := len(t.SrcPorts)+len(t.DstPorts) > 0
	var out []product
	give := func(protocols intervals, ports bool) {
		p := all
		p[dimProtocol] = protocols
		if ports && t.SrcPorts != nil {
			p[dimSrcPort] = ofPorts(t.SrcPorts)
		}
		if ports && t.DstPorts != nil {
			p[dimDstPort] = ofPorts(t.DstPorts)
		}
		if !p.empty() {
			out = append(out, p)
		}
	}
	switch {
	case ports:
		give(protocols.and(withPorts), true)
		if len(t.ICMPTypes) > 0 {
			give(protocols.and(t.types()), false)
		}
	case len(t.ICMPTypes) > 0:
		give(protocols.and(t.types()), false)
	default:
		give(protocols, false)
	}
	return out
}

func (t *Traffic) types() intervals {
	var s intervals
	for _, n := range t.ICMPTypes {
		s = append(s, one(icmpTypes+uint64(n))...)
	}
	return normal(s)
}

// found is the answer to whether some packet of a path's region passes, or does not.
type found struct {
	ok, unknown bool
	region      product // of ok: packets that all do
}

// kind is what is looked for.
type kind uint8

const (
	passing kind = iota // arrives
	dropped             // a VM can send it as the first packet of a conversation, and it is dropped on the way
)

// notAsked says whether what a filter drops is outside the question: exceptions, and for dropped also what a VM cannot send as the
// first packet of a conversation.
func (k kind) notAsked(flt *filter) bool {
	return flt.layer == exceptLayer || k == dropped && (flt.layer == "guard" || flt.layer == "flow")
}

// find looks for packets of a path that pass every filter, or that one drops: by the search, and when that gives up by the
// diagram. Answers are kept by content.
func (n *Network) find(p *path, k kind) found {
	if p.region.empty() {
		return found{}
	}
	key := fmt.Sprintf("%d %s", k, p.key())
	n.memo.used[key] = true
	if f, ok := n.memo.answers[key]; ok {
		return f
	}
	f := findIn(ask(p.family, p.region, p.filters), k, searchSteps, diagramSteps)
	n.memo.answers[key] = f
	return f
}

func findIn(q *question, k kind, search, diagram int) found {
	var s space.Searcher
	b := &space.Budget{Steps: search}
	var c space.Cell
	var ok bool
	if k == passing {
		c, ok = s.Allowed(q.narrowFirst(), q.region, b)
	} else {
		lists, not := q.split(k)
		c, ok = s.Denied(lists, q.region, not, b)
	}
	if ok {
		return found{ok: true, region: q.product(&c)}
	}
	if !b.Spent() {
		return found{}
	}
	return findByDiagram(q, k, diagram)
}

// split separates the lists whose drops count from the terms of the others that drop.
func (q *question) split(k kind) (lists []space.List, not []*space.Term) {
	for i, l := range q.lists {
		if !k.notAsked(q.filters[i]) {
			lists = append(lists, l)
			continue
		}
		for j := range l {
			if !l[j].Allow {
				not = append(not, &l[j])
			}
		}
	}
	return lists, not
}

// narrowFirst orders the lists by how many terms they have in the region: who allows little decides soon.
func (q *question) narrowFirst() []space.List {
	lists := slices.Clone(q.lists)
	slices.SortStableFunc(lists, func(a, b space.List) int { return len(a) - len(b) })
	return lists
}

func findByDiagram(q *question, k kind, steps int) found {
	g := space.NewDiagram(&space.Budget{Steps: steps})
	id, ok := g.Build(q.lists, q.region, false, q.verdict(k))
	if !ok {
		return found{unknown: true}
	}
	out := found{}
	g.Walk(id, q.region, func(c space.Cell, v uint64) bool {
		if v == uint64(k) {
			out = found{ok: true, region: q.product(&c)}
			return false
		}
		return true
	})
	return out
}

// neither is the value of what a question is not about.
const neither = 2

// verdict is the leaf of a diagram whose values are kinds.
func (q *question) verdict(k kind) func([]space.List, []int32) uint64 {
	return func(lists []space.List, decided []int32) uint64 {
		v := uint64(passing)
		for i, t := range decided {
			if t >= 0 && lists[i][t].Allow {
				continue
			}
			if k.notAsked(q.filters[i]) {
				return neither
			}
			v = uint64(dropped)
		}
		return v
	}
}

// allAllow is 1 where every list allows.
func allAllow(lists []space.List, decided []int32) uint64 {
	for k, i := range decided {
		if i < 0 || !lists[k][i].Allow {
			return 0
		}
	}
	return 1
}

// every lists the packets of a path that pass, exactly, as products that do not overlap; false when the budget was spent.
func (n *Network) every(p *path, k kind) ([]product, bool) {
	if p.region.empty() {
		return nil, true
	}
	if f := n.find(p, k); !f.ok {
		return nil, !f.unknown
	}
	q := ask(p.family, p.region, p.filters)
	g := space.NewDiagram(&space.Budget{Steps: diagramSteps})
	id, ok := g.Build(q.lists, q.region, false, q.verdict(k))
	if !ok {
		return nil, false
	}
	var out []product
	g.Walk(id, q.region, func(c space.Cell, v uint64) bool {
		if v == uint64(k) {
			out = append(out, q.product(&c))
		}
		return true
	})
	return out, true
}

// Hop is what one layer said about a packet.
type Hop struct {
	Layer     string // guard, flow, acl, route, service
	Direction Direction
	Level     string // of acl: nic or subnet
	By        RuleID // what decided; of a layer without rules that let the packet pass it is zero
	Allow     bool
}

// String says the hop in one line.
func (h Hop) String() string {
	word := "deny"
	if h.Allow {
		word = "allow"
	}
	switch {
	case h.Layer != "acl" && h.Allow:
		return h.Layer + " pass"
	case h.Layer != "acl":
		return fmt.Sprintf("%s drop %s", h.Layer, h.By.Reason)
	case h.By.Rule == "":
		return fmt.Sprintf("%s %s %s: no rule of %s has a say", h.Direction, h.Level, word, h.By.Group)
	}
	return fmt.Sprintf("%s %s %s by %s of %s", h.Direction, h.Level, word, h.By.Rule, h.By.Group)
}

// trace asks every filter of a path about one packet, also those behind one that drops it.
func (p *path) trace(x [space.Dims]number) []Hop {
	var out []Hop
	for _, flt := range p.filters {
		h := Hop{Layer: flt.layer, Direction: flt.dir, Level: flt.level, By: RuleID{Group: flt.group}}
		for i := range flt.lines {
			if flt.lines[i].holds(x) {
				h.By, h.Allow = flt.lines[i].id, flt.lines[i].allow
				break
			}
		}
		if h.By.Group == "" {
			h.By.Group = flt.group
		}
		if flt.layer != exceptLayer {
			out = append(out, h)
		}
	}
	return out
}

// blockers are the hops that drop.
func blockers(hops []Hop) []Hop {
	var out []Hop
	for _, h := range hops {
		if !h.Allow {
			out = append(out, h)
		}
	}
	return out
}

// packet is the witness of a product on the path.
func (p *path) packet(r *product) Packet {
	w := r.packet(p.family)
	if p.from != nil {
		if port := p.from.portOf(w.Src); port != nil {
			w.From = port.ID
		}
	}
	if p.to != nil {
		if port := p.to.portOf(w.Dst); port != nil {
			w.To = port.ID
		}
	}
	return w
}

// paths are the ways from one side to another, narrowed to what the sides hold. Between virtual networks there is none: with
// apart they are listed as ways on which everything is dropped.
func (n *Network) paths(from, to *side, apart bool) []*path {
	var out []*path
	give := func(p *path, src, dst intervals) {
		p.region[dimSrc], p.region[dimDst] = p.region[dimSrc].and(src), p.region[dimDst].and(dst)
		if !p.region.empty() {
			out = append(out, p)
		}
	}
	for _, v := range n.vnets {
		for _, a := range v.classes {
			src, sends := from.classes[a]
			for f := V4; f <= V6; f++ {
				if b := a; len(from.outside[f]) > 0 {
					if dst, ok := to.classes[b]; ok && len(dst[f]) > 0 {
						give(n.entering(f, b), from.outside[f], dst[f])
					}
				}
				if !sends || len(src[f]) == 0 {
					continue
				}
				for _, b := range v.classes {
					if dst, ok := to.classes[b]; ok && len(dst[f]) > 0 {
						give(n.between(f, a, b), src[f], dst[f])
					}
				}
				if len(to.outside[f]) > 0 {
					if to.exact {
						give(n.leaving(f, a), src[f], to.outside[f])
					} else {
						give(n.leavingBy(f, a), src[f], to.outside[f])
					}
					if to.outside[f].overlaps(ofAddrs(f, platform...)) {
						give(n.serving(f, a), src[f], to.outside[f])
					}
				}
				if apart {
					n.apart(f, a, to, func(p *path, dst intervals) { give(p, src[f], dst) })
				}
			}
		}
	}
	return out
}

// apart gives the ways from a class to those of other virtual networks: to their addresses, but never to them.
func (n *Network) apart(f Family, a *class, to *side, give func(p *path, dst intervals)) {
	for _, w := range n.vnets {
		if w == a.vnet {
			continue
		}
		for _, b := range w.classes {
			if dst, ok := to.classes[b]; ok && len(dst[f]) > 0 {
				p := n.leaving(f, a)
				p.region[dimDst] = b.addresses[f]
				p.filters = append(p.filters, isolated(f))
				give(p, dst[f])
			}
		}
	}
}
