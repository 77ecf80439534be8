package arm

import (
	"strings"
	"testing"
)

const defaultRules = `[
 {"name":"AllowVnetInBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/AllowVnetInBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Allow inbound traffic from all VMs in VNET","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"VirtualNetwork","destinationAddressPrefix":"VirtualNetwork","access":"Allow","priority":65000,"direction":"Inbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}},
 {"name":"AllowAzureLoadBalancerInBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/AllowAzureLoadBalancerInBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Allow inbound traffic from azure load balancer","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"AzureLoadBalancer","destinationAddressPrefix":"*","access":"Allow","priority":65001,"direction":"Inbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}},
 {"name":"DenyAllInBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/DenyAllInBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Deny all inbound traffic","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"*","access":"Deny","priority":65500,"direction":"Inbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}},
 {"name":"AllowVnetOutBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/AllowVnetOutBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Allow outbound traffic from all VMs to all VMs in VNET","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"VirtualNetwork","destinationAddressPrefix":"VirtualNetwork","access":"Allow","priority":65000,"direction":"Outbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}},
 {"name":"AllowInternetOutBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/AllowInternetOutBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Allow outbound traffic from all VMs to Internet","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"Internet","access":"Allow","priority":65001,"direction":"Outbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}},
 {"name":"DenyAllOutBound","id":"~N/networkSecurityGroups/nsg1/defaultSecurityRules/DenyAllOutBound","etag":"E","type":"Microsoft.Network/networkSecurityGroups/defaultSecurityRules","properties":{"provisioningState":"Succeeded","description":"Deny all outbound traffic","protocol":"*","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"*","destinationAddressPrefix":"*","access":"Deny","priority":65500,"direction":"Outbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[]}}]`

func TestShapeOfSecurityGroup(t *testing.T) {
	a := newAPI(t)
	r := a.ok(201, "PUT", "~N/networkSecurityGroups/nsg1", `{"location":"westus2"}`)
	r.want(t, `{"name":"nsg1","id":"~N/networkSecurityGroups/nsg1","etag":"E","type":"Microsoft.Network/networkSecurityGroups","location":"westus2",
		"properties":{"provisioningState":"Succeeded","resourceGuid":"G","securityRules":[],"defaultSecurityRules":`+defaultRules+`}}`)
	if r.header.Get("ETag") != "" || r.header.Get("Azure-AsyncOperation") != "" {
		t.Errorf("a PUT that is enforced at once has headers %v", r.header)
	}
	a.ok(200, "PUT", "~N/networkSecurityGroups/nsg1", `{"location":"westus2"}`)
	g := a.ok(200, "GET", "~N/networkSecurityGroups/NSG1", "")
	if g.header.Get("ETag") != field(t, g.body, "etag") {
		t.Errorf("ETag header %s, body %v", g.header.Get("ETag"), field(t, g.body, "etag"))
	}
}

func TestShapeOfRule(t *testing.T) {
	a := newAPI(t)
	a.ok(201, "PUT", "~N/networkSecurityGroups/nsg1", `{"location":"westus2"}`)
	r := a.ok(201, "PUT", "~N/networkSecurityGroups/nsg1/securityRules/rule1", `{"properties":{"access":"Allow","destinationAddressPrefixes":["10.0.0.0/24","11.0.0.0/24"],
		"destinationPortRange":"80","direction":"Inbound","priority":1000,"protocol":"*","sourceAddressPrefix":"*","sourcePortRanges":["700-900","1000-1100"]}}`)
	r.want(t, `{"name":"rule1","id":"~N/networkSecurityGroups/nsg1/securityRules/rule1","etag":"E","type":"Microsoft.Network/networkSecurityGroups/securityRules",
		"properties":{"provisioningState":"Succeeded","protocol":"*","destinationPortRange":"80","sourceAddressPrefix":"*","access":"Allow","priority":1000,
		"direction":"Inbound","sourcePortRanges":["700-900","1000-1100"],"destinationPortRanges":[],"sourceAddressPrefixes":[],
		"destinationAddressPrefixes":["10.0.0.0/24","11.0.0.0/24"]}}`)
	a.ok(201, "PUT", "~N/applicationSecurityGroups/asg", `{"location":"westus2"}`).want(t,
		`{"name":"asg","id":"~N/applicationSecurityGroups/asg","etag":"E","type":"Microsoft.Network/applicationSecurityGroups","location":"westus2","properties":{"provisioningState":"Succeeded"}}`)
	r = a.ok(201, "PUT", "~N/networkSecurityGroups/nsg1/securityRules/rule2", `{"properties":{"access":"Deny","destinationApplicationSecurityGroups":[{"id":"~N/APPLICATIONSECURITYGROUPS/asg","location":"x"}],
		"destinationPortRange":"*","direction":"outbound","priority":1000,"protocol":"tcp","sourceAddressPrefix":"virtualnetwork","sourcePortRange":"*","description":"d"}}`)
	r.want(t, `{"name":"rule2","id":"~N/networkSecurityGroups/nsg1/securityRules/rule2","etag":"E","type":"Microsoft.Network/networkSecurityGroups/securityRules",
		"properties":{"provisioningState":"Succeeded","description":"d","protocol":"tcp","sourcePortRange":"*","destinationPortRange":"*","sourceAddressPrefix":"virtualnetwork","access":"Deny","priority":1000,
		"direction":"outbound","sourcePortRanges":[],"destinationPortRanges":[],"sourceAddressPrefixes":[],"destinationAddressPrefixes":[],
		"destinationApplicationSecurityGroups":[{"id":"~N/applicationSecurityGroups/asg"}]}}`)
	one := a.ok(200, "GET", "~N/networkSecurityGroups/nsg1/securityRules/RULE1", "")
	two := a.ok(200, "GET", "~N/networkSecurityGroups/nsg1/securityRules/rule2", "")
	whole := a.ok(200, "GET", "~N/networkSecurityGroups/nsg1", "")
	if e := field(t, whole.body, "etag"); field(t, one.body, "etag") != e || field(t, two.body, "etag") != e {
		t.Error("children do not carry their parent's etag")
	}
	d := a.ok(200, "GET", "~N/networkSecurityGroups/nsg1/defaultSecurityRules/denyallinbound", "")
	if field(t, d.body, "name") != "DenyAllInBound" {
		t.Error(d.body)
	}
	a.ok(405, "PUT", "~N/networkSecurityGroups/nsg1/defaultSecurityRules/DenyAllInBound", `{}`)
	a.ok(405, "DELETE", "~N/networkSecurityGroups/nsg1/defaultSecurityRules/DenyAllInBound", "")
}

func TestShapeOfVirtualNetwork(t *testing.T) {
	a := newAPI(t)
	body := `{"location":"westus2","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`
	want := `{"name":"v","id":"~N/virtualNetworks/v","etag":"E","type":"Microsoft.Network/virtualNetworks","location":"westus2",
		"properties":{"provisioningState":"Succeeded","resourceGuid":"G","addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
		"privateEndpointVNetPolicies":"Disabled","subnets":[],"virtualNetworkPeerings":[],"enableDdosProtection":false}}`
	a.ok(201, "PUT", "~N/virtualNetworks/v", body).want(t, want)
	a.ok(200, "GET", "~N/virtualNetworks/v?api-version=2020-11-01", "").want(t, strings.Replace(want, `"privateEndpointVNetPolicies":"Disabled",`, "", 1))
	s := `{"name":"s","id":"~N/virtualNetworks/v/subnets/s","etag":"E","properties":{"provisioningState":"Succeeded","addressPrefix":"10.0.0.0/24",
		"delegations":[],"privateEndpointNetworkPolicies":"Disabled","privateLinkServiceNetworkPolicies":"Enabled"},"type":"Microsoft.Network/virtualNetworks/subnets"}`
	a.ok(201, "PUT", "~N/virtualNetworks/v/subnets/s", `{"properties":{"addressPrefix":"10.0.0.0/24"}}`).want(t, s)
	a.ok(200, "GET", "~N/virtualNetworks/v", "").want(t, strings.Replace(want, `"subnets":[]`, `"subnets":[`+s+`]`, 1))
	a.ok(200, "GET", "~N/virtualNetworks/v/subnets", "").want(t, `{"value":[`+s+`]}`)

	a.ok(201, "PUT", "~N/networkSecurityGroups/n", `{"location":"westus2"}`)
	a.ok(200, "PUT", "~N/virtualNetworks/V/subnets/S", `{"properties":{"addressPrefixes":["10.0.0.0/24","10.0.9.0/24"],"networkSecurityGroup":{"id":"~N/networkSecurityGroups/n"}}}`).want(t,
		`{"name":"s","id":"~N/virtualNetworks/v/subnets/s","etag":"E","properties":{"provisioningState":"Succeeded","addressPrefixes":["10.0.0.0/24","10.0.9.0/24"],
		"networkSecurityGroup":{"id":"~N/networkSecurityGroups/n"},"delegations":[],"privateEndpointNetworkPolicies":"Disabled","privateLinkServiceNetworkPolicies":"Enabled"},
		"type":"Microsoft.Network/virtualNetworks/subnets"}`)
	n := a.ok(200, "GET", "~N/networkSecurityGroups/n", "")
	if got := field(t, n.body, "properties.subnets.0.id"); got != names("~N/virtualNetworks/v/subnets/s") {
		t.Errorf("the group's subnets: %v", got)
	}
}

func TestShapeOfInterfaceAndMachine(t *testing.T) {
	a := newAPI(t)
	a.vnet()
	config := `{"name":"ipconfig1","id":"~N/networkInterfaces/n/ipConfigurations/ipconfig1","etag":"E","type":"Microsoft.Network/networkInterfaces/ipConfigurations",
		"properties":{"provisioningState":"Succeeded","privateIPAddress":"10.0.0.4","privateIPAllocationMethod":"Dynamic",
		"subnet":{"id":"~N/virtualNetworks/v/subnets/s"},"primary":true,"privateIPAddressVersion":"IPv4"}}`
	want := func(mac, vm string) string {
		return `{"name":"n","id":"~N/networkInterfaces/n","etag":"E","properties":{"provisioningState":"Succeeded","resourceGuid":"G","ipConfigurations":[` + config + `],
		"dnsSettings":{"dnsServers":[],"appliedDnsServers":[],"internalDomainNameSuffix":"d531wnycjrmufpzy3wsc3221cb.rx.internal.cloudapp.net"},` + mac + `
		"enableAcceleratedNetworking":false,"vnetEncryptionSupported":false,"enableIPForwarding":false,"disableTcpStateTracking":false,` + vm + `"hostedWorkloads":[],
		"tapConfigurations":[],"nicType":"Standard"},"type":"Microsoft.Network/networkInterfaces","location":"westus2"}`
	}
	r := a.ok(201, "PUT", "~N/networkInterfaces/n", nicBody("s", ""))
	r.want(t, want("", ""))
	a.ok(200, "GET", "~N/networkInterfaces/n/ipConfigurations", "").want(t, `{"value":[`+config+`]}`)
	a.ok(405, "PUT", "~N/networkInterfaces/n/ipConfigurations/x", `{}`)

	r = a.ok(201, "PUT", "~C/virtualMachines/m", `{"location":"westus2","tags":{"a":"b"},"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},
		"osProfile":{"computerName":"Host-1","adminUsername":"u","adminPassword":"secret!"},"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n"}]}}}`)
	if got := r.header.Get("Ringfence-No-Effect"); got != "properties.hardwareProfile, properties.osProfile.adminUsername" {
		t.Errorf("without effect: %s", got)
	}
	r.want(t,
		`{"name":"m","id":"~C/virtualMachines/m","type":"Microsoft.Compute/virtualMachines","location":"westus2","tags":{"a":"b"},"properties":{"vmId":"G",
		"hardwareProfile":{"vmSize":"Standard_B1s"},"osProfile":{"computerName":"Host-1","adminUsername":"u"},
		"networkProfile":{"networkInterfaces":[{"id":"~N/networkInterfaces/n"}]},"provisioningState":"Succeeded","timeCreated":"2026-11-22T12:00:00Z"},"etag":"E"}`)
	a.ok(200, "GET", "~N/networkInterfaces/n", "").want(t, want(`"macAddress":"02-52-46-00-00-01",`, `"primary":true,"virtualMachine":{"id":"~C/virtualMachines/m"},`))
	i := a.ok(200, "GET", "~C/virtualMachines/m?$expand=instanceView", "")
	if field(t, i.body, "properties.instanceView.statuses.1.code") != "PowerState/running" {
		t.Error(i.body)
	}
	a.ok(200, "GET", "~C/virtualMachines/m/instanceView", "")
	s := a.ok(200, "GET", "~N/virtualNetworks/v/subnets/s", "")
	if got := field(t, s.body, "properties.ipConfigurations.0.id"); got != names("~N/networkInterfaces/n/ipConfigurations/ipconfig1") {
		t.Errorf("the subnet's ipConfigurations: %v", got)
	}
}

func TestShapeOfGroup(t *testing.T) {
	a := newAPI(t)
	want := `{"id":"~G","name":"g","type":"Microsoft.Resources/resourceGroups","location":"westus2","properties":{"provisioningState":"Succeeded"}}`
	a.ok(200, "GET", "/SUBSCRIPTIONS/"+sub1+"//resourcegroups/G/", "").want(t, want)
	a.ok(204, "HEAD", "~G", "")
	a.ok(404, "HEAD", "~G0", "")
	a.ok(200, "GET", "/subscriptions/"+sub1+"/resourcegroups", "").want(t, `{"value":[`+want+`]}`)
	a.ok(200, "PATCH", "~G", `{"tags":{"k":"v"}}`)
	if r := a.ok(200, "GET", "~G", ""); field(t, r.body, "tags.k") != "v" {
		t.Error(r.body)
	}
}
