package resource

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// securityRule is one rule of a network security group.
var securityRule = &Type{
	Name:   "Microsoft.Network/networkSecurityGroups/securityRules",
	Parent: networkSecurityGroup,
	List:   "securityRules",
	Words:  []string{"network", "nsg", "rule"},
	Help:   "one rule: source, destination, ports and protocol, allowed or denied",
	Schema: object("", "SecurityRule",
		str("name"), showID(), showETag(), showType(),
		object("properties", "SecurityRulePropertiesFormat", ruleFields()...).required(),
	),
}

func ruleFields() []*Field {
	return []*Field{
		showState(),
		str("description"),
		enum("protocol", "SecurityRuleProtocol", "*", "Tcp", "Udp", "Icmp", "Esp", "Ah").required(),
		str("sourcePortRange"), str("destinationPortRange"),
		str("sourceAddressPrefix"), str("destinationAddressPrefix"),
		enum("access", "SecurityRuleAccess", "Allow", "Deny").required(),
		num("priority").required(),
		enum("direction", "SecurityRuleDirection", "Inbound", "Outbound").required(),
		strs("sourcePortRanges").or("[]"), strs("destinationPortRanges").or("[]"),
		strs("sourceAddressPrefixes").or("[]"), strs("destinationAddressPrefixes").or("[]"),
		refs("sourceApplicationSecurityGroups", "Microsoft.Network/applicationSecurityGroups"),
		refs("destinationApplicationSecurityGroups", "Microsoft.Network/applicationSecurityGroups"),
	}
}

type ruleCheck struct {
	*check
	n, p *node
	id   ID
	path string
}

func (r *ruleCheck) all(used map[string]string) {
	priority, _ := r.p.get("priority").int()
	if priority < minPriority || priority > maxPriority {
		r.bad(r.path+"priority", "SecurityRuleInvalidPriority", "Security rule has invalid Priority. Value provided: %d Allowed range 100-4096.", priority)
	} else {
		slot := fmt.Sprint(strings.ToLower(r.p.get("direction").text()), priority)
		if other, taken := used[slot]; taken {
			r.bad(r.path+"priority", "SecurityRuleConflict", "Security rule %s conflicts with rule %s. Rules cannot have the same Priority and Direction. To learn more, see aka.ms/nsgrules.", r.id.Name(), other)
		} else {
			used[slot] = r.id.Name()
		}
	}
	if utf8.RuneCountInString(r.p.get("description").text()) > maxDescription {
		r.bad(r.path+"description", "SecurityRuleDescriptionTooLong", "Security rule description cannot exceed 140 chars.")
	}
	homes := map[string]bool{}
	for _, side := range []string{"source", "destination"} {
		r.ports(side)
		r.addresses(side)
		r.groups(side, homes)
	}
	if len(homes) > 1 {
		r.bad(r.path+"sourceApplicationSecurityGroups", "AllApplicationSecurityGroupsInSecurityRuleMustBeFromSameVnet",
			"Security Rule %s has Application Security Groups (ASGs) from multiple virtual networks (%s). All ASGs on the Security Rule must be from the same virtual network.", r.id, strings.Join(sortedKeys(homes), ", "))
	}
}

func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// ports checks one side's port ranges.
func (r *ruleCheck) ports(side string) {
	one, several := r.p.get(side+"PortRange"), r.p.get(side+"PortRanges")
	switch {
	case one == nil && len(several.list()) == 0:
		r.missing(side + "PortRange")
	case one != nil && len(several.list()) > 0:
		r.both(side+"PortRange", side+"PortRanges")
	case one != nil:
		r.port(one.text(), r.path+side+"PortRange")
	}
	for i, text := range several.texts() {
		r.port(text, fmt.Sprintf("%s%sPortRanges[%d]", r.path, side, i))
	}
}

func (r *ruleCheck) missing(field string) {
	r.bad(r.path+field, "SecurityRuleParameterMissing", "Security rule %s has no %s: give it, or its plural form%s.", r.id, field, or(strings.HasSuffix(field, "AddressPrefix"), ", or application security groups"))
}

func or(when bool, text string) string {
	if when {
		return text
	}
	return ""
}

func (r *ruleCheck) both(a, b string) {
	r.bad(r.path+b, "SecurityRuleParameterConflict", "Security rule %s has both %s and %s: give one of them.", r.id, a, b)
}

func (r *ruleCheck) port(text, path string) {
	if text == "*" {
		return
	}
	if _, _, ok := ParsePorts(text); !ok {
		r.bad(path, "SecurityRuleInvalidPortRange", "Security rule has invalid Port range. Value provided: %s. Value should be an integer OR integer range with '-' delimiter. Valid range 0-65535.", text)
	}
}

// addresses checks one side's prefixes.
func (r *ruleCheck) addresses(side string) {
	one, several := r.p.get(side+"AddressPrefix"), r.p.get(side+"AddressPrefixes")
	asgs := r.p.get(side + "ApplicationSecurityGroups").list()
	plural := len(several.list()) > 0
	if one != nil && one.text() == "" && (plural || len(asgs) > 0) { // clients send "" for nothing
		one = nil
	}
	switch {
	case len(asgs) > 0 && (one != nil || plural):
		r.bad(r.path+side+"ApplicationSecurityGroups", "SecurityRuleParameterConflict", "Security rule %s has both an address prefix and application security groups as its %s: give one of them.", r.id, side)
	case one == nil && !plural && len(asgs) == 0:
		r.missing(side + "AddressPrefix")
	case one != nil && plural:
		r.both(side+"AddressPrefix", side+"AddressPrefixes")
	case one != nil:
		r.address(one.text(), r.path+side+"AddressPrefix")
	}
	r.prefixes(side, several.texts())
}

// address checks a singular prefix: *, a tag, an address or a prefix.
func (r *ruleCheck) address(text, path string) {
	if text == "*" {
		return
	}
	if _, ok := ParsePrefix(text); !ok && !r.tag(text) {
		r.badPrefix(text, path)
	}
}

// badPrefix says what was expected, beside Azure's own sentence.
func (r *ruleCheck) badPrefix(text, path string) {
	r.bad(path, "SecurityRuleInvalidAddressPrefix", "Security rule %s has invalid Address prefix. Value provided: %s", r.id, text)
	known := slices.Concat(Tags, slices.Sorted(mapKeys(r.lk.PrefixLists())))
	r.faults[len(r.faults)-1].Details = []Fault{{Code: "ExpectedAddressPrefix", Target: path, Message: fmt.Sprintf(
		"Expected '*', an address, a prefix in CIDR notation without host bits and (IPv6) in canonical text, or in the singular field one of the service tags known here: %s.", strings.Join(known, ", "))}}
}

// prefixes checks a plural list: no tags, one family.
func (r *ruleCheck) prefixes(side string, texts []string) {
	if len(texts) > maxPrefixes {
		r.bad(r.path+side+"AddressPrefixes", "SecurityRuleAddressPrefixesLimitExceeded", "Security rule %s has %d %s address prefixes; up to %d are allowed.", r.id, len(texts), side, maxPrefixes)
		return
	}
	v4, v6 := false, false
	for i, text := range texts {
		path := fmt.Sprintf("%s%sAddressPrefixes[%d]", r.path, side, i)
		p, ok := ParsePrefix(text)
		if !ok && (text == "*" || r.tag(text)) {
			r.bad(path, "SecurityRuleParameterContainsUnsupportedValue",
				"Security rule parameter %sAddressPrefix for rule with Id %s cannot specify existing VIRTUALNETWORK, INTERNET, AZURELOADBALANCER, '*' or system tags. Unsupported value used: %s.", capital(side), r.id, text)
			continue
		}
		if !ok {
			r.badPrefix(text, path)
			continue
		}
		v4, v6 = v4 || p.Addr().Is4(), v6 || p.Addr().Is6()
	}
	if v4 && v6 {
		r.bad(r.path+side+"AddressPrefixes", "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies",
			"%s contains IP addresses or prefixes that belong to different address families. All IP addresses or prefixes in the resource should belong to the same address family.", r.id)
	}
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (r *ruleCheck) tag(text string) bool {
	_, ok := KnownTag(text, r.lk.PrefixLists())
	return ok
}

// groups checks one side's application security groups and collects the virtual networks that their members are in.
func (r *ruleCheck) groups(side string, homes map[string]bool) {
	asgs := r.p.get(side + "ApplicationSecurityGroups").list()
	if len(asgs) > maxRuleASGs {
		r.bad(r.path+side+"ApplicationSecurityGroups", "NumberOfApplicationSecurityGroupsReferencedInSecurityRuleLimitReached",
			"A security rule may have up to %d Application Security Group in the source or destination fields. The requested configuration has %d in the %sApplicationSecurityGroups field.", maxRuleASGs, len(asgs), capital(side))
		return
	}
	for _, a := range asgs {
		if home := asgHome(r.lk, keyOf(a.get("id").text()), ""); home != "" {
			homes[home] = true
		}
	}
}

// asgHome is the virtual network (as written) that the members of an application security group are in, "" while it has none.
// The interface with the key except does not count.
func asgHome(lk Lookup, asg, except string) string {
	for _, k := range lk.Referrers(asg) {
		d := lk.Get(k)
		if d == nil || d.Type != networkInterface || k == except {
			continue
		}
		if v := lk.Get(vnetOf(d)); v != nil {
			return v.ID.String()
		}
	}
	return ""
}
