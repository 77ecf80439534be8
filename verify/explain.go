package verify

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"strings"

	"ringfence/goal"
)

// Explanation is what becomes of some traffic and why.
type Explanation struct {
	Allowed *Case // packets that arrive, nil when none does
	Denied  *Case // packets that a VM can send and that do not, nil when there are none; those with the fewest blockers
	Unknown []string
}

// Case is packets that share their fate.
type Case struct {
	Witness  Packet
	Box      Box
	Hops     []Hop  // every layer on the way, also behind one that drops
	Blockers []Hop  // those that drop: all of them have to change
	Fix      []Edit // the smallest change that gives the witness the other verdict; none when no rule can
	Pairs    int    // pairs of NICs that have such packets
	Assumed  string
}

// Explain says hop by hop what becomes of traffic. With exact set, what leaves a virtual network meets its routes, as in the
// fabric; else it is taken to get out and the rules alone decide.
func (n *Network) Explain(zones Zones, t Traffic, exact bool) (Explanation, error) {
	from, err := n.side(zones, t.From)
	if err != nil {
		return Explanation{}, err
	}
	to, err := n.side(zones, t.To)
	if err != nil {
		return Explanation{}, err
	}
	exactly := *to
	exactly.exact = exact
	to = &exactly
	var out Explanation
	about := false
	for _, p := range n.paths(from, to, true) {
		for _, r := range t.products(p.family) {
			region, ok := p.region.and(&r)
			if !ok {
				continue
			}
			about = true
			way := *p
			way.region = region
			out.Unknown = append(out.Unknown, n.blockedBy(&way)...)
			for _, k := range []kind{passing, dropped} {
				f := n.find(&way, k)
				if f.unknown {
					out.Unknown = append(out.Unknown, "the budget is spent for "+way.String())
				}
				if f.ok {
					out.take(n, &way, &f, k)
				}
			}
		}
	}
	if !about {
		return out, errors.New("there is no such packet: no NIC and no address of the ends can send it")
	}
	slices.Sort(out.Unknown)
	out.Unknown = slices.Compact(out.Unknown)
	return out, nil
}

func (e *Explanation) take(n *Network, p *path, f *found, k kind) {
	w := p.packet(&f.region)
	c := &Case{Witness: w, Box: f.region.box(p.family), Hops: p.trace(w.point()), Pairs: p.pairs(&f.region), Assumed: p.assumed}
	c.Blockers = blockers(c.Hops)
	c.Fix = n.fix(p, w, c.Hops, k == dropped)
	at := &e.Allowed
	if k == dropped {
		at = &e.Denied
	}
	if *at == nil {
		*at = c
		return
	}
	pairs := (*at).Pairs + c.Pairs
	if len(c.Blockers) < len((*at).Blockers) {
		*at = c
	}
	(*at).Pairs = pairs
}

// Entry is one cell of the matrix.
type Entry struct {
	From, To string
	Protocol uint8
	Port     uint16
	Verdict  Extent
}

// Extent is how much of some traffic arrives.
type Extent uint8

// The extents.
const (
	Nothing     Extent = iota // no packet arrives
	Part                      // some do
	Everything                // every packet that VMs can send does, between every pair
	Undecidable               // something on the way is not modelled
	NoPackets                 // there is no such packet
)

func (x Extent) String() string {
	return [...]string{"none", "some", "all", "unknown", "-"}[x]
}

// Matrix says for every pair of zones and every port how much arrives. Internet and other outside ends are judged by rules alone.
func (n *Network) Matrix(zones Zones, protocol uint8, ports []uint16) ([]Entry, error) {
	var out []Entry
	names := slices.Sorted(maps.Keys(zones))
	for _, from := range names {
		for _, to := range names {
			for _, port := range ports {
				t := Traffic{From: from, To: to, Protocols: []uint8{protocol}}
				if protocol == goal.TCP || protocol == goal.UDP {
					t.DstPorts = []goal.PortRange{{Lo: port, Hi: port}}
				}
				x, err := n.extent(zones, &t)
				if err != nil {
					return nil, err
				}
				out = append(out, Entry{from, to, protocol, port, x})
			}
		}
	}
	return out, nil
}

func (n *Network) extent(zones Zones, t *Traffic) (Extent, error) {
	paths, err := n.ways(zones, t, nil, true)
	if err != nil {
		return 0, err
	}
	yes, no, unsure := false, false, false
	for _, p := range paths {
		a, b := n.find(p, passing), n.find(p, dropped)
		yes, no = yes || a.ok, no || b.ok
		unsure = unsure || a.unknown || b.unknown || len(n.blockedBy(p)) > 0
	}
	switch {
	case unsure:
		return Undecidable, nil
	case yes && no:
		return Part, nil
	case yes:
		return Everything, nil
	case no:
		return Nothing, nil
	}
	return NoPackets, nil
}

// Coverage is which rules assertions are about.
type Coverage struct {
	Touched, Untouched []RuleID // users' rules of groups in use, sorted
}

// Coverage finds the users' rules that decide about no packet of any assertion: nobody would notice their loss.
func (n *Network) Coverage(c Checks) (Coverage, error) {
	touched := map[RuleID]bool{}
	for i := range c.Assert {
		for _, t := range c.Assert[i].traffic() {
			paths, err := n.ways(c.Zones, &t, nil, false)
			if err != nil {
				return Coverage{}, err
			}
			for _, p := range paths {
				n.touch(p, touched)
			}
		}
	}
	var out Coverage
	for id := range n.users() {
		if touched[id] {
			out.Touched = append(out.Touched, id)
		} else {
			out.Untouched = append(out.Untouched, id)
		}
	}
	for _, s := range []*[]RuleID{&out.Touched, &out.Untouched} {
		slices.SortFunc(*s, func(a, b RuleID) int {
			return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Rule, b.Rule))
		})
	}
	return out, nil
}

// traffic is what an assertion is about, exceptions and all.
func (a *Assertion) traffic() []Traffic {
	out := slices.Clone(a.Except)
	for _, t := range []*Traffic{a.None, a.All, a.Some} {
		if t != nil {
			out = append(out, *t)
		}
	}
	if a.Packet != nil {
		out = append(out, a.Packet.Traffic)
	}
	if a.Diff != nil {
		out = append(out, a.Diff.Only...)
	}
	return out
}

// touch marks the rules that decide about some packet of a path's region.
func (n *Network) touch(p *path, touched map[RuleID]bool) {
	for _, flt := range p.filters {
		if flt.layer != "acl" {
			continue
		}
		q := ask(p.family, p.region, []*filter{flt})
		for i := range q.lines[0] {
			if touched[q.lines[0][i].id] {
				continue
			}
			one := &path{family: p.family, region: p.region, filters: []*filter{exactly(flt, q.lines[0][i].id.Rule)}}
			if x := n.find(one, passing); x.ok {
				touched[q.lines[0][i].id] = true
			}
		}
	}
}

// users are the users' rules of groups that NICs meet.
func (n *Network) users() map[RuleID]bool {
	out := map[RuleID]bool{}
	for _, v := range n.vnets {
		for _, c := range v.classes {
			for _, id := range []string{c.nic, c.subnet} {
				g := n.groups[id]
				if g == nil {
					continue
				}
				for _, rules := range [][]goal.Rule{g.In, g.Out} {
					for i := range rules {
						if strings.HasPrefix(rules[i].Name, "securityRules/") {
							out[RuleID{Group: id, Rule: rules[i].Name}] = true
						}
					}
				}
			}
		}
	}
	return out
}
