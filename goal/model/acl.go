package model

import (
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/observe"
)

// Sets resolves the names of address sets for one VNet.
type Sets map[string][]netip.Prefix

// Match returns the index of the first rule of the group in that direction that matches the tuple, -1 when none does.
func Match(g *goal.Group, sets Sets, dir Dir, t Tuple) int {
	rules := g.Out
	if dir == In {
		rules = g.In
	}
	return slices.IndexFunc(rules, func(r goal.Rule) bool { return Matches(&r, sets, t) })
}

// Matches says whether the rule matches the tuple: protocol AND source AND source port AND destination AND destination port.
func Matches(r *goal.Rule, sets Sets, t Tuple) bool {
	return matchProtocol(r.Protocol, t) &&
		matchAddress(r.Src, sets, t.Src) && matchPort(r.SrcPorts, t.Protocol, t.SrcPort) &&
		matchAddress(r.Dst, sets, t.Dst) && matchPort(r.DstPorts, t.Protocol, t.DstPort)
}

// matchProtocol: a rule for ICMP means the ICMP of the packet's family.
func matchProtocol(rule uint8, t Tuple) bool {
	if rule == goal.ICMP && !t.Src.Is4() {
		return t.Protocol == goal.ICMPv6
	}
	return rule == goal.ProtocolAny || rule == t.Protocol
}

func matchAddress(m goal.Match, sets Sets, ip netip.Addr) bool {
	return m.Any || contains(m.Prefixes, ip) ||
		slices.ContainsFunc(m.Sets, func(name string) bool { return contains(sets[name], ip) })
}

// contains asks every prefix; a prefix holds addresses of its own family only.
func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// matchPort: a protocol without ports is matched by the full range only.
func matchPort(ranges []goal.PortRange, protocol uint8, port uint16) bool {
	if !hasPorts(protocol) {
		return slices.Contains(ranges, goal.AnyPort)
	}
	return slices.ContainsFunc(ranges, func(r goal.PortRange) bool { return r.Lo <= port && port <= r.Hi })
}

func hasPorts(protocol uint8) bool {
	return protocol == goal.TCP || protocol == goal.UDP || protocol == goal.ICMP || protocol == goal.ICMPv6
}

// groups returns the rule groups that a packet of that direction asks, in order: outbound the NIC's and then the subnet's,
// inbound the subnet's and then the NIC's. A level without NSG allows.
func groups(p *goal.Port, dir Dir) []string {
	ids := []string{p.NICGroup, p.SubnetGroup}
	if dir == In {
		slices.Reverse(ids)
	}
	return slices.DeleteFunc(ids, func(id string) bool { return id == "" })
}

// acl asks the rule groups of a port in order; the first that denies decides.
func (w *walk) acl(p *goal.Port, dir Dir, t Tuple) Verdict {
	ids := groups(p, dir)
	if len(ids) == 0 {
		w.step("acl", "allow")
	}
	for _, id := range ids {
		g := w.m.groups[id]
		if g == nil {
			return w.deny(observe.Internal, id, "")
		}
		i := Match(g, w.m.vnets[p.VNI].sets, dir, t)
		if i < 0 { // a group without a last rule for everything: deny
			return w.deny(observe.ACLDefault, id, "")
		}
		r := g.Out
		if dir == In {
			r = g.In
		}
		if !r[i].Allow {
			return w.deny(denyReason(r[i].Name), id, r[i].Name)
		}
		w.stepRule("allow", id, r[i].Name)
	}
	return Verdict{}
}

func denyReason(rule string) observe.Reason {
	if strings.HasPrefix(rule, "defaultSecurityRules/") {
		return observe.ACLDefault
	}
	return observe.ACLRule
}

// platform judges a packet to an address of the fabric itself. Such packets are exempt from the rules, except from those whose
// destination names a platform tag: among these the first that matches decides. What the host serves there goes to its services, the rest is dropped.
func (w *walk) platform(p *goal.Port, t Tuple) Verdict {
	if t.Dst != WireServer && t.Dst != Metadata && t.Dst != Router6 {
		return Verdict{}
	}
	for _, id := range groups(p, Out) {
		g := w.m.groups[id]
		if g == nil {
			return w.deny(observe.Internal, id, "")
		}
		for i := range g.Out {
			r := &g.Out[i]
			if !namesPlatform(r, t) || !w.matchesPlatform(p, r, t) {
				continue
			}
			if !r.Allow {
				return w.deny(observe.ACLPlatform, id, r.Name)
			}
			w.stepRule("allow", id, r.Name)
			break
		}
	}
	if !served(p, t) {
		return w.drop(observe.ServiceAbsent)
	}
	if isDNS(t) {
		return w.ask(p, goal.LimitDNS)
	}
	return w.ask(p, goal.LimitService)
}

func isDNS(t Tuple) bool {
	return t.Dst == WireServer && t.DstPort == 53 && (t.Protocol == goal.TCP || t.Protocol == goal.UDP)
}

// served: names over UDP and TCP, metadata and the wire server's versions over HTTP. The services know a VM by the primary IPv4
// address of its port; on Azure too only that one may ask for metadata.
func served(p *goal.Port, t Tuple) bool {
	i := slices.IndexFunc(p.Addresses, func(a goal.Address) bool { return a.IP.Is4() })
	if i < 0 || t.Src != p.Addresses[i].IP {
		return false
	}
	http := t.DstPort == 80 && t.Protocol == goal.TCP
	return isDNS(t) || (t.Dst == WireServer || t.Dst == Metadata) && http
}

// namesPlatform says whether the rule's destination names the tag of the service that the packet asks.
func namesPlatform(r *goal.Rule, t Tuple) bool {
	return isDNS(t) && slices.Contains(r.Dst.Sets, goal.SetPlatformDNS) ||
		t.Dst == Metadata && slices.Contains(r.Dst.Sets, goal.SetPlatformIMDS)
}

// matchesPlatform is Matches but for the destination address, which the tag has matched already.
func (w *walk) matchesPlatform(p *goal.Port, r *goal.Rule, t Tuple) bool {
	return matchProtocol(r.Protocol, t) && matchPort(r.DstPorts, t.Protocol, t.DstPort) &&
		matchAddress(r.Src, w.m.vnets[p.VNI].sets, t.Src) && matchPort(r.SrcPorts, t.Protocol, t.SrcPort)
}
