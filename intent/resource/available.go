package resource

import "net/netip"

// Available is the answer to the question whether an address of a virtual network can be taken.
type Available struct {
	Available bool         `json:"available"`
	Addresses []netip.Addr `json:"availableIPAddresses"`
	Reserved  bool         `json:"isPlatformReserved"`
}

// suggestions is how many free addresses are named.
const suggestions = 5

// Availability looks at an address of a virtual network: free, reserved, or taken; where it cannot be taken, the next free ones of
// its subnet are named, lowest first.
func Availability(d *Doc, lk Lookup, a netip.Addr) Available {
	out := Available{Addresses: []netip.Addr{}}
	taken := map[netip.Addr]bool{}
	for _, key := range lk.Referrers(d.Key()) {
		if n := lk.Get(key); n != nil && n.Type == networkInterface {
			for _, c := range parseNIC(n).IPConfigs {
				taken[c.IP] = true
			}
		}
	}
	for _, s := range parseVNet(d).Subnets {
		for _, p := range s.Prefixes {
			if !p.Contains(a) {
				continue
			}
			out.Reserved = reserved(p, a)
			out.Available = !out.Reserved && !taken[a]
			if !out.Available {
				out.Addresses = free(p, taken)
			}
			return out
		}
	}
	return out
}

// reserved: the first four addresses of a subnet, and the last of an IPv4 one.
func reserved(p netip.Prefix, a netip.Addr) bool {
	first := p.Addr()
	for range 4 {
		if a == first {
			return true
		}
		first = first.Next()
	}
	return a.Is4() && !p.Contains(a.Next())
}

func free(p netip.Prefix, taken map[netip.Addr]bool) []netip.Addr {
	out := []netip.Addr{}
	for a := p.Addr(); a.IsValid() && p.Contains(a) && len(out) < suggestions; a = a.Next() {
		if !taken[a] && !reserved(p, a) {
			out = append(out, a)
		}
	}
	return out
}
