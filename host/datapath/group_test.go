package datapath

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/goal/random"
)

// reader reads blobs as bpf/search.h and bpf/acl.h do.
type reader struct{ b []byte }

func (r reader) u16(at uint64) uint64 { return uint64(binary.LittleEndian.Uint16(r.b[at:])) }
func (r reader) u32(at uint64) uint64 { return uint64(binary.LittleEndian.Uint32(r.b[at:])) }
func (r reader) u64(at uint64) uint64 { return binary.LittleEndian.Uint64(r.b[at:]) }

// find returns the index entry of the interval that holds key.
func (r reader) find(field uint64, key num, width, indexWidth uint64) uint64 {
	bounds, index, base := r.u32(field), r.u32(field+4), uint64(0)
	for n := r.u64(field + 8); n > 0; n /= 2 {
		at := bounds + (base+n)*width
		var v num
		switch width {
		case 2:
			v.lo = r.u16(at)
		case 4:
			v.lo = r.u32(at)
		case 16:
			v = num{r.u64(at), r.u64(at + 8)}
		}
		if v.compare(key) <= 0 {
			base += n
		}
	}
	if indexWidth == 2 {
		return r.u16(index + 2*base)
	}
	return r.u32(index + 4*base)
}

// match returns the first matching rule's number, or -1.
func (r reader) match(dir model.Dir, t model.Tuple, src, dst uint16) int {
	s := uint64(headSize + int(dir)*sideSize)
	f := s + 40
	var fields [7]uint64
	if t.Src.Is4() {
		fields[0], fields[1] = r.find(f, numOf(t.Src), 4, 2), r.find(f+16, numOf(t.Dst), 4, 2)
	} else {
		fields[0], fields[1] = r.find(f+32, numOf(t.Src), 16, 2), r.find(f+48, numOf(t.Dst), 16, 2)
	}
	fields[2] = r.u16(r.u32(s+28) + 2*uint64(src))
	fields[3] = r.u16(r.u32(s+32) + 2*uint64(dst))
	class := map[uint8]uint64{goal.TCP: 0, goal.UDP: 1, goal.ICMP: 2, goal.ESP: 3, goal.AH: 4, goal.ICMPv6: 5}[t.Protocol]
	fields[4] = r.u16(f + 96 + 2*class)
	fields[5], fields[6] = r.u16(f+108), r.u16(f+110)
	if class != 3 && class != 4 {
		fields[5] = r.find(f+64, num{lo: uint64(t.SrcPort)}, 2, 2)
		fields[6] = r.find(f+80, num{lo: uint64(t.DstPort)}, 2, 2)
	}
	vectors, stride := r.u32(s+16), r.u32(s+12)
	for w := range r.u32(s + 8) {
		word := func(i int) uint64 { return r.u64(vectors + fields[i]*stride + 8*w) }
		m := (word(0) | word(2)) & (word(1) | word(3)) & word(4) & word(5) & word(6)
		for b := range 64 {
			if m>>b&1 == 1 {
				return int(w)*64 + b
			}
		}
	}
	return -1
}

// Compiled groups give the rule that the obvious linear search gives, for addresses and ports at and around every edge.
func TestGroupBlobMatches(t *testing.T) {
	tuples := 0
	for seed := uint64(1); seed <= 60; seed++ {
		r := rand.New(rand.NewPCG(seed, 3))
		size := 1 + r.IntN(60)
		if seed%20 == 0 {
			size = 1000
		}
		for _, h := range random.Hosts(r, size) {
			for _, p := range h.Ports {
				var n *goal.VNet
				for i := range h.VNets {
					if h.VNets[i].VNI == p.VNI {
						n = &h.VNets[i]
					}
				}
				tuples += compareGroups(t, r, h, n)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d tuples", tuples)
}

func compareGroups(t *testing.T, r *rand.Rand, h *goal.Host, n *goal.VNet) int {
	t.Helper()
	pl, c := planOf(n), newClasses(n.VNI)
	if _, err := c.need(pl.combos()); err != nil {
		t.Fatal(err)
	}
	sets := model.Sets{}
	for _, s := range n.Sets {
		sets[s.Name] = s.Prefixes
	}
	count := 0
	for gi := range h.Groups {
		g := &h.Groups[gi]
		_, blob, err := groupBlob(g, c)
		if err != nil {
			t.Fatal(err)
		}
		for range 40 {
			count++
			dir := model.Dir(r.IntN(2))
			p := random.Packet(r, h, h.Ports[r.IntN(len(h.Ports))].Index)
			tu := p.Tuple()
			if !tu.Src.IsValid() || !tu.Dst.IsValid() || tu.Src.Is4() != tu.Dst.Is4() || !knownProtocol(tu) {
				continue
			}
			want := model.Match(g, sets, dir, tu)
			got := reader{blob}.match(dir, tu, c.id(pl.at(tu.Src).combo), c.id(pl.at(tu.Dst).combo))
			if want != got {
				t.Errorf("group %s %v %+v: rule %d, not %d", g.ID, dir, tu, got, want)
			}
		}
	}
	return count
}

func knownProtocol(t model.Tuple) bool {
	switch t.Protocol {
	case goal.TCP, goal.UDP, goal.ESP, goal.AH:
		return true
	case goal.ICMP:
		return t.Src.Is4()
	case goal.ICMPv6:
		return !t.Src.Is4()
	}
	return false
}

// The largest NSG that Azure allows fits, and is compiled in milliseconds.
func TestFullGroup(t *testing.T) {
	for _, prefixes := range []int{1000, 4000} {
		g := bigGroup("full", 1000, prefixes, -1)
		n := goal.VNet{VNI: 1, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Sets: []goal.Set{{Name: goal.SetVirtualNetwork, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}}}
		c := newClasses(1)
		if _, err := c.need(planOf(&n).combos()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		class, blob, err := groupBlob(&g, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d rules and %d prefixes a direction: %s, compiled in %v", 1000, prefixes, groupClasses[class-1].name, time.Since(start))
		if len(blob) > 2<<20 {
			t.Errorf("%d prefixes: %d bytes", prefixes, len(blob))
		}
	}
}

// Class numbers keep their meaning while they may be referred to, and are used again only after they were let go.
func TestClassNumbers(t *testing.T) {
	c := newClasses(1)
	if _, err := c.need([]combo{"", "a", "a\x00b"}); err != nil {
		t.Fatal(err)
	}
	a, ab := c.id("a"), c.id("a\x00b")
	fresh, _ := c.need([]combo{"", "c"})
	if len(fresh) != 1 || c.id("a") != a || c.id("c") == a || c.id("c") == ab {
		t.Errorf("numbers moved: %v", c.ids)
	}
	if gone := c.keep([]combo{"", "c"}); len(gone) != 2 {
		t.Errorf("let go of %d combinations, not 2", len(gone))
	}
	c.need([]combo{"d"})
	if c.id("d") != a {
		t.Errorf("number %d is not used again but %d", a, c.id("d"))
	}
}

func TestSpans(t *testing.T) {
	p := netip.MustParsePrefix
	n := goal.VNet{Prefixes: []netip.Prefix{p("10.0.0.0/16")}, Sets: []goal.Set{
		{Name: "all", Prefixes: []netip.Prefix{p("0.0.0.0/0"), p("::/0")}},
		{Name: "top", Prefixes: []netip.Prefix{p("255.255.255.255/32"), p("ffff::/16")}},
		{Name: "one", Prefixes: []netip.Prefix{p("10.0.0.4/32"), p("10.0.0.0/24")}},
	}}
	pl := planOf(&n)
	for _, c := range []struct {
		ip       string
		want     combo
		inPrefix bool
	}{
		{"0.0.0.0", "all", false}, {"9.255.255.255", "all", false}, {"10.0.0.0", "all\x00one", true}, {"10.0.0.4", "all\x00one", true}, {"10.0.0.255", "all\x00one", true},
		{"10.0.1.0", "all", true}, {"10.1.0.0", "all", false}, {"255.255.255.254", "all", false}, {"255.255.255.255", "all\x00top", false},
		{"::", "all", false}, {"ffff::1", "all\x00top", false}, {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "all\x00top", false},
	} {
		if s := pl.at(netip.MustParseAddr(c.ip)); s.combo != c.want || s.inPrefix != c.inPrefix {
			t.Errorf("%s: %q %v, not %q %v", c.ip, s.combo, s.inPrefix, c.want, c.inPrefix)
		}
	}
}

func TestWords(t *testing.T) {
	w := makePortWord(1, true, 0xabcd, 0x1234, 0x765432)
	if w.half() != 1 || !w.up() || w.incarnation() != 0xabcd || w.epoch() != 0x765432 || w.key() != 0x1234abcd {
		t.Errorf("port word %#x", uint64(w))
	}
	b := makeBlobWord(7, 0x123456, 0xdeadbeef)
	if b.class() != 7 || b.slot() != 0x123456 || b.epoch() != 0xdeadbeef {
		t.Errorf("blob word %#x", uint64(b))
	}
	for name, size := range map[string][2]int{"port": {binary.Size(portRecord{}), 208}, "flow": {binary.Size(flowValue{}), 48}, "event": {binary.Size(eventRecord{}), 80}, "endpoint": {binary.Size(endpointValue{}), 40}} {
		if size[0] != size[1] {
			t.Errorf("%s: %d bytes, not %d", name, size[0], size[1])
		}
	}
}
