package load

import (
	"fmt"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// inertProviders have no resource that changes what machines reach of each other, whatever they refer to.
var inertProviders = []string{"microsoft.storage", "microsoft.keyvault", "microsoft.sql", "microsoft.documentdb", "microsoft.insights", "microsoft.operationalinsights",
	"microsoft.operationsmanagement", "microsoft.authorization", "microsoft.managedidentity", "microsoft.recoveryservices", "microsoft.automation", "microsoft.alertsmanagement",
	"microsoft.eventhub", "microsoft.servicebus", "microsoft.containerregistry", "microsoft.cognitiveservices", "microsoft.security", "microsoft.maintenance", "microsoft.devtestlab"}

// inertTypes are those of the network and compute providers.
var inertTypes = []string{"microsoft.compute/disks", "microsoft.compute/availabilitysets", "microsoft.compute/images", "microsoft.compute/snapshots",
	"microsoft.compute/sshpublickeys", "microsoft.compute/virtualmachines/extensions", "microsoft.compute/virtualmachines/runcommands", "microsoft.compute/proximityplacementgroups",
	"microsoft.compute/galleries", "microsoft.compute/diskencryptionsets", "microsoft.compute/virtualmachines/providers/locks",
	"microsoft.network/networkwatchers", "microsoft.network/networkwatchers/flowlogs", "microsoft.network/networkwatchers/connectionmonitors",
	"microsoft.network/networkwatchers/packetcaptures", "microsoft.network/privatednszones", "microsoft.network/privatednszones/virtualnetworklinks", "microsoft.network/dnszones",
	"microsoft.network/natgateways", "microsoft.network/ddosprotectionplans", "microsoft.network/networkintentpolicies", "microsoft.network/ddoscustompolicies"}

// kinds says what a type stands for that is not modelled; others are resources without a model.
var kinds = map[string]struct{ kind, what string }{
	"microsoft.network/routetables":             {KindRoute, "routes are not modelled: packets may be sent elsewhere or dropped"},
	"microsoft.network/virtualnetworkgateways":  {KindGateway, "gateways are not modelled: networks behind it may be reached, and belong to the tag VirtualNetwork"},
	"microsoft.network/localnetworkgateways":    {KindGateway, "gateways are not modelled"},
	"microsoft.network/connections":             {KindGateway, "gateway connections are not modelled: networks behind it may be reached, and belong to the tag VirtualNetwork"},
	"microsoft.network/publicipaddresses":       {KindPublic, "public addresses are not modelled: packets between it and the Internet are translated"},
	"microsoft.network/publicipprefixes":        {KindPublic, "public addresses are not modelled"},
	"microsoft.network/loadbalancers":           {KindPublic, "load balancers are not modelled"},
	"microsoft.network/applicationgateways":     {KindPublic, "application gateways are not modelled: they open connections of their own"},
	"microsoft.network/azurefirewalls":          {KindFilter, "firewalls are not modelled"},
	"microsoft.network/firewallpolicies":        {KindFilter, "firewalls are not modelled"},
	"microsoft.network/bastionhosts":            {KindMembers, "bastion hosts are not modelled: they open connections from inside their subnet"},
	"microsoft.network/privateendpoints":        {KindMembers, "private endpoints are not modelled: they are further members of their subnet"},
	"microsoft.network/networkmanagers":         {KindFilter, "network managers are not modelled: their security admin rules are asked before every NSG"},
	"microsoft.network/virtualnetworktaps":      {KindFilter, "taps are not modelled"},
	"microsoft.network/virtualhubs":             {KindGateway, "virtual hubs are not modelled: networks behind them may be reached"},
	"microsoft.network/virtualwans":             {KindGateway, "virtual WANs are not modelled"},
	"microsoft.network/expressroutecircuits":    {KindGateway, "ExpressRoute is not modelled"},
	"microsoft.compute/virtualmachinescalesets": {KindMembers, "scale sets are not modelled: their machines are further members of their subnet and groups"},
}

// foreign takes a resource of a type that the fabric does not have: by name, with what it refers to.
func (l *loader) foreign(r *raw) {
	low := strings.ToLower(r.id.Type)
	if slices.Contains(inertTypes, low) || slices.Contains(inertProviders, provider(low)) {
		l.source.Ignored = append(l.source.Ignored, r.id.String())
		return
	}
	u := Unknown{Kind: KindResource, ID: r.id.String(), At: r.at, What: fmt.Sprintf("the type %s is not modelled", r.id.Type)}
	for t := low; t != ""; t = parentType(t) {
		if k, ok := kinds[t]; ok {
			u.Kind, u.What = k.kind, k.what
			break
		}
	}
	u.Touches = l.referredBy(r.body, nil)
	if strings.HasPrefix(low, "microsoft.network/networkmanagers") {
		u.Touches = []string{Everything}
	}
	if len(u.Touches) == 0 { // whatever refers to it says so itself
		l.source.Ignored = append(l.source.Ignored, r.id.String())
		return
	}
	l.unknown(u)
}

func provider(typ string) string { p, _, _ := strings.Cut(typ, "/"); return p }

func parentType(t string) string {
	if i := strings.LastIndexByte(t, '/'); i > 0 && strings.Contains(t[:i], "/") {
		return t[:i]
	}
	return ""
}

// concerned are the types whose resources decide about packets.
var concerned = []string{"Microsoft.Network/virtualNetworks", "Microsoft.Network/networkInterfaces", "Microsoft.Network/networkSecurityGroups",
	"Microsoft.Network/applicationSecurityGroups"}

// referredBy are the keys of networks, subnets, interfaces and groups that a value names anywhere inside. An IP configuration stands for
// its interface.
func (l *loader) referredBy(n *node, out []string) []string {
	if n == nil {
		return out
	}
	for _, e := range n.items {
		out = l.referredBy(e, out)
	}
	for _, m := range n.members {
		out = l.referredBy(m.value, out)
	}
	if n.kind != kindString || !strings.HasPrefix(strings.ToLower(n.text), "/subscriptions/") {
		return out
	}
	id, err := resource.ParseID(n.text)
	if err != nil {
		return out
	}
	for len(id.Names) > 1 && id.Type != "Microsoft.Network/virtualNetworks/subnets" {
		id, _ = id.Parent()
	}
	if top := id.Top(); slices.Contains(concerned, top.Type) {
		out = append(out, id.Key())
	}
	return out
}
