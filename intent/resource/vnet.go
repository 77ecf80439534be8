package resource

import (
	"fmt"
)

// virtualNetwork is an address space that nobody else can reach, divided into subnets.
var virtualNetwork = &Type{
	Name:    "Microsoft.Network/virtualNetworks",
	Words:   []string{"network", "vnet"},
	Help:    "an isolated network with an address space of its own",
	Located: true,
	Kept:    "2023-11-01",
}

func init() {
	t := virtualNetwork
	t.check = checkVNet
	t.typed = typedVNet
	t.refs = func(n *node) []Ref {
		var out []Ref
		for i, s := range n.get("properties", "subnets").list() {
			out = append(out, refAt(s.get("properties", "networkSecurityGroup"),
				fmt.Sprintf("properties.subnets[%d].properties.networkSecurityGroup", i), networkSecurityGroup.Name)...)
		}
		return out
	}
	t.inUse = func(u *use) {
		for _, key := range u.doc.ChildKeys() {
			subnetUsers(u, key)
		}
	}
	t.Schema = object("", "VirtualNetwork",
		showName(), showID(), showETag(), showType(), locationField(), tagsField(),
		thing("extendedLocation").refused(),
		object("properties", "VirtualNetworkPropertiesFormat",
			showState(), showGUID(),
			object("addressSpace", "AddressSpace",
				strs("addressPrefixes"),
				list("ipamPoolPrefixAllocations", &Field{Kind: Any}).refused(),
			).required(),
			object("dhcpOptions", "DhcpOptions", strs("dnsServers")),
			num("flowTimeoutInMinutes"),
			str("privateEndpointVNetPolicies").none().or(`"Disabled"`).since("2024-01-01"),
			resources("subnets", subnet).or("[]"),
			list("virtualNetworkPeerings", &Field{Kind: Any}).refused().or("[]"),
			flag("enableDdosProtection").refused().or("false"),
			flag("enableVmProtection").none(),
			thing("ddosProtectionPlan").refused(),
			thing("bgpCommunities").refused(),
			object("encryption", "VirtualNetworkEncryption", flag("enabled").refused(), str("enforcement").none()),
			list("ipAllocations", &Field{Kind: Any}).refused(),
			thing("summarizedGatewayPrefixes").readOnly(), thing("flowLogs").readOnly(), thing("defaultPublicNatGateway").readOnly(),
		).required(),
	)
}

// VNet is the typed form of a virtual network's document, nil for another type.
func (d *Doc) VNet() *VNet {
	if d.Type != virtualNetwork {
		return nil
	}
	return parseVNet(d)
}

func parseVNet(d *Doc) *VNet {
	v := *d.typed().(*VNet)
	v.VNI, v.Domain = d.System.VNI, d.System.Domain
	return &v
}

func typedVNet(d *Doc, root *node) any {
	p := root.get("properties")
	v := &VNet{ID: d.ID.String(), Location: ShortLocation(root.get("location").text())}
	v.Prefixes = parsePrefixes(p.get("addressSpace", "addressPrefixes").texts())
	v.DNS = parseAddrs(p.get("dhcpOptions", "dnsServers").texts())
	minutes, _ := p.get("flowTimeoutInMinutes").int()
	v.IdleMinutes = uint16(minutes)
	for _, s := range p.get("subnets").list() {
		name := s.get("name").text()
		q := s.get("properties")
		texts := q.get("addressPrefixes").texts()
		if one := q.get("addressPrefix").text(); one != "" && len(texts) == 0 {
			texts = []string{one}
		}
		v.Subnets = append(v.Subnets, Subnet{ID: d.ID.Child(subnet, name).String(), Name: name, Prefixes: parsePrefixes(texts), NSG: refKey(q.get("networkSecurityGroup"))})
	}
	return v
}
