package example

import "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"

// Kinds are the network module's types that stand where an interface is wanted.
var Kinds = []any{
	armnetwork.AdminRule{}, armnetwork.DefaultAdminRule{}, armnetwork.ActiveSecurityAdminRule{}, armnetwork.EffectiveSecurityAdminRule{},
	armnetwork.FirewallPolicyNatRuleCollection{}, armnetwork.FirewallPolicyFilterRuleCollection{},
	armnetwork.Rule{}, armnetwork.NatRule{}, armnetwork.ApplicationRule{},
}
