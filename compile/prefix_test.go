package compile

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringfence/goal"
)

// small draws prefixes in a corner of each family that can be counted through: the last byte of 10.0.0.0/24 and of fd00::/120.
func small(t *rapid.T, label string) []netip.Prefix {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
		n := byte(rapid.IntRange(0, 255).Draw(t, "address"))
		bits := rapid.IntRange(0, 8).Draw(t, "bits")
		if rapid.Bool().Draw(t, "v6") {
			return netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 15: n}), 120+bits)
		}
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 24+bits)
	}), 0, 20).Draw(t, label)
}

// corner is every address that small prefixes can hold.
func corner() []netip.Addr {
	var out []netip.Addr
	for n := range 256 {
		out = append(out, netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), netip.AddrFrom16([16]byte{0: 0xfd, 15: byte(n)}))
	}
	return out
}

func holds(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// normalise keeps every address, adds none, and leaves a sorted list in which nothing overlaps and nothing can be joined.
func TestNormalise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := small(t, "in")
		out := normalise(in)
		for _, a := range corner() {
			if holds(in, a) != holds(out, a) {
				t.Fatalf("%s: in %s %t, in %s %t", a, in, holds(in, a), out, holds(out, a))
			}
		}
		for i, p := range out {
			if p != p.Masked() || i > 0 && out[i-1].Compare(p) >= 0 {
				t.Fatalf("not in order: %s", out)
			}
			for _, q := range out[i+1:] {
				if p.Overlaps(q) || siblings(p, q) {
					t.Fatalf("%s and %s stand beside each other in %s", p, q, out)
				}
			}
		}
		shuffled := slices.Clone(in)
		slices.Reverse(shuffled)
		if !slices.Equal(normalise(shuffled), out) {
			t.Fatalf("the order of %s has a say", in)
		}
	})
}

// subtract leaves exactly what is in the first and in none of the others.
func TestSubtract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		without := small(t, "without")
		for _, from := range []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/121"), netip.MustParsePrefix("10.0.0.64/26")} {
			out := subtract(from, without)
			for _, a := range corner() {
				if got, want := holds(out, a), from.Contains(a) && !holds(without, a); got != want {
					t.Fatalf("%s in %s without %s: %t", a, from, without, got)
				}
			}
		}
	})
}

// mergePorts keeps every port, adds none, and leaves ranges that do not touch.
func TestMergePorts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) goal.PortRange {
			base := rapid.SampledFrom([]uint16{0, 65000}).Draw(t, "base")
			lo := base + uint16(rapid.IntRange(0, 400).Draw(t, "lo"))
			return goal.PortRange{Lo: lo, Hi: lo + uint16(rapid.IntRange(0, 135).Draw(t, "length"))}
		}), 1, 12).Draw(t, "in")
		out := mergePorts(slices.Clone(in))
		in2 := func(list []goal.PortRange, p uint16) bool {
			return slices.ContainsFunc(list, func(r goal.PortRange) bool { return r.Lo <= p && p <= r.Hi })
		}
		for p := range 65536 {
			if (p < 600 || p > 64900) && in2(in, uint16(p)) != in2(out, uint16(p)) {
				t.Fatalf("port %d: %v became %v", p, in, out)
			}
		}
		for i := 1; i < len(out); i++ {
			if int(out[i].Lo) <= int(out[i-1].Hi)+1 {
				t.Fatalf("%v touch", out)
			}
		}
	})
}

// The tag Internet is everything but the blocks that are listed, to the address.
func TestInternet(t *testing.T) {
	for profile, without := range map[string][]netip.Prefix{"": special, ProfileAzure2024: slices.Concat(special, provider)} {
		list := internet(profile)
		for _, p := range without {
			first, last := p.Addr(), lastOf(p)
			for _, a := range []netip.Addr{first, last} {
				if holds(list, a) {
					t.Errorf("profile %q: %s of %s is in the Internet", profile, a, p)
				}
			}
			for _, a := range []netip.Addr{first.Prev(), last.Next()} {
				if a.IsValid() && a.Is4() && holds(list, a) == holds(without, a) {
					t.Errorf("profile %q: %s beside %s: %t", profile, a, p, holds(list, a))
				}
			}
		}
		for text, want := range map[string]bool{"1.1.1.1": true, "8.8.8.8": true, "203.0.113.1": true, "198.51.100.1": true, "192.88.99.1": true, "168.63.129.16": true,
			"2001:db8::1": true, "2600::1": true, "3fff::1": true, "fd00::1": false, "fe80::1": false, "::1": false, "ff02::1": false, "4000::": false, "::ffff:8.8.8.8": false} {
			if holds(list, netip.MustParseAddr(text)) != want {
				t.Errorf("profile %q: %s: want %t", profile, text, want)
			}
		}
	}
	if n := len(slices.DeleteFunc(internet(ProfileAzure2024), func(p netip.Prefix) bool { return !p.Addr().Is4() })); n != 282 {
		t.Errorf("the provider's list has %d IPv4 prefixes, 282 were recorded", n)
	}
	if len(provider)+len(special) != 61 {
		t.Errorf("%d blocks are left out", len(provider)+len(special))
	}
}

func lastOf(p netip.Prefix) netip.Addr {
	_, high := p, p
	for high.Bits() < high.Addr().BitLen() {
		_, high = halves(high)
	}
	return high.Addr()
}

// Names of namespaces are valid, short, readable, and apart for machines of one name.
func TestSandboxNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"/s/a/web", "/s/b/web", "/s/a/Web-Server_1.x", "/s/a/" + strings.Repeat("long", 16), "/s/a/größe", "/s/a/-"} {
		n := sandboxName(id)
		if len(n) > 32 || strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || seen[n] != "" {
			t.Errorf("%s: %q", id, n)
		}
		seen[n] = id
	}
	if a, b := sandboxName("/S/A/WEB"), sandboxName("/s/a/web"); a != b {
		t.Errorf("case has a say: %s, %s", a, b)
	}
}
