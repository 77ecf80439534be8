package datapath

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/observe"
)

// sideProof compares one direction of a loaded group with the goal's rules: in every field, and for every class of addresses, the same
// rules hold at every point, and each rule has its action. Then every packet meets the same first rule.
type sideProof struct {
	d     *Datapath
	b     loadedBlob
	at    uint32
	id    string
	dir   string
	rules []goal.Rule
	words int
	out   []observe.Difference
}

func (d *Datapath) proveGroup(b loadedBlob, g *goal.Group, sets map[uint16]setsOf) (out []observe.Difference) {
	for dir, rules := range [][]goal.Rule{g.Out, g.In} {
		s := &sideProof{d: d, b: b, at: uint32(8 + dir*160), id: g.ID, dir: observe.Direction(dir).String(), rules: rules}
		s.run(sets)
		out = append(out, s.out...)
	}
	return out
}

func (s *sideProof) differ(at, loaded, goal string) {
	s.out = append(s.out, observe.Difference{At: s.dir + ", " + at, Loaded: loaded, Goal: goal})
}

func (s *sideProof) run(sets map[uint16]setsOf) {
	s.words = int(s.b.u32(s.at + 8))
	if s.words == 0 || s.words > maxRules/64 || 64*s.words < len(s.rules) || int(s.b.u32(s.at+12)) != 8*s.words {
		s.differ("its head", fmt.Sprintf("vectors of %d words, %d bytes apart", s.words, s.b.u32(s.at+12)), fmt.Sprintf("%d rules", len(s.rules)))
		return
	}
	s.actions()
	src := func(r *goal.Rule) *goal.Match { return &r.Src }
	dst := func(r *goal.Rule) *goal.Match { return &r.Dst }
	s.addresses("source", 40, 4, topOf4, src)
	s.addresses("destination", 56, 4, topOf4, dst)
	s.addresses("source", 72, 16, topOf6, src)
	s.addresses("destination", 88, 16, topOf6, dst)
	s.ports("source port", 104, func(r *goal.Rule) []goal.PortRange { return r.SrcPorts })
	s.ports("destination port", 120, func(r *goal.Rule) []goal.PortRange { return r.DstPorts })
	for i, p := range []uint8{goal.TCP, goal.UDP, goal.ICMP, goal.ESP, goal.AH, goal.ICMPv6} {
		s.single("protocol "+goal.ProtocolName(p), 136+2*uint32(i), func(r *goal.Rule) bool {
			return r.Protocol == p || r.Protocol == goal.ProtocolAny || p == goal.ICMPv6 && r.Protocol == goal.ICMP
		})
	}
	any := goal.PortRange{Lo: 0, Hi: 65535}
	s.single("no source port", 148, func(r *goal.Rule) bool { return slices.Contains(r.SrcPorts, any) })
	s.single("no destination port", 150, func(r *goal.Rule) bool { return slices.Contains(r.DstPorts, any) })
	s.single("destination AzurePlatformDNS", 152, func(r *goal.Rule) bool { return slices.Contains(r.Dst.Sets, goal.SetPlatformDNS) })
	s.single("destination AzurePlatformIMDS", 154, func(r *goal.Rule) bool { return slices.Contains(r.Dst.Sets, goal.SetPlatformIMDS) })
	s.classes("source", 28, sets, src)
	s.classes("destination", 32, sets, dst)
}

// actions compares what every rule does, and what it is called in counters.
func (s *sideProof) actions() {
	at := s.b.u32(s.at + 20)
	if !s.b.holds(at, len(s.rules), 8) {
		s.differ("rules", errCut.Error(), fmt.Sprintf("%d rules", len(s.rules)))
		return
	}
	seed := groupSeed(s.id)
	say := func(name string, allow, def bool) string {
		action := "denies"
		if allow {
			action = "allows"
		}
		if def && !strings.HasPrefix(name, "defaultSecurityRules/") {
			action += " as a default rule"
		}
		return name + " " + action
	}
	if got := s.b.u64(s.at); got != ruleID(seed, "") {
		s.differ("no rule", fmt.Sprintf("#%016x", got), fmt.Sprintf("#%016x", ruleID(seed, "")))
	}
	for i := range s.rules {
		r, got := &s.rules[i], s.b.u64(at+8*uint32(i))
		id, def := got&(1<<62-1), got>>62&1 == 1
		if id == ruleID(seed, r.Name) && (got>>63 == 1) == r.Allow && def == strings.HasPrefix(r.Name, "defaultSecurityRules/") {
			continue
		}
		name := r.Name
		if id != ruleID(seed, r.Name) {
			name = s.d.names.of(id).rule
		}
		s.differ(fmt.Sprintf("rule %d of %d", i+1, len(s.rules)), say(name, got>>63 == 1, def), say(r.Name, r.Allow, strings.HasPrefix(r.Name, "defaultSecurityRules/")))
	}
}

// same compares a loaded vector with the rules that shall hold; where names what is compared.
func (s *sideProof) same(where func() string, number uint32, want []uint64) bool {
	at := s.b.u32(s.at+16) + number*uint32(8*s.words)
	if !s.b.holds(at, maxRules/64, 8) {
		s.differ(where(), fmt.Sprintf("vector %d, which is not there", number), s.names(want))
		return false
	}
	var more, less []uint64
	differs := false
	for i := range s.words {
		got, w := s.b.u64(at+8*uint32(i)), uint64(0)
		if i < len(want) {
			w = want[i]
		}
		more, less = append(more, got&^w), append(less, w&^got)
		differs = differs || got != w
	}
	if !differs {
		return true
	}
	side := func(match, not []uint64) string {
		var parts []string
		for _, p := range []struct {
			what string
			of   []uint64
		}{{"matches ", match}, {"does not match ", not}} {
			if n := s.names(p.of); n != "" {
				parts = append(parts, p.what+n)
			}
		}
		return strings.Join(parts, "; ")
	}
	s.differ(where(), side(more, less), side(less, more))
	return false
}

func (s *sideProof) names(v []uint64) string {
	var out []string
	for i := range 64 * len(v) {
		switch {
		case v[i/64]>>(i%64)&1 == 0:
		case i < len(s.rules):
			out = append(out, s.rules[i].Name)
		default:
			out = append(out, fmt.Sprintf("rule %d, which is not in the goal", i+1))
		}
	}
	if len(out) > 5 {
		out = append(out[:5], fmt.Sprintf("and %d more", len(out)-5))
	}
	return strings.Join(out, ", ")
}

// field compares a field at every point; the first interval that differs stands for all of it.
func (s *sideProof) field(what string, at uint32, width int, c *canvas) {
	f, err := s.b.field(s.at+at, width, 2)
	if err != nil {
		s.differ(what, err.Error(), fmt.Sprintf("%d rules", len(s.rules)))
		return
	}
	c.done(f.starts)
	for i, cut := range c.cuts {
		if !s.same(func() string { return what + " " + c.interval(i) }, f.at(cut), c.vector(i)) {
			return
		}
	}
}

func (s *sideProof) addresses(what string, at uint32, width int, top num, of func(*goal.Rule) *goal.Match) {
	c := newCanvas(top, len(s.rules))
	for i := range s.rules {
		m := of(&s.rules[i])
		if m.Any {
			c.span(num{}, top, i)
		}
		c.prefixes(m.Prefixes, i)
	}
	s.field(what, at, width, c)
}

func (s *sideProof) ports(what string, at uint32, of func(*goal.Rule) []goal.PortRange) {
	c := newCanvas(topOfPorts, len(s.rules))
	for i := range s.rules {
		for _, p := range of(&s.rules[i]) {
			if p.Lo <= p.Hi {
				c.span(num{lo: uint64(p.Lo)}, num{lo: uint64(p.Hi)}, i)
			}
		}
	}
	s.field(what, at, 2, c)
}

// single compares one vector that belongs to no interval.
func (s *sideProof) single(what string, at uint32, holds func(*goal.Rule) bool) {
	s.same(func() string { return what }, uint32(s.b.u16(s.at+at)), s.where(holds))
}

func (s *sideProof) where(holds func(*goal.Rule) bool) []uint64 {
	v := make([]uint64, s.words)
	for i := range s.rules {
		if holds(&s.rules[i]) {
			v[i/64] |= 1 << (i % 64)
		}
	}
	return v
}

// classes compares, for every class that an address of the virtual network has, the rules that name one of its sets.
func (s *sideProof) classes(what string, at uint32, sets map[uint16]setsOf, of func(*goal.Rule) *goal.Match) {
	naming := map[string][]uint64{}
	for i := range s.rules {
		for _, set := range of(&s.rules[i]).Sets {
			if naming[set] == nil {
				naming[set] = make([]uint64, s.words)
			}
			naming[set][i/64] |= 1 << (i % 64)
		}
	}
	table, n := s.b.u32(s.at+at), s.b.u32(s.at+24)
	for _, class := range slices.Sorted(maps.Keys(sets)) {
		in := sets[class]
		name := func() string { return what + " in " + in.String() }
		if uint32(class) >= n || !s.b.holds(table+2*uint32(class), 1, 2) {
			s.differ(name(), fmt.Sprintf("class %d, which the group does not know", class), "known")
			continue
		}
		v := uint32(s.b.u16(table + 2*uint32(class)))
		if v == noVector {
			s.differ(name(), fmt.Sprintf("class %d, dropped as stale", class), "known")
			continue
		}
		want := make([]uint64, s.words)
		for _, set := range in.names() {
			for i, w := range naming[set] {
				want[i] |= w
			}
		}
		s.same(name, v, want)
	}
}
