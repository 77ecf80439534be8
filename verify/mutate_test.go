package verify

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"ringfence/goal"
)

// mutate changes one thing of one rule, as people do: most mutations change verdicts, some do not.
func mutate(r *rand.Rand, rules []goal.Rule) []goal.Rule {
	out := slices.Clone(rules)
	n := len(out) - 1 // the last rule stays
	i := r.IntN(n)
	x := &out[i]
	switch r.IntN(8) {
	case 0:
		x.Allow = !x.Allow
	case 1:
		return slices.Delete(out, i, i+1)
	case 2:
		j := r.IntN(n)
		moved := *x
		out = slices.Delete(out, i, i+1)
		return slices.Insert(out, j, moved)
	case 3:
		x.Protocol = []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP, goal.ProtocolAny}[r.IntN(5)]
	case 4:
		p := uint16(r.Uint32())
		x.DstPorts = []goal.PortRange{{Lo: p, Hi: p}}
	case 5:
		x.Dst = widened(r, x.Dst)
	case 6:
		x.Src = widened(r, x.Src)
	case 7:
		if len(x.DstPorts) > 1 {
			x.DstPorts = x.DstPorts[1:]
		} else {
			x.DstPorts = []goal.PortRange{goal.AnyPort}
		}
	}
	return out
}

// widened is a match with one prefix a bit shorter or longer, or another side altogether.
func widened(r *rand.Rand, m goal.Match) goal.Match {
	if m.Any {
		return goal.Match{Prefixes: []netip.Prefix{netip.MustParsePrefix("128.0.0.0/1")}}
	}
	if len(m.Prefixes) == 0 {
		return goal.Match{Any: true}
	}
	ps := slices.Clone(m.Prefixes)
	i := r.IntN(len(ps))
	bits := ps[i].Bits() + []int{-1, 1}[r.IntN(2)]
	ps[i] = netip.PrefixFrom(ps[i].Addr(), min(max(bits, 0), ps[i].Addr().BitLen())).Masked()
	slices.SortFunc(ps, netip.Prefix.Compare)
	return goal.Match{Prefixes: slices.Compact(ps)}
}

// rewrite changes how a list is written and nothing that it does: rules split, joined with nothing, swapped with a neighbour that
// they do not meet or that acts the same, repeated where they are dead, or given a name.
func rewrite(r *rand.Rand, rules []goal.Rule) []goal.Rule {
	out := slices.Clone(rules)
	n := len(out) - 1
	i := r.IntN(n)
	x := out[i]
	switch r.IntN(6) {
	case 0: // a prefix as its halves, in rules of their own
		if x.Dst.Any || len(x.Dst.Prefixes) == 0 || x.Dst.Prefixes[0].Bits() == x.Dst.Prefixes[0].Addr().BitLen() {
			return out
		}
		lo, hi := halves(x.Dst.Prefixes[0])
		a, b := x, x
		a.Dst = goal.Match{Prefixes: []netip.Prefix{lo}}
		b.Dst = goal.Match{Prefixes: append([]netip.Prefix{hi}, x.Dst.Prefixes[1:]...)}
		slices.SortFunc(b.Dst.Prefixes, netip.Prefix.Compare)
		return slices.Replace(out, i, i+1, b, a)
	case 1: // a port range as two rules
		v := x.DstPorts[0]
		if v.Lo == v.Hi || x.Protocol != goal.TCP && x.Protocol != goal.UDP {
			return out
		}
		m := v.Lo + (v.Hi-v.Lo)/2
		a, b := x, x
		a.DstPorts = append([]goal.PortRange{{Lo: v.Lo, Hi: m}}, x.DstPorts[1:]...)
		b.DstPorts = []goal.PortRange{{Lo: m + 1, Hi: v.Hi}}
		return slices.Replace(out, i, i+1, b, a)
	case 2, 3: // neighbours
		j := i + 1
		if j >= n || out[i].Allow != out[j].Allow && meet(&out[i], &out[j]) {
			return out
		}
		out[i], out[j] = out[j], out[i]
	case 4: // a copy where it cannot decide
		j := i + 1 + r.IntN(n-i)
		return slices.Insert(out, j, x)
	case 5: // a deny of nothing but what the last rule denies anyway
		x.Allow = false
		return slices.Insert(out, n, x)
	}
	return out
}

func halves(p netip.Prefix) (lo, hi netip.Prefix) {
	lo = netip.PrefixFrom(p.Addr(), p.Bits()+1)
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 1 << (7 - p.Bits()%8)
	a, _ := netip.AddrFromSlice(b)
	return lo, netip.PrefixFrom(a, p.Bits()+1)
}

// meet says, without the engine, whether two rules can match one packet: it may say so when they do not.
func meet(a, b *goal.Rule) bool {
	protocol := a.Protocol == b.Protocol || a.Protocol == goal.ProtocolAny || b.Protocol == goal.ProtocolAny
	return protocol && meetSides(a.Src, b.Src) && meetSides(a.Dst, b.Dst)
}

func meetSides(a, b goal.Match) bool {
	if a.Any || b.Any || len(a.Sets)+len(b.Sets) > 0 {
		return true
	}
	return slices.ContainsFunc(a.Prefixes, func(p netip.Prefix) bool { return slices.ContainsFunc(b.Prefixes, p.Overlaps) })
}
