package resource

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whether subnets fit is judged a second time here by counting addresses.
func TestSubnetsAgainstCounting(t *testing.T) {
	prefix := func(lo, hi int) *rapid.Generator[netip.Prefix] {
		return rapid.Custom(func(t *rapid.T) netip.Prefix {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 10<<24|uint32(rapid.IntRange(0, 1023).Draw(t, "address")))
			return netip.PrefixFrom(netip.AddrFrom4(b), rapid.IntRange(lo, hi).Draw(t, "bits")).Masked()
		})
	}
	rapid.Check(t, func(rt *rapid.T) {
		space := rapid.SliceOfN(prefix(22, 26), 1, 3).Draw(rt, "space")
		subnets := rapid.SliceOfN(prefix(24, 29), 0, 4).Draw(rt, "subnets")
		got := codes(Validate(doc(t, "virtualNetworks/v", vnetOfPrefixes(space, subnets)), newMemory(t)))
		if spaceOverlaps := overlapping(space); spaceOverlaps != strings.Contains(got, "VnetAddressSpaceOverlapsItself") {
			rt.Fatalf("%v: %s", space, got)
		}
		outside := false
		for _, s := range subnets {
			outside = outside || !inOne(s, space)
		}
		if outside != strings.Contains(got, "NetcfgSubnetRangeOutsideVnet") || overlapping(subnets) != strings.Contains(got, "NetcfgSubnetRangesOverlap") {
			rt.Fatalf("%v in %v: %s", subnets, space, got)
		}
	})
}

func vnetOfPrefixes(space, subnets []netip.Prefix) string {
	quote := func(format string, list []netip.Prefix) string {
		var out []string
		for i, p := range list {
			out = append(out, strings.NewReplacer("#", fmt.Sprint(i), "%", p.String()).Replace(format))
		}
		return strings.Join(out, ",")
	}
	return `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":[` + quote(`"%"`, space) + `]},"subnets":[` +
		quote(`{"name":"s#","properties":{"addressPrefix":"%"}}`, subnets) + `]}}`
}

func each(p netip.Prefix, f func(netip.Addr)) {
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		f(a)
	}
}

func overlapping(list []netip.Prefix) bool {
	count, twice := map[netip.Addr]int{}, false
	for _, p := range list {
		each(p, func(a netip.Addr) { count[a]++; twice = twice || count[a] > 1 })
	}
	return twice
}

func inOne(s netip.Prefix, space []netip.Prefix) bool {
	for _, p := range space {
		all := true
		each(s, func(a netip.Addr) { all = all && p.Contains(a) })
		if all {
			return true
		}
	}
	return false
}
