package resource

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ParsePorts reads "*", "80" or "80-90".
func ParsePorts(text string) (lo, hi uint16, ok bool) {
	if text == "*" {
		return 0, 65535, true
	}
	a, b, ranged := strings.Cut(text, "-")
	if !ranged {
		b = a
	}
	l, lok := portNumber(a)
	h, hok := portNumber(b)
	return l, h, lok && hok && l <= h
}

func portNumber(s string) (uint16, bool) {
	s = strings.TrimSpace(s)
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil
}

// Tags are the service tags that exist without an operator's prefix lists.
var Tags = []string{"AzureLoadBalancer", "AzurePlatformDNS", "AzurePlatformIMDS", "Internet", "VirtualNetwork"}

// KnownTag gives a tag's canonical spelling; lists are the operator's. The names of the classic API are known too.
func KnownTag(text string, lists map[string][]netip.Prefix) (string, bool) {
	switch strings.ToUpper(text) {
	case "VIRTUAL_NETWORK":
		return "VirtualNetwork", true
	case "AZURE_LOADBALANCER":
		return "AzureLoadBalancer", true
	}
	for _, t := range Tags {
		if strings.EqualFold(t, text) {
			return t, true
		}
	}
	for _, t := range slices.Sorted(mapKeys(lists)) {
		if strings.EqualFold(t, text) {
			return t, true
		}
	}
	return "", false
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// ParsePrefix reads a rule's address or prefix: no host bits, IPv6 in canonical text. A bare integer is an IPv4 address, as the
// service's parser has it.
func ParsePrefix(text string) (netip.Prefix, bool) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && text == strconv.FormatUint(n, 10) {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 32), true
	}
	addr, bits, hasBits := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() && a.String() != strings.ToLower(addr) {
		return netip.Prefix{}, false
	}
	if !hasBits {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(a.String() + "/" + bits)
	return p, err == nil && p.Masked() == p
}
