package template

import (
	"encoding/binary"
	"math/big"
	"net/netip"
)

var addressFunctions = map[string]function{
	"cidrSubnet": {least: 3, most: 3, eager: cidrSubnet},
	"cidrHost":   {least: 2, most: 2, eager: cidrHost},
	"parseCidr":  {least: 1, most: 1, eager: parseCIDR},
}

func prefixArgument(a *arguments) (netip.Prefix, error) {
	v, err := a.str(0)
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := netip.ParsePrefix(v)
	if err != nil {
		return netip.Prefix{}, a.fail(0, "%q is no address prefix", v)
	}
	return p.Masked(), nil
}

// offset adds n << shift to an address.
func offset(p netip.Addr, n int64, shift int) (netip.Addr, bool) {
	raw := p.AsSlice()
	sum := new(big.Int).Add(new(big.Int).SetBytes(raw), new(big.Int).Lsh(big.NewInt(n), uint(shift)))
	if sum.Sign() < 0 || sum.BitLen() > len(raw)*8 {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(sum.FillBytes(raw))
}

// cidrSubnet is block number i of the given length inside a network.
func cidrSubnet(_ *scope, a *arguments) (any, error) {
	p, err := prefixArgument(a)
	if err != nil {
		return nil, err
	}
	length, err := a.integer(1)
	if err != nil {
		return nil, err
	}
	i, err := a.integer(2)
	if err != nil {
		return nil, err
	}
	size := int64(p.Addr().BitLen())
	if length < int64(p.Bits()) || length > size {
		return nil, a.fail(1, "the length %d is not between %d and %d", length, p.Bits(), size)
	}
	addr, ok := offset(p.Addr(), i, int(size-length))
	if i < 0 || !ok || !p.Contains(addr) {
		return nil, a.fail(2, "%v has no block %d of length %d", p, i, length)
	}
	return netip.PrefixFrom(addr, int(length)).String(), nil
}

// cidrHost is the usable address number i of a network: the network's own address is not counted.
func cidrHost(_ *scope, a *arguments) (any, error) {
	p, err := prefixArgument(a)
	if err != nil {
		return nil, err
	}
	i, err := a.integer(1)
	if err != nil {
		return nil, err
	}
	if p.Bits() < p.Addr().BitLen()-1 && i < 1<<62 {
		i++
	}
	addr, ok := offset(p.Addr(), i, 0)
	if i < 0 || !ok || !p.Contains(addr) {
		return nil, a.fail(1, "%v has no such address", p)
	}
	return addr.String(), nil
}

func parseCIDR(_ *scope, a *arguments) (any, error) {
	p, err := prefixArgument(a)
	if err != nil {
		return nil, err
	}
	if p.Addr().Is6() {
		return nil, a.fail(0, "IPv6 prefixes are not supported: %v", p)
	}
	mask := ^uint32(0) << (32 - p.Bits())
	if p.Bits() == 0 {
		mask = 0
	}
	four := p.Addr().As4()
	network := binary.BigEndian.Uint32(four[:])
	broadcast := network | ^mask
	text := func(v uint32) string {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], v)
		return netip.AddrFrom4(b).String()
	}
	first, last := network+1, broadcast-1
	if p.Bits() >= 31 {
		first, last = network, broadcast
	}
	return pairs("network", text(network), "netmask", text(mask), "broadcast", text(broadcast),
		"firstUsable", text(first), "lastUsable", text(last), "cidr", int64(p.Bits())), nil
}
