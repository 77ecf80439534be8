package verify

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// Mutation: 500 changes of each list. An independent judge, goal/model on packets at the borders of what was changed, must not
// know a difference that the verifier does not; every difference that the verifier names must be one for the judge. As many neutral
// rewrites must be proved to be neutral.

func mutationSize() (rules, samples int) {
	if os.Getenv("RINGFENCE_SOAK") == "1" {
		return 1000, 200
	}
	return 60, 40
}

func TestMutations(t *testing.T) {
	n, samples := mutationSize()
	for _, m := range random.Manners {
		for _, v6 := range []bool{false, true} {
			r := rand.New(rand.NewPCG(21, 22))
			old := random.List(r, n, m, v6)
			altered, neutral := 0, 0
			for k := range 500 {
				name := fmt.Sprintf("%s v6=%t mutation %d", m.Name, v6, k)
				now := mutate(r, old)
				deltas, known := CompareRules(old, now, nil, nil)
				if !known {
					t.Fatalf("%s: unknown", name)
				}
				judgeDeltas(t, name, old, now, deltas)
				sampled := sampleDifference(r, old, now, samples, v6, func(p Packet, allowed bool) {
					if in := holding(deltas, p, allowed); in != 1 {
						t.Fatalf("%s: %v changes, and is in %d deltas\nold %v\nnew %v", name, p, in, old, now)
					}
				})
				if len(deltas) > 0 {
					altered++
				}
				if sampled && len(deltas) == 0 {
					t.Fatalf("%s: missed", name)
				}
				again := rewrite(r, old)
				if yes, known := Equivalent(old, again, nil, nil); !yes || !known {
					t.Fatalf("%s: a neutral rewrite is not proved: %v %v", name, yes, known)
				}
				neutral++
			}
			t.Logf("%s v6=%t: %d of 500 altered a verdict, %d rewrites proved", m.Name, v6, altered, neutral)
			if altered < 100 || altered == 500 {
				t.Errorf("%d of 500 altered a verdict: the test shows little", altered)
			}
		}
	}
}

func verdict(rules []goal.Rule, p Packet) (int, bool) {
	i := model.Match(&goal.Group{In: rules}, nil, model.In, p.Tuple())
	return i, i >= 0 && rules[i].Allow
}

// judgeDeltas asks the model about every delta's witness, with its rules.
func judgeDeltas(t *testing.T, name string, old, now []goal.Rule, deltas []Delta) {
	t.Helper()
	for _, d := range deltas {
		i, a := verdict(old, d.Witness)
		j, b := verdict(now, d.Witness)
		if a == b || b != d.Allowed || i != d.Old || j != d.New {
			t.Fatalf("%s: %v: old %v by %d, new %v by %d; the verifier says %+v", name, d.Witness, a, i, b, j, d)
		}
	}
}

// holding counts the deltas that hold a packet.
func holding(deltas []Delta, p Packet, allowed bool) int {
	n := 0
	for i := range deltas {
		c := Change{Boxes: []Box{deltas[i].Box}}
		if x := c.product(0); deltas[i].Allowed == allowed && deltas[i].Box.Family == familyOf(p.Src) && x.holds(p.point()) {
			n++
		}
	}
	return n
}

// sampleDifference asks the model about packets at the borders of rules that changed and of others, and calls found with those
// whose verdict differs.
func sampleDifference(r *rand.Rand, old, now []goal.Rule, samples int, v6 bool, found func(p Packet, allowed bool)) bool {
	var changed []*goal.Rule
	for _, pair := range [][2][]goal.Rule{{old, now}, {now, old}} {
		for i := range pair[0] {
			x := &pair[0][i]
			if !slices.ContainsFunc(pair[1], func(y goal.Rule) bool { return x.Name == y.Name && sameRule(x, &y) }) {
				changed = append(changed, x)
			}
		}
	}
	if len(changed) == 0 { // moved
		for i := range old {
			if i < len(now) && old[i].Name != now[i].Name {
				changed = append(changed, &old[i])
			}
		}
	}
	if len(changed) == 0 {
		return false
	}
	any := false
	for range samples {
		p := borderPacket(r, changed[r.IntN(len(changed))], &old[r.IntN(len(old))], v6)
		_, a := verdict(old, p)
		_, b := verdict(now, p)
		if a != b {
			any = true
			found(p, b)
		}
	}
	return any
}

func sameRule(a, b *goal.Rule) bool {
	return a.Allow == b.Allow && a.Protocol == b.Protocol && a.Src.Any == b.Src.Any && a.Dst.Any == b.Dst.Any && slices.Equal(a.Src.Prefixes, b.Src.Prefixes) &&
		slices.Equal(a.Dst.Prefixes, b.Dst.Prefixes) && slices.Equal(a.SrcPorts, b.SrcPorts) && slices.Equal(a.DstPorts, b.DstPorts)
}

// borderPacket takes every coordinate from the borders of one of two rules.
func borderPacket(r *rand.Rand, x, y *goal.Rule, v6 bool) Packet {
	pick := func() *goal.Rule {
		if r.IntN(4) > 0 {
			return x
		}
		return y
	}
	p := Packet{Src: borderAddr(r, pick().Src, v6), Dst: borderAddr(r, pick().Dst, v6)}
	p.Protocol = []uint8{pick().Protocol, goal.TCP, goal.UDP, goal.ICMP}[r.IntN(4)]
	if p.Protocol == goal.ProtocolAny {
		p.Protocol = goal.ESP
	}
	if p.Protocol == goal.ICMP && v6 {
		p.Protocol = goal.ICMPv6
	}
	p.ICMPType = uint8(r.Uint32())
	p.SrcPort, p.DstPort = borderPort(r, pick().SrcPorts), borderPort(r, pick().DstPorts)
	return p
}

func borderPort(r *rand.Rand, ranges []goal.PortRange) uint16 {
	v := ranges[r.IntN(len(ranges))]
	return [...]uint16{v.Lo, v.Hi, v.Lo - 1, v.Hi + 1, v.Lo, v.Hi}[r.IntN(6)]
}

func borderAddr(r *rand.Rand, m goal.Match, v6 bool) netip.Addr {
	f := V4
	if v6 {
		f = V6
	}
	if len(m.Prefixes) == 0 || familyOf(m.Prefixes[0].Addr()) != f {
		return number{r.Uint64() >> 8, r.Uint64()}.addr(f)
	}
	v := ofPrefix(m.Prefixes[r.IntN(len(m.Prefixes))])
	return [...]number{v.lo, v.hi, v.lo.previous(), v.hi.next(), v.lo, v.hi}[r.IntN(6)].addr(f)
}

// Every rule's judgement is the model's: a witness is decided by the rule, and what covers a dead rule covers every packet of it
// that is asked about, and would not without any one of its rules.
func TestJudgementsAreTheModels(t *testing.T) {
	dead, live, several := 0, 0, 0
	for seed := range uint64(8) {
		for _, m := range random.Manners {
			v6 := seed%2 == 1
			r := rand.New(rand.NewPCG(seed, 31))
			rules := random.List(r, 150, m, v6)
			for i := len(rules) - 2; i > 20; i -= 7 { // dead by a union: both halves came before
				x := rules[i]
				if x.Dst.Any || x.Dst.Prefixes[0].Bits() == x.Dst.Prefixes[0].Addr().BitLen() {
					continue
				}
				lo, hi := halves(x.Dst.Prefixes[0])
				a, b := x, x
				a.Dst, b.Dst = goal.Match{Prefixes: []netip.Prefix{lo}}, goal.Match{Prefixes: append([]netip.Prefix{hi}, x.Dst.Prefixes[1:]...)}
				slices.SortFunc(b.Dst.Prefixes, netip.Prefix.Compare)
				rules = slices.Insert(rules, i, a, b)
			}
			for _, j := range JudgeRules(rules, nil) {
				switch {
				case j.Unknown || j.Empty:
					t.Fatalf("seed %d %s: rule %d: %+v", seed, m.Name, j.Index, j)
				case j.Live:
					live++
					if i, _ := verdict(rules, *j.Witness); i != j.Index {
						t.Fatalf("seed %d %s: rule %d: %v is decided by %d", seed, m.Name, j.Index, j.Witness, i)
					}
				default:
					dead++
					if len(j.Covering) > 1 {
						several++
					}
					judgeCover(t, r, rules, j)
				}
			}
		}
	}
	t.Logf("%d live, %d dead, %d of them by several", live, dead, several)
	if several < 20 || live < 1000 {
		t.Errorf("%d live, %d dead, %d of them by several: the test shows little", live, dead, several)
	}
}

func judgeCover(t *testing.T, r *rand.Rand, rules []goal.Rule, j Judgement) {
	t.Helper()
	x := &rules[j.Index]
	var cover []goal.Rule
	for _, k := range j.Covering {
		if k >= j.Index {
			t.Fatalf("rule %d is covered by the later %d", j.Index, k)
		}
		cover = append(cover, rules[k])
	}
	for range 50 {
		p := borderPacket(r, x, &cover[r.IntN(len(cover))], familyOf(j.Witness.Src) == V6)
		if model.Matches(x, nil, p.Tuple()) && model.Match(&goal.Group{In: cover}, nil, model.In, p.Tuple()) < 0 {
			t.Fatalf("rule %d is not covered at %v by %v", j.Index, p, j.Covering)
		}
	}
	for k := range cover {
		less := append(slices.Delete(slices.Clone(cover), k, k+1), *x, rules[len(rules)-1])
		if js := JudgeRules(less, nil); !js[len(less)-2].Live {
			t.Fatalf("rule %d is covered without %d of %v", j.Index, j.Covering[k], j.Covering)
		}
	}
}
