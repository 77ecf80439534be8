package resource

// subnet is a part of a virtual network's address space; its network security group filters every interface in it.
var subnet = &Type{
	Name:   "Microsoft.Network/virtualNetworks/subnets",
	Parent: virtualNetwork,
	List:   "subnets",
	Words:  []string{"network", "vnet", "subnet"},
	Help:   "a part of a virtual network's address space",
}

func init() {
	subnet.Schema = object("", "Subnet",
		str("name"), showID(), showETag(),
		object("properties", "SubnetPropertiesFormat",
			showState(),
			str("addressPrefix"), strs("addressPrefixes"),
			ref("networkSecurityGroup", networkSecurityGroup.Name),
			thing("routeTable").refused(), thing("natGateway").refused(),
			list("serviceEndpoints", &Field{Kind: Any}).refused(),
			list("serviceEndpointPolicies", &Field{Kind: Any}).refused(),
			list("ipAllocations", &Field{Kind: Any}).refused(),
			list("ipamPoolPrefixAllocations", &Field{Kind: Any}).refused(),
			list("applicationGatewayIPConfigurations", &Field{Kind: Any}).refused(),
			thing("serviceGateway").refused(),
			thing("ipConfigurations").shown(func(r *render) []byte { return references(subnetConfigs(r.lk, r.id.Key())) }),
			list("delegations", &Field{Kind: Any}).refused().or("[]"),
			enum("privateEndpointNetworkPolicies", "VirtualNetworkPrivateEndpointNetworkPolicies",
				"Disabled", "Enabled", "NetworkSecurityGroupEnabled", "RouteTableEnabled").none().or(`"Disabled"`),
			enum("privateLinkServiceNetworkPolicies", "VirtualNetworkPrivateLinkServiceNetworkPolicies",
				"Disabled", "Enabled").none().or(`"Enabled"`),
			flag("defaultOutboundAccess").none(),
			enum("sharingScope", "SharingScope", "Tenant", "DelegatedServices").refused(),
			thing("purpose").readOnly(), thing("resourceNavigationLinks").readOnly(), thing("serviceAssociationLinks").readOnly(),
			thing("privateEndpoints").readOnly(), thing("ipConfigurationProfiles").readOnly(), thing("interfaceEndpoints").readOnly(),
		).required(),
		showType(),
	)
}

// subnetConfigs are the ids of the IP configurations in a subnet, by interface.
func subnetConfigs(lk Lookup, key string) []string {
	var ids []string
	for _, k := range lk.Referrers(key) {
		if d := lk.Get(k); d != nil && d.Type == networkInterface {
			ids = append(ids, childrenReferring(d, key)...)
		}
	}
	return ids
}
