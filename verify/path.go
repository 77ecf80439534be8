package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
	"ringfence/verify/space"
)

// path is one way that packets of a family take: a region, and the relations they meet in order. Today every relation is a
// filter, which leaves packets as they are; the answer for a path is exact because an intersection of filters is a question that
// the engine answers. A relation that rewrites packets will split a path into segments: the image of a product under address or
// port translation is a union of products, and becomes the region of the next segment.
type path struct {
	family   Family
	from, to *class // nil outside virtual networks
	region   product
	filters  []*filter
	assumed  string // what is not modelled and taken to let everything pass
}

// platform addresses are the fabric's own, in every virtual network.
var platform = []netip.Addr{model.WireServer, model.Metadata, model.Router6}

// judged is everything that rules can be asked about.
func (f Family) judged() product {
	p := f.everything()
	p[dimProtocol] = p[dimProtocol].minus(one(uint64(f.icmp())))
	return p
}

// packets is what a packet that opens a conversation can be at all: neighbour discovery ends at the fabric.
func (f Family) packets() product {
	p := f.judged()
	if f == V6 {
		at := func(n uint64) number { return small(icmpTypes + n) }
		p[dimProtocol] = p[dimProtocol].minus(intervals{{at(130), at(137)}, {at(143), at(143)}})
	}
	return p
}

// between is the path from the NICs of one class to those of another of the same VNet.
func (n *Network) between(f Family, from, to *class) *path {
	p := &path{family: f, from: from, to: to, region: f.packets()}
	p.region[dimSrc], p.region[dimDst] = from.addresses[f], to.addresses[f]
	p.filters = append(p.filters, n.guard(f, from, to))
	p.filters = append(p.filters, flows[f])
	p.filters = append(p.filters, n.acl(f, from, Out)...)
	p.filters = append(p.filters, n.acl(f, to, In)...)
	return p
}

// leaving is the path from a class to addresses that no NIC of its VNet has. The fabric has no route to any of them.
func (n *Network) leaving(f Family, from *class) *path {
	p := &path{family: f, from: from, region: f.packets()}
	p.region[dimSrc] = from.addresses[f]
	p.region[dimDst] = p.region[dimDst].minus(from.vnet.nics[f]).minus(ofAddrs(f, platform...))
	p.filters = append(p.filters, n.guard(f, from, nil), flows[f])
	p.filters = append(p.filters, n.acl(f, from, Out)...)
	p.filters = append(p.filters, routeFilter(f, from.vnet))
	return p
}

// leavingBy is the path from a class to addresses outside its VNet with everything taken to get out: what the rules alone decide.
func (n *Network) leavingBy(f Family, from *class) *path {
	p := n.leaving(f, from)
	p.assumed = "a way from the NIC out of the virtual network"
	p.filters = p.filters[:len(p.filters)-1]
	p.region[dimDst] = p.region[dimDst].minus(from.vnet.space[f])
	return p
}

// entering is the path from outside virtual networks to a class, with everything taken to arrive: what the rules alone decide.
func (n *Network) entering(f Family, to *class) *path {
	p := &path{family: f, to: to, region: f.packets(), assumed: "a way from outside the virtual network to the NIC"}
	p.region[dimSrc] = p.region[dimSrc].minus(to.vnet.space[f])
	p.region[dimDst] = to.addresses[f]
	p.filters = append(p.filters, flows[f])
	p.filters = append(p.filters, n.acl(f, to, In)...)
	return p
}

// serving is the path from a class to the platform's addresses.
func (n *Network) serving(f Family, from *class) *path {
	p := &path{family: f, from: from, region: f.packets()}
	p.region[dimSrc], p.region[dimDst] = from.addresses[f], ofAddrs(f, platform...)
	p.filters = append(p.filters, n.guard(f, from, nil))
	for _, id := range from.groupIDs(Out) {
		p.filters = append(p.filters, platformFilter(f, n.groups[id], from.vnet.sets[f]))
	}
	p.filters = append(p.filters, servedFilter(f, from))
	return p
}

// outside are the addresses that a packet from outside a virtual network can have: unicast, and none of the platform's.
func outside(f Family) intervals {
	all := f.everything()[dimSrc]
	if f == V4 {
		return all.minus(ofPrefixes(f, []netip.Prefix{netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("224.0.0.0/3"),
			netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("169.254.0.0/16")}))
	}
	return all.minus(ofPrefixes(f, []netip.Prefix{netip.MustParsePrefix("::/96"), netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("fe80::/10")}))
}

// layerFilter makes the filter of a layer without rules: what it drops, each with a reason, and everything else passes.
func layerFilter(f Family, layer string, drops []line) *filter {
	flt := &filter{layer: layer, dir: Out}
	for i, d := range drops {
		d.index = i
		flt.lines = append(flt.lines, d)
	}
	flt.lines = append(flt.lines, line{f.everything(), len(drops), RuleID{}, true})
	flt.key = flt.content(f)
	return flt
}

func dropping(f Family, r observe.Reason, change func(p *product)) line {
	p := f.everything()
	change(&p)
	return line{p, 0, RuleID{Reason: r}, false}
}

// guard is what the sender's guard drops of packets with its own addresses, in the guard's order, and what has no way to itself.
// The pairs of equal ends are asked only where a class meets itself.
func (n *Network) guard(f Family, from, to *class) *filter {
	self := 0
	if from == to {
		self = 1
	}
	if from.guards[f][self] == nil {
		from.guards[f][self] = newGuard(f, from, from == to)
	}
	return from.guards[f][self]
}

func newGuard(f Family, from *class, self bool) *filter {
	udp := one(uint64(goal.UDP))
	drops := []line{dropping(f, observe.GuardDHCP, func(p *product) {
		client, server := uint64(68), uint64(67)
		if f == V6 {
			client, server = 546, 547
		}
		p[dimProtocol], p[dimSrcPort], p[dimDstPort] = udp, one(server), one(client)
	})}
	drops = append(drops, unaddressed(f, from)...)
	carried := []uint8{goal.TCP, goal.UDP, goal.ESP, goal.AH}
	drops = append(drops, dropping(f, observe.GuardProtocol, func(p *product) {
		for _, c := range carried {
			p[dimProtocol] = p[dimProtocol].minus(one(uint64(c)))
		}
		p[dimProtocol] = p[dimProtocol].minus(intervals{{small(icmpTypes), small(icmpTypes + 255)}})
	}))
	drops = append(drops, dropping(f, observe.GuardICMPType, func(p *product) {
		p[dimProtocol] = intervals{{small(icmpTypes), small(icmpTypes + 255)}}
		for _, t := range messages[f] {
			p[dimProtocol] = p[dimProtocol].minus(one(icmpTypes + uint64(t)))
		}
	}))
	drops = append(drops, dropping(f, observe.GuardReservedPort, func(p *product) {
		p[dimProtocol], p[dimSrcPort] = udp, one(65330)
	}))
	if self {
		drops = append(drops, selves(f, from)...)
	}
	return layerFilter(f, "guard", slices.DeleteFunc(drops, func(l line) bool { return l.empty() }))
}

// selves are the packets of NICs to themselves.
func selves(f Family, c *class) []line {
	var out []line
	for _, port := range c.ports {
		l := dropping(f, observe.RouteSelf, func(p *product) {
			var own []netip.Addr
			for _, a := range port.Addresses {
				own = append(own, a.IP)
			}
			p[dimSrc] = ofAddrs(f, own...)
			p[dimDst] = p[dimSrc]
		})
		if !l.empty() {
			out = append(out, l)
		}
	}
	return out
}

// unaddressed are packets to what no single VM can have.
func unaddressed(f Family, from *class) []line {
	group := []netip.Prefix{netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("0.0.0.0/32")}
	if f == V6 {
		group = []netip.Prefix{netip.MustParsePrefix("ff00::/8"), netip.MustParsePrefix("::/128")}
	}
	drops := []line{dropping(f, observe.GuardMulticast, func(p *product) { p[dimDst] = ofPrefixes(f, group) })}
	if f == V6 {
		return drops
	}
	bySubnet := map[netip.Prefix][]netip.Addr{}
	for _, port := range from.ports {
		for _, a := range port.Addresses {
			if a.IP.Is4() {
				for _, b := range port.Addresses {
					bySubnet[a.Subnet] = append(bySubnet[a.Subnet], b.IP)
				}
			}
		}
	}
	for _, subnet := range slices.SortedFunc(maps.Keys(bySubnet), netip.Prefix.Compare) {
		last := ofPrefix(subnet).hi
		drops = append(drops, dropping(f, observe.GuardMulticast, func(p *product) {
			p[dimSrc], p[dimDst] = ofAddrs(f, bySubnet[subnet]...), intervals{{last, last}}
		}))
	}
	return drops
}

// messages are the ICMP types that virtual networks carry.
var messages = [2][]uint8{
	{model.EchoReply, model.Unreachable, model.SourceQuench, model.EchoRequest, model.TimeExceeded, model.BadParameter},
	{model.Unreachable6, model.TooBig6, model.TimeExceeded6, model.BadParameter6, model.EchoRequest6, model.EchoReply6},
}

var flows = [2]*filter{flowFilter(V4), flowFilter(V6)}

// flowFilter drops what cannot open a conversation: replies and errors pass only with the flow that they belong to.
func flowFilter(f Family) *filter {
	types := func(ts ...uint8) func(p *product) {
		return func(p *product) {
			p[dimProtocol] = nil
			for _, t := range ts {
				p[dimProtocol] = append(p[dimProtocol], one(icmpTypes+uint64(t))...)
			}
			p[dimProtocol] = normal(p[dimProtocol])
		}
	}
	reply, errors := []uint8{model.EchoReply}, []uint8{model.Unreachable, model.SourceQuench, model.TimeExceeded, model.BadParameter}
	if f == V6 {
		reply, errors = []uint8{model.EchoReply6}, []uint8{model.Unreachable6, model.TooBig6, model.TimeExceeded6, model.BadParameter6}
	}
	return layerFilter(f, "flow", []line{dropping(f, observe.FlowNoEcho, types(reply...)), dropping(f, observe.FlowNoError, types(errors...))})
}

// routeFilter drops what is sent to no NIC: inside the address space there is nobody, outside there is no route.
func routeFilter(f Family, v *vnet) *filter {
	flt := layerFilter(f, "route", []line{
		dropping(f, observe.RouteNoEndpoint, func(p *product) { p[dimDst] = v.space[f] }),
		dropping(f, observe.RouteNone, func(*product) {}),
	})
	flt.lines = flt.lines[:len(flt.lines)-1]
	if len(v.space[f]) == 0 {
		flt.lines = flt.lines[1:]
	}
	return flt
}

// exceptLayer is the layer of a filter that takes packets out of a question; no packet meets it.
const exceptLayer = "except"

// isolated drops everything: there is no way between virtual networks.
func isolated(f Family) *filter {
	flt := layerFilter(f, "route", []line{dropping(f, observe.RouteNone, func(*product) {})})
	flt.lines = flt.lines[:1]
	return flt
}

// platformFilter asks a group's rules about packets to platform addresses: only those whose destination names the service's tag
// have a say, and what none names passes.
func platformFilter(f Family, g *goal.Group, sets setsOf) *filter {
	var lines []line
	for i := range g.Out {
		r := g.Out[i]
		for _, s := range []struct {
			set   string
			to    netip.Addr
			ports []goal.PortRange
		}{{goal.SetPlatformDNS, model.WireServer, []goal.PortRange{{Lo: 53, Hi: 53}}}, {goal.SetPlatformIMDS, model.Metadata, nil}} {
			if !slices.Contains(r.Dst.Sets, s.set) || familyOf(s.to) != f {
				continue
			}
			named := r
			named.Dst = goal.Match{Prefixes: []netip.Prefix{netip.PrefixFrom(s.to, s.to.BitLen())}}
			for _, l := range linesOf(f, g.ID, []goal.Rule{named}, sets) {
				if s.ports != nil { // the service's own port, over TCP and UDP
					l.product[dimDstPort] = l.product[dimDstPort].and(ofPorts(s.ports))
					l.product[dimProtocol] = l.product[dimProtocol].and(intervals{{small(6), small(6)}, {small(17), small(17)}})
				}
				if l.index = i; !l.empty() {
					lines = append(lines, l)
				}
			}
		}
	}
	lines = append(lines, line{f.everything(), len(g.Out), RuleID{}, true})
	flt := &filter{layer: "acl", group: g.ID, dir: Out, lines: lines}
	flt.key = flt.content(f)
	return flt
}

// servedFilter passes what the host's services answer: names and HTTP, to the primary IPv4 address of a port.
func servedFilter(f Family, from *class) *filter {
	var lines []line
	if f == V4 {
		var primary []netip.Addr
		for _, p := range from.ports {
			if i := slices.IndexFunc(p.Addresses, func(a goal.Address) bool { return a.IP.Is4() }); i >= 0 {
				primary = append(primary, p.Addresses[i].IP)
			}
		}
		src := ofAddrs(f, primary...)
		for _, s := range []struct {
			to       []netip.Addr
			protocol []interval
			port     uint64
		}{
			{[]netip.Addr{model.WireServer}, intervals{{small(6), small(6)}, {small(17), small(17)}}, 53},
			{[]netip.Addr{model.WireServer, model.Metadata}, one(uint64(goal.TCP)), 80},
		} {
			p := f.everything()
			p[dimSrc], p[dimDst], p[dimProtocol], p[dimDstPort] = src, ofAddrs(f, s.to...), s.protocol, one(s.port)
			lines = append(lines, line{p, len(lines), RuleID{}, true})
		}
		// DHCP to the wire server is taken before the rules and is not asked about here
	}
	lines = append(lines, line{f.everything(), len(lines), RuleID{Reason: observe.ServiceAbsent}, false})
	flt := &filter{layer: "service", dir: Out, lines: lines}
	flt.key = flt.content(f)
	return flt
}

// acl are the rule filters that the ports of a class ask in that direction, in order.
func (n *Network) acl(f Family, c *class, dir Direction) []*filter {
	if out := c.acls[f][dir]; out != nil {
		return out
	}
	type level struct{ group, name string }
	levels := []level{{c.nic, "nic"}, {c.subnet, "subnet"}}
	if dir == In {
		slices.Reverse(levels)
	}
	var out []*filter
	for _, l := range levels {
		if l.group == "" {
			continue
		}
		flt := *n.rules(f, n.groups[l.group], dir, c.vnet)
		flt.level = l.name
		out = append(out, &flt)
	}
	c.acls[f][dir] = out
	return out
}

// rules is the filter of a group's direction in a VNet, from the memo when its content is known.
func (n *Network) rules(f Family, g *goal.Group, dir Direction, v *vnet) *filter {
	key := fmt.Sprintf("%s %d %d %s", n.content(g), dir, f, v.setsKey)
	n.memo.used[key] = true
	if flt := n.memo.filters[key]; flt != nil {
		return flt
	}
	rules := g.Out
	if dir == In {
		rules = g.In
	}
	flt := &filter{layer: "acl", group: g.ID, dir: dir, lines: linesOf(f, g.ID, rules, v.sets[f]), key: key}
	n.memo.filters[key] = flt
	return flt
}

// content names what a group says.
func (n *Network) content(g *goal.Group) string {
	if len(g.In) == 0 || len(g.Out) == 0 {
		h := g.Hash()
		return string(h[:])
	}
	k := groupKey{g.ID, g.Flush, &g.In[0], &g.Out[0], len(g.In), len(g.Out)}
	if s, ok := n.memo.hashes[k]; ok {
		return s
	}
	h := g.Hash()
	n.memo.hashes[k] = string(h[:])
	return string(h[:])
}

// contentOfSets names what the sets of a VNet hold.
func (v *vnet) contentOfSets() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(v.sets[V4])) {
		h.Write([]byte(name + "\x00"))
		for f := range v.sets {
			h.Write(v.sets[f][name].bytes())
		}
	}
	return string(h.Sum(nil))
}

func (s intervals) bytes() []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(s)))
	for _, v := range s {
		for _, x := range []uint64{v.lo.hi, v.lo.lo, v.hi.hi, v.hi.lo} {
			b = binary.BigEndian.AppendUint64(b, x)
		}
	}
	return b
}

func (p *product) bytes() []byte {
	var b []byte
	for d := range space.Dims {
		b = append(b, p[d].bytes()...)
	}
	return b
}

// content names what a small filter says.
func (flt *filter) content(f Family) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s %s ", f, flt.layer, flt.group)
	for i := range flt.lines {
		l := &flt.lines[i]
		fmt.Fprintf(h, "%d %t %s ", l.index, l.allow, l.id.ID())
		h.Write(l.product.bytes())
	}
	return string(h.Sum(nil))
}

// key names a path and what it says, for the memo.
func (p *path) key() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d ", p.family)
	h.Write(p.region.bytes())
	for _, flt := range p.filters {
		h.Write([]byte(flt.key))
	}
	return string(h.Sum(nil))
}

// blockedBy are the unsupported resources that matter for a path.
func (n *Network) blockedBy(p *path) []string {
	var out []string
	for _, u := range n.unsupported {
		touches := len(u.VNets) == 0
		for _, c := range []*class{p.from, p.to} {
			touches = touches || c != nil && slices.ContainsFunc(u.VNets, func(id string) bool { return strings.EqualFold(id, c.vnet.ID) })
		}
		if touches && (!u.Edge || p.from == nil || p.to == nil) {
			out = append(out, u.ID)
		}
	}
	return out
}
