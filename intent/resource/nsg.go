package resource

import (
	"fmt"
	"strconv"
	"strings"
)

// networkSecurityGroup is a list of rules that subnets and network interfaces are filtered by.
var networkSecurityGroup = &Type{
	Name:    "Microsoft.Network/networkSecurityGroups",
	Words:   []string{"network", "nsg"},
	Help:    "security rules for subnets and network interfaces",
	Located: true,
}

func init() {
	t := networkSecurityGroup
	t.inUse = func(u *use) {
		var ids []string
		for _, d := range u.referrers(u.doc.Key()) {
			if d.Type == virtualNetwork {
				ids = append(ids, childrenReferring(d, u.doc.Key())...)
			} else {
				ids = append(ids, d.ID.String())
			}
		}
		if len(ids) > 0 {
			u.fault("InUseNetworkSecurityGroupCannotBeDeleted", fmt.Sprintf(
				"Network security group %s cannot be deleted because it is in use by the following resources: %s. In order to delete the Network security group, remove the association with the resource(s). To learn how to do this, see aka.ms/deletensg.",
				u.doc.ID, strings.Join(ids, ", ")))
		}
	}
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
			ids = append(ids, childrenReferring(d, r.doc.Key())...)
		default:
			ids = append(ids, d.ID.String())
		}
	}
	return ids
}

func parseNSG(d *Doc) *NSG {
	if d.settled || d.Revision == 0 {
		return d.typed().(*NSG)
	}
	return provenance(d, d.typed().(*NSG))
}

func typedNSG(d *Doc, root *node) any {
	p := root.get("properties")
	g := &NSG{ID: d.ID.String(), Flush: p.get("flushConnection").isTrue()}
	for _, n := range p.get("securityRules").list() {
		q := n.get("properties")
		priority, _ := q.get("priority").int()
		g.Rules = append(g.Rules, SecurityRule{
			Name: n.get("name").text(), Priority: uint16(priority),
			Inbound:  strings.EqualFold(q.get("direction").text(), "Inbound"),
			Allow:    strings.EqualFold(q.get("access").text(), "Allow"),
			Protocol: strings.ToLower(q.get("protocol").text()),
			Src:      parseSide(q, "source"), Dst: parseSide(q, "destination"),
		})
	}
	return g
}

func parseSide(q *node, side string) RuleSide {
	s := RuleSide{
		Prefixes: q.get(side + "AddressPrefixes").texts(),
		ASGs:     refKeys(q.get(side + "ApplicationSecurityGroups")),
		Ports:    q.get(side + "PortRanges").texts(),
	}
	if one := q.get(side + "AddressPrefix").text(); one != "" {
		s.Prefixes = append(s.Prefixes, plainAddress(one))
	}
	if one := q.get(side + "PortRange").text(); one != "" {
		s.Ports = append(s.Ports, one)
	}
	return s
}

// plainAddress writes a bare integer as the IPv4 address that it stands for.
func plainAddress(text string) string {
	if _, err := strconv.ParseUint(text, 10, 32); err != nil {
		return text
	}
	if p, ok := ParsePrefix(text); ok {
		return p.String()
	}
	return text
}

// Limits of a network security group.
const (
	maxRules       = 1000
	maxPrefixes    = 4000 // addresses and ranges of one side of a rule, and of a group
	maxRuleASGs    = 10   // of one side of a rule
	maxGroupASGs   = 100  // of all rules of a group
	maxDescription = 140
	minPriority    = 100
	maxPriority    = 4096
)

// checkNSG checks every rule, and the rules against each other.
func checkNSG(c *check) {
	rules := c.body.get("properties", "securityRules").list()
	if len(rules) > maxRules {
		c.bad("properties.securityRules", "SecurityRulesLimitExceeded", "Network security group %s has %d security rules; up to %d are allowed.", c.doc.ID, len(rules), maxRules)
		return
	}
	c.uniqueNames(securityRule, rules)
	used := map[string]string{}
	asgs := map[string]bool{}
	prefixes := map[string]int{}
	for i, n := range rules {
		r := &ruleCheck{check: c, n: n, p: n.get("properties"), path: fmt.Sprintf("properties.securityRules[%d].properties.", i)}
		r.id = c.doc.ID.Child(securityRule, n.get("name").text())
		r.all(used)
		for _, side := range []string{"source", "destination"} {
			prefixes[side] += len(r.p.get(side + "AddressPrefixes").list())
			for _, a := range r.p.get(side + "ApplicationSecurityGroups").list() {
				asgs[strings.ToLower(a.get("id").text())] = true
			}
		}
	}
	for _, side := range []string{"source", "destination"} {
		if prefixes[side] > maxPrefixes {
			c.bad("properties.securityRules", "SecurityRuleAddressPrefixesLimitExceeded", "Network security group %s has %d %s address prefixes; up to %d are allowed.", c.doc.ID, prefixes[side], side, maxPrefixes)
		}
	}
	if len(asgs) > maxGroupASGs {
		c.bad("properties.securityRules", "NumberOfApplicationSecurityGroupsReferencedInSecurityRulesLimitReached", "Network security group %s refers to %d application security groups; up to %d are allowed.", c.doc.ID, len(asgs), maxGroupASGs)
	}
}
