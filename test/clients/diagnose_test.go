package clients

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
)

// TestQuestionsAboutRules asks a network watcher and an interface what the rules at a machine do.
func TestQuestionsAboutRules(t *testing.T) {
	a, ctx := contoso(t), deadline(t)
	g := a.group(t, "questions")
	v := a.vnet(t, g, "v", "10.8.0.0/16", "10.8.0.0/24")
	n := a.nic(t, g, "n", *v.Properties.Subnets[0].ID, "")
	m := a.vm(t, g, "m", *n.ID)
	watchers, err := armnetwork.NewWatchersClient(a.sub, login(t, lab.Tenants[0]), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watchers.CreateOrUpdate(ctx, g, "w", armnetwork.Watcher{Location: to.Ptr(location)}, nil); err != nil {
		t.Fatal(err)
	}
	local := *n.Properties.IPConfigurations[0].Properties.PrivateIPAddress
	q, err := watchers.BeginVerifyIPFlow(ctx, g, "w", armnetwork.VerificationIPFlowParameters{TargetResourceID: m.ID, Direction: to.Ptr(armnetwork.DirectionInbound),
		Protocol: to.Ptr(armnetwork.IPFlowProtocolTCP), LocalIPAddress: to.Ptr(local), LocalPort: to.Ptr("22"), RemoteIPAddress: to.Ptr("100.1.2.3"), RemotePort: to.Ptr("*")}, nil)
	flow := done(t, q, err)
	equal(t, "access without groups", (*string)(flow.Access), "Allow")

	group := armnetwork.SecurityGroup{Location: to.Ptr(location)}
	s, err := a.nsgs.BeginCreateOrUpdate(ctx, g, "s", group, nil)
	nsg := done(t, s, err)
	body := a.mustNIC(t, g, "n")
	body.Properties.NetworkSecurityGroup = &armnetwork.SecurityGroup{ID: nsg.ID}
	u, err := a.nics.BeginCreateOrUpdate(ctx, g, "n", body, nil)
	done(t, u, err)

	q, err = watchers.BeginVerifyIPFlow(ctx, g, "w", armnetwork.VerificationIPFlowParameters{TargetResourceID: m.ID, Direction: to.Ptr(armnetwork.DirectionInbound),
		Protocol: to.Ptr(armnetwork.IPFlowProtocolTCP), LocalIPAddress: to.Ptr(local), LocalPort: to.Ptr("22"), RemoteIPAddress: to.Ptr("100.1.2.3"), RemotePort: to.Ptr("*")}, nil)
	flow = done(t, q, err)
	equal(t, "access", (*string)(flow.Access), "Deny")
	equal(t, "rule", flow.RuleName, "defaultSecurityRules/DenyAllInBound")

	d, err := watchers.BeginGetNetworkConfigurationDiagnostic(ctx, g, "w", armnetwork.ConfigurationDiagnosticParameters{TargetResourceID: n.ID,
		Profiles: []*armnetwork.ConfigurationDiagnosticProfile{{Direction: to.Ptr(armnetwork.DirectionOutbound), Protocol: to.Ptr("TCP"),
			Source: to.Ptr(local), Destination: to.Ptr("203.0.113.9"), DestinationPort: to.Ptr("443")}}}, nil)
	result := done(t, d, err).Results[0].NetworkSecurityGroupResult
	equal(t, "result", (*string)(result.SecurityRuleAccessResult), "Allow")
	equal(t, "matched", result.EvaluatedNetworkSecurityGroups[0].MatchedRule.RuleName, "DefaultRule_AllowInternetOutBound")

	e, err := a.nics.BeginListEffectiveNetworkSecurityGroups(ctx, g, "n", nil)
	all := done(t, e, err).Value
	if len(all) != 1 || len(all[0].EffectiveSecurityRules) != 6 {
		t.Fatalf("effective groups: %+v", all)
	}
	first := all[0].EffectiveSecurityRules[0]
	equal(t, "first rule", first.Name, "defaultSecurityRules/AllowVnetInBound")
	equal(t, "its source", first.SourceAddressPrefix, "VirtualNetwork")
	equal(t, "what that holds", first.ExpandedSourceAddressPrefix[0], "10.8.0.0/16")

	_, err = fabrikam(t).nics.BeginListEffectiveNetworkSecurityGroups(ctx, g, "n", nil)
	if err == nil {
		t.Error("another tenant got an answer")
	}
	other := fabrikam(t)
	og := other.group(t, "asking")
	theirs, err := armnetwork.NewWatchersClient(other.sub, login(t, lab.Tenants[1]), options(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.CreateOrUpdate(ctx, og, "w", armnetwork.Watcher{Location: to.Ptr(location)}, nil); err != nil {
		t.Fatal(err)
	}
	_, err = theirs.BeginVerifyIPFlow(ctx, og, "w", armnetwork.VerificationIPFlowParameters{TargetResourceID: m.ID, Direction: to.Ptr(armnetwork.DirectionInbound),
		Protocol: to.Ptr(armnetwork.IPFlowProtocolTCP), LocalIPAddress: to.Ptr(local), LocalPort: to.Ptr("22"), RemoteIPAddress: to.Ptr("100.1.2.3"), RemotePort: to.Ptr("*")}, nil)
	refused(t, err, 404, "SubscriptionNotFound")
}
