package resource

import (
	"fmt"
	"strings"
)

// networkSecurityGroup is a list of rules that subnets and network interfaces are filtered by.
var networkSecurityGroup = &Type{
	Name:    "Microsoft.Network/networkSecurityGroups",
	Words:   []string{"network", "nsg"},
	Help:    "security rules for subnets and network interfaces",
	Located: true,
	inUse: func(u *use) {
		var ids []string
		for _, d := range u.referrers(u.doc.Key()) {
			if d.Type == virtualNetwork {
				ids = append(ids, childrenReferring(d, subnet, u.doc.Key())...)
			} else {
				ids = append(ids, d.ID.String())
			}
		}
		if len(ids) > 0 {
			u.fault("InUseNetworkSecurityGroupCannotBeDeleted", fmt.Sprintf(
				"Network security group %s cannot be deleted because it is in use by the following resources: %s. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.",
				u.doc.ID, strings.Join(ids, ", ")))
		}
	},
}

func init() {
	t := networkSecurityGroup
	t.check = checkNSG
	t.typed = typedNSG
	t.refs = func(n *node) []Ref {
		var out []Ref
		for i, r := range n.get("properties", "securityRules").list() {
			p := fmt.Sprintf("properties.securityRules[%d].properties.", i)
			for _, side := range []string{"sourceApplicationSecurityGroups", "destinationApplicationSecurityGroups"} {
				out = append(out, refsAt(r.get("properties", side), p+side, applicationSecurityGroup.Name)...)
			}
		}
		return out
	}
	t.Schema = object("", "NetworkSecurityGroup",
		showName(), showID(), showETag(), showType(), locationField(), tagsField(),
		object("properties", "NetworkSecurityGroupPropertiesFormat",
			showState(), showGUID(),
			flag("flushConnection"),
			resources("securityRules", securityRule).or("[]"),
			list("defaultSecurityRules", &Field{}).shown(func(r *render) []byte {
				var parts [][]byte
				for _, c := range r.children(defaultSecurityRule) {
					parts = append(parts, c.object(defaultSecurityRule.Schema.Fields, c.body))
				}
				return jsonArray(parts)
			}),
			thing("networkInterfaces").shown(func(r *render) []byte { return references(usersOf(r, networkInterface)) }),
			thing("subnets").shown(func(r *render) []byte { return references(usersOf(r, virtualNetwork)) }),
			thing("flowLogs").readOnly(),
		).always(),
	)
}

// usersOf are the ids of what a security group filters: interfaces, or the subnets of virtual networks.
func usersOf(r *render, t *Type) []string {
	var ids []string
	for _, key := range r.lk.Referrers(r.doc.Key()) {
		d := r.lk.Get(key)
		switch {
		case d == nil || d.Type != t:
		case t == virtualNetwork:
			ids = append(ids, childrenReferring(d, subnet, r.doc.Key())...)
		default:
			ids = append(ids, d.ID.String())
		}
	}
	return ids
}
