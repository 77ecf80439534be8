package compile

import (
	"net/netip"
	"slices"
)

// normalise returns the shortest sorted list of masked prefixes that holds the same addresses.
func normalise(in []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, len(in))
	for i, p := range in {
		sorted[i] = p.Masked()
	}
	slices.SortFunc(sorted, netip.Prefix.Compare) // a prefix stands right before those that it holds
	var out []netip.Prefix
	for _, p := range sorted {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue
		}
		out = append(out, p)
		for len(out) > 1 && siblings(out[len(out)-2], out[len(out)-1]) {
			parent := netip.PrefixFrom(out[len(out)-2].Addr(), out[len(out)-1].Bits()-1)
			out = append(out[:len(out)-2], parent)
		}
	}
	return out
}

// siblings says whether two different prefixes are the halves of one.
func siblings(a, b netip.Prefix) bool {
	return a.Bits() == b.Bits() && a.Bits() > 0 &&
		netip.PrefixFrom(a.Addr(), a.Bits()-1).Masked() == netip.PrefixFrom(b.Addr(), b.Bits()-1).Masked()
}

// subtract returns what of a prefix is left without those of a list.
func subtract(from netip.Prefix, without []netip.Prefix) []netip.Prefix {
	overlaps := false
	for _, w := range without {
		if w.Overlaps(from) {
			if w.Bits() <= from.Bits() {
				return nil
			}
			overlaps = true
		}
	}
	if !overlaps {
		return []netip.Prefix{from}
	}
	low, high := halves(from)
	return append(subtract(low, without), subtract(high, without)...)
}

// halves splits a prefix that is longer than an address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	bits := p.Bits()
	b := p.Addr().AsSlice()
	b[bits/8] |= 1 << (7 - bits%8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), bits+1), netip.PrefixFrom(upper, bits+1)
}
