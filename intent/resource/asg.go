package resource

import (
	"fmt"
	"strings"
)

// applicationSecurityGroup names a set of IP configurations; its members say that they belong to it.
var applicationSecurityGroup = &Type{
	Name:    "Microsoft.Network/applicationSecurityGroups",
	Words:   []string{"network", "asg"},
	Help:    "a name for a set of network interfaces, usable in security rules",
	Located: true,
	Schema: object("", "ApplicationSecurityGroup",
		showName(), showID(), showETag(), showType(), locationField(), tagsField(),
		object("properties", "ApplicationSecurityGroupPropertiesFormat", showState(), str("resourceGuid").readOnly()).always(),
	),
	inUse: func(u *use) {
		var configs, rules []string
		for _, d := range u.referrers(u.doc.Key()) {
			switch d.Type {
			case networkInterface:
				configs = append(configs, childrenReferring(d, u.doc.Key())...)
			case networkSecurityGroup:
				rules = append(rules, childrenReferring(d, u.doc.Key())...)
			}
		}
		if len(configs) > 0 {
			u.fault("InUseApplicationSecurityGroupCannotBeDeleted", fmt.Sprintf(
				"Application Security Group %s cannot be deleted because it is referenced by IpConfiguration(s) %s.", u.doc.ID, strings.Join(configs, ", ")))
		}
		if len(rules) > 0 {
			u.fault("InUseApplicationSecurityGroupCannotBeDeleted", fmt.Sprintf(
				"Application Security Group %s cannot be deleted because it is referenced by SecurityRule(s) %s.", u.doc.ID, strings.Join(rules, ", ")))
		}
	},
}
