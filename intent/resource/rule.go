package resource

// securityRule is one rule of a network security group.
var securityRule = &Type{
	Name:   "Microsoft.Network/networkSecurityGroups/securityRules",
	Parent: networkSecurityGroup,
	List:   "securityRules",
	Words:  []string{"network", "nsg", "rule"},
	Help:   "one rule: source, destination, ports and protocol, allowed or denied",
	Schema: object("", "SecurityRule",
		str("name"), showID(), showETag(), showType(),
		object("properties", "SecurityRulePropertiesFormat", ruleFields()...).required(),
	),
}

func ruleFields() []*Field {
	return []*Field{
		showState(),
		str("description").none(),
		enum("protocol", "SecurityRuleProtocol", "*", "Tcp", "Udp", "Icmp", "Esp", "Ah").required(),
		str("sourcePortRange"), str("destinationPortRange"),
		str("sourceAddressPrefix"), str("destinationAddressPrefix"),
		enum("access", "SecurityRuleAccess", "Allow", "Deny").required(),
		num("priority").required(),
		enum("direction", "SecurityRuleDirection", "Inbound", "Outbound").required(),
		strs("sourcePortRanges").or("[]"), strs("destinationPortRanges").or("[]"),
		strs("sourceAddressPrefixes").or("[]"), strs("destinationAddressPrefixes").or("[]"),
		refs("sourceApplicationSecurityGroups", "Microsoft.Network/applicationSecurityGroups"),
		refs("destinationApplicationSecurityGroups", "Microsoft.Network/applicationSecurityGroups"),
	}
}
