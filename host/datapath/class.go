package datapath

import (
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"ringfence/goal"
)

// A class is one distinct combination of a virtual network's address sets. Every address is in exactly one; rule groups hold
// one vector per class, so the members of a set can change without a group being rebuilt.

// combo is a combination: the names of its sets, sorted and joined.
type combo string

func (c combo) sets() []string {
	if c == "" {
		return nil
	}
	return strings.Split(string(c), "\x00")
}

// span is an interval of addresses that are all alike.
type span struct {
	start    num
	combo    combo
	inPrefix bool
}

// plan is a virtual network cut into spans, per family.
type plan struct{ v4, v6 []span }

func planOf(n *goal.VNet) plan {
	return plan{spans(n, true), spans(n, false)}
}

func spans(n *goal.VNet, v4 bool) []span {
	const prefixItem = 0 // the sets follow
	var e edges
	add := func(ps []netip.Prefix, item int) {
		for _, p := range ps {
			if p.Addr().Is4() == v4 {
				e.prefix(p, item)
			}
		}
	}
	add(n.Prefixes, prefixItem)
	for i := range n.Sets {
		add(n.Sets[i].Prefixes, i+1)
	}
	holds := map[int]int{}
	var out []span
	e.sweep(func(item, delta int) {
		if holds[item] += delta; holds[item] == 0 {
			delete(holds, item)
		}
	}, func(start num) {
		s := span{start: start, inPrefix: holds[prefixItem] > 0}
		var names []string
		for item := range holds {
			if item != prefixItem {
				names = append(names, n.Sets[item-1].Name)
			}
		}
		slices.Sort(names)
		s.combo = combo(strings.Join(names, "\x00"))
		if k := len(out); k > 0 && out[k-1].combo == s.combo && out[k-1].inPrefix == s.inPrefix {
			return
		}
		out = append(out, s)
	})
	return out
}

// at finds the span of an address.
func (p plan) at(ip netip.Addr) span {
	s := p.v6
	if ip.Is4() {
		s = p.v4
	}
	n := numOf(ip)
	i := sort.Search(len(s), func(i int) bool { return s[i].start.compare(n) > 0 })
	return s[i-1]
}

// classes numbers the combinations of one virtual network. A number keeps its meaning as long as anything in the kernel may
// refer to it, also across restarts of the agent: then only the hash of the names is known, which no new group can use.
type classes struct {
	vni    uint32
	ids    map[[16]byte]uint16
	moves  int // changes whenever a number gets or loses its meaning
	named  map[uint16]combo
	byName map[combo]uint16
}

const maxClasses = 1 << 14

func newClasses(vni uint32) *classes {
	return &classes{vni: vni, ids: map[[16]byte]uint16{}, named: map[uint16]combo{}, byName: map[combo]uint16{}}
}

// need gives every combination a number and says which are new.
func (c *classes) need(combos []combo) (fresh []combo, err error) {
	used := map[uint16]bool{}
	for _, id := range c.ids {
		used[id] = true
	}
	next := uint16(0)
	for _, k := range combos {
		if _, ok := c.byName[k]; ok {
			continue
		}
		h := hash16([]byte(k))
		if id, ok := c.ids[h]; ok {
			c.byName[k] = id
			if _, known := c.named[id]; !known {
				c.named[id] = k
				c.moves++
			}
			continue
		}
		for used[next] {
			next++
		}
		if next >= maxClasses {
			return nil, fmt.Errorf("virtual network %d: more than %d combinations of address sets", c.vni, maxClasses)
		}
		c.ids[h], c.named[next], c.byName[k], used[next] = next, k, next, true
		c.moves++
		fresh = append(fresh, k)
	}
	return fresh, nil
}

func (c *classes) id(k combo) uint16 { return c.byName[k] }

// count is one more than the highest number in use.
func (c *classes) count() int {
	n := 0
	for _, id := range c.ids {
		n = max(n, int(id)+1)
	}
	return n
}

// keep forgets every combination that is not listed and returns their hashes.
func (c *classes) keep(combos []combo) (gone [][16]byte) {
	want := map[[16]byte]bool{}
	for _, k := range combos {
		want[hash16([]byte(k))] = true
	}
	for h, id := range c.ids {
		if !want[h] {
			if k, ok := c.named[id]; ok {
				delete(c.byName, k)
				delete(c.named, id)
			}
			delete(c.ids, h)
			gone = append(gone, h)
		}
	}
	return gone
}

// combos lists the distinct combinations of a plan, the empty one always first.
func (p plan) combos() []combo {
	seen := map[combo]bool{"": true}
	out := []combo{""}
	for _, s := range slices.Concat(p.v4, p.v6) {
		if !seen[s.combo] {
			seen[s.combo] = true
			out = append(out, s.combo)
		}
	}
	return out
}

// sameSpaces says whether two virtual networks are cut alike.
func sameSpaces(a, b *goal.VNet) bool {
	return slices.Equal(a.Prefixes, b.Prefixes) && slices.EqualFunc(a.Sets, b.Sets, func(x, y goal.Set) bool {
		return x.Name == y.Name && slices.Equal(x.Prefixes, y.Prefixes)
	})
}
