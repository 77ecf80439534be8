package verify

import (
	"errors"
	"fmt"
)

// limit answers a Diff assertion: what changed is within what may change, and some zones are no more open than before.
func (n *Network) limit(zones Zones, l *Limit, old *Network) (Result, error) {
	if old == nil {
		return Result{}, errors.New("there is no other network to compare with")
	}
	d, err := Diff(old, n)
	if err != nil {
		return Result{}, err
	}
	allowed, err := n.holds(zones, l.Only)
	if err != nil {
		return Result{}, err
	}
	var guarded []Traffic
	for _, z := range l.NeverMoreOpen {
		guarded = append(guarded, Traffic{To: z}, Traffic{From: z})
	}
	closed, err := n.holds(zones, guarded)
	if err != nil {
		return Result{}, err
	}
	r := Result{Status: Holds, Text: "what changed may change"}
	if d.Same() {
		r.Text = "no packet changes"
	}
	for _, c := range d.Changes {
		for i := range c.Boxes {
			bad := l.Only != nil && !within(c.Boxes[i].Family, c.product(i), allowed)
			for _, p := range closed {
				x := c.product(i)
				bad = bad || c.Allowed && p.family == c.Boxes[i].Family && x.overlaps(&p.product)
			}
			if bad {
				r.Status = Violated
				r.Changes = append(r.Changes, c)
				break
			}
		}
	}
	r.unknown(d.Unknown...)
	for _, id := range append(d.Added, d.Gone...) {
		r.unknown("only one of the two has " + id)
	}
	if r.Status == Violated {
		w := r.Changes[0].Witness
		r.Witness, r.Hops, r.Box = &w, r.Changes[0].New, &r.Changes[0].Boxes[0]
		r.Text = fmt.Sprintf("%d lines of the difference are outside what may change: %s", len(r.Changes), w)
		return r, nil
	}
	return r.finish(""), nil
}

// place is a set of packets of one family, wherever they go.
type place struct {
	family Family
	product
}

// holds are the packets of traffic by addresses.
func (n *Network) holds(zones Zones, ts []Traffic) ([]place, error) {
	var out []place
	for i := range ts {
		from, err := n.side(zones, ts[i].From)
		if err != nil {
			return nil, err
		}
		to, err := n.side(zones, ts[i].To)
		if err != nil {
			return nil, err
		}
		for f := V4; f <= V6; f++ {
			for _, p := range ts[i].products(f) {
				p[dimSrc], p[dimDst] = p[dimSrc].and(from.addresses(f)), p[dimDst].and(to.addresses(f))
				if !p.empty() {
					out = append(out, place{f, p})
				}
			}
		}
	}
	return out, nil
}

// addresses are all of a side in one family.
func (s *side) addresses(f Family) intervals {
	out := append(intervals(nil), s.outside[f]...)
	for _, a := range s.classes {
		out = append(out, a[f]...)
	}
	return normal(out)
}

// within says whether places hold all of a product of a family.
func within(f Family, p product, places []place) bool {
	left := []product{p}
	for i := range places {
		if places[i].family != f {
			continue
		}
		var rest []product
		for j := range left {
			rest = append(rest, left[j].minus(&places[i].product)...)
		}
		left = rest
	}
	return len(left) == 0
}

// product is a box of the change as a product.
func (c *Change) product(i int) product {
	b := &c.Boxes[i]
	p := b.Family.everything()
	p[dimSrc], p[dimDst], p[dimProtocol] = nil, nil, nil
	for _, r := range b.Src {
		p[dimSrc] = append(p[dimSrc], interval{numberOf(r.From), numberOf(r.To)})
	}
	for _, r := range b.Dst {
		p[dimDst] = append(p[dimDst], interval{numberOf(r.From), numberOf(r.To)})
	}
	for _, r := range b.Protocols {
		base := uint64(0)
		if r.ICMP {
			base = icmpTypes
		}
		p[dimProtocol] = append(p[dimProtocol], interval{small(base + uint64(r.Lo)), small(base + uint64(r.Hi))})
	}
	p[dimProtocol] = normal(p[dimProtocol])
	p[dimSrcPort], p[dimDstPort] = ofPorts(b.SrcPorts), ofPorts(b.DstPorts)
	return p
}
