package alloc

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringfence/intent/resource"
)

// Whatever happens in whatever order: no address twice, none reserved, each in its subnet, the lowest free one for who asks
// for none, kept by who has one, and refused only when it is taken or nothing is left.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		prefixes := []string{"10.0.0.0/28", "10.1.0.0/29 fd00::/64"}
		w.must(t, vnet(t, "v", prefixes...))
		m := model{used: map[netip.Addr]string{}, has: map[string]map[string]netip.Addr{}}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"n1", "n2", "n3", "n4", "n5", "n6"}).Draw(t, "nic")
			if rapid.IntRange(0, 4).Draw(t, "op") == 0 {
				w.drop(nic(t, name))
				m.release(name)
				continue
			}
			m.put(t, w, name)
		}
	})
}

type model struct {
	used map[netip.Addr]string // by NIC
	has  map[string]map[string]netip.Addr
}

func (m *model) release(nic string) {
	for _, ip := range m.has[nic] {
		delete(m.used, ip)
	}
	delete(m.has, nic)
}

// put draws an interface with up to three configurations, all of one subnet, and checks what it gets.
func (m *model) put(t *rapid.T, w *world, name string) {
	in := rapid.IntRange(0, 1).Draw(t, "subnet")
	var configs []string
	want := map[string]netip.Addr{} // static ones
	for i := range rapid.IntRange(1, 3).Draw(t, "configs") {
		c := fmt.Sprintf("%c=v/s%d", 'a'+i, in)
		if in == 1 && rapid.Bool().Draw(t, "v6") {
			c += " 6"
		} else if rapid.IntRange(0, 2).Draw(t, "static") == 0 {
			ip := netip.AddrFrom4([4]byte{10, byte(in), 0, byte(rapid.IntRange(0, 17).Draw(t, "ip"))})
			c += " " + ip.String()
			want[string(rune('a'+i))] = ip
		}
		configs = append(configs, c)
	}
	before := m.has[name]
	d, err := w.put(nic(t, name, configs...))
	if err != nil {
		m.refused(t, err.(resource.Faults), name, in, configs, want)
		return
	}
	m.release(name)
	got := map[string]netip.Addr{}
	for cfg, text := range d.System.Addresses {
		ip := netip.MustParseAddr(text)
		if by := m.used[ip]; by != "" {
			t.Fatalf("%s of %s is already %s's", ip, name, by)
		}
		if !inside(ip, in) {
			t.Fatalf("%s is not a usable address of subnet s%d", ip, in)
		}
		if s, static := want[cfg]; static && s != ip {
			t.Fatalf("asked for %s, got %s", s, ip)
		}
		m.used[ip], got[cfg] = name, ip
	}
	if len(got) != len(configs) {
		t.Fatalf("%d addresses for %d configurations", len(got), len(configs))
	}
	m.has[name] = got
	m.dynamic(t, name, before, got, want)
}

// dynamic checks who asked for nothing: kept if it can be, else the lowest free at that time. What the interface itself
// had before counts as used while it is put.
func (m *model) dynamic(t *rapid.T, name string, before, got, want map[string]netip.Addr) {
	static := map[netip.Addr]bool{}
	for _, ip := range want {
		static[ip] = true
	}
	for cfg, ip := range got {
		if _, is := want[cfg]; is {
			continue
		}
		if old := before[cfg]; old.Is4() == ip.Is4() && sameSubnet(old, ip) && !static[old] {
			if old != ip {
				t.Fatalf("%s of %s had %s and got %s", cfg, name, old, ip)
			}
			continue
		}
		for lower := ip.Prev(); inside(lower, subnetOf(lower)) && sameSubnet(lower, ip); lower = lower.Prev() {
			heldBefore := false
			for _, b := range before {
				heldBefore = heldBefore || b == lower
			}
			if m.used[lower] == "" && !heldBefore {
				t.Fatalf("%s of %s got %s while %s is free", cfg, name, ip, lower)
			}
		}
	}
}

func (m *model) refused(t *rapid.T, faults resource.Faults, name string, in int, configs []string, want map[string]netip.Addr) {
	for _, f := range faults {
		switch f.Code {
		case "SubnetIsFull":
			free := 0
			for last := 4; last < 15; last++ {
				if ip := netip.AddrFrom4([4]byte{10, byte(in), 0, byte(last)}); inside(ip, in) && m.used[ip] == "" {
					free++
				}
			}
			if v4 := len(configs) - strings.Count(strings.Join(configs, ""), " 6"); free >= v4 {
				t.Fatalf("%v, yet %d addresses are free", f, free)
			}
		case "PrivateIPAddressIsAllocated":
			taken, seen := false, map[netip.Addr]bool{}
			for _, ip := range want {
				taken = taken || seen[ip] || m.used[ip] != "" && m.used[ip] != name
				seen[ip] = true
			}
			if !taken {
				t.Fatalf("%v, yet none of %v is", f, want)
			}
		case "PrivateIPAddressInReservedRange", "PrivateIPAddressNotInSubnet":
			bad := false
			for _, ip := range want {
				bad = bad || !inside(ip, in)
			}
			if !bad {
				t.Fatalf("%v, yet all of %v are usable", f, want)
			}
		default:
			t.Fatalf("unexpected: %v", f)
		}
	}
}

func subnetOf(ip netip.Addr) int {
	if ip.Is4() {
		return int(ip.As4()[1])
	}
	return 1
}

// inside is written by hand from Azure's rules for the two subnets of the test.
func inside(ip netip.Addr, subnet int) bool {
	if ip.Is6() {
		return subnet == 1 && netip.MustParsePrefix("fd00::/64").Contains(ip) && ip.Compare(netip.MustParseAddr("fd00::4")) >= 0
	}
	b := ip.As4()
	last := byte(14)
	if subnet == 1 {
		last = 6
	}
	return b[0] == 10 && int(b[1]) == subnet && b[2] == 0 && b[3] >= 4 && b[3] <= last
}

func sameSubnet(a, b netip.Addr) bool {
	return a.IsValid() && b.IsValid() && a.Is4() == b.Is4() && subnetOf(a) == subnetOf(b)
}

// A /16 with 60,000 addresses in use.
func BenchmarkNextOf60000(b *testing.B) {
	w := newWorld()
	w.must(b, vnet(b, "v", "10.0.0.0/16"))
	for i := range 60 {
		configs := make([]string, 1000)
		for j := range configs {
			configs[j] = fmt.Sprintf("c%d=v/s0", j)
		}
		w.must(b, nic(b, fmt.Sprint("n", i), configs...))
	}
	for b.Loop() {
		d := nic(b, "new", "a=v/s0")
		if err := w.a.Allocate(&Draft{Base: w.snap, Doc: d}); err != nil || d.System.Addresses["a"] != "10.0.234.100" {
			b.Fatal(err, d.System.Addresses)
		}
	}
}
