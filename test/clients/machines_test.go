package clients

import (
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// ipConfig is one configuration of an interface.
func ipConfig(name, subnet string, version armnetwork.IPVersion, primary bool) *armnetwork.InterfaceIPConfiguration {
	return &armnetwork.InterfaceIPConfiguration{Name: to.Ptr(name), Properties: &armnetwork.InterfaceIPConfigurationPropertiesFormat{
		Subnet: &armnetwork.Subnet{ID: to.Ptr(subnet)}, PrivateIPAddressVersion: to.Ptr(version), Primary: to.Ptr(primary),
		PrivateIPAllocationMethod: to.Ptr(armnetwork.IPAllocationMethodDynamic)}}
}

func TestSeveralAddressesOfBothFamilies(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "dual")
	both := func(four, six string) []*string { return []*string{to.Ptr(four), to.Ptr(six)} }
	p, err := a.vnets.BeginCreateOrUpdate(ctx, g, "v", armnetwork.VirtualNetwork{Location: to.Ptr(location), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: both("10.5.0.0/16", "fd00:5::/48")},
		Subnets: []*armnetwork.Subnet{{Name: to.Ptr("s"), Properties: &armnetwork.SubnetPropertiesFormat{
			AddressPrefixes: both("10.5.1.0/24", "fd00:5:0:1::/64")}}}}}, nil)
	v := done(t, p, err).VirtualNetwork
	subnet := *v.Properties.Subnets[0].ID
	if n := len(v.Properties.Subnets[0].Properties.AddressPrefixes); n != 2 {
		t.Errorf("the subnet came back with %d prefixes", n)
	}
	body := armnetwork.Interface{Location: to.Ptr(location), Properties: &armnetwork.InterfacePropertiesFormat{IPConfigurations: []*armnetwork.InterfaceIPConfiguration{
		ipConfig("four", subnet, armnetwork.IPVersionIPv4, true), ipConfig("more", subnet, armnetwork.IPVersionIPv4, false),
		ipConfig("six", subnet, armnetwork.IPVersionIPv6, false)}}}
	q, err := a.nics.BeginCreateOrUpdate(ctx, g, "n", body, nil)
	nic := done(t, q, err).Interface
	var got []string
	for _, c := range nic.Properties.IPConfigurations {
		got = append(got, *c.Name+"="+*c.Properties.PrivateIPAddress)
	}
	if want := "four=10.5.1.4 more=10.5.1.5 six=fd00:5:0:1::4"; strings.Join(got, " ") != want {
		t.Errorf("addresses %v, want %s", got, want)
	}

	body.Properties.IPConfigurations[1].Properties.Primary = to.Ptr(true) // two of them
	_, err = a.nics.BeginCreateOrUpdate(ctx, g, "n", body, nil)
	if err == nil {
		t.Error("two primary configurations were accepted")
	}
	m := a.vm(t, g, "m", *nic.ID)
	equal(t, "the machine's interface", m.Properties.NetworkProfile.NetworkInterfaces[0].ID, *nic.ID)
}

// What a GET answers can be sent back as it is; clients read, change and write whole resources.
func TestItsOwnAnswerIsAccepted(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "echo")
	v := a.vnet(t, g, "v", "10.6.0.0/16", "10.6.0.0/24")
	n := a.nsg(t, g, "n", rule("r", 100, armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleAccessDeny, "1-1024"))
	nic := a.nic(t, g, "nic", *v.Properties.Subnets[0].ID, "")
	m := a.vm(t, g, "m", *nic.ID)

	p, err := a.vnets.BeginCreateOrUpdate(ctx, g, "v", v, nil)
	if again := done(t, p, err).VirtualNetwork; len(again.Properties.Subnets) != 1 || *again.Properties.ResourceGUID != *v.Properties.ResourceGUID {
		t.Errorf("the network came back as %+v", again.Properties)
	}
	q, err := a.nsgs.BeginCreateOrUpdate(ctx, g, "n", n, nil)
	if again := done(t, q, err).SecurityGroup; len(again.Properties.SecurityRules) != 1 || len(again.Properties.DefaultSecurityRules) != 6 {
		t.Errorf("the group came back with %d and %d rules", len(again.Properties.SecurityRules), len(again.Properties.DefaultSecurityRules))
	}
	got, err := a.nics.Get(ctx, g, "nic", nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.nics.BeginCreateOrUpdate(ctx, g, "nic", got.Interface, nil)
	if again := done(t, r, err).Interface; *again.Properties.IPConfigurations[0].Properties.PrivateIPAddress != "10.6.0.4" || *again.Properties.MacAddress != *got.Properties.MacAddress {
		t.Errorf("the interface came back as %+v", again.Properties)
	}
	s, err := a.vms.BeginCreateOrUpdate(ctx, g, "m", m, nil)
	if again := done(t, s, err).VirtualMachine; *again.Properties.VMID != *m.Properties.VMID {
		t.Errorf("the machine has another id: %s", *again.Properties.VMID)
	}
}

func TestTags(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "tags")
	n := a.nsg(t, g, "n", rule("r", 100, armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleAccessDeny, "22"))
	if n.Tags != nil {
		t.Errorf("tags that nobody set: %v", n.Tags)
	}
	got, err := a.nsgs.UpdateTags(ctx, g, "n", armnetwork.TagsObject{Tags: map[string]*string{"tier": to.Ptr("web")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "tag", got.Tags["tier"], "web")
	if len(got.Properties.SecurityRules) != 1 {
		t.Errorf("a change of tags left %d rules", len(got.Properties.SecurityRules))
	}
}

func TestMachineLists(t *testing.T) {
	a := contoso(t)
	g := a.group(t, "machines")
	v := a.vnet(t, g, "v", "10.7.0.0/16", "10.7.0.0/24")
	for _, name := range []string{"a", "b"} {
		a.vm(t, g, name, *a.nic(t, g, name, *v.Properties.Subnets[0].ID, "").ID)
	}
	if n := len(pages(t, a.vms.NewListPager(g, nil), func(p armcompute.VirtualMachinesClientListResponse) []*armcompute.VirtualMachine { return p.Value })); n != 2 {
		t.Errorf("%d machines in the group", n)
	}
	if n := len(pages(t, a.nics.NewListPager(g, nil), func(p armnetwork.InterfacesClientListResponse) []*armnetwork.Interface { return p.Value })); n != 2 {
		t.Errorf("%d interfaces in the group", n)
	}
	// A NIC serves one machine.
	_, err := a.vms.BeginCreateOrUpdate(deadline(t), g, "c", vmBody("c", *a.mustNIC(t, g, "a").ID), nil)
	if err == nil {
		t.Error("one interface was given to two machines")
	}
}

func (a *azure) mustNIC(t *testing.T, group, name string) armnetwork.Interface {
	t.Helper()
	n, err := a.nics.Get(deadline(t), group, name, nil)
	if err != nil {
		t.Fatal(err)
	}
	return n.Interface
}
