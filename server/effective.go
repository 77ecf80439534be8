package server

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
)

type idOf struct {
	ID string `json:"id"`
}

type effectiveGroup struct {
	NetworkSecurityGroup   idOf            `json:"networkSecurityGroup"`
	Association            map[string]idOf `json:"association"`
	EffectiveSecurityRules []effectiveRule `json:"effectiveSecurityRules"`
}

// effectiveRule is a rule as Azure's effective rules write it: resolved, and in their own words for any.
type effectiveRule struct {
	Name                             string   `json:"name"`
	Protocol                         string   `json:"protocol"`
	SourcePortRange                  string   `json:"sourcePortRange,omitempty"`
	DestinationPortRange             string   `json:"destinationPortRange,omitempty"`
	SourcePortRanges                 []string `json:"sourcePortRanges"`
	DestinationPortRanges            []string `json:"destinationPortRanges"`
	SourceAddressPrefix              string   `json:"sourceAddressPrefix,omitempty"`
	DestinationAddressPrefix         string   `json:"destinationAddressPrefix,omitempty"`
	SourceAddressPrefixes            []string `json:"sourceAddressPrefixes"`
	DestinationAddressPrefixes       []string `json:"destinationAddressPrefixes"`
	ExpandedSourceAddressPrefix      []string `json:"expandedSourceAddressPrefix,omitempty"`
	ExpandedDestinationAddressPrefix []string `json:"expandedDestinationAddressPrefix,omitempty"`
	Access                           string   `json:"access"`
	Priority                         uint16   `json:"priority"`
	Direction                        string   `json:"direction"`
}

// effectiveGroups are the rules in force at an interface, tags and application security groups resolved as the host enforces them.
// Azure's tagMap is not among them: Azure sends an object where its SDK reads a string, and what tags hold stands in the rules.
func effectiveGroups(r *interfaceRules) any {
	out := []effectiveGroup{}
	for _, l := range r.levels(false) {
		g := effectiveGroup{NetworkSecurityGroup: idOf{l.group.ID}, EffectiveSecurityRules: []effectiveRule{},
			Association: map[string]idOf{"networkInterface": {l.at}}}
		if l.group == r.subnet && l.at == r.port.SubnetID {
			g.Association = map[string]idOf{"subnet": {l.at}}
		}
		for i, rules := range [][]goal.Rule{l.group.In, l.group.Out} {
			for k := range rules {
				e := r.effective(&rules[k])
				e.Direction = []string{"Inbound", "Outbound"}[i]
				g.EffectiveSecurityRules = append(g.EffectiveSecurityRules, e)
			}
		}
		out = append(out, g)
	}
	return map[string]any{"value": out}
}

func (r *interfaceRules) effective(rule *goal.Rule) effectiveRule {
	e := effectiveRule{Name: rule.Name, Protocol: protocolWord(rule.Protocol), Access: "Deny", Priority: rule.Priority,
		SourcePortRanges: portWords(rule.SrcPorts), DestinationPortRanges: portWords(rule.DstPorts)}
	if rule.Allow {
		e.Access = "Allow"
	}
	e.SourcePortRange, e.DestinationPortRange = only(e.SourcePortRanges), only(e.DestinationPortRanges)
	e.SourceAddressPrefix, e.SourceAddressPrefixes, e.ExpandedSourceAddressPrefix = r.side(rule.Src)
	e.DestinationAddressPrefix, e.DestinationAddressPrefixes, e.ExpandedDestinationAddressPrefix = r.side(rule.Dst)
	return e
}

// side writes the addresses of one side: tags by name with what they hold beside, members of application security groups by address.
func (r *interfaceRules) side(m goal.Match) (one string, all, expanded []string) {
	if m.Any {
		return "0.0.0.0/0", []string{"0.0.0.0/0", "0.0.0.0/0"}, nil // the second one is Azure's habit
	}
	all = prefixWords(m.Prefixes)
	for _, set := range m.Sets {
		tag, ok := strings.CutPrefix(set, "tag:")
		if !ok {
			all = append(all, prefixWords(r.sets[set])...)
			continue
		}
		all = append(all, tag)
		expanded = append(expanded, prefixWords(r.sets[set])...)
	}
	return only(all), all, expanded
}

func prefixWords(ps []netip.Prefix) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, p.String())
	}
	return out
}

func portWords(ps []goal.PortRange) []string {
	out := []string{}
	for _, p := range ps {
		out = append(out, fmt.Sprintf("%d-%d", p.Lo, p.Hi))
	}
	return out
}

func only(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return ""
}

func protocolWord(p uint8) string {
	words := map[uint8]string{goal.ProtocolAny: "All", goal.TCP: "Tcp", goal.UDP: "Udp", goal.ICMP: "Icmp", goal.ESP: "Esp", goal.AH: "Ah"}
	return words[p]
}

// ruleWord is a rule's name where Azure's diagnostics call rules by kind.
func ruleWord(name string) string {
	kind, rest, ok := strings.Cut(name, "/")
	switch {
	case ok && kind == "defaultSecurityRules":
		return "DefaultRule_" + rest
	case ok:
		return "UserRule_" + rest
	}
	return name
}

// covering says how much of a prefix a rule's side holds.
type covering int

const (
	nothing covering = iota
	part
	whole
)

func (r *interfaceRules) covers(m goal.Match, all []netip.Prefix) covering {
	list := slices.Clone(m.Prefixes)
	for _, s := range m.Sets {
		list = append(list, r.sets[s]...)
	}
	seen := map[covering]bool{}
	for _, p := range all {
		c := covers(list, p)
		if m.Any {
			c = whole
		}
		seen[c] = true
	}
	switch {
	case seen[part] || seen[nothing] && seen[whole]:
		return part
	case seen[whole]:
		return whole
	}
	return nothing
}

func covers(list []netip.Prefix, p netip.Prefix) covering {
	var inside []netip.Prefix
	for _, q := range list {
		switch {
		case !q.Overlaps(p):
		case q.Bits() <= p.Bits():
			return whole
		default:
			inside = append(inside, q)
		}
	}
	if inside == nil {
		return nothing
	}
	low, high := halves(p)
	a, b := covers(inside, low), covers(inside, high)
	if a == b {
		return a
	}
	return part
}

// halves cuts a prefix in two.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	b := p.Masked().Addr().AsSlice()
	low = netip.PrefixFrom(p.Masked().Addr(), p.Bits()+1)
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return low, netip.PrefixFrom(a, p.Bits()+1)
}
