package resource

import (
	"fmt"
	"net/netip"
	"strings"
)

// Limits of a virtual network.
const (
	maxSubnets    = 3000
	maxDNSServers = 20
)

// forbiddenSpace cannot be part of a virtual network.
var forbiddenSpace = []netip.Prefix{
	netip.MustParsePrefix("224.0.0.0/4"), netip.MustParsePrefix("255.255.255.255/32"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("::/128"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
	netip.MustParsePrefix("::ffff:0:0/96"),
}

// checkVNet: address space, subnets inside it and apart from each other, nothing in use taken away.
func checkVNet(c *check) {
	space := c.addressSpace()
	c.flowTimeout()
	c.dnsServers(c.body.get("properties", "dhcpOptions", "dnsServers"), "properties.dhcpOptions.dnsServers")
	subnets := c.body.get("properties", "subnets").list()
	if len(subnets) > maxSubnets {
		c.bad("properties.subnets", "SubnetCountLimitReached", "Cannot create more than %d subnets in virtual network %s: %d given.", maxSubnets, c.doc.ID, len(subnets))
		return
	}
	c.uniqueNames(subnet, subnets)
	var earlier []netip.Prefix
	for i, s := range subnets {
		prefixes, ok := c.subnetPrefixes(s, fmt.Sprintf("properties.subnets[%d]", i))
		if !ok {
			continue
		}
		for _, p := range prefixes {
			c.subnetPlace(i, s.get("name").text(), p, space, earlier)
			earlier = append(earlier, p)
		}
	}
	c.usedSubnets(subnets)
}

// addressSpace parses the prefixes of the virtual network.
func (c *check) addressSpace() []netip.Prefix {
	path := "properties.addressSpace.addressPrefixes"
	var space []netip.Prefix
	texts := c.body.get("properties", "addressSpace", "addressPrefixes").texts()
	if len(texts) == 0 {
		c.bad(path, "InvalidAddressSpace", "Virtual network %s needs at least one address prefix in its address space, for example 10.0.0.0/16.", c.doc.ID)
	}
	v4 := false
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", path, i)
		p, ok := c.cidr(text, at, c.doc.ID)
		if !ok {
			continue
		}
		v4 = v4 || p.Addr().Is4()
		for _, f := range forbiddenSpace {
			if f.Overlaps(p) {
				c.bad(at, "InvalidAddressPrefix", "Address prefix %s of virtual network %s overlaps %s, which is reserved and cannot be part of a virtual network.", p, c.doc.ID, f)
			}
		}
		for _, q := range space {
			if q.Overlaps(p) {
				c.bad(at, "VnetAddressSpaceOverlapsItself", "Address prefix %s of virtual network %s overlaps its address prefix %s.", p, c.doc.ID, q)
			}
		}
		if p.Addr().Is4() && (p.Bits() > 29 || p.Bits() < 2) || p.Addr().Is6() && p.Bits() > 64 {
			c.bad(at, "InvalidAddressPrefixLength", "Address prefix %s of virtual network %s has a length outside the allowed range: /2 to /29 for IPv4, at most /64 for IPv6.", p, c.doc.ID)
		}
		space = append(space, p)
	}
	if len(space) > 0 && len(space) == len(texts) && !v4 {
		c.bad(path, "VnetMustHaveIpv4AddressSpace", "Virtual network %s has IPv6 address prefixes only; a virtual network needs an IPv4 address prefix too.", c.doc.ID)
	}
	return space
}

// cidr parses a prefix without host bits.
func (c *check) cidr(text, path string, id ID) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil || p.Addr().Is4In6() {
		c.bad(path, "InvalidAddressPrefixFormat", "Address prefix %s of resource %s is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.", text, id)
		return p, false
	}
	if p.Masked() != p {
		c.bad(path, "InvalidCIDRNotation", "The address prefix %s in resource %s has an invalid CIDR notation. For the given prefix length, the address prefix should be %s.", text, id, p.Masked())
		return p, false
	}
	return p, true
}

func (c *check) flowTimeout() {
	if v, ok := c.body.get("properties", "flowTimeoutInMinutes").int(); ok && (v < 4 || v > 30) {
		c.bad("properties.flowTimeoutInMinutes", "InvalidFlowTimeoutInMinutes", "Virtual network %s has an invalid flow timeout. Value provided: %d. The value must be between 4 and 30.", c.doc.ID, v)
	}
}

func (c *check) dnsServers(n *node, path string) {
	if len(n.list()) > maxDNSServers {
		c.bad(path, "DnsServersLimitExceeded", "Up to %d DNS servers can be given: %d in resource %s.", maxDNSServers, len(n.list()), c.doc.ID)
	}
	for i, text := range n.texts() {
		if a, err := netip.ParseAddr(text); err != nil || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
			c.bad(fmt.Sprintf("%s[%d]", path, i), "InvalidIpAddress", "The IP Address %s is invalid.", text)
		}
	}
}

// uniqueNames checks children's names.
func (c *check) uniqueNames(t *Type, children []*node) {
	seen := map[string]bool{}
	for i, n := range children {
		name := n.get("name").text()
		path := fmt.Sprintf("properties.%s[%d].name", t.List, i)
		c.faults = append(c.faults, checkNameAt(t, name, path)...)
		if lower := strings.ToLower(name); !seen[lower] {
			seen[lower] = true
			continue
		}
		c.bad(path, "DuplicateResourceName", "Resource %s has two child resources with the same name (%s).", c.doc.ID, name)
	}
}

// subnetPrefixes parses a subnet's prefixes from whichever form was sent.
func (c *check) subnetPrefixes(s *node, path string) ([]netip.Prefix, bool) {
	id := c.doc.ID.Child(subnet, s.get("name").text())
	single, several := s.get("properties", "addressPrefix"), s.get("properties", "addressPrefixes")
	texts, paths := several.texts(), []string(nil)
	for i := range texts {
		paths = append(paths, fmt.Sprintf("%s.properties.addressPrefixes[%d]", path, i))
	}
	switch {
	case single != nil && len(texts) == 1 && texts[0] == single.text(): // both forms, as some answers show them
	case single != nil && len(texts) > 0:
		c.bad(path+".properties.addressPrefixes", "SubnetAddressPrefixAndPrefixesBothSpecified", "Subnet %s has both addressPrefix and addressPrefixes: give one of them.", id)
		return nil, false
	case single != nil:
		texts, paths = []string{single.text()}, []string{path + ".properties.addressPrefix"}
	case len(texts) == 0:
		c.bad(path+".properties.addressPrefix", "SubnetMissingRequiredAddressPrefixes", "Subnet %s needs addressPrefix or addressPrefixes.", id)
		return nil, false
	}
	var out []netip.Prefix
	good := true
	for i, text := range texts {
		p, ok := c.cidr(text, paths[i], id)
		if !ok {
			good = false
			continue
		}
		if p.Addr().Is4() && (p.Bits() > 29 || p.Bits() < 2) {
			c.bad(paths[i], "InvalidSubnetPrefixLength", "Subnet %s has the address prefix %s; an IPv4 subnet is a /2 to a /29.", id, p)
			good = false
		}
		if p.Addr().Is6() && p.Bits() != 64 {
			c.bad(paths[i], "InvalidIPv6SubnetPrefixLength", "Subnet %s has the address prefix %s; an IPv6 subnet is exactly a /64.", id, p)
			good = false
		}
		out = append(out, p)
	}
	return out, good
}

// subnetPlace checks one prefix against the address space and against the prefixes before it.
func (c *check) subnetPlace(i int, name string, p netip.Prefix, space, earlier []netip.Prefix) {
	path := fmt.Sprintf("properties.subnets[%d].properties.addressPrefix", i)
	inside := false
	for _, s := range space {
		inside = inside || s.Addr().BitLen() == p.Addr().BitLen() && s.Bits() <= p.Bits() && s.Contains(p.Addr())
	}
	if !inside {
		c.bad(path, "NetcfgSubnetRangeOutsideVnet", "Subnet '%s' is not valid because its IP address range is outside the IP address range of virtual network '%s'.", name, c.doc.ID.Name())
	}
	for _, q := range earlier {
		if q.Overlaps(p) {
			c.bad(path, "NetcfgSubnetRangesOverlap", "Subnet '%s' is not valid because its IP address range overlaps with that of an existing subnet in virtual network '%s'.", name, c.doc.ID.Name())
			return
		}
	}
}

// usedSubnets checks that no subnet and no prefix with addresses in use is taken away.
func (c *check) usedSubnets(subnets []*node) {
	prefixes := map[string][]netip.Prefix{}
	names := map[string]bool{}
	for _, s := range subnets {
		key := c.doc.ID.Child(subnet, s.get("name").text()).Key()
		names[key] = true
		quiet := &check{doc: c.doc, body: c.body, lk: c.lk}
		prefixes[key], _ = quiet.subnetPrefixes(s, "")
	}
	told := map[string]bool{}
	for _, k := range c.lk.Referrers(c.doc.Key()) {
		nic := c.lk.Get(k)
		if nic == nil || nic.Type != networkInterface {
			continue
		}
		for _, ip := range parseNIC(nic).IPConfigs {
			if told[ip.Subnet] || TopKey(ip.Subnet) != c.doc.Key() {
				continue
			}
			switch {
			case !names[ip.Subnet]:
				told[ip.Subnet] = true
				c.bad("properties.subnets", "InUseSubnetCannotBeDeleted", "%s", subnetInUse(c.originalName(ip.Subnet), nic.ID.Child(ipConfiguration, ip.Name)))
			case ip.IP.IsValid() && !covers(prefixes[ip.Subnet], ip.IP):
				told[ip.Subnet] = true
				c.bad("properties.subnets", "InUsePrefixCannotBeDeleted", "IpPrefix %s on Subnet %s has active allocations and cannot be deleted.", c.oldPrefix(ip.Subnet, ip.IP), c.originalName(ip.Subnet))
			}
		}
	}
}

func covers(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// oldSubnet is the stored subnet that the write changes or takes away, nil when it is not known.
func (c *check) oldSubnet(key string) *Subnet {
	old := c.doc.was
	if old == nil {
		old = c.lk.Get(c.doc.Key())
	}
	if old == nil {
		return nil
	}
	v := parseVNet(old)
	for i := range v.Subnets {
		if strings.ToLower(v.Subnets[i].ID) == key {
			return &v.Subnets[i]
		}
	}
	return nil
}

// originalName is a subnet's name as it was written.
func (c *check) originalName(key string) string {
	if s := c.oldSubnet(key); s != nil {
		return s.Name
	}
	return key[strings.LastIndexByte(key, '/')+1:]
}

// oldPrefix is the stored prefix that holds a.
func (c *check) oldPrefix(key string, a netip.Addr) string {
	if s := c.oldSubnet(key); s != nil {
		for _, p := range s.Prefixes {
			if p.Contains(a) {
				return p.String()
			}
		}
	}
	return netip.PrefixFrom(a, a.BitLen()).String()
}

func subnetInUse(name string, user ID) string {
	return fmt.Sprintf("Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.", name, user)
}

// subnetUsers says why a virtual network cannot be deleted: the first address in each subnet.
func subnetUsers(u *use, key string) {
	if ids := subnetConfigs(u.lk, key); len(ids) > 0 {
		name := key[strings.LastIndexByte(key, '/')+1:]
		for _, s := range parseVNet(u.doc).Subnets {
			if strings.EqualFold(s.Name, name) {
				name = s.Name
			}
		}
		id, _ := ParseID(ids[0])
		u.fault("InUseSubnetCannotBeDeleted", subnetInUse(name, id))
	}
}
