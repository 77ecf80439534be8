package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ringfence/goal"
)

// Level is how bad a finding is.
type Level uint8

// The levels.
const (
	Info Level = iota
	Warning
	Error
)

func (l Level) String() string { return [...]string{"info", "warning", "error"}[l] }

// Kind is what a finding is about.
type Kind string

// The kinds, with their usual level.
const (
	Shadowed   Kind = "shadowed"   // error: never decides, and some rule that covers it acts differently
	Redundant  Kind = "redundant"  // warning: never decides, all that cover it act the same; or can be removed without any change
	Irrelevant Kind = "irrelevant" // warning: no packet of any NIC that it is used at can match
	Unattached Kind = "unattached" // warning: a group that no NIC and no subnet with NICs refers to
	Upstream   Kind = "upstream"   // warning: what it allows, the other group on the way denies, for every NIC
	Conflict   Kind = "conflict"   // info: partial overlap with a later rule of the other action (correlation); the order matters
	Exception  Kind = "exception"  // info: an exception from a later rule of the other action (generalisation): the usual idiom
	Exposed    Kind = "exposed"    // error: the Internet reaches a sensitive port through every filter
)

// Finding is one line of lint.
type Finding struct {
	Kind      Kind
	Level     Level
	Rule      RuleID // Rule.Rule is "" for a group
	Direction Direction
	Priority  uint16
	Text      string
	Covering  []RuleID // of dead rules: earlier ones that cover it, none too many; of the others the rule that it meets
	Witness   *Packet  // a packet that shows it
	NICs      int      // of Exposed and Upstream
	Neutral   bool     // it is proved that removing the rule changes no packet's verdict, also together with all others of its list that say so
	Aliases   []string // ids of the same finding in published checkers
}

// use is one place where a group's rules are resolved: a VNet, or none.
type use struct {
	v       *vnet
	classes []*class
}

// Lint finds rules and groups that do not do what they seem to do. Unknown names what could not be judged.
func (n *Network) Lint() (out []Finding, unknown []string) {
	uses := map[string][]use{}
	for _, v := range n.vnets {
		by := map[string][]*class{}
		for _, c := range v.classes {
			for _, id := range slices.Compact([]string{c.nic, c.subnet}) {
				if id != "" {
					by[id] = append(by[id], c)
				}
			}
		}
		for id, cs := range by {
			uses[id] = append(uses[id], use{v, cs})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(n.groups)) {
		g := n.groups[id]
		us := uses[id]
		if len(us) == 0 {
			out = append(out, Finding{Kind: Unattached, Level: Warning, Rule: RuleID{Group: id}, Text: "no NIC and no subnet with NICs refers to it", Aliases: aliases[Unattached]})
			us = []use{{newVNet(&goal.VNet{}), nil}}
		}
		for _, dir := range []Direction{In, Out} {
			f, u := n.lintRules(g, dir, us)
			out, unknown = append(out, f...), append(unknown, u...)
		}
	}
	out = append(out, n.exposed()...)
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(int(b.Level)-int(a.Level), strings.Compare(a.Rule.Group, b.Rule.Group), int(a.Direction)-int(b.Direction), int(a.Priority)-int(b.Priority))
	})
	return out, unknown
}

// lintRules judges one direction of a group as all its uses resolve it: what is said holds in every one of them.
func (n *Network) lintRules(g *goal.Group, dir Direction, us []use) (out []Finding, unknown []string) {
	rules := g.Out
	if dir == In {
		rules = g.In
	}
	var qs []*question
	for _, u := range us {
		for f := V4; f <= V6; f++ {
			qs = append(qs, ask(f, f.judged(), []*filter{n.rules(f, g, dir, u.v)}))
		}
	}
	judged := judge(qs, len(rules))
	left := n.withoutDead(g, dir, us, judged)
	for i := range rules {
		if strings.HasPrefix(rules[i].Name, "defaultSecurityRules/") || namesPlatform(&rules[i]) {
			continue
		}
		f := Finding{Rule: RuleID{Group: g.ID, Rule: rules[i].Name}, Direction: dir, Priority: rules[i].Priority, Witness: judged[i].Witness}
		switch j := &judged[i]; {
		case j.Unknown:
			unknown = append(unknown, f.Rule.ID()+": the budget is spent")
		case j.Empty:
			f.Kind, f.Level, f.Neutral = Irrelevant, Warning, true
			f.Text = "no packet can match: its addresses are empty"
			out = append(out, f)
		case !j.Live:
			out = append(out, dead(f, rules, j))
		default:
			more, u := n.lintLive(f, g, rules, i, us, left)
			out, unknown = append(out, more...), append(unknown, u...)
		}
	}
	return out, unknown
}

// namesPlatform: rules that name the platform's services are asked about them apart from the others, so that they have an effect
// that their list does not show; nothing is said about them.
func namesPlatform(r *goal.Rule) bool {
	return slices.Contains(r.Dst.Sets, goal.SetPlatformDNS) || slices.Contains(r.Dst.Sets, goal.SetPlatformIMDS)
}

// dead is the finding about a rule that never decides.
func dead(f Finding, rules []goal.Rule, j *Judgement) Finding {
	f.Kind, f.Level, f.Neutral = Redundant, Warning, true
	var names []string
	for _, k := range j.Covering {
		f.Covering = append(f.Covering, RuleID{Group: f.Rule.Group, Rule: rules[k].Name})
		names = append(names, lastName(rules[k].Name))
		if rules[k].Allow != rules[j.Index].Allow {
			f.Kind, f.Level = Shadowed, Error
		}
	}
	f.Text = "it never decides: all it matches is decided before, by " + strings.Join(names, ", ")
	f.Aliases = aliases[f.Kind]
	return f
}

// remaining is what a group's rules are in one use and family when everything that is advised to be removed is: so that of two
// rules that each could go without the other only one is advised.
type remaining struct {
	family Family
	filter *filter
}

func (n *Network) withoutDead(g *goal.Group, dir Direction, us []use, judged []Judgement) []remaining {
	var out []remaining
	for _, u := range us {
		for f := V4; f <= V6; f++ {
			left := &filter{key: "left"}
			for _, l := range n.rules(f, g, dir, u.v).lines {
				if j := &judged[l.index]; j.Live || j.Unknown {
					left.lines = append(left.lines, l)
				}
			}
			out = append(out, remaining{f, left})
		}
	}
	return out
}

func (flt *filter) without(index int) *filter {
	out := &filter{key: flt.key + " without"}
	for k := range flt.lines {
		if flt.lines[k].index != index {
			out.lines = append(out.lines, flt.lines[k])
		}
	}
	return out
}

// lintLive looks at a rule that decides about something.
func (n *Network) lintLive(f Finding, g *goal.Group, rules []goal.Rule, i int, us []use, left []remaining) (out []Finding, unknown []string) {
	removable, known := true, true
	for k := range left {
		if !removable {
			break
		}
		ds, ok := deltas(left[k].family, left[k].family.judged(), []*filter{left[k].filter}, []*filter{left[k].filter.without(i)}, diagramSteps)
		removable, known = removable && len(ds) == 0, known && ok
	}
	switch {
	case !known:
		unknown = append(unknown, f.Rule.ID()+": the budget is spent")
	case removable:
		for k := range left {
			left[k].filter = left[k].filter.without(i)
			left[k].filter.key = "left"
		}
		r := f
		r.Kind, r.Level, r.Neutral = Redundant, Warning, true
		r.Text = "it can be removed without any change: later rules decide the same"
		out = append(out, r)
	}
	if len(us) == 0 || us[0].classes == nil {
		return out, unknown
	}
	if x, ok := n.useless(f, g, us); ok {
		out = append(out, x)
	}
	return append(out, n.conflicts(f, g, rules, i, us)...), unknown
}

// exactly is a filter that passes only what one rule of another decides.
func exactly(flt *filter, rule string) *filter {
	out := &filter{layer: flt.layer, group: flt.group, dir: flt.dir, level: flt.level, key: flt.key + " exactly " + rule}
	for _, l := range flt.lines {
		l.allow = l.id.Rule == rule
		out.lines = append(out.lines, l)
	}
	return out
}

// useless: no packet of a NIC that uses the rule matches it, or the other group on the way denies all it allows.
func (n *Network) useless(f Finding, g *goal.Group, us []use) (Finding, bool) {
	nics, matches, both := 0, false, true
	other := RuleID{}
	for _, u := range us {
		for _, c := range u.classes {
			nics += len(c.ports)
			for fam := V4; fam <= V6; fam++ {
				p := &path{family: fam, region: fam.packets(), from: c, to: c}
				own := dimSrc
				if f.Direction == In {
					own = dimDst
				}
				p.region[own] = c.addresses[fam]
				rule := exactly(n.rules(fam, g, f.Direction, u.v), f.Rule.Rule)
				p.filters = []*filter{rule}
				x := n.find(p, passing)
				if x.unknown {
					return f, false
				}
				if !x.ok {
					continue
				}
				matches = true
				if c.nic == "" || c.subnet == "" || c.nic == c.subnet || !rule.allows() {
					both = false
					continue
				}
				for _, flt := range n.acl(fam, c, f.Direction) {
					if flt.group != g.ID {
						p.filters = []*filter{rule, flt}
						if y := n.find(p, passing); y.ok || y.unknown {
							both = false
						}
						w := x.region.packet(fam)
						if k := flt.decide(w); k >= 0 {
							other = ruleAt(flt, w)
						}
						f.Witness = &w
					}
				}
			}
		}
	}
	f.NICs = nics
	switch {
	case !matches:
		f.Kind, f.Level, f.Text = Irrelevant, Warning, "no packet of any NIC that it is used at can match"
		return f, true
	case both:
		f.Kind, f.Level, f.Covering = Upstream, Warning, []RuleID{other}
		f.Text = fmt.Sprintf("what it allows, the other group on the way denies for all %d NICs", nics)
		return f, true
	}
	return f, false
}

func (flt *filter) allows() bool {
	return slices.ContainsFunc(flt.lines, func(l line) bool { return l.allow })
}

// ruleAt is the rule of a filter that decides about a packet.
func ruleAt(flt *filter, w Packet) RuleID {
	x := w.point()
	for i := range flt.lines {
		if flt.lines[i].holds(x) {
			return flt.lines[i].id
		}
	}
	return RuleID{Group: flt.group}
}

// fewConflicts is how many findings about its order a rule gets at most: a rule that meets more is known by these.
const fewConflicts = 4

// conflicts are the later user rules of the other action that would decide about some packet of a rule if they came first, the
// nearest few of them.
func (n *Network) conflicts(f Finding, g *goal.Group, rules []goal.Rule, i int, us []use) []Finding {
	var out []Finding
	for _, u := range us {
		for fam := V4; fam <= V6; fam++ {
			flt := n.rules(fam, g, f.Direction, u.v)
			for _, k := range meets(flt.lines, rules, i) {
				if len(out) == fewConflicts {
					return out
				}
				if slices.ContainsFunc(out, func(o Finding) bool { return o.Covering[0].Rule == rules[k].Name }) {
					continue
				}
				c := f
				c.Kind, c.Level, c.Covering = Conflict, Info, []RuleID{{Group: g.ID, Rule: rules[k].Name}}
				word := "partly the same packets"
				if holdsAll(flt.lines, i, k) {
					c.Kind, word = Exception, "all its packets"
				}
				w, ok := n.effective(fam, flt, f.Rule.Rule, k)
				if !ok {
					continue
				}
				c.Witness = &w
				c.Text = fmt.Sprintf("%s matches %s and acts differently: their order matters", lastName(rules[k].Name), word)
				out = append(out, c)
			}
		}
	}
	return out
}

// meets are the later user rules of the other action that share packets with rule i.
func meets(lines []line, rules []goal.Rule, i int) []int {
	var out []int
	for a := range lines {
		if lines[a].index != i {
			continue
		}
		if len(out) >= 4*fewConflicts {
			break
		}
		for b := a + 1; b < len(lines); b++ {
			k := lines[b].index
			if k != i && rules[k].Allow != rules[i].Allow && !strings.HasPrefix(rules[k].Name, "defaultSecurityRules/") &&
				!slices.Contains(out, k) && lines[a].overlaps(&lines[b].product) {
				out = append(out, k)
			}
		}
	}
	return out
}

func holdsAll(lines []line, i, k int) bool {
	for a := range lines {
		if lines[a].index != i {
			continue
		}
		left := []product{lines[a].product}
		for b := range lines {
			if lines[b].index == k {
				var rest []product
				for j := range left {
					rest = append(rest, left[j].minus(&lines[b].product)...)
				}
				left = rest
			}
		}
		if len(left) > 0 {
			return false
		}
	}
	return true
}

// effective is a packet that a rule decides about and that the rule at index k matches too.
func (n *Network) effective(f Family, flt *filter, rule string, k int) (Packet, bool) {
	for b := range flt.lines {
		if flt.lines[b].index != k {
			continue
		}
		region, ok := flt.lines[b].product.and(ptr(f.judged()))
		if !ok {
			continue
		}
		p := &path{family: f, region: region, filters: []*filter{exactly(flt, rule)}}
		if x := n.find(p, passing); x.ok {
			return x.region.packet(f), true
		}
	}
	return Packet{}, false
}

func ptr[T any](x T) *T { return &x }
