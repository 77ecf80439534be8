package clients

import (
	"net/http"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

func TestRefusedRules(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "badrules")
	in, out := armnetwork.SecurityRuleDirectionInbound, armnetwork.SecurityRuleDirectionOutbound
	allow := armnetwork.SecurityRuleAccessAllow
	a.nsg(t, g, "n", rule("a", 100, in, allow, "80"), rule("same-other-way", 100, out, allow, "80"))
	change := func(f func(*armnetwork.SecurityRulePropertiesFormat)) armnetwork.SecurityRule {
		r := rule("b", 200, in, allow, "80")
		f(r.Properties)
		return *r
	}
	type props = armnetwork.SecurityRulePropertiesFormat
	for _, c := range []struct {
		code, word string
		rule       armnetwork.SecurityRule
	}{
		{"SecurityRuleConflict", "Rules cannot have the same Priority and Direction", change(func(p *props) { p.Priority = to.Ptr(int32(100)) })},
		{"SecurityRuleInvalidPriority", "4097", change(func(p *props) { p.Priority = to.Ptr(int32(4097)) })},
		{"SecurityRuleInvalidPriority", "99", change(func(p *props) { p.Priority = to.Ptr(int32(99)) })},
		{"SecurityRuleInvalidPortRange", "66600", change(func(p *props) { p.DestinationPortRange = to.Ptr("66600") })},
		{"SecurityRuleInvalidAddressPrefix", "10.0.0.0/42", change(func(p *props) { p.SourceAddressPrefix = to.Ptr("10.0.0.0/42") })},
		{"SecurityRuleParameterContainsUnsupportedValue", "VirtualNetwork", change(func(p *props) {
			p.SourceAddressPrefix, p.SourceAddressPrefixes = nil, []*string{to.Ptr("VirtualNetwork"), to.Ptr("10.0.0.0/8")}
		})},
		{"InvalidRequestFormat", "properties.protocol", change(func(p *props) { p.Protocol = to.Ptr(armnetwork.SecurityRuleProtocol("Sctp")) })},
	} {
		_, err := a.rules.BeginCreateOrUpdate(ctx, g, "n", "b", c.rule, nil)
		refused(t, err, 400, c.code, c.word)
	}
	got, err := a.nsgs.Get(ctx, g, "n", nil)
	if err != nil || len(got.Properties.SecurityRules) != 2 {
		t.Errorf("refused writes left %d rules, %v", len(got.Properties.SecurityRules), err)
	}
}

func TestRefusedNetworks(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "badnets")
	v := a.vnet(t, g, "v", "10.0.0.0/16", "10.0.0.0/24")
	for _, c := range []struct{ code, word, prefix string }{
		{"NetcfgSubnetRangesOverlap", "'s1'", "10.0.0.128/25"},
		{"NetcfgSubnetRangeOutsideVnet", "'v'", "10.9.0.0/24"},
		{"InvalidCIDRNotation", "10.0.1.0/24", "10.0.1.5/24"},
		{"InvalidAddressPrefixFormat", "10.0.1.0", "10.0.1.0"},
	} {
		_, err := a.subnets.BeginCreateOrUpdate(ctx, g, "v", "s1", armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr(c.prefix)}}, nil)
		refused(t, err, 400, c.code, c.word)
	}
	subnet := *v.Properties.Subnets[0].ID
	for _, c := range []struct{ code, address string }{
		{"PrivateIPAddressNotInSubnet", "10.0.7.7"},
		{"PrivateIPAddressInReservedRange", "10.0.0.2"},
		{"InvalidPrivateIPAddressFormat", "10.0.0.256"},
	} {
		_, err := a.nics.BeginCreateOrUpdate(ctx, g, "n", nicBody(subnet, c.address), nil)
		refused(t, err, 400, c.code, c.address)
	}
	a.nic(t, g, "holder", subnet, "10.0.0.7")
	_, err := a.nics.BeginCreateOrUpdate(ctx, g, "n", nicBody(subnet, "10.0.0.7"), nil)
	refused(t, err, 400, "PrivateIPAddressIsAllocated", "10.0.0.7")
	missing := strings.Replace(subnet, "/s0", "/nowhere", 1)
	_, err = a.nics.BeginCreateOrUpdate(ctx, g, "n", nicBody(missing, ""), nil)
	refused(t, err, 400, "InvalidResourceReference", "nowhere")
	_, err = a.nics.Get(ctx, g, "n", nil)
	gone(t, err)
}

func TestWhatWouldChangeEnforcementIsRefused(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "unsupported")
	v := a.vnet(t, g, "v", "10.0.0.0/16", "10.0.0.0/24")
	body := nicBody(*v.Properties.Subnets[0].ID, "")
	body.Properties.EnableIPForwarding = to.Ptr(true)
	_, err := a.nics.BeginCreateOrUpdate(ctx, g, "n", body, nil)
	refused(t, err, 400, "RingfenceNotSupported", "enableIPForwarding")
	s := armnetwork.Subnet{Properties: &armnetwork.SubnetPropertiesFormat{AddressPrefix: to.Ptr("10.0.1.0/24"),
		ServiceEndpoints: []*armnetwork.ServiceEndpointPropertiesFormat{{Service: to.Ptr("Microsoft.Storage")}}}}
	_, err = a.subnets.BeginCreateOrUpdate(ctx, g, "v", "s1", s, nil)
	refused(t, err, 400, "RingfenceNotSupported", "serviceEndpoints")
}

func TestDeletingWhatIsUsed(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "inuse")
	n := a.nsg(t, g, "n")
	v := a.vnet(t, g, "v", "10.0.0.0/16", "10.0.0.0/24")
	s := *v.Properties.Subnets[0]
	s.Properties.NetworkSecurityGroup = &armnetwork.SecurityGroup{ID: n.ID}
	p, err := a.subnets.BeginCreateOrUpdate(ctx, g, "v", "s0", s, nil)
	done(t, p, err)
	_, err = a.nsgs.BeginDelete(ctx, g, "n", nil)
	refused(t, err, 400, "InUseNetworkSecurityGroupCannotBeDeleted", *s.ID)
	got, err := a.nsgs.Get(ctx, g, "n", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Properties.Subnets) != 1 || !strings.EqualFold(*got.Properties.Subnets[0].ID, *s.ID) {
		t.Errorf("the group names subnets %v", got.Properties.Subnets)
	}
	s.Properties.NetworkSecurityGroup = nil // a reference left out is a reference removed
	p, err = a.subnets.BeginCreateOrUpdate(ctx, g, "v", "s0", s, nil)
	done(t, p, err)
	d, err := a.nsgs.BeginDelete(ctx, g, "n", nil)
	done(t, d, err)
}

func TestTenantsDoNotSeeEachOther(t *testing.T) {
	a, b, ctx := contoso(t), fabrikam(t), deadline(t)
	g := a.group(t, "mine")
	a.vnet(t, g, "v", "10.0.0.0/16")

	stranger := as(t, a.sub, lab.Tenants[1].Token) // the right path with the wrong token
	_, err := stranger.vnets.Get(ctx, g, "v", nil)
	refused(t, err, 404, "SubscriptionNotFound", a.sub)
	_, err = stranger.groups.Get(ctx, g, nil)
	refused(t, err, 404, "SubscriptionNotFound")
	unknown := "00000000-1111-2222-3333-444444444444"
	_, err = as(t, unknown, lab.Tenants[1].Token).groups.Get(ctx, g, nil)
	refused(t, err, 404, "SubscriptionNotFound", unknown) // the same answer as to a subscription that is not there

	_, err = b.vnets.Get(ctx, g, "v", nil)
	refused(t, err, 404, "ResourceGroupNotFound")
	h := b.group(t, "theirs")
	w := b.vnet(t, h, "v", "10.0.0.0/16", "10.0.0.0/24") // the same name and addresses
	_, err = a.nics.BeginCreateOrUpdate(ctx, g, "n", nicBody(*w.Properties.Subnets[0].ID, ""), nil)
	if err == nil {
		t.Fatal("an interface was put into another tenant's subnet")
	}

	_, err = as(t, a.sub, "not-a-token").groups.Get(ctx, g, nil)
	refused(t, err, 401, "InvalidAuthenticationToken")
}

func TestConditionalCreate(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "ifnone")
	only := policy.WithHTTPHeader(ctx, http.Header{"If-None-Match": {"*"}})
	body := armnetwork.SecurityGroup{Location: to.Ptr(location)}
	p, err := a.nsgs.BeginCreateOrUpdate(only, g, "n", body, nil)
	done(t, p, err)
	_, err = a.nsgs.BeginCreateOrUpdate(only, g, "n", body, nil)
	refused(t, err, 412, "PreconditionFailed")
}
