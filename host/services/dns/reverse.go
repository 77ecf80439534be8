package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Suffixes of reverse names.
const (
	reverse4 = ".in-addr.arpa."
	reverse6 = ".ip6.arpa."
)

// private are the ranges whose reverse names belong to nobody outside (RFC 6303): they are never forwarded.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("168.63.129.16/32"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

// reversed is a reverse name taken apart: the prefix that its labels say, and whether there are labels beyond an address.
type reversed struct {
	prefix netip.Prefix
	labels []string // from the address, most significant first
	suffix string
	more   bool
}

// parseReverse reads a name in lower case with its dots; ok is false when it is no reverse name of an address or a prefix.
func parseReverse(name string) (r reversed, ok bool) {
	rest, four := strings.CutSuffix(name, reverse4)
	r.suffix = reverse4
	if !four {
		if rest, ok = strings.CutSuffix(name, reverse6); !ok {
			return r, false
		}
		r.suffix = reverse6
	}
	r.labels = strings.Split(rest, ".")
	slices.Reverse(r.labels)
	if four {
		r.more = len(r.labels) > 4
		r.labels = r.labels[:min(4, len(r.labels))]
		return r, r.read4()
	}
	r.more = len(r.labels) > 32
	r.labels = r.labels[:min(32, len(r.labels))]
	return r, r.read6()
}

func (r *reversed) read4() bool {
	var b [4]byte
	for i, l := range r.labels {
		v, err := strconv.ParseUint(l, 10, 8)
		if err != nil || strconv.FormatUint(v, 10) != l {
			return false
		}
		b[i] = byte(v)
	}
	r.prefix = netip.PrefixFrom(netip.AddrFrom4(b), 8*len(r.labels))
	return true
}

func (r *reversed) read6() bool {
	var b [16]byte
	for i, l := range r.labels {
		v, err := strconv.ParseUint(l, 16, 4)
		if err != nil || len(l) != 1 {
			return false
		}
		b[i/2] |= byte(v) << (4 * (1 - i%2))
	}
	r.prefix = netip.PrefixFrom(netip.AddrFrom16(b), 4*len(r.labels))
	return true
}

// apex is the reverse zone that the name lies in, for the given prefix around it: never a single address.
func (r *reversed) apex(around netip.Prefix) string {
	per, all := 8, 4
	if r.suffix == reverse6 {
		per, all = 4, 32
	}
	labels := slices.Clone(r.labels[:min(len(r.labels), (around.Bits()+per-1)/per, all-1)])
	slices.Reverse(labels)
	return strings.Join(labels, ".") + r.suffix
}

// around finds the prefix of the virtual network, or the private range, that the whole name lies in.
func (z *zone) around(p netip.Prefix) (netip.Prefix, bool) {
	for _, list := range [][]netip.Prefix{z.prefixes, private} {
		for _, around := range list {
			if around.Bits() <= p.Bits() && around.Contains(p.Addr()) {
				return around, true
			}
		}
	}
	return netip.Prefix{}, false
}

// anyIn says whether an address with a name lies in p.
func (z *zone) anyIn(p netip.Prefix) bool {
	i, _ := slices.BinarySearchFunc(z.addrs, p.Addr(), netip.Addr.Compare)
	return i < len(z.addrs) && p.Contains(z.addrs[i])
}
