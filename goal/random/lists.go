package random

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"ringfence/goal"
)

// Manner is how a list of rules is made, after the kinds of filters that packet classification is measured with.
type Manner struct {
	Name string
	// parts of a hundred
	AnySrc, AnyDst   int // sides that match every address
	HostSrc, HostDst int // of the others: single addresses; the rest are prefixes of the nested pool
	AnyProtocol      int
	SrcPorts         int // rules with a source port
	AnyPort          int // destination port: any
	PortRange        int // of the others: a range (the classes 1024-65535 and 0-1023, or arbitrary); the rest are single ports
	Plural           int // rules with several prefixes and several port ranges
	Pool             int // size of the pool of prefixes, for a list of a thousand
}

// Manners are three: an access list (precise, few ports), a firewall (wildcards, ranges), and a chain between (both).
var Manners = []Manner{
	{Name: "access", AnySrc: 5, AnyDst: 2, HostSrc: 60, HostDst: 70, AnyProtocol: 5, SrcPorts: 0, AnyPort: 10, PortRange: 15, Plural: 10, Pool: 300},
	{Name: "firewall", AnySrc: 35, AnyDst: 20, HostSrc: 30, HostDst: 40, AnyProtocol: 15, SrcPorts: 15, AnyPort: 25, PortRange: 40, Plural: 20, Pool: 120},
	{Name: "chain", AnySrc: 12, AnyDst: 12, HostSrc: 45, HostDst: 45, AnyProtocol: 10, SrcPorts: 10, AnyPort: 20, PortRange: 25, Plural: 15, Pool: 200},
}

// List makes n rules in a manner, and a last one that denies everything. Prefixes come from a pool that grows like an address
// plan: some large blocks, then again and again a subnet of a block that is there already, so that they are nested; rules choose
// from the pool skewed, so that few prefixes are in many rules. What ipv6 says decides the family of all prefixes. Priorities
// ascend from 100 and do not stop at 4096, so that lists may be longer than Azure's. Sets are not used.
func List(r *rand.Rand, n int, m Manner, ipv6 bool) []goal.Rule {
	l := &lister{r: r, m: m, v6: ipv6}
	l.grow(max(8, m.Pool*n/1000))
	out := make([]goal.Rule, 0, n+1)
	for i := range n {
		out = append(out, l.rule(i))
	}
	return append(out, goal.Rule{Name: "defaultSecurityRules/DenyAllInBound", Priority: 65500, Src: anyone, Dst: anyone, SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{goal.AnyPort}})
}

type lister struct {
	r    *rand.Rand
	m    Manner
	v6   bool
	pool []netip.Prefix
}

func (l *lister) chance(hundredths int) bool { return l.r.IntN(100) < hundredths }

// grow makes the pool.
func (l *lister) grow(n int) {
	for len(l.pool) < n {
		if len(l.pool) < 4 || l.chance(5) {
			l.pool = append(l.pool, l.block())
			continue
		}
		parent := l.pool[l.skewed(len(l.pool))]
		longest := parent.Addr().BitLen()
		if parent.Bits() >= longest-2 {
			continue
		}
		bits := min(longest, parent.Bits()+2+l.r.IntN(7))
		l.pool = append(l.pool, netip.PrefixFrom(l.within(parent), bits).Masked())
	}
}

func (l *lister) block() netip.Prefix {
	if l.v6 {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, byte(l.r.Uint32()), byte(l.r.Uint32())}), 32).Masked()
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + l.r.IntN(223)), byte(l.r.Uint32())}), 8+l.r.IntN(9)).Masked()
}

// within is an address of a prefix.
func (l *lister) within(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= byte(l.r.IntN(2)) << (7 - i%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// skewed is a number below n, small ones more often.
func (l *lister) skewed(n int) int { return min(l.r.IntN(n), l.r.IntN(n), l.r.IntN(n)) }

func (l *lister) rule(i int) goal.Rule {
	protocols := []uint8{goal.TCP, goal.TCP, goal.TCP, goal.TCP, goal.TCP, goal.UDP, goal.UDP, goal.UDP, goal.ICMP}
	r := goal.Rule{Name: fmt.Sprintf("securityRules/r%d", i), Priority: uint16(min(100+i, 65499)), Allow: l.r.IntN(2) == 0, Protocol: protocols[l.r.IntN(len(protocols))]}
	if l.chance(l.m.AnyProtocol) {
		r.Protocol = goal.ProtocolAny
	}
	k := 1
	if l.chance(l.m.Plural) {
		k = 2 + l.r.IntN(7)
	}
	r.Src, r.Dst = l.side(l.m.AnySrc, l.m.HostSrc, k), l.side(l.m.AnyDst, l.m.HostDst, k)
	any := []goal.PortRange{goal.AnyPort}
	r.SrcPorts, r.DstPorts = any, any
	if r.Protocol == goal.ICMP {
		return r
	}
	if l.chance(l.m.SrcPorts) {
		r.SrcPorts = l.ports(1)
	}
	if !l.chance(l.m.AnyPort) {
		r.DstPorts = l.ports(k)
	}
	return r
}

func (l *lister) side(any, host, k int) goal.Match {
	if l.chance(any) {
		return anyone
	}
	var ps []netip.Prefix
	for range k {
		p := l.pool[l.skewed(len(l.pool))]
		if l.chance(host) {
			a := l.within(p)
			p = netip.PrefixFrom(a, a.BitLen())
		}
		ps = append(ps, p)
	}
	slices.SortFunc(ps, netip.Prefix.Compare)
	return goal.Match{Prefixes: slices.Compact(ps)}
}

// ports are k ranges that do not touch, fewer when they would.
func (l *lister) ports(k int) []goal.PortRange {
	var out []goal.PortRange
	for range k {
		known := []uint16{20, 21, 22, 23, 25, 53, 80, 110, 111, 123, 135, 137, 139, 143, 161, 389, 443, 445, 514, 1433, 1521, 1526, 2049, 3306, 3389, 5432, 5631, 6789, 7717, 8080}
		p := known[l.skewed(len(known))]
		v := goal.PortRange{Lo: p, Hi: p}
		switch {
		case !l.chance(l.m.PortRange):
			if l.chance(20) {
				v.Lo = uint16(l.r.Uint32())
				v.Hi = v.Lo
			}
		case l.chance(50):
			v = goal.PortRange{Lo: 1024, Hi: 65535}
		case l.chance(30):
			v = goal.PortRange{Lo: 0, Hi: 1023}
		default:
			v.Lo = uint16(l.r.Uint32())
			v.Hi = v.Lo + uint16(l.r.IntN(int(65536-uint32(v.Lo))))
		}
		if !slices.ContainsFunc(out, func(o goal.PortRange) bool { return int(v.Lo) <= int(o.Hi)+1 && int(o.Lo) <= int(v.Hi)+1 }) {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b goal.PortRange) int { return int(a.Lo) - int(b.Lo) })
	return out
}
