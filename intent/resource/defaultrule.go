package resource

import "fmt"

// defaultSecurityRule is one of the six rules that every network security group ends with. They cannot be changed.
var defaultSecurityRule = &Type{
	Name:     "Microsoft.Network/networkSecurityGroups/defaultSecurityRules",
	Parent:   networkSecurityGroup,
	List:     "defaultSecurityRules",
	Words:    []string{"network", "nsg", "default-rule"},
	Help:     "one of the six rules that every network security group ends with",
	ReadOnly: true,
	items: func(*render) []string {
		var names []string
		for _, d := range defaultRules {
			names = append(names, d.name)
		}
		return names
	},
	Schema: object("", "SecurityRule",
		showName(), showID(), showETag(), showType(),
		object("properties", "SecurityRulePropertiesFormat",
			showState(),
			defaultText("description", func(d *defaultRule) string { return d.description }),
			fixed("protocol", `"*"`), fixed("sourcePortRange", `"*"`), fixed("destinationPortRange", `"*"`),
			defaultText("sourceAddressPrefix", func(d *defaultRule) string { return d.source }),
			defaultText("destinationAddressPrefix", func(d *defaultRule) string { return d.destination }),
			defaultText("access", func(d *defaultRule) string { return d.access }),
			num("priority").shown(func(r *render) []byte { return fmt.Appendf(nil, "%d", findDefault(r.id.Name()).priority) }),
			defaultText("direction", func(d *defaultRule) string { return d.direction }),
			fixed("sourcePortRanges", "[]"), fixed("destinationPortRanges", "[]"),
			fixed("sourceAddressPrefixes", "[]"), fixed("destinationAddressPrefixes", "[]"),
		).always(),
	),
}

type defaultRule struct {
	name, description, source, destination, access string
	priority                                       int
	direction                                      string
}

var defaultRules = []defaultRule{
	{"AllowVnetInBound", "Allow inbound traffic from all VMs in VNET", "VirtualNetwork", "VirtualNetwork", "Allow", 65000, "Inbound"},
	{"AllowAzureLoadBalancerInBound", "Allow inbound traffic from azure load balancer", "AzureLoadBalancer", "*", "Allow", 65001, "Inbound"},
	{"DenyAllInBound", "Deny all inbound traffic", "*", "*", "Deny", 65500, "Inbound"},
	{"AllowVnetOutBound", "Allow outbound traffic from all VMs to all VMs in VNET", "VirtualNetwork", "VirtualNetwork", "Allow", 65000, "Outbound"},
	{"AllowInternetOutBound", "Allow outbound traffic from all VMs to Internet", "*", "Internet", "Allow", 65001, "Outbound"},
	{"DenyAllOutBound", "Deny all outbound traffic", "*", "*", "Deny", 65500, "Outbound"},
}

func findDefault(name string) *defaultRule {
	for i := range defaultRules {
		if defaultRules[i].name == name {
			return &defaultRules[i]
		}
	}
	return &defaultRule{}
}

func defaultText(name string, get func(*defaultRule) string) *Field {
	return str(name).shown(func(r *render) []byte { return appendString(nil, get(findDefault(r.id.Name()))) })
}

// fixed is a computed field that is always the same.
func fixed(name, json string) *Field {
	return str(name).shown(func(*render) []byte { return []byte(json) })
}
