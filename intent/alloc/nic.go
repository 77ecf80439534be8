package alloc

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// nicBody is what allocation needs of a network interface.
type nicBody struct {
	Properties struct {
		IPConfigurations []struct {
			Name       string
			Properties struct {
				Address string `json:"privateIPAddress"`
				Method  string `json:"privateIPAllocationMethod"`
				Version string `json:"privateIPAddressVersion"`
				Subnet  struct{ ID string }
			}
		} `json:"ipConfigurations"`
	}
}

// ipConfig is one IP configuration that wants an address.
type ipConfig struct {
	id     string // ARM id, for messages and as the claim's owner
	key    string // name in lower case: key in System.Addresses
	path   string // of its properties
	want   string // static: the address as the client wrote it
	static bool
	v6     bool
	subnet *subnet
	got    netip.Addr
}

// nic gives a network interface its port and each of its IP configurations an address.
func (a *Allocator) nic(d *Draft) resource.Faults {
	configs, faults := ipConfigs(d)
	if len(faults) > 0 {
		return faults
	}
	sys := &d.Doc.System
	if sys.Port, faults = d.number("port/", sys.Port, 1, maxPort, "ports"); faults != nil {
		return faults
	}
	sys.MAC = fmt.Sprintf("02:52:46:%02x:%02x:%02x", sys.Port>>16, sys.Port>>8&0xff, sys.Port&0xff)
	if faults := addresses(d, configs); len(faults) > 0 {
		return faults
	}
	if sys.Attachment != nil {
		d.claim("nic/"+d.Doc.Key(), d.Doc.ID.String()) // no machine takes it meanwhile
	}
	sys.Addresses = map[string]string{}
	for _, c := range configs {
		sys.Addresses[c.key] = c.got.String()
		d.claim(c.subnet.claim(c.got), c.id)
	}
	return nil
}

// ipConfigs reads the IP configurations and finds their subnets.
func ipConfigs(d *Draft) (all []*ipConfig, faults resource.Faults) {
	var body nicBody
	if err := json.Unmarshal(d.Doc.Body, &body); err != nil {
		return nil, refuse(400, "InvalidRequestContent", "", "The request content was invalid and could not be deserialized: '%v'.", err)
	}
	nic, subnets := d.Doc.ID.String(), map[string]*subnet{}
	for i, cfg := range body.Properties.IPConfigurations {
		p := cfg.Properties
		c := &ipConfig{
			id:     nic + "/ipConfigurations/" + cfg.Name,
			key:    strings.ToLower(cfg.Name),
			path:   fmt.Sprintf("properties.ipConfigurations[%d].properties", i),
			want:   p.Address,
			static: strings.EqualFold(p.Method, "Static"),
			v6:     strings.EqualFold(p.Version, "IPv6"),
		}
		key := strings.ToLower(p.Subnet.ID)
		if _, known := subnets[key]; !known {
			subnets[key] = findSubnet(d.Base, key)
		}
		if c.subnet = subnets[key]; c.subnet == nil {
			faults = append(faults, refuse(400, "InvalidResourceReference", c.path+".subnet.id",
				"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", p.Subnet.ID, nic)...)
		}
		all = append(all, c)
	}
	return all, faults
}

// addresses decides them all: static ones first, so that no dynamic one takes what another configuration of the same
// interface asks for; then those that stay as they are; then the lowest free ones.
func addresses(d *Draft, configs []*ipConfig) (faults resource.Faults) {
	taken := map[string]string{} // claim → id of the configuration of this draft
	for _, c := range configs {
		if c.static {
			faults = append(faults, c.fixed(d, taken)...)
		}
	}
	for _, c := range configs {
		if !c.static {
			c.keep(d, taken)
		}
	}
	for _, c := range configs {
		if !c.static && !c.got.IsValid() {
			faults = append(faults, c.lowest(d, taken)...)
		}
	}
	return faults
}

// fixed checks and takes the address that the client names.
func (c *ipConfig) fixed(d *Draft, taken map[string]string) resource.Faults {
	target := c.path + ".privateIPAddress"
	if c.want == "" {
		return refuse(400, "PrivateIPAddressNotSpecified", target,
			"IP configuration %s has the allocation method Static, but no privateIPAddress.", c.id)
	}
	ip, err := netip.ParseAddr(c.want)
	if err != nil || ip.Zone() != "" || ip.Is4In6() || ip.Is6() != c.v6 {
		return refuse(400, "InvalidPrivateIPAddressFormat", target, "Private static IP address value %s is invalid.", c.want)
	}
	in, found := c.subnet.containing(ip)
	switch {
	case !found:
		return refuse(400, "PrivateIPAddressNotInSubnet", target,
			"Private static IP address %s does not belong to the range of subnet prefix %s.", c.want, c.subnet.text(c.v6))
	case !usable(in).contains(ip):
		return refuse(400, "PrivateIPAddressInReservedRange", target,
			"Private static IP address %s falls within reserved IP range of subnet prefix %s.", c.want, in)
	}
	claim := c.subnet.claim(ip)
	by, twice := taken[claim]
	if holder, held := d.Base.Holder(claim); held && !twice && holder != d.Doc.Key() {
		by, _ = d.Base.Owner(claim)
		twice = true
	}
	if twice {
		return refuse(400, "PrivateIPAddressIsAllocated", target,
			"IP configuration %s is using the private IP address %s which is already allocated to resource %s.", c.id, c.want, by)
	}
	taken[claim], c.got = c.id, ip
	return nil
}

// keep leaves a dynamic configuration the address that it has, if it is still one of its subnet.
func (c *ipConfig) keep(d *Draft, taken map[string]string) {
	ip, err := netip.ParseAddr(d.Doc.System.Addresses[c.key])
	if err != nil || ip.Is6() != c.v6 {
		return
	}
	in, found := c.subnet.containing(ip)
	if !found || !usable(in).contains(ip) {
		return
	}
	claim := c.subnet.claim(ip)
	if holder, held := d.Base.Holder(claim); held && holder != d.Doc.Key() || taken[claim] != "" {
		return
	}
	taken[claim], c.got = c.id, ip
}

// lowest takes the lowest free address of the subnet.
func (c *ipConfig) lowest(d *Draft, taken map[string]string) resource.Faults {
	any := false
	for _, p := range c.subnet.prefixes {
		if p.Addr().Is6() != c.v6 {
			continue
		}
		any = true
		r := usable(p)
		for lo := r.lo; ; {
			n, ok := d.Base.LowestFree(c.subnet.space(p.Addr()), lo, r.hi)
			if !ok {
				break
			}
			ip := r.addr(n)
			if claim := c.subnet.claim(ip); taken[claim] == "" {
				taken[claim], c.got = c.id, ip
				return nil
			}
			if n == r.hi {
				break
			}
			lo = n + 1
		}
	}
	if !any {
		return refuse(400, "SubnetHasNoPrefixOfIpVersion", c.path+".privateIPAddressVersion",
			"IP configuration %s asks for an %s address, but subnet %s has no %[2]s address prefix.", c.id, version(c.v6), c.subnet.id)
	}
	return refuse(400, "SubnetIsFull", c.path+".subnet.id",
		"Subnet %s with address prefix %s does not have enough capacity for 1 IP addresses.", c.subnet.name, c.subnet.text(c.v6))
}

func version(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// space is the numbered space of a VNet's addresses that ip is counted in: 64 bits of it.
func (s *subnet) space(ip netip.Addr) string {
	if ip.Is4() {
		return "ip/" + s.vnet + "/4/"
	}
	b := ip.As16()
	return fmt.Sprintf("ip/%s/6/%x/", s.vnet, b[:8])
}

// claim is the key of an address in the subnet's VNet.
func (s *subnet) claim(ip netip.Addr) string { return store.Numbered(s.space(ip), low64(ip)) }
