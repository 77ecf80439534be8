package resource

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Limits of a network interface.
const (
	maxConfigs    = 256
	maxConfigASGs = 20
	maxASGConfigs = 4000
)

var hostNameRule = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?$`)

// checkNIC: at least one address, one primary, all in one subnet, families that the subnet has, groups of one virtual network.
// Whether static addresses are free is a matter of allocation.
func checkNIC(c *check) {
	configs := c.body.get("properties", "ipConfigurations").list()
	path := "properties.ipConfigurations"
	if len(configs) == 0 || len(configs) > maxConfigs {
		c.bad(path, "InvalidIpConfigurationCount", "Network interface %s has %d IP configurations; it needs 1 to %d.", c.doc.ID, len(configs), maxConfigs)
		return
	}
	c.uniqueNames(ipConfiguration, configs)
	c.dnsServers(c.body.get("properties", "dnsSettings", "dnsServers"), "properties.dnsSettings.dnsServers")
	c.primaries(configs)
	home := configs[0].get("properties", "subnet", "id").text()
	for i, n := range configs {
		k := &configCheck{check: c, p: n.get("properties"), path: fmt.Sprintf("%s[%d].properties.", path, i)}
		k.id = c.doc.ID.Child(ipConfiguration, n.get("name").text())
		k.subnet(home)
		k.address()
		k.groups()
	}
}

func (c *check) primaries(configs []*node) {
	var marked []string
	for _, n := range configs {
		if n.get("properties", "primary").isTrue() {
			marked = append(marked, n.get("name").text())
		}
	}
	if len(marked) > 1 {
		c.bad("properties.ipConfigurations", "MultiplePrimaryIpConfigurations", "Network interface %s marks %s as primary; exactly one IP configuration is the primary one.", c.doc.ID, strings.Join(marked, ", "))
	}
	if p := configs[primaryConfig(c.body)]; strings.EqualFold(p.get("properties", "privateIPAddressVersion").text(), "IPv6") {
		c.bad("properties.ipConfigurations", "PrimaryIpConfigurationMustBeIPv4", "The primary IP configuration %s of network interface %s is IPv6; the primary one must be IPv4.", p.get("name").text(), c.doc.ID)
	}
}

type configCheck struct {
	*check
	p    *node
	id   ID
	path string
}

func (k *configCheck) v6() bool {
	return strings.EqualFold(k.p.get("privateIPAddressVersion").text(), "IPv6")
}

func (k *configCheck) subnet(home string) {
	id := k.p.get("subnet", "id").text()
	if id == "" {
		k.bad(k.path+"subnet", "IpConfigurationMustHaveSubnet", "IP configuration %s needs a subnet.", k.id)
		return
	}
	if !strings.EqualFold(id, home) {
		k.bad(k.path+"subnet.id", "IpConfigurationsOnSameNicCannotUseDifferentSubnets", "IP configuration %s is in subnet %s, another one of the network interface is in %s. All IP configurations of a network interface must be in one subnet.", k.id, id, home)
		return
	}
	s, _ := k.findSubnet(id)
	if s == nil {
		return // said by references
	}
	for _, p := range s.Prefixes {
		if p.Addr().Is6() == k.v6() {
			return
		}
	}
	version := "IPv4"
	if k.v6() {
		version = "IPv6"
	}
	k.bad(k.path+"privateIPAddressVersion", "SubnetHasNoPrefixOfIpVersion", "IP configuration %s asks for an %s address, but subnet %s has no %s address prefix.", k.id, version, id, version)
}

func (k *configCheck) findSubnet(id string) (*Subnet, *Doc) {
	key := keyOf(id)
	d := k.lk.Get(TopKey(key))
	if d == nil || d.Type != virtualNetwork {
		return nil, nil
	}
	v := parseVNet(d)
	for i := range v.Subnets {
		if strings.ToLower(v.Subnets[i].ID) == key {
			return &v.Subnets[i], d
		}
	}
	return nil, nil
}

// address checks the form of a static address.
func (k *configCheck) address() {
	text := k.p.get("privateIPAddress").text()
	static := strings.EqualFold(k.p.get("privateIPAllocationMethod").text(), "Static")
	switch {
	case static && text == "":
		k.bad(k.path+"privateIPAddress", "PrivateIPAddressNotSpecified", "IP configuration %s has the allocation method Static, but no privateIPAddress.", k.id)
	case text != "":
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() != k.v6() {
			k.bad(k.path+"privateIPAddress", "InvalidPrivateIPAddressFormat", "Private static IP address value %s is invalid.", text)
		}
	}
}

// groups checks the application security groups: how many, and that their members share a virtual network.
func (k *configCheck) groups() {
	asgs := k.p.get("applicationSecurityGroups").list()
	if len(asgs) > maxConfigASGs {
		k.bad(k.path+"applicationSecurityGroups", "ApplicationSecurityGroupsPerIpConfigurationLimitReached", "IP configuration %s is in %d application security groups; up to %d are allowed.", k.id, len(asgs), maxConfigASGs)
		return
	}
	_, vnet := k.findSubnet(k.p.get("subnet", "id").text())
	if vnet == nil {
		return
	}
	for i, a := range asgs {
		key := keyOf(a.get("id").text())
		path := fmt.Sprintf("%sapplicationSecurityGroups[%d].id", k.path, i)
		if home := asgHome(k.lk, key, k.doc.Key()); home != "" && home != vnet.ID.String() {
			k.bad(path, "ApplicationSecurityGroupMembersMustBeFromSameVnet", "IP configuration %s is in virtual network %s, but application security group %s has members in %s. All members of an application security group must be in one virtual network.", k.id, vnet.ID, a.get("id").text(), home)
		}
		k.full(key, path)
		k.ruleMates(key, path, vnet.ID.String())
	}
}

func (k *configCheck) full(asg, path string) {
	n := 0
	for _, key := range k.lk.Referrers(asg) {
		if d := k.lk.Get(key); d != nil && d.Type == networkInterface && key != k.doc.Key() {
			n += len(childrenReferring(d, asg))
		}
		if n >= maxASGConfigs {
			k.bad(path, "IpConfigurationsPerApplicationSecurityGroupLimitReached", "Application security group %s has %d IP configurations already; no more are allowed.", asg, n)
			return
		}
	}
}

// ruleMates checks the other groups of every rule that names this one: their members must be in the same virtual network.
func (k *configCheck) ruleMates(asg, path, vnet string) {
	for _, key := range k.lk.Referrers(asg) {
		d := k.lk.Get(key)
		if d == nil || d.Type != networkSecurityGroup {
			continue
		}
		for _, r := range parseNSG(d).Rules {
			mates := slices.Concat(r.Src.ASGs, r.Dst.ASGs)
			if !slices.Contains(mates, asg) {
				continue
			}
			for _, m := range mates {
				if home := asgHome(k.lk, m, k.doc.Key()); home != "" && home != vnet {
					k.bad(path, "AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet",
						"Security Rule %s has Application Security Groups (ASGs) from multiple virtual networks (%s, %s). All ASGs on the Security Rule must be from the same virtual network.", d.ID.Child(securityRule, r.Name), home, vnet)
					return
				}
			}
		}
	}
}
