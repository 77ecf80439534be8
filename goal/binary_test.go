package goal

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func someGroup(r *rand.Rand) Group {
	side := func() Match {
		m := Match{Any: r.IntN(3) == 0}
		for range r.IntN(4) {
			if r.IntN(2) == 0 {
				m.Prefixes = append(m.Prefixes, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), 0, 0}), r.IntN(33)))
			} else {
				m.Prefixes = append(m.Prefixes, netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, byte(r.Uint32())}), r.IntN(129)))
			}
		}
		for range r.IntN(3) {
			m.Sets = append(m.Sets, strings.Repeat("s", r.IntN(200)))
		}
		return m
	}
	ports := func() (out []PortRange) {
		for range r.IntN(4) {
			out = append(out, PortRange{uint16(r.Uint32()), uint16(r.Uint32())})
		}
		return out
	}
	rules := func() (out []Rule) {
		for range r.IntN(30) {
			out = append(out, Rule{Name: "securityRules/" + strings.Repeat("é", r.IntN(40)), Priority: uint16(r.Uint32()), Allow: r.IntN(2) == 0, Protocol: uint8(r.Uint32()),
				Src: side(), Dst: side(), SrcPorts: ports(), DstPorts: ports(), Revision: r.Uint64() >> r.IntN(64)})
		}
		return out
	}
	return Group{ID: "/subscriptions/s/nsg", Flush: r.IntN(2) == 0, In: rules(), Out: rules()}
}

// What is written is read back, and nothing shorter or longer is taken for it.
func TestGroupInBinary(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		g := someGroup(r)
		b := AppendGroup(nil, &g)
		back, err := ReadGroup(b)
		if err != nil || !reflect.DeepEqual(back, g) {
			t.Fatalf("%v\n%+v\n%+v", err, g, back)
		}
		if cut := r.IntN(len(b)); cut < len(b) {
			if _, err := ReadGroup(b[:cut]); err == nil {
				t.Fatalf("the first %d of %d bytes are a group", cut, len(b))
			}
		}
		if _, err := ReadGroup(append(b, 0)); err == nil {
			t.Fatal("a byte too many")
		}
	}
	// A new field of a rule that is not written would be lost on the way: this list is what AppendGroup writes.
	for _, c := range []struct {
		of   any
		want string
	}{{Group{}, "ID Flush In Out"}, {Rule{}, "Name Priority Allow Protocol Src Dst SrcPorts DstPorts Revision"}, {Match{}, "Any Prefixes Sets"}, {PortRange{}, "Lo Hi"}} {
		var names []string
		for f := range reflect.TypeOf(c.of).NumField() {
			names = append(names, reflect.TypeOf(c.of).Field(f).Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%T has the fields %s; the binary form knows %s", c.of, got, c.want)
		}
	}
}

func FuzzGroup(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		g := someGroup(r)
		f.Add(AppendGroup(nil, &g))
	}
	f.Add([]byte{groupForm, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ReadGroup(b)
		if err != nil {
			return
		}
		if again := AppendGroup(nil, &g); string(again) != string(b) {
			t.Errorf("%x is read as %+v, which is written %x", b, g, again)
		}
	})
}
