package random

import (
	"fmt"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/goal/model"
)

// sets makes the tags' contents and a few ASGs; ASGs get single addresses and may be empty.
func (v *maker) sets() {
	wire := netip.PrefixFrom(model.WireServer, 32)
	v.bySet = map[string][]netip.Prefix{
		goal.SetVirtualNetwork:    append(slices.Clone(v.prefixes), wire),
		goal.SetInternet:          prefixes("1.0.0.0/8", "8.0.0.0/7", "16.0.0.0/4", "168.0.0.0/8", "203.0.113.0/24", "2000::/3"),
		goal.SetAzureLoadBalancer: append(prefixes("168.63.129.16/32"), netip.PrefixFrom(model.Router6, 128)),
		goal.SetPlatformDNS:       {wire},
		goal.SetPlatformIMDS:      {netip.PrefixFrom(model.Metadata, 32)},
		"tag:Storage":             v.somePrefixes(1 + v.r.IntN(20)),
	}
	for i := range v.r.IntN(6) {
		v.bySet[fmt.Sprintf("asg:%s/applicationSecurityGroups/asg%d", base, i)] = v.members(v.r.IntN(5))
	}
	for name, p := range v.bySet {
		slices.SortFunc(p, netip.Prefix.Compare)
		v.bySet[name] = disjoint(p)
		v.setNames = append(v.setNames, name)
	}
	slices.Sort(v.setNames)
	for _, name := range v.setNames {
		if v.bySet[name] == nil {
			v.bySet[name] = []netip.Prefix{}
		}
	}
}

// members are addresses that ports are likely to have.
func (v *maker) members(n int) []netip.Prefix {
	var out []netip.Prefix
	for range n {
		a := v.near()
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out
}

// near is an address in the first sixteen of a subnet.
func (v *maker) near() netip.Addr {
	s := v.subnets[v.r.IntN(len(v.subnets))]
	ip := s[v.r.IntN(len(s))].Addr()
	for range v.r.IntN(16) {
		ip = ip.Next()
	}
	return ip
}

// somePrefixes are around the ports' addresses, of every length, overlapping.
func (v *maker) somePrefixes(n int) []netip.Prefix {
	var out []netip.Prefix
	for range n {
		a := v.near()
		switch v.r.IntN(8) {
		case 0:
			a = randomAddr(v.r.Uint32())
		case 1:
			out = append(out, netip.PrefixFrom(a, v.r.IntN(a.BitLen()+1)).Masked())
			continue
		}
		out = append(out, netip.PrefixFrom(a, a.BitLen()-v.r.IntN(9)).Masked())
	}
	return out
}

func randomAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// disjoint drops prefixes that an earlier one of the sorted list holds, as sets demand, and joins halves.
func disjoint(sorted []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range sorted {
		if n := len(out); n > 0 && out[n-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
		for n := len(out); n > 1 && out[n-1].Bits() > 0; n = len(out) {
			a, b := out[n-2], out[n-1]
			parent := netip.PrefixFrom(a.Addr(), b.Bits()-1).Masked()
			if a.Bits() != b.Bits() || !parent.Contains(b.Addr()) {
				break
			}
			out = append(out[:n-2], parent)
		}
	}
	return out
}

// group makes an NSG: user rules by priority and the defaults.
func (v *maker) group(id string) goal.Group {
	g := goal.Group{ID: id, Flush: v.r.IntN(4) == 0}
	n := 1 + v.r.IntN(v.size)
	for i := range n {
		rule := v.rule(fmt.Sprintf("securityRules/r%d", i), uint16(100+i*3))
		if v.r.IntN(n) >= broad {
			v.narrow(&rule)
		}
		if v.r.IntN(2) == 0 {
			g.In = append(g.In, rule)
		} else {
			g.Out = append(g.Out, rule)
		}
	}
	g.In = append(g.In,
		last("AllowVnetInBound", 65000, true, set(goal.SetVirtualNetwork), set(goal.SetVirtualNetwork)),
		last("AllowAzureLoadBalancerInBound", 65001, true, set(goal.SetAzureLoadBalancer), anyone),
		last("DenyAllInBound", 65500, false, anyone, anyone))
	g.Out = append(g.Out,
		last("AllowVnetOutBound", 65000, true, set(goal.SetVirtualNetwork), set(goal.SetVirtualNetwork)),
		last("AllowInternetOutBound", 65001, true, anyone, set(goal.SetInternet)),
		last("DenyAllOutBound", 65500, false, anyone, anyone))
	return g
}

var anyone = goal.Match{Any: true}

func set(name string) goal.Match { return goal.Match{Sets: []string{name}} }

func last(name string, priority uint16, allow bool, src, dst goal.Match) goal.Rule {
	any := []goal.PortRange{goal.AnyPort}
	return goal.Rule{Name: "defaultSecurityRules/" + name, Priority: priority, Allow: allow, Src: src, Dst: dst, SrcPorts: any, DstPorts: any}
}

// rule makes a rule that is narrow enough for others to have a say after it.
func (v *maker) rule(name string, priority uint16) goal.Rule {
	protocols := []uint8{goal.ProtocolAny, goal.TCP, goal.TCP, goal.TCP, goal.UDP, goal.UDP, goal.ICMP, goal.ESP, goal.AH}
	r := goal.Rule{Name: name, Priority: priority, Allow: v.r.IntN(2) == 0, Protocol: protocols[v.r.IntN(len(protocols))]}
	r.Src, r.Dst = v.match(), v.match()
	r.SrcPorts, r.DstPorts = []goal.PortRange{goal.AnyPort}, v.portRanges()
	switch v.r.IntN(16) {
	case 0, 1, 2, 3:
		r.SrcPorts = v.portRanges()
	case 4:
		r.Dst = set([...]string{goal.SetPlatformDNS, goal.SetPlatformIMDS}[v.r.IntN(2)])
	}
	return r
}

// broad is about how many rules of a group match much; were there more, the last of many would never have a say.
const broad = 6

// narrow leaves of a rule one protocol, few ports and few destinations; rules for the platform stay.
func (v *maker) narrow(r *goal.Rule) {
	if slices.Contains(r.Dst.Sets, goal.SetPlatformDNS) || slices.Contains(r.Dst.Sets, goal.SetPlatformIMDS) {
		return
	}
	r.Protocol = []uint8{goal.TCP, goal.TCP, goal.UDP, goal.UDP, goal.ICMP}[v.r.IntN(5)]
	r.Src, r.SrcPorts = anyone, []goal.PortRange{goal.AnyPort}
	switch v.r.IntN(4) {
	case 0:
		r.Src = v.match()
	case 1:
		r.Src = set(goal.SetVirtualNetwork)
	}
	if v.r.IntN(4) > 0 {
		a := v.near()
		r.Dst = goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(a, a.BitLen()-v.r.IntN(3)).Masked()}}
	} else if r.Dst.Any {
		r.Dst = set(v.setNames[v.r.IntN(len(v.setNames))])
	}
	lo := uint16(v.r.Uint32())
	if r.Protocol == goal.ICMP {
		lo = uint16([]uint8{model.EchoReply, model.EchoRequest, model.EchoRequest6, model.EchoReply6, 3}[v.r.IntN(5)])
	}
	r.DstPorts = []goal.PortRange{{Lo: lo, Hi: uint16(min(65535, int(lo)+v.r.IntN(4)))}}
}

func (v *maker) match() goal.Match {
	switch v.r.IntN(8) {
	case 0:
		return anyone
	case 1, 2:
		m := goal.Match{}
		for range 1 + v.r.IntN(3) {
			m.Sets = append(m.Sets, v.setNames[v.r.IntN(len(v.setNames))])
		}
		slices.Sort(m.Sets)
		m.Sets = slices.Compact(m.Sets)
		return m
	}
	m := goal.Match{Prefixes: v.somePrefixes(1 + v.r.IntN(4))}
	slices.SortFunc(m.Prefixes, netip.Prefix.Compare)
	m.Prefixes = slices.Compact(m.Prefixes)
	return m
}

var edges = []uint16{0, 1, 8, 22, 53, 79, 80, 81, 128, 443, 1024, 1433, 32767, 32768, 65329, 65330, 65534, 65535}

// portRanges are sorted and do not touch.
func (v *maker) portRanges() []goal.PortRange {
	if v.r.IntN(3) == 0 {
		return []goal.PortRange{goal.AnyPort}
	}
	var out []goal.PortRange
	next := 0
	for range 1 + v.r.IntN(4) {
		lo := max(next, int(v.port16()))
		hi := min(65535, lo+v.r.IntN(1+v.r.IntN(200)))
		if lo > 65535 {
			break
		}
		out = append(out, goal.PortRange{Lo: uint16(lo), Hi: uint16(hi)})
		next = hi + 2
	}
	return out
}

func (v *maker) port16() uint16 {
	if v.r.IntN(4) == 0 {
		return uint16(v.r.Uint32())
	}
	return edges[v.r.IntN(len(edges))]
}
