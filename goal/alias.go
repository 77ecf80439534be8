package goal

import (
	"encoding/binary"
	"net/netip"
)

// Aliases is the shared address space: 2²² addresses, one for each possible Port.Index.
var Aliases = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)

// Alias is the address under which the host's services see a port's primary IPv4 address: VMs of different virtual networks
// may all have 10.0.0.4, aliases are unique in the fabric. The data plane translates; aliases exist in service namespaces only.
func Alias(port uint32) netip.Addr {
	b := Aliases.Addr().As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|port&(1<<22-1))
	return netip.AddrFrom4(b)
}

// PortOf is the port behind an alias; false when the address cannot be one.
func PortOf(alias netip.Addr) (uint32, bool) {
	alias = alias.Unmap()
	if !Aliases.Contains(alias) {
		return 0, false
	}
	b := alias.As4()
	port := binary.BigEndian.Uint32(b[:]) & (1<<22 - 1)
	return port, port >= 1 && port <= MaxPort
}
