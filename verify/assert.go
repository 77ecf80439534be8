package verify

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Checks is an assertion file.
type Checks struct {
	Zones  Zones
	Assert []Assertion
}

// Assertion is one line of it: exactly one of None, All, Some, Packet and Diff is set.
type Assertion struct {
	ID     string
	None   *Traffic  // no packet of it arrives, but for those that an exception holds
	Except []Traffic // of None, All and Some: packets that the assertion is not about
	All    *Traffic  // every packet of it arrives, between every pair of NICs
	Some   *Traffic  // at least one packet of it arrives
	Packet *Probe    // one packet gets this verdict
	Diff   *Limit    // against another network
}

// Probe is one packet and what must become of it. Without Src or Dst, or without a protocol or port, it stands for every packet
// of the traffic that the zones leave: all must get the verdict.
type Probe struct {
	Traffic  Traffic
	Src, Dst netip.Addr
	Allow    bool
	Rule     string // the deciding rule: NSG/RULE, or as many of the resource id's last names as are unique; "" is any
}

// Limit bounds a difference: packets may only change where Only says, and no packet to or from a zone of NeverMoreOpen may be
// newly allowed.
type Limit struct {
	Only          []Traffic
	NeverMoreOpen []string
}

// Status is how an assertion came out.
type Status uint8

// The three ways.
const (
	Holds Status = iota
	Violated
	Unknown
)

func (s Status) String() string { return [...]string{"holds", "violated", "unknown"}[s] }

// Result is the answer to one assertion.
type Result struct {
	ID      string
	Status  Status
	Text    string   // why, in one sentence
	Unknown []string // of Unknown: resources that are not modelled, budgets that were spent
	Witness *Packet  // of a violation, or of a Some that holds
	Hops    []Hop    // what every layer says about the witness
	Box     *Box     // packets that all are like the witness
	Pairs   int      // pairs of NICs for which it came out so
	Fix     []Edit   // the smallest change that makes the witness come out right; none when no rule decides
	Assumed string   // as in Flow
	Changes []Change // of Diff: the lines that violate it
}

// Check answers every assertion. Old is the network to compare with, nil when there is none. What is wrong with the assertions
// themselves (zones that do not exist or hold nothing) is an error that names all of it; the others are answered all the same.
func (n *Network) Check(c Checks, old *Network) ([]Result, error) {
	var out []Result
	var errs []error
	if len(c.Assert) == 0 {
		errs = append(errs, errors.New("no assertion: nothing is checked"))
	}
	for name := range c.Zones {
		if _, err := n.side(c.Zones, name); err != nil {
			errs = append(errs, err)
		}
	}
	for i := range c.Assert {
		a := &c.Assert[i]
		r, err := n.check(c.Zones, a, old)
		if err != nil {
			errs = append(errs, fmt.Errorf("assertion %s: %w", a.ID, err))
			continue
		}
		r.ID = a.ID
		out = append(out, r)
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return out, errors.Join(errs...)
}

func (n *Network) check(zones Zones, a *Assertion, old *Network) (Result, error) {
	kinds := 0
	for _, set := range []bool{a.None != nil, a.All != nil, a.Some != nil, a.Packet != nil, a.Diff != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		return Result{}, errors.New("expected exactly one of none, all, some, packet and diff")
	}
	switch {
	case a.None != nil:
		return n.none(zones, a)
	case a.All != nil:
		return n.all(zones, a)
	case a.Some != nil:
		return n.some(zones, a)
	case a.Packet != nil:
		return n.probe(zones, a.Packet)
	}
	return n.limit(zones, a.Diff, old)
}

// pairs is how many pairs of NICs a product on a path is about.
func (p *path) pairs(r *product) int {
	count := func(c *class, d int) int {
		if c == nil {
			return 1
		}
		k := 0
		for _, port := range c.ports {
			for _, a := range port.Addresses {
				if familyOf(a.IP) == p.family && r[d].holds(numberOf(a.IP)) {
					k++
					break
				}
			}
		}
		return k
	}
	return count(p.from, dimSrc) * count(p.to, dimDst)
}

// tell fills a result from the packets that were found.
func (r *Result) tell(n *Network, p *path, f *found, open bool) {
	r.Pairs += p.pairs(&f.region)
	if r.Witness != nil {
		return
	}
	w, b := p.packet(&f.region), f.region.box(p.family)
	r.Witness, r.Box, r.Assumed = &w, &b, p.assumed
	r.Hops = p.trace(w.point())
	r.Fix = n.fix(p, w, r.Hops, open)
}

func (r *Result) unknown(why ...string) {
	r.Unknown = append(r.Unknown, why...)
	slices.Sort(r.Unknown)
	r.Unknown = slices.Compact(r.Unknown)
}

// none: the packets are looked for along what is modelled, and along what is not as if it let everything pass.
func (n *Network) none(zones Zones, a *Assertion) (Result, error) {
	paths, err := n.ways(zones, a.None, a.Except, false)
	if err != nil {
		return Result{}, err
	}
	r := Result{Status: Holds, Text: "no such packet arrives"}
	if len(paths) == 0 {
		r.Text = "there is no way between the zones"
	}
	for _, p := range paths {
		f := n.find(p, passing)
		if f.ok {
			r.Status = Violated
			r.tell(n, p, &f, false)
		}
		if f.unknown {
			r.unknown("the budget is spent for " + p.String())
		}
		if !f.ok {
			r.unknown(n.blockedBy(p)...)
		}
	}
	if a.None.Through != "" {
		r.unknown("through " + a.None.Through + ": paths through resources are not modelled")
	}
	return r.finish("a packet arrives"), nil
}

// finish: what is violated is violated whatever is unknown besides; what would hold needs that nothing is unknown.
func (r Result) finish(violated string) Result {
	switch {
	case r.Status == Violated:
		r.Text = fmt.Sprintf("%s: %s", violated, r.Witness)
		if r.Assumed != "" {
			r.Text += " (taken as given: " + r.Assumed + ")"
		}
	case len(r.Unknown) > 0:
		r.Status, r.Text = Unknown, "it would hold, but this is not known: "+strings.Join(r.Unknown, ", ")
	}
	return r
}

// errNothing: an assertion about nothing would hold.
var errNothing = errors.New("there is no packet that it is about: the zones have no address family in common, no VM can send it, or the exceptions hold everything")

func (n *Network) all(zones Zones, a *Assertion) (Result, error) {
	paths, err := n.ways(zones, a.All, a.Except, true)
	if err != nil {
		return Result{}, err
	}
	r := Result{Status: Holds, Text: "every such packet arrives"}
	about := false
	for _, p := range paths {
		f := n.find(p, dropped)
		if f.ok {
			r.Status = Violated
			r.tell(n, p, &f, true)
		}
		if f.unknown {
			r.unknown("the budget is spent for " + p.String())
		}
		if p.assumed != "" {
			r.unknown(p.assumed)
		}
		r.unknown(n.blockedBy(p)...)
		about = about || f.ok || f.unknown || n.find(p, passing).ok
	}
	if !about {
		return r, errNothing
	}
	if a.All.Through != "" {
		r.unknown("through " + a.All.Through + ": paths through resources are not modelled")
	}
	return r.finish("a packet does not arrive"), nil
}

func (n *Network) some(zones Zones, a *Assertion) (Result, error) {
	paths, err := n.ways(zones, a.Some, a.Except, true)
	if err != nil {
		return Result{}, err
	}
	var yes Result
	for _, p := range paths {
		f := n.find(p, passing)
		unsure := n.blockedBy(p)
		if f.unknown {
			unsure = append(unsure, "the budget is spent for "+p.String())
		}
		if p.assumed != "" && f.ok {
			unsure = append(unsure, p.assumed)
		}
		if a.Some.Through != "" {
			unsure = append(unsure, "through "+a.Some.Through+": paths through resources are not modelled")
		}
		if f.ok && len(unsure) == 0 {
			r := Result{Status: Holds}
			r.tell(n, p, &f, false)
			r.Fix, r.Text = nil, "a packet arrives: "+r.Witness.String()
			return r, nil
		}
		yes.unknown(unsure...)
	}
	if len(yes.Unknown) > 0 {
		yes.Status, yes.Text = Unknown, "no packet is known to arrive, but this is not known: "+strings.Join(yes.Unknown, ", ")
		return yes, nil
	}
	r := Result{Status: Violated, Text: "no such packet arrives"}
	if p, f := n.nearest(paths); p != nil {
		r.tell(n, p, f, true)
		r.Text += ": nor does " + r.Witness.String()
	}
	return r, nil
}

// nearest is a packet with the fewest blockers.
func (n *Network) nearest(paths []*path) (*path, *found) {
	var best *path
	var at *found
	least := 0
	for _, p := range paths {
		f := n.find(p, dropped)
		if !f.ok {
			continue
		}
		w := p.packet(&f.region)
		if k := len(blockers(p.trace(w.point()))); best == nil || k < least {
			best, at, least = p, &f, k
		}
	}
	return best, at
}

func (n *Network) probe(zones Zones, x *Probe) (Result, error) {
	t := x.Traffic
	if x.Src.IsValid() {
		t.Src = []netip.Prefix{netip.PrefixFrom(x.Src, x.Src.BitLen())}
	}
	if x.Dst.IsValid() {
		t.Dst = []netip.Prefix{netip.PrefixFrom(x.Dst, x.Dst.BitLen())}
	}
	paths, err := n.ways(zones, &t, nil, true)
	if err != nil {
		return Result{}, err
	}
	r := Result{Status: Holds}
	about := false
	wrong := dropped
	if !x.Allow {
		wrong = passing
	}
	decided := ""
	for _, p := range paths {
		f := n.find(p, wrong)
		about = about || f.ok || f.unknown || n.find(p, passing).ok || n.find(p, dropped).ok
		if f.ok {
			r.Status = Violated
			r.tell(n, p, &f, x.Allow)
			continue
		}
		if f.unknown {
			r.unknown("the budget is spent for " + p.String())
		}
		if p.assumed != "" && x.Allow {
			r.unknown(p.assumed)
		}
		r.unknown(n.blockedBy(p)...)
		if x.Rule != "" && r.Status == Holds {
			if q := n.otherRule(p, x); q != nil {
				w := p.packet(q)
				b := q.box(p.family)
				r.Status, r.Witness, r.Box, r.Assumed, r.Hops = Violated, &w, &b, p.assumed, p.trace(w.point())
				decided = decider(r.Hops).ID()
				r.Pairs = p.pairs(q)
			}
		}
	}
	if !about {
		return r, errNothing
	}
	if decided != "" {
		r.Text = fmt.Sprintf("%s is decided by %s", r.Witness, decided)
		return r, nil
	}
	r.Text = map[bool]string{true: "it arrives", false: "it does not arrive"}[x.Allow]
	return r.finish(map[bool]string{true: "a packet does not arrive", false: "a packet arrives"}[x.Allow]), nil
}

// otherRule is packets of a path that another rule than the expected one decides, nil when there are none.
func (n *Network) otherRule(p *path, x *Probe) *product {
	for _, part := range byRules(p.family, &p.region, p.filters, nil) {
		w := p.packet(&part)
		by := decider(p.trace(w.point()))
		if by.Group == "" || !called(by.Group+"/rules/"+lastName(by.Rule), x.Rule) {
			return &part
		}
	}
	return nil
}

// lastName is a rule's name without its kind.
func lastName(rule string) string { return rule[strings.LastIndexByte(rule, '/')+1:] }
