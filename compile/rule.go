package compile

import (
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// asgPrefix begins the name of an application security group's set.
const asgPrefix = "asg:"

// reference is what a rule names that lives elsewhere: a tag as written, or the key of an ASG.
type reference struct {
	asg  bool
	name string
}

// protocols are the words of rules, in lower case.
var protocols = map[string]uint8{
	"*": goal.ProtocolAny, "tcp": goal.TCP, "udp": goal.UDP, "icmp": goal.ICMP, "esp": goal.ESP, "ah": goal.AH,
}

// rule compiles one security rule. A part that cannot be understood or refers to something missing fails closed: a rule that
// allows is left out, a rule that denies denies whatever that part could have been.
func (b *groupBuilder) rule(r *resource.SecurityRule) (goal.Rule, bool) {
	out := goal.Rule{Name: "securityRules/" + r.Name, Priority: r.Priority, Allow: r.Allow, Revision: r.Revision}
	before := len(b.part.problems)
	protocol, ok := protocols[strings.ToLower(r.Protocol)]
	if !ok {
		b.problem(r, "protocol", r.Protocol)
	}
	out.Protocol = protocol
	out.Src = b.match(r, "source", r.Src)
	out.Dst = b.match(r, "destination", r.Dst)
	out.SrcPorts = b.ports(r, "sourcePortRanges", r.Src.Ports)
	out.DstPorts = b.ports(r, "destinationPortRanges", r.Dst.Ports)
	return out, !r.Allow || len(b.part.problems) == before
}

func (b *groupBuilder) problem(r *resource.SecurityRule, field, value string) {
	effect := "the rule denies every " + field
	if r.Allow {
		effect = "the rule is left out"
	}
	b.part.problems = append(b.part.problems, Problem{b.part.nsg.ID + "/securityRules/" + r.Name, field, value, effect})
}

// match compiles one address side of a rule.
func (b *groupBuilder) match(r *resource.SecurityRule, field string, side resource.RuleSide) goal.Match {
	var m goal.Match
	for _, text := range side.Prefixes {
		if text == "*" {
			return anyone
		}
		if p, ok := resource.ParsePrefix(text); ok {
			m.Prefixes = append(m.Prefixes, p)
			continue
		}
		if !b.refer(&m, reference{false, text}) {
			b.problem(r, field, text)
			return anyone
		}
	}
	for _, key := range side.ASGs {
		if !b.refer(&m, reference{true, key}) {
			b.problem(r, field, key)
			return anyone
		}
	}
	if m.Prefixes == nil && m.Sets == nil {
		b.problem(r, field, "")
		return anyone
	}
	slices.SortFunc(m.Prefixes, netip.Prefix.Compare)
	slices.Sort(m.Sets)
	m.Prefixes, m.Sets = slices.Compact(m.Prefixes), slices.Compact(m.Sets)
	return m
}

// refer adds the set that a reference means; false when it means nothing.
func (b *groupBuilder) refer(m *goal.Match, ref reference) bool {
	name := b.resolve(ref)
	b.part.refs[ref] = name
	if name == "" {
		return false
	}
	m.Sets = append(m.Sets, name)
	return true
}

// resolve names the set that a reference means, "" when there is none.
func (c *compiler) resolve(ref reference) string {
	if !ref.asg {
		return c.tags.name(ref.name)
	}
	if g := c.view.ASGs[ref.name]; g != nil {
		return asgPrefix + g.ID
	}
	return ""
}

// ports compiles the port ranges of one side of a rule.
func (b *groupBuilder) ports(r *resource.SecurityRule, field string, texts []string) []goal.PortRange {
	var out []goal.PortRange
	for _, text := range texts {
		lo, hi, ok := resource.ParsePorts(text)
		if !ok {
			b.problem(r, field, text)
			return anyPort
		}
		out = append(out, goal.PortRange{Lo: lo, Hi: hi})
	}
	if out == nil {
		b.problem(r, field, "")
		return anyPort
	}
	return mergePorts(out)
}

// mergePorts sorts ranges and joins those that overlap or touch.
func mergePorts(in []goal.PortRange) []goal.PortRange {
	slices.SortFunc(in, func(a, b goal.PortRange) int { return int(a.Lo) - int(b.Lo) })
	out := in[:1]
	for _, r := range in[1:] {
		last := &out[len(out)-1]
		if int(r.Lo) > int(last.Hi)+1 {
			out = append(out, r)
		} else {
			last.Hi = max(last.Hi, r.Hi)
		}
	}
	return out
}
