package clients

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-azure-helpers/resourcemanager/commonids"
	"github.com/hashicorp/go-azure-sdk/resource-manager/compute/2024-03-01/virtualmachines"
	"github.com/hashicorp/go-azure-sdk/resource-manager/network/2025-01-01/networkinterfaces"
	"github.com/hashicorp/go-azure-sdk/resource-manager/network/2025-01-01/networksecuritygroups"
	"github.com/hashicorp/go-azure-sdk/resource-manager/network/2025-01-01/securityrules"
	"github.com/hashicorp/go-azure-sdk/resource-manager/network/2025-01-01/subnets"
	"github.com/hashicorp/go-azure-sdk/resource-manager/network/2025-01-01/virtualnetworks"
	"github.com/hashicorp/go-azure-sdk/resource-manager/resources/2023-07-01/resourcegroups"
	"github.com/hashicorp/go-azure-sdk/sdk/auth"
	"github.com/hashicorp/go-azure-sdk/sdk/client"
	"github.com/hashicorp/go-azure-sdk/sdk/environments"
)

// terraform is what Terraform's provider makes of a metadata host: its environment, its authorizer, its clients.
type terraform struct {
	t    *testing.T
	api  environments.Api
	auth auth.Authorizer
	sub  string
}

func newTerraform(t *testing.T) *terraform {
	t.Helper()
	env, err := environments.FromEndpoint(t.Context(), lab.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	of := lab.Tenants[0]
	who, err := auth.NewAuthorizerFromCredentials(t.Context(), auth.Credentials{Environment: *env, TenantID: of.ID, ClientID: of.ClientID,
		ClientSecret: of.ClientSecret, EnableAuthenticatingUsingClientSecret: true}, env.ResourceManager)
	if err != nil {
		t.Fatal(err)
	}
	return &terraform{t, env.ResourceManager, who, of.Subscription}
}

func point[T any](v T) *T { return &v }

// must ends the test on an error.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// The sequence that Terraform's provider runs for a configuration of a group, a network, a security group with its associations, an
// interface and a machine: create, refresh, destroy, by the clients that the provider itself is made of.
func TestHashiCorpClients(t *testing.T) {
	tf := newTerraform(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // they insist on a deadline
	defer cancel()
	groups := must(resourcegroups.NewResourceGroupsClientWithBaseURI(tf.api))(t)
	vnets := must(virtualnetworks.NewVirtualNetworksClientWithBaseURI(tf.api))(t)
	nets := must(subnets.NewSubnetsClientWithBaseURI(tf.api))(t)
	nsgs := must(networksecuritygroups.NewNetworkSecurityGroupsClientWithBaseURI(tf.api))(t)
	rules := must(securityrules.NewSecurityRulesClientWithBaseURI(tf.api))(t)
	nics := must(networkinterfaces.NewNetworkInterfacesClientWithBaseURI(tf.api))(t)
	vms := must(virtualmachines.NewVirtualMachinesClientWithBaseURI(tf.api))(t)
	for _, c := range []*client.Client{groups.Client.Client, vnets.Client.Client, nets.Client.Client, nsgs.Client.Client, rules.Client.Client, nics.Client.Client, vms.Client.Client} {
		c.Authorizer = tf.auth
	}
	group := commonids.NewResourceGroupID(tf.sub, "tf")
	gone := func(what string, r *http.Response, err error) {
		t.Helper()
		if err == nil || r == nil || r.StatusCode != http.StatusNotFound {
			t.Fatalf("%s is not said to be absent: %v", what, err)
		}
	}
	g, err := groups.Get(ctx, group)
	gone("the group", g.HttpResponse, err)
	must(groups.CreateOrUpdate(ctx, group, resourcegroups.ResourceGroup{Location: "westeurope", Tags: &map[string]string{"env": "test"}}))(t)
	defer groups.Delete(ctx, group, resourcegroups.DefaultDeleteOperationOptions()) // when the test fails halfway

	vnet := commonids.NewVirtualNetworkID(tf.sub, "tf", "net")
	v, err := vnets.Get(ctx, vnet, virtualnetworks.DefaultGetOperationOptions())
	gone("the network", v.HttpResponse, err)
	if err := vnets.CreateOrUpdateThenPoll(ctx, vnet, virtualnetworks.VirtualNetwork{Location: point("westeurope"), Properties: &virtualnetworks.VirtualNetworkPropertiesFormat{
		AddressSpace: &virtualnetworks.AddressSpace{AddressPrefixes: &[]string{"10.0.0.0/16"}}, DhcpOptions: &virtualnetworks.DhcpOptions{DnsServers: &[]string{}}}}); err != nil {
		t.Fatal(err)
	}
	subnet := commonids.NewSubnetID(tf.sub, "tf", "net", "app")
	if err := nets.CreateOrUpdateThenPoll(ctx, subnet, subnets.Subnet{Name: point("app"), Properties: &subnets.SubnetPropertiesFormat{AddressPrefix: point("10.0.1.0/24"),
		PrivateEndpointNetworkPolicies: point(subnets.VirtualNetworkPrivateEndpointNetworkPoliciesDisabled), DefaultOutboundAccess: point(true)}}); err != nil {
		t.Fatal(err)
	}
	nsg := networksecuritygroups.NewNetworkSecurityGroupID(tf.sub, "tf", "guard")
	if err := nsgs.CreateOrUpdateThenPoll(ctx, nsg, networksecuritygroups.NetworkSecurityGroup{Location: point("westeurope"),
		Properties: &networksecuritygroups.NetworkSecurityGroupPropertiesFormat{SecurityRules: &[]networksecuritygroups.SecurityRule{}}}); err != nil {
		t.Fatal(err)
	}
	rule := securityrules.NewSecurityRuleID(tf.sub, "tf", "guard", "ssh")
	if err := rules.CreateOrUpdateThenPoll(ctx, rule, securityrules.SecurityRule{Name: point("ssh"), Properties: &securityrules.SecurityRulePropertiesFormat{
		Priority: 100, Direction: securityrules.SecurityRuleDirectionInbound, Access: securityrules.SecurityRuleAccessAllow, Protocol: securityrules.SecurityRuleProtocolTcp,
		SourceAddressPrefix: point("*"), SourcePortRange: point("*"), DestinationAddressPrefix: point("*"), DestinationPortRange: point("22")}}); err != nil {
		t.Fatal(err)
	}
	// The association reads the subnet, puts the reference in, and writes all of it back.
	s := must(nets.Get(ctx, subnet, subnets.DefaultGetOperationOptions()))(t)
	s.Model.Properties.NetworkSecurityGroup = &subnets.NetworkSecurityGroup{Id: point(nsg.ID())}
	if err := nets.CreateOrUpdateThenPoll(ctx, subnet, *s.Model); err != nil {
		t.Fatal(err)
	}
	nic := commonids.NewNetworkInterfaceID(tf.sub, "tf", "nic")
	if err := nics.CreateOrUpdateThenPoll(ctx, nic, networkinterfaces.NetworkInterface{Location: point("westeurope"), Properties: &networkinterfaces.NetworkInterfacePropertiesFormat{
		EnableIPForwarding: point(false), EnableAcceleratedNetworking: point(false),
		IPConfigurations: &[]networkinterfaces.NetworkInterfaceIPConfiguration{{Name: point("internal"), Properties: &networkinterfaces.NetworkInterfaceIPConfigurationPropertiesFormat{
			PrivateIPAllocationMethod: point(networkinterfaces.IPAllocationMethodDynamic), PrivateIPAddressVersion: point(networkinterfaces.IPVersionIPvFour),
			Subnet: &networkinterfaces.Subnet{Id: point(subnet.ID())}}}}}}); err != nil {
		t.Fatal(err)
	}
	vm := virtualmachines.NewVirtualMachineID(tf.sub, "tf", "web")
	if err := vms.CreateOrUpdateThenPoll(ctx, vm, linux(nic.ID()), virtualmachines.DefaultCreateOrUpdateOperationOptions()); err != nil {
		t.Fatal(err)
	}
	checkRefresh(ctx, t, vms, nics, nets, vm, nic, subnet, nsg)

	for _, step := range []func() error{
		func() error {
			return vms.PowerOffThenPoll(ctx, vm, virtualmachines.PowerOffOperationOptions{SkipShutdown: point(true)})
		},
		func() error {
			return vms.DeleteThenPoll(ctx, vm, virtualmachines.DefaultDeleteOperationOptions())
		},
		func() error { return nics.DeleteThenPoll(ctx, nic) },
		func() error { return rules.DeleteThenPoll(ctx, rule) },
		func() error { return nets.DeleteThenPoll(ctx, subnet) },
		func() error { return nsgs.DeleteThenPoll(ctx, nsg) },
		func() error { return vnets.DeleteThenPoll(ctx, vnet) },
		func() error {
			return groups.DeleteThenPoll(ctx, group, resourcegroups.DefaultDeleteOperationOptions())
		},
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	g, err = groups.Get(ctx, group)
	gone("the destroyed group", g.HttpResponse, err)
}

// linux is what azurerm_linux_virtual_machine sends.
func linux(nic string) virtualmachines.VirtualMachine {
	return virtualmachines.VirtualMachine{Location: "westeurope", Tags: &map[string]string{}, Properties: &virtualmachines.VirtualMachineProperties{
		HardwareProfile: &virtualmachines.HardwareProfile{VMSize: point(virtualmachines.VirtualMachineSizeTypesStandardFTwo)},
		OsProfile: &virtualmachines.OSProfile{AdminUsername: point("adminuser"), ComputerName: point("web"), AllowExtensionOperations: point(true),
			LinuxConfiguration: &virtualmachines.LinuxConfiguration{DisablePasswordAuthentication: point(true), ProvisionVMAgent: point(true),
				Ssh: &virtualmachines.SshConfiguration{PublicKeys: &[]virtualmachines.SshPublicKey{{Path: point("/home/adminuser/.ssh/authorized_keys"), KeyData: point("ssh-rsa AAAAB3NzaC1yc2E adminuser")}}}}},
		StorageProfile: &virtualmachines.StorageProfile{
			ImageReference: &virtualmachines.ImageReference{Publisher: point("Canonical"), Offer: point("0001-com-ubuntu-server-jammy"), Sku: point("22_04-lts"), Version: point("latest")},
			OsDisk: &virtualmachines.OSDisk{Caching: point(virtualmachines.CachingTypesReadWrite), CreateOption: virtualmachines.DiskCreateOptionTypesFromImage,
				ManagedDisk: &virtualmachines.ManagedDiskParameters{StorageAccountType: point(virtualmachines.StorageAccountTypesStandardLRS)}, WriteAcceleratorEnabled: point(false),
				OsType: point(virtualmachines.OperatingSystemTypesLinux)},
			DataDisks: &[]virtualmachines.DataDisk{}},
		NetworkProfile:       &virtualmachines.NetworkProfile{NetworkInterfaces: &[]virtualmachines.NetworkInterfaceReference{{Id: point(nic), Properties: &virtualmachines.NetworkInterfaceReferenceProperties{Primary: point(true)}}}},
		ExtensionsTimeBudget: point("PT1H30M"), Priority: point(virtualmachines.VirtualMachinePriorityTypesRegular), UserData: nil,
	}}
}

// checkRefresh looks at what a plan would compare: values as they were written, ids in canonical casing.
func checkRefresh(ctx context.Context, t *testing.T, vms *virtualmachines.VirtualMachinesClient, nics *networkinterfaces.NetworkInterfacesClient, nets *subnets.SubnetsClient,
	vm virtualmachines.VirtualMachineId, nic commonids.NetworkInterfaceId, subnet commonids.SubnetId, nsg networksecuritygroups.NetworkSecurityGroupId) {
	t.Helper()
	m := must(vms.Get(ctx, vm, virtualmachines.GetOperationOptions{Expand: point(virtualmachines.InstanceViewTypesUserData)}))(t).Model
	p := m.Properties
	switch {
	case p.VMId == nil || *p.VMId == "":
		t.Error("the machine has no vmId")
	case p.OsProfile == nil || p.OsProfile.LinuxConfiguration == nil || *p.OsProfile.LinuxConfiguration.DisablePasswordAuthentication != true:
		t.Errorf("linux configuration %+v", p.OsProfile)
	case p.StorageProfile == nil || p.StorageProfile.OsDisk == nil || p.StorageProfile.OsDisk.ManagedDisk == nil || *p.StorageProfile.OsDisk.ManagedDisk.StorageAccountType != virtualmachines.StorageAccountTypesStandardLRS:
		t.Errorf("storage profile %+v", p.StorageProfile)
	case *p.ProvisioningState != "Succeeded":
		t.Errorf("state %s", *p.ProvisioningState)
	}
	n := must(nics.Get(ctx, nic, networkinterfaces.DefaultGetOperationOptions()))(t).Model
	configs := *n.Properties.IPConfigurations
	if a := configs[0].Properties.PrivateIPAddress; a == nil || *a != "10.0.1.4" {
		t.Errorf("address %v", a)
	}
	if n.Properties.VirtualMachine == nil || !strings.EqualFold(*n.Properties.VirtualMachine.Id, vm.ID()) {
		t.Errorf("the interface's machine: %+v", n.Properties.VirtualMachine)
	}
	s := must(nets.Get(ctx, subnet, subnets.DefaultGetOperationOptions()))(t).Model
	if *s.Properties.NetworkSecurityGroup.Id != nsg.ID() || *s.Properties.AddressPrefix != "10.0.1.0/24" {
		t.Errorf("the subnet's group %s, prefix %s", *s.Properties.NetworkSecurityGroup.Id, *s.Properties.AddressPrefix)
	}
}
