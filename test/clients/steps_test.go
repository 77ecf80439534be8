package clients

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
)

const location = "westeurope"

// deadline bounds every call: nothing here takes long on a lab.
func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// ifMatch makes a call conditional.
func ifMatch(ctx context.Context, etag string) context.Context {
	return policy.WithHTTPHeader(ctx, http.Header{"If-Match": {etag}})
}

// done waits for a long-running operation, however it was answered.
func done[T any](t *testing.T, p *runtime.Poller[T], err error) T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	res, err := p.PollUntilDone(deadline(t), &runtime.PollUntilDoneOptions{Frequency: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// refused expects a typed error with status and code, and each of the words in its text.
func refused(t *testing.T, err error, status int, code string, words ...string) {
	t.Helper()
	var re *azcore.ResponseError
	if !errors.As(err, &re) {
		t.Fatalf("got %v, want a response error %d %s", err, status, code)
	}
	if re.StatusCode != status || re.ErrorCode != code {
		t.Fatalf("got %d %s, want %d %s\n%v", re.StatusCode, re.ErrorCode, status, code, err)
	}
	for _, w := range words {
		if !strings.Contains(re.Error(), w) {
			t.Errorf("%s does not name %q:\n%v", code, w, err)
		}
	}
}

// pages collects what a pager gives.
func pages[P, V any](t *testing.T, p *runtime.Pager[P], values func(P) []V) []V {
	t.Helper()
	var all []V
	for p.More() {
		page, err := p.NextPage(deadline(t))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values(page)...)
	}
	return all
}

// group makes a resource group that is removed, with all that is in it, when the test ends.
func (a *azure) group(t *testing.T, name string) string {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, time.Now().UnixNano()%1e9)
	_, err := a.groups.CreateOrUpdate(deadline(t), name, armresources.ResourceGroup{Location: to.Ptr(location)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p, err := a.groups.BeginDelete(deadline(t), name, nil)
		if err == nil {
			_, err = p.PollUntilDone(deadline(t), &runtime.PollUntilDoneOptions{Frequency: 50 * time.Millisecond})
		}
		if err != nil {
			t.Errorf("delete group %s: %v", name, err)
		}
	})
	return name
}

// vnet makes a virtual network with one subnet per prefix: s0, s1 …
func (a *azure) vnet(t *testing.T, group, name, space string, subnets ...string) armnetwork.VirtualNetwork {
	t.Helper()
	v := armnetwork.VirtualNetwork{Location: to.Ptr(location), Properties: &armnetwork.VirtualNetworkPropertiesFormat{
		AddressSpace: &armnetwork.AddressSpace{AddressPrefixes: []*string{to.Ptr(space)}}}}
	for i, s := range subnets {
		v.Properties.Subnets = append(v.Properties.Subnets, &armnetwork.Subnet{Name: to.Ptr(fmt.Sprintf("s%d", i)),
			Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr(s)}})
	}
	p, err := a.vnets.BeginCreateOrUpdate(deadline(t), group, name, v, nil)
	return done(t, p, err).VirtualNetwork
}

// rule is a security rule with everything open but what is given.
func rule(name string, priority int32, direction armnetwork.SecurityRuleDirection, access armnetwork.SecurityRuleAccess, ports string) *armnetwork.SecurityRule {
	return &armnetwork.SecurityRule{Name: to.Ptr(name), Properties: &armnetwork.SecurityRulePropertiesFormat{
		Priority: to.Ptr(priority), Direction: to.Ptr(direction), Access: to.Ptr(access),
		Protocol: to.Ptr(armnetwork.SecurityRuleProtocolTCP), SourceAddressPrefix: to.Ptr("*"), SourcePortRange: to.Ptr("*"),
		DestinationAddressPrefix: to.Ptr("*"), DestinationPortRange: to.Ptr(ports)}}
}

func (a *azure) nsg(t *testing.T, group, name string, rules ...*armnetwork.SecurityRule) armnetwork.SecurityGroup {
	t.Helper()
	p, err := a.nsgs.BeginCreateOrUpdate(deadline(t), group, name, armnetwork.SecurityGroup{Location: to.Ptr(location),
		Properties: &armnetwork.SecurityGroupPropertiesFormat{SecurityRules: rules}}, nil)
	return done(t, p, err).SecurityGroup
}

// nicBody is a network interface with one IP configuration; address "" asks for a dynamic one.
func nicBody(subnet, address string) armnetwork.Interface {
	ip := &armnetwork.InterfaceIPConfigurationPropertiesFormat{Subnet: &armnetwork.Subnet{ID: to.Ptr(subnet)},
		PrivateIPAllocationMethod: to.Ptr(armnetwork.IPAllocationMethodDynamic)}
	if address != "" {
		ip.PrivateIPAllocationMethod, ip.PrivateIPAddress = to.Ptr(armnetwork.IPAllocationMethodStatic), to.Ptr(address)
	}
	return armnetwork.Interface{Location: to.Ptr(location), Properties: &armnetwork.InterfacePropertiesFormat{
		IPConfigurations: []*armnetwork.InterfaceIPConfiguration{{Name: to.Ptr("ipconfig1"), Properties: ip}}}}
}

func (a *azure) nic(t *testing.T, group, name, subnet, address string) armnetwork.Interface {
	t.Helper()
	p, err := a.nics.BeginCreateOrUpdate(deadline(t), group, name, nicBody(subnet, address), nil)
	return done(t, p, err).Interface
}

// vmBody is a virtual machine as the portal would send it, as far as the network is concerned.
func vmBody(name string, nics ...string) armcompute.VirtualMachine {
	var refs []*armcompute.NetworkInterfaceReference
	for i, n := range nics {
		refs = append(refs, &armcompute.NetworkInterfaceReference{ID: to.Ptr(n),
			Properties: &armcompute.NetworkInterfaceReferenceProperties{Primary: to.Ptr(i == 0)}})
	}
	return armcompute.VirtualMachine{Location: to.Ptr(location), Properties: &armcompute.VirtualMachineProperties{
		HardwareProfile: &armcompute.HardwareProfile{VMSize: to.Ptr(armcompute.VirtualMachineSizeTypesStandardB1S)},
		OSProfile:       &armcompute.OSProfile{ComputerName: to.Ptr(name), AdminUsername: to.Ptr("azureuser")},
		NetworkProfile:  &armcompute.NetworkProfile{NetworkInterfaces: refs}}}
}

func (a *azure) vm(t *testing.T, group, name string, nics ...string) armcompute.VirtualMachine {
	t.Helper()
	p, err := a.vms.BeginCreateOrUpdate(deadline(t), group, name, vmBody(name, nics...), nil)
	return done(t, p, err).VirtualMachine
}

// gone expects 404.
func gone(t *testing.T, err error) {
	t.Helper()
	var re *azcore.ResponseError
	if !errors.As(err, &re) || re.StatusCode != http.StatusNotFound {
		t.Fatalf("got %v, want 404", err)
	}
}

// equal compares a pointer of an answer with what it should point to.
func equal[T comparable](t *testing.T, what string, got *T, want T) {
	t.Helper()
	if got == nil {
		t.Errorf("%s is absent, want %v", what, want)
	} else if *got != want {
		t.Errorf("%s is %v, want %v", what, *got, want)
	}
}
