package datapath

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/observe"
)

// setsOf are the sets of a virtual network that an address is in, one bit each.
type setsOf struct {
	n    *goal.VNet
	bits []uint64
}

func (s setsOf) names() (out []string) {
	for i := range s.n.Sets {
		if s.bits[i/64]>>(i%64)&1 == 1 {
			out = append(out, s.n.Sets[i].Name)
		}
	}
	return out
}

func (s setsOf) String() string {
	if names := s.names(); names != nil {
		return strings.Join(names, " and ")
	}
	return "no set"
}

// tableProof is what a virtual network's loaded table says of every address.
type tableProof struct {
	n       *goal.VNet
	classes map[uint16]setsOf // what each class stands for
	fields  [2]loadedField
	out     []observe.Difference
}

// proveTable compares, for every address, whether it is in the virtual network's space, and that one class stands for one combination
// of sets.
func proveTable(b loadedBlob, n *goal.VNet) *tableProof {
	t := &tableProof{n: n, classes: map[uint16]setsOf{}}
	for i, top := range []num{topOf4, topOf6} {
		f, err := b.field(uint32(8+16*i), []int{4, 16}[i], 4)
		if err != nil {
			t.out = append(t.out, observe.Difference{At: []string{"IPv4", "IPv6"}[i], Loaded: err.Error(), Goal: "a table of addresses"})
			continue
		}
		t.fields[i] = f
		t.family(&f, top)
	}
	return t
}

func (t *tableProof) family(f *loadedField, top num) {
	inside := len(t.n.Sets) // the bit of the address space
	c := newCanvas(top, inside+1)
	for i := range t.n.Sets {
		c.prefixes(t.n.Sets[i].Prefixes, i)
	}
	c.prefixes(t.n.Prefixes, inside)
	c.done(f.starts)
	bad := false
	for i, cut := range c.cuts {
		v, want := f.at(cut)&0x7fffffff, c.vector(i)
		in := want[inside/64]>>(inside%64)&1 == 1
		if got := v >> 16; !bad && got != map[bool]uint32{true: atPrefix}[in] {
			t.out = append(t.out, observe.Difference{At: c.interval(i), Loaded: spaceWord(got == atPrefix, got), Goal: spaceWord(in, 0)})
			bad = true
		}
		sets := setsOf{t.n, slices.Clone(want)}
		sets.bits[inside/64] &^= 1 << (inside % 64)
		was, ok := t.classes[uint16(v)]
		if !ok {
			t.classes[uint16(v)] = sets
		} else if !bad && !slices.Equal(was.bits, sets.bits) {
			t.out = append(t.out, observe.Difference{At: c.interval(i), Loaded: "in " + was.String(), Goal: "in " + sets.String()})
			bad = true
		}
	}
}

func spaceWord(in bool, flags uint32) string {
	switch {
	case in:
		return "in the address space"
	case flags != 0:
		return fmt.Sprintf("flags %#x", flags)
	}
	return "outside the address space"
}

// of is the class and the flags of an address by the table.
func (t *tableProof) of(ip netip.Addr) (class uint16, flags uint8) {
	f := &t.fields[1]
	if ip.Is4() {
		f = &t.fields[0]
	}
	if len(f.starts) == 0 {
		return 0, 0
	}
	v := f.at(numOf(ip))
	return uint16(v), uint8(v >> 16 & 0x7f)
}
