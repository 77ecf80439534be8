package verify

import (
	"fmt"
	"slices"
)

// Flow is an exact answer about one way between two zones: the packets that pass, and one of them with what decided about it.
type Flow struct {
	Boxes   []Box // all packets that pass; they do not overlap
	Witness Packet
	Hops    []Hop  // what every layer said about the witness
	Assumed string // not modelled and taken to let everything pass; "" when everything is modelled
}

// Reach is what reaches one zone from another.
type Reach struct {
	Flows   []Flow
	Unknown []string // why the answer may not be complete: resources that are not modelled, budgets that were spent
}

// Zones are the names that Traffic and assertions use.
type Zones map[string]Zone

// side resolves the name of a zone. The answer is shared: nobody changes it.
func (n *Network) side(zones Zones, name string) (*side, error) {
	if name == "" {
		return n.anyone(), nil
	}
	z, ok := zones[name]
	if !ok {
		return nil, fmt.Errorf("zone %q: not defined", name)
	}
	key := fmt.Sprintf("%v", z)
	if s := n.sides[key]; s != nil {
		return s, nil
	}
	s, err := n.resolve(name, z)
	if err == nil {
		n.sides[key] = s
	}
	return s, err
}

// Reach computes exactly which packets of the traffic arrive.
func (n *Network) Reach(zones Zones, t Traffic) (Reach, error) {
	paths, err := n.ways(zones, &t, nil, false)
	if err != nil {
		return Reach{}, err
	}
	var out Reach
	for _, p := range paths {
		passes, known := n.every(p, passing)
		if !known {
			out.Unknown = append(out.Unknown, "the budget is spent for "+p.String())
		}
		for _, id := range n.blockedBy(p) {
			out.Unknown = append(out.Unknown, id)
		}
		if len(passes) == 0 {
			continue
		}
		f := Flow{Witness: p.packet(&passes[0]), Assumed: p.assumed}
		f.Hops = p.trace(f.Witness.point())
		for i := range passes {
			f.Boxes = append(f.Boxes, passes[i].box(p.family))
		}
		out.Flows = append(out.Flows, f)
	}
	slices.Sort(out.Unknown)
	out.Unknown = slices.Compact(out.Unknown)
	return out, nil
}

// ways are the paths of traffic, without what the exceptions hold. Each has one product of the traffic as its region.
func (n *Network) ways(zones Zones, t *Traffic, except []Traffic, apart bool) ([]*path, error) {
	from, err := n.side(zones, t.From)
	if err != nil {
		return nil, err
	}
	to, err := n.side(zones, t.To)
	if err != nil {
		return nil, err
	}
	type exception struct {
		from, to *side
		products [2][]product
	}
	var holes []exception
	for i := range except {
		e := &except[i]
		x := exception{products: [2][]product{e.products(V4), e.products(V6)}}
		if x.from, err = n.side(zones, e.From); err != nil {
			return nil, err
		}
		if x.to, err = n.side(zones, e.To); err != nil {
			return nil, err
		}
		holes = append(holes, x)
	}
	var out []*path
	products := [2][]product{t.products(V4), t.products(V6)}
	for _, p := range n.paths(from, to, apart) {
		var drops []line
		for _, x := range holes {
			src, dst := x.from.within(p.from, p.family), x.to.within(p.to, p.family)
			for _, hole := range x.products[p.family] {
				hole[dimSrc], hole[dimDst] = hole[dimSrc].and(src), hole[dimDst].and(dst)
				if !hole.empty() {
					drops = append(drops, line{hole, 0, RuleID{}, false})
				}
			}
		}
		filters := p.filters
		if len(drops) > 0 {
			filters = append([]*filter{layerFilter(p.family, exceptLayer, drops)}, filters...)
		}
		for _, r := range products[p.family] {
			if region, ok := p.region.and(&r); ok {
				way := *p
				way.region, way.filters = region, filters
				out = append(out, &way)
			}
		}
	}
	return out, nil
}

// within are the addresses of a side at one end of a path.
func (s *side) within(c *class, f Family) intervals {
	if c == nil {
		return s.outside[f]
	}
	return s.classes[c][f]
}

// String names a path for people.
func (p *path) String() string {
	end := func(c *class) string {
		if c == nil {
			return "outside"
		}
		return fmt.Sprintf("%d NICs of %s", len(c.ports), c.vnet.ID)
	}
	return fmt.Sprintf("%s from %s to %s", p.family, end(p.from), end(p.to))
}
