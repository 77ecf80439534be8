package random

import (
	"net/netip"

	"ringfence/goal"
	"ringfence/goal/model"
)

// destination is where verdicts change: neighbours, edges of the rules' prefixes and sets, platform addresses, nobody.
func (g *sender) destination() netip.Addr {
	if g.vnet == nil {
		return netip.AddrFrom4([4]byte{10, 0, 0, 5})
	}
	r := g.r
	switch r.IntN(24) {
	case 0, 1, 2, 3:
		return g.edge()
	case 4, 5:
		return [...]netip.Addr{model.WireServer, model.Metadata, model.Router6}[r.IntN(3)]
	case 6:
		return g.own(netip.Addr{})
	case 7: // the last address of a subnet or network, and one past it
		p := g.vnet.Prefixes[r.IntN(len(g.vnet.Prefixes))]
		return step(lastOf(p), r.IntN(2))
	case 8:
		special := []string{"0.0.0.0", "255.255.255.255", "224.0.0.1", "240.0.0.1", "127.0.0.1", "8.8.8.8", "203.0.113.7",
			"::", "::1", "ff02::1", "fe80::1", "2001:db8:ffff::1", "::ffff:10.0.0.4"}
		return netip.MustParseAddr(special[r.IntN(len(special))])
	case 9:
		e := g.endpoint().IP
		return written6(e, r.IntN(2) == 0)
	case 10:
		return step(g.endpoint().IP, r.IntN(3)-1)
	}
	return g.endpoint().IP
}

// endpoint is one of the VNet, mostly another port's.
func (g *sender) endpoint() goal.Endpoint {
	e := g.vnet.Endpoints[g.r.IntN(len(g.vnet.Endpoints))]
	if e.Port == g.port.Index {
		e = g.vnet.Endpoints[g.r.IntN(len(g.vnet.Endpoints))]
	}
	return e
}

// neighbour is an endpoint of the family of like, like itself when there is none.
func (g *sender) neighbour(like netip.Addr) netip.Addr {
	if g.vnet != nil {
		for range 8 {
			if e := g.endpoint().IP; e.Is4() == like.Is4() {
				return e
			}
		}
	}
	return like
}

// rule is a rule that the port's packets may meet, nil when there is none.
func (g *sender) rule() *goal.Rule {
	if len(g.h.Groups) == 0 {
		return nil
	}
	group := &g.h.Groups[g.r.IntN(len(g.h.Groups))]
	rules := group.In
	if g.r.IntN(2) == 0 {
		rules = group.Out
	}
	return &rules[g.r.IntN(len(rules))]
}

// aimed is a packet at the edge of one rule, so that of many rules each has a say: its protocol, destination and ports, or
// beside them by one.
func (g *sender) aimed() model.Packet {
	r, rule := g.r, g.rule()
	if rule == nil || g.vnet == nil {
		return g.traffic(g.destination())
	}
	dst := g.endpoint().IP
	if n := len(rule.Dst.Prefixes); n > 0 {
		p := rule.Dst.Prefixes[r.IntN(n)]
		dst = [...]netip.Addr{p.Addr(), p.Addr(), lastOf(p), lastOf(p), step(p.Addr(), -1), step(lastOf(p), 1)}[r.IntN(6)]
	}
	p := g.traffic(dst)
	switch rule.Protocol {
	case goal.TCP, goal.UDP:
		p.Protocol = rule.Protocol
	case goal.ICMP:
		p.SrcPort, p.DstPort, p.TCPFlags = 0, 0, 0
		g.icmp(&p)
		return p
	}
	if p.Protocol == goal.TCP || p.Protocol == goal.UDP {
		p.SrcPort, p.DstPort = g.inside(rule.SrcPorts), g.inside(rule.DstPorts)
		p.TCPFlags, p.ICMPType, p.ICMPID = 0, 0, 0
	}
	if p.Protocol == goal.TCP {
		p.TCPFlags = model.SYN
	}
	return p
}

// inside is an edge of a range, now and then one beside it.
func (g *sender) inside(ranges []goal.PortRange) uint16 {
	p := ranges[g.r.IntN(len(ranges))]
	return [...]uint16{p.Lo, p.Hi, p.Lo, p.Hi, p.Lo - 1, p.Hi + 1}[g.r.IntN(6)]
}

// edge is the first or last address of a rule's or set's prefix, or one beside it.
func (g *sender) edge() netip.Addr {
	r := g.r
	var from []netip.Prefix
	if rule := g.rule(); rule != nil && r.IntN(2) == 0 {
		from = append(append(from, rule.Src.Prefixes...), rule.Dst.Prefixes...)
	} else if len(g.vnet.Sets) > 0 {
		from = g.vnet.Sets[r.IntN(len(g.vnet.Sets))].Prefixes
	}
	if len(from) == 0 {
		return g.endpoint().IP
	}
	p := from[r.IntN(len(from))]
	if r.IntN(2) == 0 {
		return step(p.Addr(), r.IntN(2)-1)
	}
	return step(lastOf(p), r.IntN(2))
}

// portNumber is an edge of a rule's range, one beside it, a known port, or any.
func (g *sender) portNumber() uint16 {
	r := g.r
	rule := g.rule()
	switch n := r.IntN(8); {
	case n < 5 && rule != nil:
		ranges := rule.DstPorts
		if r.IntN(4) == 0 {
			ranges = rule.SrcPorts
		}
		p := ranges[r.IntN(len(ranges))]
		return [...]uint16{p.Lo, p.Hi, p.Lo - 1, p.Hi + 1}[r.IntN(4)]
	case n < 7:
		return edges[r.IntN(len(edges))]
	}
	return uint16(r.Uint32())
}

// written6 writes an IPv4 address as IPv6: mapped (::ffff:a.b.c.d) or compatible (::a.b.c.d). It must not be taken for the
// IPv4 address by whoever keeps both in sixteen bytes.
func written6(a netip.Addr, mapped bool) netip.Addr {
	b := a.As16()
	if a.Is4() && !mapped {
		b[10], b[11] = 0, 0
	}
	return netip.AddrFrom16(b)
}

// step moves an address by at most one, and stays where there is none.
func step(a netip.Addr, by int) netip.Addr {
	b := a
	switch by {
	case 1:
		b = a.Next()
	case -1:
		b = a.Prev()
	}
	if !b.IsValid() {
		return a
	}
	return b
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
