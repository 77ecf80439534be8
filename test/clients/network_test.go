package clients

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

func TestResourceGroups(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "groups")

	got, err := a.groups.Get(ctx, g, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "id", got.ID, "/subscriptions/"+a.sub+"/resourceGroups/"+g)
	equal(t, "type", got.Type, "Microsoft.Resources/resourceGroups")
	equal(t, "state", got.Properties.ProvisioningState, "Succeeded")

	exists, err := a.groups.CheckExistence(ctx, g, nil)
	if err != nil || !exists.Success {
		t.Errorf("existence of %s: %v %v", g, exists.Success, err)
	}
	exists, err = a.groups.CheckExistence(ctx, g+"-not", nil)
	if err != nil || exists.Success {
		t.Errorf("existence of a missing group: %v %v", exists.Success, err)
	}
	_, err = a.groups.CreateOrUpdate(ctx, g, armresources.ResourceGroup{Location: to.Ptr(location), Tags: map[string]*string{"tier": to.Ptr("web")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, rg := range pages(t, a.groups.NewListPager(nil), func(p armresources.ResourceGroupsClientListResponse) []*armresources.ResourceGroup { return p.Value }) {
		names[*rg.Name] = true
		if *rg.Name == g && (rg.Tags["tier"] == nil || *rg.Tags["tier"] != "web") {
			t.Errorf("tags of %s: %v", g, rg.Tags)
		}
	}
	if !names[g] {
		t.Errorf("%s is not in the list %v", g, names)
	}
	_, err = a.groups.Get(ctx, "no-such-group", nil)
	refused(t, err, 404, "ResourceGroupNotFound", "Resource group 'no-such-group' could not be found.")
	_, err = a.vnets.Get(ctx, "no-such-group", "v", nil)
	refused(t, err, 404, "ResourceGroupNotFound")
}

func TestDeletingAGroupTakesItsContent(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "content")
	v := a.vnet(t, g, "v", "10.8.0.0/16", "10.8.0.0/24")
	n := a.nic(t, g, "n", *v.Properties.Subnets[0].ID, "")
	a.vm(t, g, "m", *n.ID)

	var types []string
	for _, r := range pages(t, a.all.NewListByResourceGroupPager(g, nil), func(p armresources.ClientListByResourceGroupResponse) []*armresources.GenericResourceExpanded {
		return p.Value
	}) {
		types = append(types, *r.Type)
	}
	if len(types) != 3 {
		t.Errorf("the group lists %v, want three resources", types)
	}
	p, err := a.groups.BeginDelete(ctx, g, nil)
	done(t, p, err)
	_, err = a.nics.Get(ctx, g, "n", nil)
	refused(t, err, 404, "ResourceGroupNotFound")
	if _, err := a.groups.CreateOrUpdate(ctx, g, armresources.ResourceGroup{Location: to.Ptr(location)}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = a.vnets.Get(ctx, g, "v", nil)
	refused(t, err, 404, "ResourceNotFound", "'Microsoft.Network/virtualNetworks/v'")
}

func TestVirtualNetworks(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "vnets")
	v := a.vnet(t, g, "Vnet-A", "10.0.0.0/16")

	base := "/subscriptions/" + a.sub + "/resourceGroups/" + g + "/providers/Microsoft.Network/virtualNetworks/Vnet-A"
	equal(t, "id", v.ID, base)
	equal(t, "name", v.Name, "Vnet-A")
	equal(t, "type", v.Type, "Microsoft.Network/virtualNetworks")
	equal(t, "state", v.Properties.ProvisioningState, armnetwork.ProvisioningStateSucceeded)
	equal(t, "enableDdosProtection", v.Properties.EnableDdosProtection, false)
	if v.Properties.ResourceGUID == nil || len(*v.Properties.ResourceGUID) != 36 {
		t.Errorf("resourceGuid is %v", v.Properties.ResourceGUID)
	}
	if v.Properties.Subnets == nil || len(v.Properties.Subnets) != 0 {
		t.Errorf("subnets is %v, want an empty list", v.Properties.Subnets)
	}
	if v.Etag == nil || !strings.HasPrefix(*v.Etag, `W/"`) {
		t.Errorf("etag is %v", v.Etag)
	}

	p, err := a.subnets.BeginCreateOrUpdate(ctx, g, "vnet-a", "web", armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.0.1.0/24")}}, nil)
	s := done(t, p, err).Subnet
	equal(t, "subnet id", s.ID, base+"/subnets/web")
	equal(t, "subnet type", s.Type, "Microsoft.Network/virtualNetworks/subnets")
	equal(t, "prefix", s.Properties.AddressPrefix, "10.0.1.0/24")
	equal(t, "privateEndpointNetworkPolicies", s.Properties.PrivateEndpointNetworkPolicies, armnetwork.VirtualNetworkPrivateEndpointNetworkPoliciesDisabled)
	equal(t, "privateLinkServiceNetworkPolicies", s.Properties.PrivateLinkServiceNetworkPolicies, armnetwork.VirtualNetworkPrivateLinkServiceNetworkPoliciesEnabled)
	if s.Properties.Delegations == nil {
		t.Error("delegations is absent, want an empty list")
	}

	// A PUT without subnets keeps them; one with an empty list removes them.
	v.Properties.Subnets, v.Tags = nil, map[string]*string{"owner": to.Ptr("net")}
	q, err := a.vnets.BeginCreateOrUpdate(ctx, g, "Vnet-A", v, nil)
	v = done(t, q, err).VirtualNetwork
	if len(v.Properties.Subnets) != 1 || v.Tags["owner"] == nil {
		t.Errorf("after a PUT without subnets: %d subnets, tags %v", len(v.Properties.Subnets), v.Tags)
	}
	if n := len(pages(t, a.subnets.NewListPager(g, "Vnet-A", nil), func(p armnetwork.SubnetsClientListResponse) []*armnetwork.Subnet { return p.Value })); n != 1 {
		t.Errorf("%d subnets listed, want 1", n)
	}
	v.Properties.Subnets = []*armnetwork.Subnet{}
	q, err = a.vnets.BeginCreateOrUpdate(ctx, g, "Vnet-A", v, nil)
	if v = done(t, q, err).VirtualNetwork; len(v.Properties.Subnets) != 0 {
		t.Errorf("after a PUT with an empty list: %d subnets", len(v.Properties.Subnets))
	}
	_, err = a.subnets.Get(ctx, g, "Vnet-A", "web", nil)
	refused(t, err, 404, "NotFound")
	_, err = a.subnets.Get(ctx, g, "no-vnet", "web", nil)
	refused(t, err, 404, "ResourceNotFound", "no-vnet")

	d, err := a.vnets.BeginDelete(ctx, g, "Vnet-A", nil)
	done(t, d, err)
	_, err = a.vnets.Get(ctx, g, "Vnet-A", nil)
	refused(t, err, 404, "ResourceNotFound", "was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix")
	d, err = a.vnets.BeginDelete(ctx, g, "Vnet-A", nil) // again: nothing to do is a success
	done(t, d, err)
}

func TestVirtualNetworkLists(t *testing.T) {
	a := contoso(t)
	g := a.group(t, "lists")
	for i := range 3 {
		a.vnet(t, g, fmt.Sprintf("v%d", i), "10.0.0.0/16")
	}
	if n := len(pages(t, a.vnets.NewListPager(g, nil), func(p armnetwork.VirtualNetworksClientListResponse) []*armnetwork.VirtualNetwork { return p.Value })); n != 3 {
		t.Errorf("%d in the group, want 3", n)
	}
	found := 0
	for _, v := range pages(t, a.vnets.NewListAllPager(nil), func(p armnetwork.VirtualNetworksClientListAllResponse) []*armnetwork.VirtualNetwork { return p.Value }) {
		if strings.Contains(*v.ID, "/"+g+"/") {
			found++
		}
	}
	if found != 3 {
		t.Errorf("%d of the group in the subscription, want 3", found)
	}
}

func TestSecurityGroups(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "nsgs")
	n := a.nsg(t, g, "web")
	equal(t, "type", n.Type, "Microsoft.Network/networkSecurityGroups")
	if n.Properties.SecurityRules == nil {
		t.Error("securityRules is absent, want an empty list")
	}
	var order []string
	for _, d := range n.Properties.DefaultSecurityRules {
		if d.Properties == nil {
			t.Fatalf("default rule %s has no properties", *d.Name)
		}
		order = append(order, fmt.Sprintf("%s %d %s %s %s>%s", *d.Name, *d.Properties.Priority, *d.Properties.Direction, *d.Properties.Access,
			*d.Properties.SourceAddressPrefix, *d.Properties.DestinationAddressPrefix))
		if d.Properties.SourceAddressPrefixes == nil || d.Properties.DestinationPortRanges == nil {
			t.Errorf("%s: a plural list is absent, want it empty", *d.Name)
		}
	}
	want := []string{
		"AllowVnetInBound 65000 Inbound Allow VirtualNetwork>VirtualNetwork",
		"AllowAzureLoadBalancerInBound 65001 Inbound Allow AzureLoadBalancer>*",
		"DenyAllInBound 65500 Inbound Deny *>*",
		"AllowVnetOutBound 65000 Outbound Allow VirtualNetwork>VirtualNetwork",
		"AllowInternetOutBound 65001 Outbound Allow *>Internet",
		"DenyAllOutBound 65500 Outbound Deny *>*",
	}
	if strings.Join(order, "\n") != strings.Join(want, "\n") {
		t.Errorf("default rules:\n%s\nwant\n%s", strings.Join(order, "\n"), strings.Join(want, "\n"))
	}
	if b, err := a.builtin.Get(ctx, g, "web", "DenyAllInBound", nil); err != nil {
		t.Errorf("default rule by its path: %v", err)
	} else {
		equal(t, "description", b.Properties.Description, "Deny all inbound traffic")
	}

	p, err := a.rules.BeginCreateOrUpdate(ctx, g, "web", "https", *rule("https", 100, armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleAccessAllow, "443"), nil)
	r := done(t, p, err).SecurityRule
	equal(t, "rule id", r.ID, *n.ID+"/securityRules/https")
	equal(t, "rule port", r.Properties.DestinationPortRange, "443")
	if r.Properties.SourcePortRanges == nil {
		t.Error("sourcePortRanges is absent, want an empty list")
	}
	other, err := a.rules.Get(ctx, g, "WEB", "HTTPS", nil) // paths do not mind the case
	if err != nil {
		t.Fatal(err)
	}
	whole, err := a.nsgs.Get(ctx, g, "web", nil)
	if err != nil {
		t.Fatal(err)
	}
	if *other.Etag != *whole.Etag {
		t.Errorf("a rule's etag %s is not its group's %s", *other.Etag, *whole.Etag)
	}
	equal(t, "the rule's name as it was sent", other.Name, "https")
	if got := pages(t, a.rules.NewListPager(g, "web", nil), func(p armnetwork.SecurityRulesClientListResponse) []*armnetwork.SecurityRule { return p.Value }); len(got) != 1 {
		t.Errorf("%d rules listed", len(got))
	}
	d, err := a.rules.BeginDelete(ctx, g, "web", "https", nil)
	done(t, d, err)
	_, err = a.rules.Get(ctx, g, "web", "https", nil)
	refused(t, err, 404, "NotFound")
}

func TestEtags(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "etags")
	first := a.nsg(t, g, "n")
	body := armnetwork.SecurityGroup{Location: to.Ptr(location), Tags: map[string]*string{"n": to.Ptr("1")}}
	got, err := a.nsgs.Get(ctx, g, "n", nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := a.nsgs.BeginCreateOrUpdate(ifMatch(ctx, *got.Etag), g, "n", body, nil)
	second := done(t, p, err).SecurityGroup
	if *second.Etag == *first.Etag {
		t.Error("the etag did not change with the resource")
	}
	_, err = a.nsgs.BeginCreateOrUpdate(ifMatch(ctx, *got.Etag), g, "n", body, nil)
	refused(t, err, 412, "PreconditionFailed")
	_, err = a.nsgs.BeginDelete(ifMatch(ctx, *got.Etag), g, "n", nil)
	refused(t, err, 412, "PreconditionFailed")
	if _, err := a.nsgs.Get(ctx, g, "n", nil); err != nil {
		t.Errorf("after a refused delete: %v", err)
	}
}

func TestInterfacesAndMachines(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "nics")
	v := a.vnet(t, g, "v", "10.1.0.0/16", "10.1.0.0/24")
	subnet := *v.Properties.Subnets[0].ID
	n := a.nic(t, g, "n1", subnet, "")
	ip := n.Properties.IPConfigurations[0]
	equal(t, "address", ip.Properties.PrivateIPAddress, "10.1.0.4")
	equal(t, "method", ip.Properties.PrivateIPAllocationMethod, armnetwork.IPAllocationMethodDynamic)
	equal(t, "primary", ip.Properties.Primary, true)
	equal(t, "version", ip.Properties.PrivateIPAddressVersion, armnetwork.IPVersionIPv4)
	equal(t, "nicType", n.Properties.NicType, armnetwork.NetworkInterfaceNicTypeStandard)
	equal(t, "enableIPForwarding", n.Properties.EnableIPForwarding, false)
	suffix := regexp.MustCompile(`^[a-z0-9]{26}\.[a-z]x\.internal\.cloudapp\.net$`)
	if d := n.Properties.DNSSettings; d == nil || d.InternalDomainNameSuffix == nil || !suffix.MatchString(*d.InternalDomainNameSuffix) {
		t.Errorf("dnsSettings is %+v", d)
	}
	if n.Properties.MacAddress != nil && *n.Properties.MacAddress != "" {
		t.Errorf("an unattached interface shows MAC address %s", *n.Properties.MacAddress)
	}
	a.nic(t, g, "n2", subnet, "10.1.0.9")
	if n3 := a.nic(t, g, "n3", subnet, ""); *n3.Properties.IPConfigurations[0].Properties.PrivateIPAddress != "10.1.0.5" {
		t.Errorf("the third interface got %s", *n3.Properties.IPConfigurations[0].Properties.PrivateIPAddress)
	}

	m := a.vm(t, g, "vm1", *n.ID)
	equal(t, "vm type", m.Type, "Microsoft.Compute/virtualMachines")
	equal(t, "vm state", m.Properties.ProvisioningState, "Succeeded")
	if m.Properties.VMID == nil || len(*m.Properties.VMID) != 36 {
		t.Errorf("vmId is %v", m.Properties.VMID)
	}
	attached, err := a.nics.Get(ctx, g, "n1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if mac := attached.Properties.MacAddress; mac == nil || !regexp.MustCompile(`^([0-9A-F]{2}-){5}[0-9A-F]{2}$`).MatchString(*mac) {
		t.Errorf("macAddress is %v", mac)
	}
	if ref := attached.Properties.VirtualMachine; ref == nil || *ref.ID != *m.ID {
		t.Errorf("virtualMachine is %+v, want %s", ref, *m.ID)
	}
	sub, err := a.subnets.Get(ctx, g, "v", "s0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(sub.Properties.IPConfigurations) != 3 {
		t.Errorf("the subnet names %d ipConfigurations, want 3", len(sub.Properties.IPConfigurations))
	}

	_, err = a.nics.BeginDelete(ctx, g, "n1", nil)
	refused(t, err, 400, "NicInUse", *m.ID)
	_, err = a.subnets.BeginDelete(ctx, g, "v", "s0", nil)
	refused(t, err, 400, "InUseSubnetCannotBeDeleted")
	_, err = a.vnets.BeginDelete(ctx, g, "v", nil)
	refused(t, err, 400, "InUseSubnetCannotBeDeleted")

	d, err := a.vms.BeginDelete(ctx, g, "vm1", nil)
	done(t, d, err)
	_, err = a.vms.Get(ctx, g, "vm1", nil)
	refused(t, err, 404, "ResourceNotFound")
	e, err := a.nics.BeginDelete(ctx, g, "n1", nil)
	done(t, e, err)
	_, err = a.nics.Get(ctx, g, "n1", nil)
	gone(t, err)
}

func TestApplicationSecurityGroups(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "asgs")
	p, err := a.asgs.BeginCreateOrUpdate(ctx, g, "web", armnetwork.ApplicationSecurityGroup{Location: to.Ptr(location)}, nil)
	asg := done(t, p, err).ApplicationSecurityGroup
	equal(t, "type", asg.Type, "Microsoft.Network/applicationSecurityGroups")

	r := rule("to-web", 100, armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleAccessAllow, "80")
	r.Properties.DestinationAddressPrefix = nil
	r.Properties.DestinationApplicationSecurityGroups = []*armnetwork.ApplicationSecurityGroup{{ID: asg.ID}}
	n := a.nsg(t, g, "n", r)
	got := n.Properties.SecurityRules[0].Properties
	if got.DestinationAddressPrefix != nil || len(got.DestinationApplicationSecurityGroups) != 1 || *got.DestinationApplicationSecurityGroups[0].ID != *asg.ID {
		t.Errorf("the rule came back as %+v", got)
	}
	v := a.vnet(t, g, "v", "10.2.0.0/16", "10.2.0.0/24")
	body := nicBody(*v.Properties.Subnets[0].ID, "")
	body.Properties.IPConfigurations[0].Properties.ApplicationSecurityGroups = []*armnetwork.ApplicationSecurityGroup{{ID: asg.ID}}
	q, err := a.nics.BeginCreateOrUpdate(ctx, g, "n1", body, nil)
	nic := done(t, q, err).Interface
	if l := nic.Properties.IPConfigurations[0].Properties.ApplicationSecurityGroups; len(l) != 1 {
		t.Errorf("the interface is in %d groups, want 1", len(l))
	}
}
