package datapath

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
)

const (
	maxRules  = 1024 // per direction: 16 words
	noVector  = 0xffff
	sideSize  = 160 // bytes of struct acl_side
	headSize  = 8   // bytes before the sides
	ruleAllow = 1 << 63
	ruleDef   = 1 << 62
	ruleMask  = ruleDef - 1
)

// ruleID is the name of a rule in counters and events: it means the same in every version of the group. seed is groupSeed's.
func ruleID(seed uint64, rule string) uint64 {
	h := seed
	for i := range len(rule) {
		h = (h ^ uint64(rule[i])) * 0x100000001b3 // FNV-1a
	}
	return mix(int(h)) & ruleMask
}

func groupSeed(id string) uint64 {
	h := sha256.Sum256([]byte(id))
	return binary.LittleEndian.Uint64(h[:8])
}

// groupBlob compiles one group as one virtual network resolves its sets: bpf/acl.h reads it.
func groupBlob(g *goal.Group, c *classes) (class int, blob []byte, err error) {
	w := &writer{b: make([]byte, headSize+2*sideSize, 2<<10)}
	w.put32(0, 0x52464752)
	for dir, rules := range [][]goal.Rule{g.Out, g.In} {
		if len(rules) > maxRules {
			return 0, nil, fmt.Errorf("group %s: %d rules in one direction, at most %d", g.ID, len(rules), maxRules)
		}
		s := newSide(w, headSize+dir*sideSize, rules)
		if err := s.write(g.ID, c); err != nil {
			return 0, nil, fmt.Errorf("group %s: %w", g.ID, err)
		}
	}
	w.b = append(w.b, make([]byte, maxRules/8)...) // a whole vector can be read at the last one's place
	return fit(w.b, groupClasses)
}

// side compiles the rules of one direction.
type side struct {
	w       *writer
	at      int // struct acl_side
	rules   []goal.Rule
	words   int
	vectors []uint64
	known   map[uint64]uint32 // sum → number
}

func newSide(w *writer, at int, rules []goal.Rule) *side {
	return &side{w: w, at: at, rules: rules, words: max(1, (len(rules)+63)/64), known: make(map[uint64]uint32, 2*len(rules))}
}

func (s *side) write(group string, c *classes) error {
	src4, src6 := s.addresses(func(r *goal.Rule) goal.Match { return r.Src })
	dst4, dst6 := s.addresses(func(r *goal.Rule) goal.Match { return r.Dst })
	sport := s.ports(func(r *goal.Rule) []goal.PortRange { return r.SrcPorts })
	dport := s.ports(func(r *goal.Rule) []goal.PortRange { return r.DstPorts })
	srcClass := s.classVectors(c, func(r *goal.Rule) goal.Match { return r.Src })
	dstClass := s.classVectors(c, func(r *goal.Rule) goal.Match { return r.Dst })

	at := s.at + 40
	for _, f := range []struct {
		f     *intervals
		width int
	}{{src4, 4}, {dst4, 4}, {src6, 16}, {dst6, 16}, {sport, 2}, {dport, 2}} {
		if err := s.w.field(at, f.f, f.width, 2); err != nil {
			return err
		}
		at += 16
	}
	for i, p := range []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP, goal.AH, goal.ICMPv6} {
		s.w.put16(at+2*i, uint16(s.where(func(r *goal.Rule) bool { return matchesProtocol(r.Protocol, p) })))
	}
	any := func(ports []goal.PortRange) bool { return slices.Contains(ports, goal.AnyPort) }
	s.w.put16(at+12, uint16(s.where(func(r *goal.Rule) bool { return any(r.SrcPorts) })))
	s.w.put16(at+14, uint16(s.where(func(r *goal.Rule) bool { return any(r.DstPorts) })))
	s.w.put16(at+16, uint16(s.where(func(r *goal.Rule) bool { return slices.Contains(r.Dst.Sets, goal.SetPlatformDNS) })))
	s.w.put16(at+18, uint16(s.where(func(r *goal.Rule) bool { return slices.Contains(r.Dst.Sets, goal.SetPlatformIMDS) })))
	if len(s.known) >= noVector {
		return fmt.Errorf("%d distinct vectors, at most %d", len(s.known), noVector-1)
	}
	s.tail(group, srcClass, dstClass)
	return nil
}

// tail writes the tables behind the fields, and the numbers that point to them.
func (s *side) tail(group string, srcClass, dstClass []uint32) {
	w, seed := s.w, groupSeed(group)
	w.b = slices.Grow(w.b, 4*len(srcClass)+8*len(s.vectors)+8*len(s.rules)+64)
	w.put64(s.at, ruleID(seed, ""))
	w.put32(s.at+8, uint32(s.words))
	w.put32(s.at+12, uint32(s.words*8))
	w.put32(s.at+24, uint32(len(srcClass)))
	for i, vs := range [][]uint32{srcClass, dstClass} {
		w.align(2)
		w.put32(s.at+28+4*i, uint32(len(w.b)))
		for _, v := range vs {
			w.u16(uint16(v))
		}
	}
	w.align(8)
	w.put32(s.at+16, uint32(len(w.b)))
	for _, v := range s.vectors {
		w.u64(v)
	}
	w.put32(s.at+20, uint32(len(w.b)))
	for i := range s.rules {
		r := &s.rules[i]
		id := ruleID(seed, r.Name)
		if r.Allow {
			id |= ruleAllow
		}
		if strings.HasPrefix(r.Name, "defaultSecurityRules/") {
			id |= ruleDef
		}
		w.u64(id)
	}
}

// matchesProtocol: rules say ICMP for that of both families.
func matchesProtocol(rule, packet uint8) bool {
	return rule == goal.ProtocolAny || rule == packet || rule == goal.ICMP && packet == goal.ICMPv6
}

// vector gives a bit vector its number. sum is the exclusive or of mix of its bits: the same vector has the same sum, and the
// rare other vector with that sum is told apart by its words.
func (s *side) vector(v []uint64, sum uint64) uint32 {
	for ; ; sum++ {
		n, ok := s.known[sum]
		if !ok {
			n = uint32(len(s.known))
			s.known[sum] = n
			s.vectors = append(s.vectors, v...)
			return n
		}
		if slices.Equal(s.vectors[int(n)*s.words:][:s.words], v) {
			return n
		}
	}
}

// mix spreads a small number over 64 bits (splitmix64).
func mix(i int) uint64 {
	z := (uint64(i) + 1) * 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// where is the vector of the rules for which yes holds.
func (s *side) where(yes func(*goal.Rule) bool) uint32 {
	v, sum := make([]uint64, s.words), uint64(0)
	for i := range s.rules {
		if yes(&s.rules[i]) {
			v[i/64] |= 1 << (i % 64)
			sum ^= mix(i)
		}
	}
	return s.vector(v, sum)
}

// field cuts a field at the edges; base are the rules that hold everywhere.
func (s *side) field(e *edges, base func(*goal.Rule) bool) *intervals {
	v, sum := make([]uint64, s.words), uint64(0)
	holds := make([]int, len(s.rules)) // how many of the rule's prefixes: they may overlap
	turn := func(i int) {
		v[i/64] ^= 1 << (i % 64)
		sum ^= mix(i)
	}
	for i := range s.rules {
		if base(&s.rules[i]) {
			holds[i] = 1
			turn(i)
		}
	}
	f := &intervals{}
	e.sweep(func(item, delta int) {
		before := holds[item] > 0
		holds[item] += delta
		if before != (holds[item] > 0) {
			turn(item)
		}
	}, func(start num) { f.add(start, s.vector(v, sum)) })
	return f
}

// addresses are the explicit prefixes of one side of the rules, by family.
func (s *side) addresses(of func(*goal.Rule) goal.Match) (v4, v6 *intervals) {
	var e4, e6 edges
	for i := range s.rules {
		for _, p := range of(&s.rules[i]).Prefixes {
			if p.Addr().Is4() {
				e4.prefix(p, i)
			} else {
				e6.prefix(p, i)
			}
		}
	}
	base := func(r *goal.Rule) bool { return of(r).Any }
	return s.field(&e4, base), s.field(&e6, base)
}

func (s *side) ports(of func(*goal.Rule) []goal.PortRange) *intervals {
	var e edges
	for i := range s.rules {
		for _, p := range of(&s.rules[i]) {
			if p.Lo <= p.Hi {
				e.ports(p.Lo, p.Hi, i)
			}
		}
	}
	return s.field(&e, func(*goal.Rule) bool { return false })
}

// classVectors lists, for every class, the rules that name one of its sets. A number without a known combination is left
// unknown: packets that come with it are dropped as stale.
func (s *side) classVectors(c *classes, of func(*goal.Rule) goal.Match) []uint32 {
	bySet := map[string][]uint64{}
	for i := range s.rules {
		for _, name := range of(&s.rules[i]).Sets {
			v := bySet[name]
			if v == nil {
				v = make([]uint64, s.words)
				bySet[name] = v
			}
			v[i/64] |= 1 << (i % 64)
		}
	}
	out := make([]uint32, c.count())
	for id := range out {
		out[id] = noVector
		k, ok := c.named[uint16(id)]
		if !ok {
			continue
		}
		v := make([]uint64, s.words)
		for _, name := range k.sets() {
			for i, x := range bySet[name] {
				v[i] |= x
			}
		}
		sum := uint64(0)
		for i := range s.rules {
			if v[i/64]>>(i%64)&1 == 1 {
				sum ^= mix(i)
			}
		}
		out[id] = s.vector(v, sum)
	}
	return out
}

// tableBlob lays out where the addresses of a virtual network are that no NIC has: bpf/route.h reads it.
func tableBlob(p plan, c *classes) (class int, blob []byte, err error) {
	w := &writer{b: make([]byte, 8+32, 2<<10)}
	w.put32(0, 0x52465654)
	for i, spans := range [][]span{p.v4, p.v6} {
		f := &intervals{}
		for _, s := range spans {
			v := uint32(c.id(s.combo))
			if s.inPrefix {
				v |= atPrefix << 16
			}
			f.add(s.start, v)
		}
		if err := w.field(8+16*i, f, []int{4, 16}[i], 4); err != nil {
			return 0, nil, err
		}
	}
	return fit(w.b, tableClasses)
}

// subnetsOf lists the distinct IPv4 subnets of a port's addresses.
func subnetsOf(p *goal.Port) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range p.Addresses {
		if s := a.Subnet.Masked(); s.Addr().Is4() && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// sameGroup says whether two groups are one and the same or say the same.
func sameGroup(a, b *goal.Group) bool {
	return a == b || a.ID == b.ID && a.Flush == b.Flush && sameRules(a.In, b.In) && sameRules(a.Out, b.Out)
}

func sameRules(a, b []goal.Rule) bool {
	if len(a) != len(b) || len(a) > 0 && &a[0] == &b[0] {
		return len(a) == len(b)
	}
	return slices.EqualFunc(a, b, func(x, y goal.Rule) bool {
		return x.Name == y.Name && x.Priority == y.Priority && x.Allow == y.Allow && x.Protocol == y.Protocol &&
			sameMatch(x.Src, y.Src) && sameMatch(x.Dst, y.Dst) && slices.Equal(x.SrcPorts, y.SrcPorts) && slices.Equal(x.DstPorts, y.DstPorts)
	})
}

func sameMatch(a, b goal.Match) bool {
	return a.Any == b.Any && slices.Equal(a.Prefixes, b.Prefixes) && slices.Equal(a.Sets, b.Sets)
}
