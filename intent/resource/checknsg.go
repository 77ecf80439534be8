package resource

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

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

// ParsePorts reads "*", "80" or "80-90".
func ParsePorts(text string) (lo, hi uint16, ok bool) {
	if text == "*" {
		return 0, 65535, true
	}
	a, b, ranged := strings.Cut(text, "-")
	if !ranged {
		b = a
	}
	l, lok := portNumber(a)
	h, hok := portNumber(b)
	return l, h, lok && hok && l <= h
}

func portNumber(s string) (uint16, bool) {
	s = strings.TrimSpace(s)
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	v, err := strconv.ParseUint(s, 10, 16)
	return uint16(v), err == nil
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
		r.bad(path, "SecurityRuleInvalidAddressPrefix", "Security rule %s has invalid Address prefix. Value provided: %s", r.id, text)
	}
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
			r.bad(path, "SecurityRuleInvalidAddressPrefix", "Security rule %s has invalid Address prefix. Value provided: %s", r.id, text)
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

// Tags are the service tags that exist without an operator's prefix lists.
var Tags = []string{"AzureLoadBalancer", "AzurePlatformDNS", "AzurePlatformIMDS", "Internet", "VirtualNetwork"}

// KnownTag gives a tag's canonical spelling; lists are the operator's. The names of the classic API are known too.
func KnownTag(text string, lists map[string][]netip.Prefix) (string, bool) {
	switch strings.ToUpper(text) {
	case "VIRTUAL_NETWORK":
		return "VirtualNetwork", true
	case "AZURE_LOADBALANCER":
		return "AzureLoadBalancer", true
	}
	for _, t := range Tags {
		if strings.EqualFold(t, text) {
			return t, true
		}
	}
	for _, t := range slices.Sorted(mapKeys(lists)) {
		if strings.EqualFold(t, text) {
			return t, true
		}
	}
	return "", false
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (r *ruleCheck) tag(text string) bool {
	_, ok := KnownTag(text, r.lk.PrefixLists())
	return ok
}

// ParsePrefix reads a rule's address or prefix: no host bits, IPv6 in canonical text. A bare integer is an IPv4 address, as the
// service's parser has it.
func ParsePrefix(text string) (netip.Prefix, bool) {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil && text == strconv.FormatUint(n, 10) {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), 32), true
	}
	addr, bits, hasBits := strings.Cut(text, "/")
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() && a.String() != strings.ToLower(addr) {
		return netip.Prefix{}, false
	}
	if !hasBits {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(a.String() + "/" + bits)
	return p, err == nil && p.Masked() == p
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
