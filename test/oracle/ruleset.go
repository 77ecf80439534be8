// Package oracle holds nftables against the executable specification.
//
// In: random goals (goal/random). Out: nothing but test results. The kernel's own packet filter, in a namespace with two TUN
// devices, reads each rule of a group as an nft rule and writes the rule's number into the packet; the number that comes out
// of the other device is compared with the rule that goal/model says decides. nft shares no code with Ringfence.
package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/goal/model"
)

// ruleset is the nft text of the rules: the first that matches sends the packet on with its number in the IPv4 identification or
// the IPv6 flow label. Numbers begin at 1; a packet that no rule matches is not seen again.
func ruleset(rules []goal.Rule, sets model.Sets) string {
	var b strings.Builder
	b.WriteString("table netdev twin {\n chain c {\n  type filter hook ingress device in0 priority 0; policy drop;\n")
	for i, r := range rules {
		for _, v4 := range []bool{true, false} {
			sides, ok := addresses(r, sets, v4)
			if !ok {
				continue
			}
			for _, l4 := range transports(r, v4) {
				fmt.Fprintf(&b, "  meta protocol %s %s%s%s fwd to \"out0\"\n", family(v4), sides, l4, mark(v4, i+1))
			}
		}
	}
	b.WriteString(" }\n}\n")
	return b.String()
}

func family(v4 bool) string {
	if v4 {
		return "ip"
	}
	return "ip6"
}

func mark(v4 bool, n int) string {
	if v4 {
		return fmt.Sprintf("ip id set %d", n)
	}
	return fmt.Sprintf("ip6 flowlabel set %d", n)
}

// addresses says both sides in one family; false when a side has no address of that family.
func addresses(r goal.Rule, sets model.Sets, v4 bool) (string, bool) {
	text := ""
	for _, side := range []struct {
		word string
		m    goal.Match
	}{{"saddr", r.Src}, {"daddr", r.Dst}} {
		if side.m.Any {
			continue
		}
		all := slices.Clone(side.m.Prefixes)
		for _, name := range side.m.Sets {
			all = append(all, sets[name]...)
		}
		elements := merged(all, v4)
		if len(elements) == 0 {
			return "", false
		}
		text += fmt.Sprintf("%s %s { %s } ", family(v4), side.word, strings.Join(elements, ", "))
	}
	return text, true
}

// merged gives the prefixes of one family without those that lie inside others: nft wants disjoint elements.
func merged(all []netip.Prefix, v4 bool) []string {
	var out []string
	for i, p := range all {
		if p.Addr().Is4() != v4 {
			continue
		}
		inside := slices.ContainsFunc(all, func(q netip.Prefix) bool {
			return q.Addr().Is4() == v4 && q.Bits() < p.Bits() && q.Contains(p.Addr())
		})
		if !inside && slices.Index(all, p) == i {
			out = append(out, p.String())
		}
	}
	return out
}

// transports says protocol and ports; several nft rules where one security rule speaks of several protocols. An ICMP message has
// its type for both ports; a protocol without ports is matched by the full range only.
func transports(r goal.Rule, v4 bool) []string {
	icmp, icmpWord := goal.ICMP, "icmp"
	if !v4 {
		icmp, icmpWord = goal.ICMPv6, "icmpv6"
	}
	anyPorts := slices.Contains(r.SrcPorts, goal.AnyPort) && slices.Contains(r.DstPorts, goal.AnyPort)
	if r.Protocol == goal.ProtocolAny && anyPorts {
		return []string{""}
	}
	var out []string
	for _, p := range []uint8{goal.TCP, goal.UDP} {
		if r.Protocol == p || r.Protocol == goal.ProtocolAny {
			out = append(out, fmt.Sprintf("meta l4proto %d %s%s", p, ports("th sport", r.SrcPorts, 65535), ports("th dport", r.DstPorts, 65535)))
		}
	}
	if r.Protocol == goal.ICMP || r.Protocol == goal.ProtocolAny {
		src, dst := ports(icmpWord+" type", r.SrcPorts, 255), ports(icmpWord+" type", r.DstPorts, 255)
		if src != none && dst != none {
			out = append(out, fmt.Sprintf("meta l4proto %d %s%s", icmp, src, dst))
		}
	}
	for _, p := range []uint8{goal.ESP, goal.AH} {
		if anyPorts && r.Protocol == p {
			out = append(out, fmt.Sprintf("meta l4proto %d ", p))
		}
	}
	return out
}

const none = "none"

// ports says a list of ranges of which only values up to the limit can occur.
func ports(field string, ranges []goal.PortRange, limit uint16) string {
	if slices.Contains(ranges, goal.AnyPort) {
		return ""
	}
	var parts []string
	for _, r := range ranges {
		if r.Lo > limit {
			continue
		}
		if hi := min(r.Hi, limit); hi == r.Lo {
			parts = append(parts, fmt.Sprint(r.Lo))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", r.Lo, hi))
		}
	}
	if len(parts) == 0 {
		return none
	}
	return fmt.Sprintf("%s { %s } ", field, strings.Join(parts, ", "))
}
