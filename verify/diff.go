package verify

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/verify/space"
)

// Change is one line of a difference: packets whose verdict changed from one deciding rule's to another's.
type Change struct {
	Allowed  bool    // now; before it was the opposite
	Boxes    []Box   // all these packets; they do not overlap
	Packets  float64 // how many, of the addresses of NICs
	Witness  Packet
	Old, New []Hop // what every layer says about the witness
	OldBy    RuleID
	NewBy    RuleID
	Assumed  string // as in Flow
}

// Difference is everything that two networks do differently. Nothing changed and nothing unknown is a proof.
type Difference struct {
	Changes       []Change // most packets first
	Added, Gone   []string // NICs that only one of the two has; what they reach is in no line
	Unknown       []string // why there may be more
	GroupsChanged []string // groups whose content changed, whether or not a packet noticed
}

// Same says that it is proved that no packet changes.
func (d *Difference) Same() bool {
	return len(d.Changes)+len(d.Added)+len(d.Gone)+len(d.Unknown) == 0
}

// verdict codes of a pair of filter sequences
const (
	codeOld = 1 << iota
	codeNew
)

// delta is a product in which only one of two filter sequences lets packets pass.
type delta struct {
	product
	allowed bool // by the new one
}

// deltas computes exactly where two filter sequences differ in a region. When known is false there may be more, and nothing is
// proved.
func deltas(f Family, region product, old, now []*filter, steps int) (out []delta, known bool) {
	if region.empty() {
		return nil, true
	}
	for _, r := range suspects(region, old, now) {
		q := ask(f, r, append(slices.Clone(old), now...))
		split := len(old)
		g := space.NewDiagram(&space.Budget{Steps: steps})
		id, ok := g.Build(q.lists, q.region, false, func(lists []space.List, decided []int32) uint64 {
			return allAllow(lists[:split], decided[:split])*codeOld | allAllow(lists[split:], decided[split:])*codeNew
		})
		if !ok { // the search may still prove that there is no difference, or find one
			var s space.Searcher
			b := &space.Budget{Steps: steps}
			c, allowed, ok := s.Differ(q.lists[:split], q.lists[split:], q.region, b)
			if ok {
				out = append(out, delta{q.product(&c), allowed})
			}
			if ok || b.Spent() {
				return out, false
			}
			continue
		}
		g.Walk(id, q.region, func(c space.Cell, v uint64) bool {
			if v == codeOld || v == codeNew {
				out = append(out, delta{q.product(&c), v == codeNew})
			}
			return true
		})
	}
	return out, true
}

// manySuspects is how many regions are looked at one by one; with more the whole region is.
const manySuspects = 24

// suspects are regions that do not overlap and hold every packet that two filter sequences can judge differently: those of the
// lines that only one has, or has at another place.
func suspects(region product, old, now []*filter) []product {
	if len(old) != len(now) {
		return []product{region}
	}
	var moved []*line
	for i := range old {
		if old[i].key != now[i].key {
			moved = append(moved, changedLines(old[i].lines, now[i].lines)...)
		}
	}
	if len(moved) > manySuspects {
		return []product{region}
	}
	var out []product
	for _, l := range moved {
		r, ok := l.product.and(&region)
		if !ok {
			continue
		}
		pieces := []product{r}
		for i := range out {
			var rest []product
			for j := range pieces {
				rest = append(rest, pieces[j].minus(&out[i])...)
			}
			pieces = rest
		}
		out = append(out, pieces...)
		if len(out) > manySuspects {
			return []product{region}
		}
	}
	return out
}

// changedLines are the lines of two lists that are not in a longest common subsequence of them.
func changedLines(a, b []line) []*line {
	same := func(x, y *line) bool { return x.allow == y.allow && x.product.equal(&y.product) }
	for len(a) > 0 && len(b) > 0 && same(&a[0], &b[0]) {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && same(&a[len(a)-1], &b[len(b)-1]) {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	at := map[string][]int{} // places in b, last first
	for j := len(b) - 1; j >= 0; j-- {
		k := b[j].content()
		at[k] = append(at[k], j)
	}
	match := make([]int, len(a)) // place in b, -1
	for i := range a {
		match[i] = -1
		k := a[i].content()
		if js := at[k]; len(js) > 0 {
			match[i], at[k] = js[len(js)-1], js[:len(js)-1]
		}
	}
	kept := increasing(match)
	inB := map[int]bool{}
	var out []*line
	for i := range a {
		if kept[i] {
			inB[match[i]] = true
		} else {
			out = append(out, &a[i])
		}
	}
	for j := range b {
		if !inB[j] {
			out = append(out, &b[j])
		}
	}
	return out
}

// increasing marks a longest increasing subsequence of the values that are not -1.
func increasing(v []int) []bool {
	var tails []int // index of the last element of the best subsequence of each length
	before := make([]int, len(v))
	for i, x := range v {
		if x < 0 {
			continue
		}
		n, _ := slices.BinarySearchFunc(tails, x, func(j, x int) int { return cmp.Compare(v[j], x) })
		before[i] = -1
		if n > 0 {
			before[i] = tails[n-1]
		}
		if n == len(tails) {
			tails = append(tails, i)
		} else {
			tails[n] = i
		}
	}
	out := make([]bool, len(v))
	if len(tails) > 0 {
		for i := tails[len(tails)-1]; i >= 0; i = before[i] {
			out[i] = true
		}
	}
	return out
}

func (p *product) equal(o *product) bool {
	for d := range p {
		if len(p[d]) > 0 && len(o[d]) > 0 && &p[d][0] == &o[d][0] && len(p[d]) == len(o[d]) {
			continue
		}
		if !slices.Equal(p[d], o[d]) {
			return false
		}
	}
	return true
}

func (l *line) content() string {
	b := l.product.bytes()
	if l.allow {
		b = append(b, 1)
	}
	return string(b)
}

// count is the number of packets of a product, as packets differ: only TCP and UDP have ports.
func (p *product) count() float64 {
	size := func(s intervals) float64 {
		n := 0.0
		for _, v := range s {
			n += (float64(v.hi.hi)-float64(v.lo.hi))*math.Exp2(64) + float64(v.hi.lo) - float64(v.lo.lo) + 1
		}
		return n
	}
	ported := intervals{{small(uint64(goal.TCP)), small(uint64(goal.TCP))}, {small(uint64(goal.UDP)), small(uint64(goal.UDP))}}
	services := size(p[dimProtocol].minus(ported)) + size(p[dimProtocol].and(ported))*size(p[dimSrcPort])*size(p[dimDstPort])
	return size(p[dimSrc]) * size(p[dimDst]) * services
}

// decider is what decided about a packet: the first that drops it, or the last rule that allows it.
func decider(hops []Hop) RuleID {
	var last RuleID
	for _, h := range hops {
		if !h.Allow {
			return h.By
		}
		if h.Layer == "acl" {
			last = h.By
		}
	}
	return last
}

// Diff computes exactly which packets between NICs, and from and to outside, two networks judge differently.
func Diff(old, now *Network) (*Difference, error) {
	d := &Difference{GroupsChanged: changedGroups(old, now)}
	byID := map[string]*vnet{}
	for _, v := range old.vnets {
		byID[strings.ToLower(v.ID)] = v
	}
	lines := map[string]*Change{}
	for _, v := range now.vnets {
		o := byID[strings.ToLower(v.ID)]
		delete(byID, strings.ToLower(v.ID))
		if o == nil {
			for _, c := range v.classes {
				for _, p := range c.ports {
					d.Added = append(d.Added, p.ID)
				}
			}
			continue
		}
		d.compare(old, now, o, v, lines)
	}
	for _, v := range byID {
		for _, c := range v.classes {
			for _, p := range c.ports {
				d.Gone = append(d.Gone, p.ID)
			}
		}
	}
	for _, l := range lines {
		d.Changes = append(d.Changes, *l)
	}
	slices.SortFunc(d.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), strings.Compare(a.Witness.String(), b.Witness.String()))
	})
	for _, s := range []*[]string{&d.Added, &d.Gone, &d.Unknown} {
		slices.Sort(*s)
		*s = slices.Compact(*s)
	}
	return d, nil
}

func changedGroups(old, now *Network) []string {
	var out []string
	for _, id := range slices.Sorted(maps.Keys(now.groups)) {
		if o := old.groups[id]; o == nil || old.content(o) != now.content(now.groups[id]) {
			out = append(out, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(old.groups)) {
		if now.groups[id] == nil {
			out = append(out, id)
		}
	}
	return out
}

// twin is the NICs that are in one class before and in one class now, with the addresses they keep.
type twin struct {
	old, now  *class
	addresses [2]intervals
}

// twins pairs the classes of a VNet by their NICs; a NIC that only one side has, or an address, is in d.
func (d *Difference) twins(o, v *vnet) []*twin {
	was := map[string]*class{}
	ports := map[string]*goal.Port{}
	for _, c := range o.classes {
		for _, p := range c.ports {
			was[strings.ToLower(p.ID)], ports[strings.ToLower(p.ID)] = c, p
		}
	}
	var out []*twin
	of := map[[2]*class]*twin{}
	for _, c := range v.classes {
		for _, p := range c.ports {
			id := strings.ToLower(p.ID)
			before := was[id]
			if before == nil {
				d.Added = append(d.Added, p.ID)
				continue
			}
			t := of[[2]*class{before, c}]
			if t == nil {
				t = &twin{old: before, now: c}
				of[[2]*class{before, c}], out = t, append(out, t)
			}
			for _, a := range p.Addresses {
				kept := slices.ContainsFunc(ports[id].Addresses, func(b goal.Address) bool { return a.IP == b.IP })
				if f := familyOf(a.IP); kept {
					t.addresses[f] = append(t.addresses[f], interval{numberOf(a.IP), numberOf(a.IP)})
				} else {
					d.Added = append(d.Added, p.ID+" "+a.IP.String())
				}
			}
			for _, b := range ports[id].Addresses {
				if !slices.ContainsFunc(p.Addresses, func(a goal.Address) bool { return a.IP == b.IP }) {
					d.Gone = append(d.Gone, p.ID+" "+b.IP.String())
				}
			}
			delete(was, id)
		}
	}
	for id := range was {
		d.Gone = append(d.Gone, ports[id].ID)
	}
	for _, t := range out {
		for f := range t.addresses {
			t.addresses[f] = normal(t.addresses[f])
		}
	}
	return out
}

// compare looks at every way of a VNet that both sides have.
func (d *Difference) compare(old, now *Network, o, v *vnet, lines map[string]*Change) {
	twins := d.twins(o, v)
	one := func(before, after *path, src, dst intervals) {
		region := before.region
		region[dimSrc], region[dimDst] = src.and(before.region[dimSrc]).and(after.region[dimSrc]), dst.and(before.region[dimDst]).and(after.region[dimDst])
		if region.empty() {
			return
		}
		d.way(old, now, before, after, region, lines)
	}
	all := outside(V4)
	for f := V4; f <= V6; f++ {
		if f == V6 {
			all = outside(V6)
		}
		for _, a := range twins {
			if len(a.addresses[f]) == 0 {
				continue
			}
			one(old.leavingBy(f, a.old), now.leavingBy(f, a.now), a.addresses[f], all)
			one(old.serving(f, a.old), now.serving(f, a.now), a.addresses[f], ofAddrs(f, platform...))
			one(old.entering(f, a.old), now.entering(f, a.now), all, a.addresses[f])
			for _, b := range twins {
				if len(b.addresses[f]) > 0 {
					one(old.between(f, a.old, b.old), now.between(f, a.now, b.now), a.addresses[f], b.addresses[f])
				}
			}
		}
	}
}

// way adds the lines of one way.
func (d *Difference) way(old, now *Network, before, after *path, region product, lines map[string]*Change) {
	for _, n := range []struct {
		*Network
		*path
	}{{old, before}, {now, after}} {
		d.Unknown = append(d.Unknown, n.Network.blockedBy(n.path)...)
	}
	found, known := deltas(before.family, region, before.filters, after.filters, diagramSteps)
	if !known {
		d.Unknown = append(d.Unknown, "the budget is spent for "+after.String())
	}
	for i := range found {
		for _, part := range byRules(before.family, &found[i].product, before.filters, after.filters) {
			d.line(before, after, &part, found[i].allowed, lines)
		}
	}
}

func (d *Difference) line(before, after *path, r *product, allowed bool, lines map[string]*Change) {
	w := after.packet(r)
	o, n := before.trace(w.point()), after.trace(w.point())
	by, to := decider(o), decider(n)
	key := fmt.Sprintf("%t %s %s %s", allowed, by.ID(), to.ID(), after.assumed)
	l := lines[key]
	if l == nil {
		l = &Change{Allowed: allowed, Witness: w, Old: o, New: n, OldBy: by, NewBy: to, Assumed: after.assumed}
		lines[key] = l
	}
	l.Boxes = append(l.Boxes, r.box(after.family))
	l.Packets += r.count()
}

// byRulesSteps bounds the splitting of a line by rules: it only makes lines finer.
const byRulesSteps = 400_000

// byRules splits a product into parts in which the same rules of every filter decide. When that is too much work the product
// stays whole, and its line names the rules of its witness.
func byRules(f Family, r *product, old, now []*filter) []product {
	q := ask(f, *r, append(slices.Clone(old), now...))
	g := space.NewDiagram(&space.Budget{Steps: byRulesSteps})
	ids := map[string]uint64{}
	id, ok := g.Build(q.lists, q.region, true, func(lists []space.List, decided []int32) uint64 {
		key := decides(lists[:len(old)], decided[:len(old)]) + decides(lists[len(old):], decided[len(old):])
		if _, ok := ids[key]; !ok {
			ids[key] = uint64(len(ids))
		}
		return ids[key]
	})
	if !ok {
		return []product{*r}
	}
	var out []product
	g.Walk(id, q.region, func(c space.Cell, _ uint64) bool {
		out = append(out, q.product(&c))
		return true
	})
	return out
}

// decides names the term that decides a sequence of lists.
func decides(lists []space.List, decided []int32) string {
	last := ""
	for k, i := range decided {
		if i < 0 {
			return fmt.Sprintf("%d none;", k)
		}
		last = fmt.Sprintf("%d %d;", k, lists[k][i].Rule)
		if !lists[k][i].Allow {
			break
		}
	}
	return last
}
