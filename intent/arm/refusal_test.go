package arm

import (
	"fmt"
	"strings"
	"testing"
)

// refusal is one request that must be refused, and how.
type refusal struct {
	name, method, path, body string
	status                   int
	code                     string
	message                  string // in the message, or in a detail's
	target                   string // "": not looked at
}

func rule(fields string) string {
	base := map[string]string{"protocol": `"Tcp"`, "access": `"Allow"`, "direction": `"Inbound"`, "priority": "200", "sourcePortRange": `"*"`,
		"destinationPortRange": `"80"`, "sourceAddressPrefix": `"*"`, "destinationAddressPrefix": `"*"`}
	for _, f := range strings.Split(fields, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
		base[k] = v
		if v == "" {
			delete(base, k)
		}
	}
	out := ""
	for _, k := range []string{"protocol", "access", "direction", "priority", "description", "sourcePortRange", "destinationPortRange", "sourceAddressPrefix", "destinationAddressPrefix",
		"sourcePortRanges", "destinationPortRanges", "sourceAddressPrefixes", "destinationAddressPrefixes", "sourceApplicationSecurityGroups", "destinationApplicationSecurityGroups"} {
		if base[k] != "" {
			out += fmt.Sprintf(`,"%s":%s`, k, base[k])
		}
	}
	return `{"properties":{` + out[1:] + `}}`
}

func vnetBody(properties string) string {
	return `{"location":"westus2","properties":{` + properties + `}}`
}

func subnetBody(properties string) string { return `{"properties":{` + properties + `}}` }

func asgs(n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"id":"~N/applicationSecurityGroups/asg%d"}`, i))
	}
	return "[" + strings.Join(out, ",") + "]"
}

const (
	ruleB = "~N/networkSecurityGroups/nsg/securityRules/b"
	sNew  = "~N/virtualNetworks/v/subnets/new"
	nNew  = "~N/networkInterfaces/new"
	space = `"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}`
)

var refusals = []refusal{
	// the gateway
	{"no api-version", "GET", "~G?api-version=none", "", 400, "MissingApiVersionParameter", "api-version query parameter", ""},
	{"odd api-version", "GET", "~G?api-version=2014-01-01", "", 400, "InvalidApiVersionParameter", "2014-01-01", ""},
	{"unknown type", "PUT", "~N/firewalls/x", "{}", 404, "InvalidResourceType", "'firewalls'", ""},
	{"unknown provider", "PUT", "~G/providers/Microsoft.Sql/servers/x", "{}", 404, "InvalidResourceNamespace", "Microsoft.Sql", ""},
	{"unknown child type", "GET", "~N/virtualNetworks/v/doors/p", "", 404, "InvalidResourceType", "virtualNetworks/doors", ""},
	{"type of Azure's", "PUT", "~N/LOADBALANCERS/x", "{}", 400, "RingfenceNotSupported", "The resource type Microsoft.Network/loadBalancers exists on Azure", "Microsoft.Network/loadBalancers"},
	{"list of Azure's", "GET", "~N/azureFirewalls", "", 400, "RingfenceNotSupported", "resource type Microsoft.Network/azureFirewalls", ""},
	{"child type of Azure's", "GET", "~N/loadBalancers/x/probes/p", "", 400, "RingfenceNotSupported", "Microsoft.Network/loadBalancers/probes", ""},
	{"operation of Azure's", "POST", "~G/moveResources", "{}", 400, "RingfenceNotSupported", "operation moveResources", "moveResources"},
	{"action of Azure's", "POST", "~N/virtualNetworkGateways/g/reset", "{}", 400, "RingfenceNotSupported", "operation Microsoft.Network/virtualNetworkGateways/reset", ""},
	{"an action that Azure reads", "GET", "~N/virtualNetworkGateways/g/reset", "", 404, "InvalidResourceType", "virtualNetworkGateways/reset", ""},
	{"foreign subscription", "GET", "/subscriptions/" + sub2 + "/resourceGroups/g", "", 404, "SubscriptionNotFound", "The subscription '" + sub2 + "' could not be found.", ""},
	{"unknown subscription", "GET", "/subscriptions/none/resourceGroups/g", "", 404, "SubscriptionNotFound", "The subscription 'none' could not be found.", ""},
	{"missing group", "GET", "~G0/providers/Microsoft.Network/virtualNetworks/v", "", 404, "ResourceGroupNotFound", "Resource group 'g0' could not be found.", ""},
	{"put in missing group", "PUT", "~G0/providers/Microsoft.Network/virtualNetworks/v", vnetBody(space), 404, "ResourceGroupNotFound", "'g0'", ""},
	{"delete in missing group", "DELETE", "~G0/providers/Microsoft.Network/virtualNetworks/v", "", 404, "ResourceGroupNotFound", "'g0'", ""},
	{"missing resource", "GET", "~N/virtualNetworks/w", "", 404, "ResourceNotFound", "The Resource 'Microsoft.Network/virtualNetworks/w' under resource group 'g' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", ""},
	{"missing child", "GET", "~N/virtualNetworks/v/subnets/x", "", 404, "NotFound", "Resource ~N/virtualNetworks/v/subnets/x not found.", ""},
	{"child of missing parent", "GET", "~N/virtualNetworks/w/subnets/x", "", 404, "ResourceNotFound", "'Microsoft.Network/virtualNetworks/w'", ""},
	{"delete child of missing parent", "DELETE", "~N/virtualNetworks/w/subnets/x", "", 404, "ResourceNotFound", "'Microsoft.Network/virtualNetworks/w'", ""},
	{"put child of missing parent", "PUT", "~N/virtualNetworks/w/subnets/x", subnetBody(`"addressPrefix":"10.0.1.0/24"`), 404, "ParentResourceNotFound", "Parent resource 'w' not found.", ""},
	{"verb", "POST", "~N/virtualNetworks/v", "", 405, "MethodNotAllowed", "'POST'", ""},
	{"no location", "PUT", "~N/networkSecurityGroups/x", `{}`, 400, "LocationRequired", "The location property is required for this definition.", "location"},
	{"odd location", "PUT", "~N/networkSecurityGroups/x", `{"location":"a_b"}`, 400, "LocationNotAvailableForResourceType", "a_b", ""},
	{"other location", "PUT", "~N/virtualNetworks/v", `{"location":"westeurope","properties":{` + space + `}}`, 409, "InvalidResourceLocation", "'westus2'", ""},
	{"group in other location", "PUT", "~G", `{"location":"westeurope"}`, 409, "InvalidResourceGroupLocation", "'westus2'", ""},
	{"location not offered", "PUT", "~N/networkSecurityGroups/x", `{"location":"marsnorth"}`, 400, "LocationNotAvailableForResourceType", "westus2,westeurope", ""},
	{"malformed JSON", "PUT", "~N/networkSecurityGroups/x", `{"location":}`, 400, "InvalidRequestContent", "line 1, position 13", ""},
	{"no body", "PUT", "~N/networkSecurityGroups/x", ``, 400, "InvalidRequestContent", "Unexpected end", ""},
	{"no object", "PUT", "~N/networkSecurityGroups/x", `[]`, 400, "InvalidRequestContent", "an array", ""},
	{"member twice", "PUT", "~N/networkSecurityGroups/x", `{"location":"westus2","Location":"westeurope"}`, 400, "InvalidRequestContent", "'Location' occurs twice", ""},
	{"name too long", "PUT", "~N/networkSecurityGroups/" + strings.Repeat("x", 81), `{"location":"westus2"}`, 400, "InvalidResourceName", "up to 80 characters", ""},
	{"name ends in dot", "PUT", "~N/networkSecurityGroups/x.", `{"location":"westus2"}`, 400, "InvalidResourceName", "Resource name x. is invalid", ""},
	{"escaped slash", "GET", "~N/networkSecurityGroups/a%2Fb", "", 400, "InvalidRequestUri", "a%2Fb", ""},

	// the vocabulary
	{"unknown field", "PUT", "~N/networkSecurityGroups/x", "{\"location\":\"westus2\",\n\"properties\":{\"colour\":1}}", 400, "InvalidRequestFormat", "Could not find member 'colour' on object of type 'NetworkSecurityGroupPropertiesFormat'. Path 'properties.colour', line 2, position 24.", "properties.colour"},
	{"unknown enum", "PUT", ruleB, rule(`protocol="Sctp"`), 400, "InvalidRequestFormat", "Path 'properties.protocol'", "properties.protocol"},
	{"unknown access", "PUT", ruleB, rule(`access="Permit"`), 400, "InvalidRequestFormat", "Expected one of: Allow, Deny.", "properties.access"},
	{"wrong kind", "PUT", ruleB, rule(`priority=[1]`), 400, "InvalidRequestFormat", "Cannot convert an array to a number. Path 'properties.priority'", ""},
	{"integer too large", "PUT", ruleB, rule(`priority=2147483650`), 400, "InvalidRequestFormat", "JSON integer 2147483650 is too large or small for an Int32. Path 'properties.priority'", ""},
	{"fraction", "PUT", ruleB, rule(`priority=1.5`), 400, "InvalidRequestFormat", "'1.5' is not a valid integer", ""},
	{"required", "PUT", ruleB, rule(`access=`), 400, "InvalidRequestFormat", "Required property 'access' not found in JSON. Path 'properties.access'", ""},
	{"reference without id", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{}`), 400, "InvalidRequestFormat", "Path 'properties.networkSecurityGroup.id'", ""},
	{"ip forwarding", "PUT", nNew, strings.Replace(nicBody("s", ""), `"properties":{"ip`, `"properties":{"enableIPForwarding":true,"ip`, 1), 400, "RingfenceNotSupported", "The field 'properties.enableIPForwarding' has the value true.", "properties.enableIPForwarding"},
	{"public address", "PUT", nNew, nicBody("s", `,"publicIPAddress":{"id":"x"}`), 400, "RingfenceNotSupported", "publicIPAddress", ""},
	{"backend pools", "PUT", nNew, nicBody("s", `,"loadBalancerBackendAddressPools":[{"id":"x"}]`), 400, "RingfenceNotSupported", "loadBalancerBackendAddressPools", ""},
	{"route table", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/24","routeTable":{"id":"x"}`), 400, "RingfenceNotSupported", "routeTable", "properties.routeTable"},
	{"NAT gateway", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/24","natGateway":{"id":"x"}`), 400, "RingfenceNotSupported", "natGateway", ""},
	{"delegations", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/24","delegations":[{"name":"d"}]`), 400, "RingfenceNotSupported", "delegations", ""},
	{"service endpoints", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/24","serviceEndpoints":[{"service":"Microsoft.Sql"}]`), 400, "RingfenceNotSupported", "serviceEndpoints", ""},
	{"peerings", "PUT", "~N/virtualNetworks/v", vnetBody(space + `,"virtualNetworkPeerings":[{"name":"p"}]`), 400, "RingfenceNotSupported", "virtualNetworkPeerings", ""},
	{"DDoS", "PUT", "~N/virtualNetworks/v", vnetBody(space + `,"enableDdosProtection":true`), 400, "RingfenceNotSupported", "enableDdosProtection", ""},

	// virtual networks
	{"subnets overlap", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.0.128/25"`), 400, "NetcfgSubnetRangesOverlap", "Subnet 'new' is not valid because its IP address range overlaps with that of an existing subnet in virtual network 'v'.", ""},
	{"subnet outside", "PUT", sNew, subnetBody(`"addressPrefix":"10.9.0.0/24"`), 400, "NetcfgSubnetRangeOutsideVnet", "Subnet 'new' is not valid because its IP address range is outside the IP address range of virtual network 'v'.", ""},
	{"host bits in subnet", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.5/24"`), 400, "InvalidCIDRNotation", "The address prefix 10.0.1.5/24 in resource ~N/virtualNetworks/v/subnets/new has an invalid CIDR notation. For the given prefix length, the address prefix should be 10.0.1.0/24.", ""},
	{"no prefix", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0"`), 400, "InvalidAddressPrefixFormat", "Address prefix 10.0.1.0 of resource ~N/virtualNetworks/v/subnets/new is not formatted correctly. It should follow CIDR notation, for example 10.0.0.0/24.", ""},
	{"subnet without prefix", "PUT", sNew, subnetBody(``), 400, "SubnetMissingRequiredAddressPrefixes", "addressPrefix", ""},
	{"both forms", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/24","addressPrefixes":["10.0.2.0/24"]`), 400, "SubnetAddressPrefixAndPrefixesBothSpecified", "both", ""},
	{"subnet too small", "PUT", sNew, subnetBody(`"addressPrefix":"10.0.1.0/30"`), 400, "InvalidSubnetPrefixLength", "10.0.1.0/30", ""},
	{"IPv6 subnet not /64", "PUT", "~N/virtualNetworks/six", vnetBody(`"addressSpace":{"addressPrefixes":["10.0.0.0/16","fd00::/48"]},"subnets":[{"name":"a","properties":{"addressPrefixes":["10.0.0.0/24","fd00::/60"]}}]`), 400, "InvalidIPv6SubnetPrefixLength", "exactly a /64", "properties.subnets[0].properties.addressPrefixes[1]"},
	{"host bits in space", "PUT", "~N/virtualNetworks/w", vnetBody(`"addressSpace":{"addressPrefixes":["10.11.12.13/8"]}`), 400, "InvalidCIDRNotation", "should be 10.0.0.0/8.", "properties.addressSpace.addressPrefixes[0]"},
	{"forbidden space", "PUT", "~N/virtualNetworks/w", vnetBody(`"addressSpace":{"addressPrefixes":["169.254.1.0/24"]}`), 400, "InvalidAddressPrefix", "169.254.0.0/16", ""},
	{"platform address in space", "PUT", "~N/virtualNetworks/w", vnetBody(`"addressSpace":{"addressPrefixes":["168.63.0.0/16"]}`), 400, "InvalidAddressPrefix", "168.63.129.16/32", ""},
	{"multicast space", "PUT", "~N/virtualNetworks/w", vnetBody(`"addressSpace":{"addressPrefixes":["239.0.0.0/24"]}`), 400, "InvalidAddressPrefix", "224.0.0.0/4", ""},
	{"no space", "PUT", "~N/virtualNetworks/w", vnetBody(`"addressSpace":{"addressPrefixes":[]}`), 400, "InvalidAddressSpace", "at least one", ""},
	{"DNS server", "PUT", "~N/virtualNetworks/w", vnetBody(space + `,"dhcpOptions":{"dnsServers":["10.0.0.257"]}`), 400, "InvalidIpAddress", "The IP Address 10.0.0.257 is invalid.", "properties.dhcpOptions.dnsServers[0]"},
	{"flow timeout", "PUT", "~N/virtualNetworks/w", vnetBody(space + `,"flowTimeoutInMinutes":3`), 400, "InvalidFlowTimeoutInMinutes", "between 4 and 30", ""},
	{"two subnets of one name", "PUT", "~N/virtualNetworks/w", vnetBody(space + `,"subnets":[{"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"A","properties":{"addressPrefix":"10.0.1.0/24"}}]`), 400, "DuplicateResourceName", "(A)", "properties.subnets[1].name"},
	{"used subnet left out", "PUT", "~N/virtualNetworks/v", vnetBody(space + `,"subnets":[]`), 400, "InUseSubnetCannotBeDeleted", "Subnet s is in use by ~N/networkInterfaces/n/ipConfigurations/ipconfig1 and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.", ""},
	{"used subnet left out, old version", "PUT", "~N/virtualNetworks/v?api-version=2023-09-01", vnetBody(space), 400, "InUseSubnetCannotBeDeleted", "Subnet s is in use", ""},
	{"used prefix changed", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.7.0/24"`), 400, "InUsePrefixCannotBeDeleted", "IpPrefix 10.0.0.0/24 on Subnet s has active allocations and cannot be deleted.", ""},
	{"space of a subnet taken away", "PUT", "~N/virtualNetworks/v", vnetBody(`"addressSpace":{"addressPrefixes":["10.1.0.0/16"]}`), 400, "NetcfgSubnetRangeOutsideVnet", "Subnet 's'", ""},
	{"missing NSG", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"~N/networkSecurityGroups/none"}`), 400, "InvalidResourceReference",
		"Resource ~N/networkSecurityGroups/none referenced by resource ~N/virtualNetworks/v was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", ""},
	{"reference of the wrong type", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"~N/virtualNetworks/v"}`), 400, "InvalidResourceReference", "is not of type Microsoft.Network/networkSecurityGroups", ""},
	{"reference that is no id", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"nsg"}`), 400, "LinkedInvalidPropertyId", "'nsg'", ""},
	{"NSG in another region", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"~N/networkSecurityGroups/europe"}`), 400, "InvalidResourceReference", "same region", ""},
	{"foreign NSG", "PUT", "~N/virtualNetworks/v/subnets/s", subnetBody(`"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"/subscriptions/` + sub2 + `/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg"}`), 400, "InvalidResourceReference", "was not found", ""},

	// security rules
	{"priority used twice", "PUT", ruleB, rule(`priority=100`), 400, "SecurityRuleConflict", "Security rule b conflicts with rule a. Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules.", ""},
	{"priority too high", "PUT", ruleB, rule(`priority=4097`), 400, "SecurityRuleInvalidPriority", "Security rule has invalid Priority. Value provided: 4097 Allowed range 100-4096.", ""},
	{"priority too low", "PUT", ruleB, rule(`priority=99`), 400, "SecurityRuleInvalidPriority", "99", ""},
	{"port too high", "PUT", ruleB, rule(`destinationPortRange="66600"`), 400, "SecurityRuleInvalidPortRange", "Security rule has invalid Port range. Value provided: 66600. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.", ""},
	{"port range backwards", "PUT", ruleB, rule(`sourcePortRange="90-80"`), 400, "SecurityRuleInvalidPortRange", "90-80", ""},
	{"port word", "PUT", ruleB, rule(`destinationPortRange=; destinationPortRanges=["80","http"]`), 400, "SecurityRuleInvalidPortRange", "http", ""},
	{"no port", "PUT", ruleB, rule(`destinationPortRange=`), 400, "SecurityRuleParameterMissing", "destinationPortRange", ""},
	{"both port forms", "PUT", ruleB, rule(`destinationPortRanges=["80"]`), 400, "SecurityRuleParameterConflict", "destinationPortRanges", ""},
	{"prefix length", "PUT", ruleB, rule(`sourceAddressPrefix="10.0.0.0/42"`), 400, "SecurityRuleInvalidAddressPrefix", "Security rule ~N/networkSecurityGroups/nsg/securityRules/b has invalid Address prefix. Value provided: 10.0.0.0/42", ""},
	{"host bits in rule", "PUT", ruleB, rule(`sourceAddressPrefix="50.206.209.68/27"`), 400, "SecurityRuleInvalidAddressPrefix", "50.206.209.68/27", ""},
	{"IPv6 text", "PUT", ruleB, rule(`sourceAddressPrefix="2001:4898:e810:0::/64"`), 400, "SecurityRuleInvalidAddressPrefix", "2001:4898:e810:0::/64", ""},
	{"unknown tag", "PUT", ruleB, rule(`sourceAddressPrefix="Narnia"`), 400, "SecurityRuleInvalidAddressPrefix", "Narnia", ""},
	{"tag in list", "PUT", ruleB, rule(`destinationAddressPrefix=; destinationAddressPrefixes=["10.0.0.0/8","VirtualNetwork"]`), 400, "SecurityRuleParameterContainsUnsupportedValue",
		"Security rule parameter DestinationAddressPrefix for rule with Id ~N/networkSecurityGroups/nsg/securityRules/b cannot specify existing VIRTUALNETWORK, INTERNET, AZURELOADBALANCER, '*' or system tags. Unsupported value used: VirtualNetwork.", ""},
	{"star in list", "PUT", ruleB, rule(`sourceAddressPrefix=; sourceAddressPrefixes=["*"]`), 400, "SecurityRuleParameterContainsUnsupportedValue", "value used: *.", ""},
	{"families mixed", "PUT", ruleB, rule(`sourceAddressPrefix=; sourceAddressPrefixes=["10.0.0.0/8","fd00::/8"]`), 400, "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies", "different address families", ""},
	{"prefix and group", "PUT", ruleB, rule(`sourceApplicationSecurityGroups=` + asgs(1)), 400, "SecurityRuleParameterConflict", "application security groups", ""},
	{"no address", "PUT", ruleB, rule(`sourceAddressPrefix=`), 400, "SecurityRuleParameterMissing", "sourceAddressPrefix", ""},
	{"long description", "PUT", ruleB, rule(`description="` + strings.Repeat("é", 141) + `"`), 400, "SecurityRuleDescriptionTooLong", "Security rule description cannot exceed 140 chars.", ""},
	{"many groups", "PUT", ruleB, rule(`sourceAddressPrefix=; sourceApplicationSecurityGroups=` + asgs(11)), 400, "NumberOfApplicationSecurityGroupsReferencedInSecurityRuleLimitReached", "has 11 in the SourceApplicationSecurityGroups field.", ""},
	{"missing group", "PUT", ruleB, rule(`sourceAddressPrefix=; sourceApplicationSecurityGroups=[{"id":"~N/applicationSecurityGroups/none"}]`), 400, "InvalidResourceReference", "applicationSecurityGroups/none", ""},
	{"groups of two networks", "PUT", ruleB, rule(`sourceAddressPrefix=; sourceApplicationSecurityGroups=[{"id":"~N/applicationSecurityGroups/asg0"}]; destinationAddressPrefix=; destinationApplicationSecurityGroups=[{"id":"~N/applicationSecurityGroups/asg1"}]`),
		400, "AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet", "(~N/virtualNetworks/v, ~N/virtualNetworks/v2)", ""},

	// interfaces
	{"missing subnet", "PUT", nNew, nicBody("none", ""), 400, "InvalidResourceReference", "Resource ~N/virtualNetworks/v/subnets/none referenced by resource ~N/networkInterfaces/new was not found.", "properties.ipConfigurations[0].properties.subnet.id"},
	{"address format", "PUT", nNew, nicBody("s", `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.11.12.13.14"`), 400, "InvalidPrivateIPAddressFormat", "Private static IP address value 10.11.12.13.14 is invalid.", ""},
	{"static without address", "PUT", nNew, nicBody("s", `,"privateIPAllocationMethod":"Static"`), 400, "PrivateIPAddressNotSpecified", "Static", ""},
	{"IPv6 without prefix", "PUT", nNew, strings.Replace(nicBody("s", ""), `}}]}`, `}},{"name":"six","properties":{"privateIPAddressVersion":"IPv6","subnet":{"id":"~N/virtualNetworks/v/subnets/s"}}}]}`, 1), 400, "SubnetHasNoPrefixOfIpVersion", "IPv6", ""},
	{"IPv6 alone", "PUT", nNew, nicBody("s", `,"privateIPAddressVersion":"IPv6"`), 400, "PrimaryIpConfigurationMustBeIPv4", "must be IPv4", ""},
	{"two subnets", "PUT", nNew, strings.Replace(nicBody("s", ""), `}}]}`, `}},{"name":"two","properties":{"subnet":{"id":"~N/virtualNetworks/v/subnets/s2"}}}]}`, 1), 400, "IpConfigurationsOnSameNicCannotUseDifferentSubnets", "subnets/s2", ""},
	{"no configuration", "PUT", nNew, `{"location":"westus2","properties":{"ipConfigurations":[]}}`, 400, "InvalidIpConfigurationCount", "0 IP configurations", ""},
	{"group of another network", "PUT", nNew, nicBody("s", `,"applicationSecurityGroups":[{"id":"~N/applicationSecurityGroups/asg1"}]`), 400, "ApplicationSecurityGroupMembersMustBeFromSameVnet", "v2", ""},

	// machines
	{"missing interface", "PUT", "~C/virtualMachines/x", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/none"}]}}}`, 404, "NotFound", "Resource ~N/networkInterfaces/none not found.", "properties.networkProfile.networkInterfaces[0].id"},
	{"interface taken", "PUT", "~C/virtualMachines/x", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n"}]}}}`, 400, "NicInUse", "is used by existing resource ~C/virtualMachines/m.", ""},
	{"no interface", "PUT", "~C/virtualMachines/x", `{"location":"westus2","properties":{"networkProfile":{}}}`, 400, "InvalidParameter", "networkProfile", ""},
	{"no primary", "PUT", "~C/virtualMachines/m", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n"},{"id":"~N/networkInterfaces/n2"}]}}}`, 400, "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary", "one network interface set as the primary", ""},
	{"two networks", "PUT", "~C/virtualMachines/m", `{"location":"westus2","properties":{"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n","properties":{"primary":true}},{"id":"~N/networkInterfaces/other"}]}}}`, 400, "SubnetsNotInSameVnet", "one virtual network", ""},

	// deletes of what is used
	{"delete used NIC", "DELETE", "~N/networkInterfaces/n", "", 400, "NicInUse", "Network Interface ~N/networkInterfaces/n is used by existing resource ~C/virtualMachines/m. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.", ""},
	{"delete used subnet", "DELETE", "~N/virtualNetworks/v/subnets/s", "", 400, "InUseSubnetCannotBeDeleted", "Subnet s is in use by", ""},
	{"delete used VNet", "DELETE", "~N/virtualNetworks/v", "", 400, "InUseSubnetCannotBeDeleted", "Subnet s is in use by ~N/networkInterfaces/n/ipConfigurations/ipconfig1 and cannot be deleted.", ""},
	{"delete used NSG", "DELETE", "~N/networkSecurityGroups/nsg", "", 400, "InUseNetworkSecurityGroupCannotBeDeleted", "Network security group ~N/networkSecurityGroups/nsg cannot be deleted because it is in use by the following resources: ~N/virtualNetworks/v/subnets/s2. In order to delete", ""},
	{"delete used ASG", "DELETE", "~N/applicationSecurityGroups/asg0", "", 400, "InUseApplicationSecurityGroupCannotBeDeleted", "referenced by IpConfiguration(s) ~N/networkInterfaces/n2/ipConfigurations/ipconfig1", ""},
}

// populated has what the refusals are about.
func populated(t *testing.T) *api {
	a := newAPI(t)
	a.vnet()
	for i := range 12 {
		a.ok(201, "PUT", fmt.Sprintf("~N/applicationSecurityGroups/asg%d", i), `{"location":"westus2"}`)
	}
	a.ok(201, "PUT", "~N/networkSecurityGroups/nsg", `{"location":"westus2"}`)
	a.ok(201, "PUT", "~N/networkSecurityGroups/europe", `{"location":"West Europe"}`)
	a.ok(201, "PUT", "~N/networkSecurityGroups/nsg/securityRules/a", rule("priority=100"))
	a.ok(201, "PUT", "~N/virtualNetworks/v/subnets/s2", subnetBody(`"addressPrefix":"10.0.2.0/24","networkSecurityGroup":{"id":"~N/networkSecurityGroups/nsg"}`))
	a.nic("n")
	a.vm("m", "n")
	a.ok(201, "PUT", "~N/networkInterfaces/n2", nicBody("s", `,"applicationSecurityGroups":[{"id":"~N/applicationSecurityGroups/asg0"}]`))
	a.ok(201, "PUT", "~N/virtualNetworks/v2", vnetBody(space+`,"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24"}}]`))
	a.ok(201, "PUT", "~N/networkInterfaces/other", strings.Replace(nicBody("s", `,"applicationSecurityGroups":[{"id":"~N/applicationSecurityGroups/asg1"}]`), "Networks/v/", "Networks/v2/", 1))
	a.token = token2
	a.ok(201, "PUT", "/subscriptions/"+sub2+"/resourceGroups/g", `{"location":"westus2"}`)
	a.ok(201, "PUT", "/subscriptions/"+sub2+"/resourceGroups/g/providers/Microsoft.Network/networkSecurityGroups/nsg", `{"location":"westus2"}`)
	a.token = token1
	return a
}

func TestRefusals(t *testing.T) {
	a := populated(t)
	before, applied := a.store.rev, a.store.applied
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			p := c.path
			r := a.do(c.method, p, c.body)
			if r.status != c.status {
				t.Fatalf("status %d, want %d\n%s", r.status, c.status, r.body)
			}
			code, message, target, details := r.errorOf(t)
			all := message
			for _, d := range details {
				all += "\n" + fmt.Sprint(d["message"])
			}
			if code != c.code || !strings.Contains(all, names(c.message)) {
				t.Errorf("got %s: %s\nwant %s: %s", code, all, c.code, names(c.message))
			}
			if c.target != "" && target != c.target {
				t.Errorf("target %q, want %q", target, c.target)
			}
			if r.header.Get("x-ms-error-code") != c.code || r.header.Get("x-ms-request-id") == "" {
				t.Errorf("headers %v", r.header)
			}
		})
	}
	if a.store.rev != before || a.store.applied != applied {
		t.Errorf("refused writes changed the store: revision %d, then %d", before, a.store.rev)
	}
}

func TestAllFaultsAreListed(t *testing.T) {
	a := populated(t)
	r := a.do("PUT", "~N/networkSecurityGroups/many", `{"location":"westus2","properties":{"securityRules":[
		{"name":"one","properties":{"protocol":"Tcp","access":"Allow","direction":"Inbound","priority":1,"sourcePortRange":"x","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"10.0.0.1/8"}}]}}`)
	code, _, target, details := r.errorOf(t)
	if code != "SecurityRuleInvalidPriority" || target != "properties.securityRules[0].properties.priority" || len(details) != 2 {
		t.Fatal(r.body)
	}
	if details[0]["code"] != "SecurityRuleInvalidPortRange" || details[1]["target"] != "properties.securityRules[0].properties.destinationAddressPrefix" {
		t.Error(r.body)
	}
	r = a.do("PUT", "~N/networkSecurityGroups/many", `{"location":5,"properties":{"a":1,"b":2,"securityRules":{}}}`)
	if _, _, _, details = r.errorOf(t); len(details) != 4 {
		t.Error(r.body)
	}
}

func TestErrorForms(t *testing.T) {
	a := populated(t)
	for _, c := range []struct{ path, body, want string }{
		{"~N/networkSecurityGroups/x", `{"location":"westus2","properties":{"securityRules":[{"name":"","properties":` + strings.TrimSuffix(strings.TrimPrefix(rule(""), `{"properties":`), `}`) + `}]}}`,
			`{"error":{"code":"InvalidResourceName","message":"Resource name  is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'.","target":"properties.securityRules[0].name","details":[]}}`},
		{"~N/networkSecurityGroups/x", `{}`, `{"error":{"code":"LocationRequired","message":"The location property is required for this definition.","target":"location"}}`},
		{"~G0/providers/Microsoft.Network/networkSecurityGroups/x", `{}`, `{"error":{"code":"ResourceGroupNotFound","message":"Resource group 'g0' could not be found."}}`},
	} {
		if r := a.do("PUT", c.path, c.body); r.body != c.want {
			t.Errorf("got\n%s\nwant\n%s", r.body, c.want)
		}
	}
	a.token = "wrong-token-wrong-token"
	r := a.do("GET", "~G", "")
	if code, _, _, _ := r.errorOf(t); r.status != 401 || code != "InvalidAuthenticationToken" || r.header.Get("WWW-Authenticate") == "" {
		t.Error(r)
	}
}

func TestBodyLimit(t *testing.T) {
	a := newAPI(t)
	big := `{"location":"westus2","tags":{"x":"` + strings.Repeat("a", 4<<20) + `"}}`
	r := a.do("PUT", "~N/networkSecurityGroups/x", big)
	if code, msg, _, _ := r.errorOf(t); r.status != 413 || code != "RequestContentTooLarge" || !strings.Contains(msg, "4194304") {
		t.Error(r.status, r.body)
	}
}
