package cli

import (
	"cmp"
	"fmt"
	"strings"

	"ringfence/cli/offline"
	"ringfence/goal"
	"ringfence/intent/load"
	"ringfence/intent/resource"
	"ringfence/verify"
)

// text prints the results for people.
func (f *answered) text(p *painter) {
	width := 0
	for _, r := range f.results {
		width = max(width, len(r.ID))
	}
	count := map[verify.Status]int{}
	for i := range f.results {
		r := &f.results[i]
		count[r.Status]++
		word := map[verify.Status]string{verify.Holds: p.paint(green, "holds   "), verify.Violated: p.paint(red, "VIOLATED"), verify.Unknown: p.paint(yellow, "UNKNOWN ")}[r.Status]
		p.printf("%s  %-*s  %s\n", word, width, r.ID, f.said(r))
		f.details(p, r)
	}
	p.printf("\n%s.\n", strings.Join(parts(count), ", "))
	f.footnote(p)
}

// said is the one sentence of a result.
func (f *answered) said(r *verify.Result) string {
	text := r.Text
	if r.Pairs > 1 && r.Status == verify.Violated {
		text += fmt.Sprintf(" (%d pairs of interfaces)", r.Pairs)
	}
	return text
}

func parts(count map[verify.Status]int) []string {
	var out []string
	for _, s := range []struct {
		s         verify.Status
		one, many string
	}{{verify.Holds, "holds", "hold"}, {verify.Violated, "is violated", "are violated"}, {verify.Unknown, "is unknown", "are unknown"}} {
		if n := count[s.s]; n == 1 {
			out = append(out, "1 "+s.one)
		} else if n > 1 || s.s == verify.Holds {
			out = append(out, fmt.Sprintf("%d %s", n, s.many))
		}
	}
	return out
}

const indent = "          "

// details are what people need to believe a result and to repair it.
func (f *answered) details(p *painter, r *verify.Result) {
	for _, u := range r.Unknown {
		p.printf("%s%s\n", indent, u)
	}
	if r.Status != verify.Violated {
		return
	}
	if r.Witness != nil {
		p.printf("%s%s%s\n", indent, r.Witness, f.network.ends(r.Witness))
		f.network.hops(p, indent, r.Hops)
	}
	if r.Box != nil {
		p.printf("%sall such: %s\n", indent, r.Box)
	}
	if r.Assumed != "" && !strings.Contains(r.Text, r.Assumed) {
		p.printf("%sassumed: %s\n", indent, r.Assumed)
	}
	for _, e := range r.Fix {
		p.printf("%sto change it: %s\n", indent, editText(e))
	}
	for _, c := range r.Changes {
		p.printf("%s%s\n", indent, changeText(f.network, &c))
	}
}

// editText says a rule to add as a sentence.
func editText(e verify.Edit) string {
	r := &e.Rule
	access, direction := "Deny", "Outbound"
	if r.Allow {
		access = "Allow"
	}
	if e.Direction == verify.In {
		direction = "Inbound"
	}
	return fmt.Sprintf("in %s, a rule before %s: %s, priority %d, %s %s from %s to %s%s", lastName(e.Group), shortRule(e.Before.Rule), direction, r.Priority, access,
		protocolName(r.Protocol), matchText(r.Src), matchText(r.Dst), portsText(r.DstPorts))
}

func protocolName(p uint8) string {
	switch p {
	case goal.ProtocolAny:
		return "any protocol"
	case goal.TCP:
		return "Tcp"
	case goal.UDP:
		return "Udp"
	case goal.ICMP, goal.ICMPv6:
		return "Icmp"
	case goal.ESP:
		return "Esp"
	case goal.AH:
		return "Ah"
	}
	return fmt.Sprint(p)
}

func matchText(m goal.Match) string {
	if m.Any {
		return "*"
	}
	var out []string
	for _, p := range m.Prefixes {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
		} else {
			out = append(out, p.String())
		}
	}
	for _, s := range m.Sets {
		_, name, _ := strings.Cut(s, ":")
		out = append(out, lastName(name))
	}
	return strings.Join(out, ",")
}

func portsText(ports []goal.PortRange) string {
	if len(ports) == 0 || ports[0] == goal.AnyPort {
		return ""
	}
	return " port " + rangesText(ports)
}

func rangesText(ports []goal.PortRange) string {
	var out []string
	for _, p := range ports {
		if p.Lo == p.Hi {
			out = append(out, fmt.Sprint(p.Lo))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", p.Lo, p.Hi))
		}
	}
	return strings.Join(out, ",")
}

func lastName(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// shortRule is a rule's name, with the word default for those that nobody wrote.
func shortRule(rule string) string {
	kind, name, ok := strings.Cut(rule, "/")
	if ok && kind == "defaultSecurityRules" {
		return name + " (default)"
	}
	return cmp.Or(name, rule)
}

// ends names the interfaces of a packet.
func (n *networkText) ends(p *verify.Packet) string {
	if p.From == "" && p.To == "" {
		return ""
	}
	name := func(id, outside string) string {
		if id == "" {
			return outside
		}
		if vm := n.machine(id); vm != "" {
			return vm
		}
		return lastName(id)
	}
	return fmt.Sprintf("   (%s → %s)", name(p.From, "outside"), name(p.To, "outside"))
}

// networkText is a network that knows where its resources stand.
type networkText struct{ *offline.Network }

// machine is the name of the machine that an interface is of, "" when it is its own.
func (n *networkText) machine(nic string) string {
	if r := n.Source.View.NICs[strings.ToLower(nic)]; r != nil && r.VM != "" && r.VM != strings.ToLower(nic) {
		if vm := n.Source.View.VMs[r.VM]; vm != nil {
			return lastName(vm.ID)
		}
	}
	return ""
}

// hops prints what every security group said, with the file and line of each rule.
func (n *networkText) hops(p *painter, indent string, hops []verify.Hop) {
	for _, h := range hops {
		if h.Layer != "acl" && h.Allow {
			continue
		}
		word := p.paint(green, "allow")
		if !h.Allow {
			word = p.paint(red, "deny ")
		}
		if h.Layer != "acl" {
			p.printf("%s%-15s  %s  %s\n", indent, h.Layer, word, h.By.Reason)
			continue
		}
		level := fmt.Sprintf("%s %s", h.Direction, h.Level)
		p.printf("%s%-15s  %s  %s\n", indent, level, word, n.rule(h.By))
	}
}

// rule names a rule with its place.
func (n *networkText) rule(r verify.RuleID) string {
	if r.Group == "" {
		return r.Reason.String()
	}
	text := lastName(r.Group) + "/" + shortRule(r.Rule)
	if at := n.stands(r.ID()); at.File != "" {
		text += "  " + at.String()
	}
	return text
}

// stands is the file and line of a resource; what the server has stands in none.
func (n *networkText) stands(id string) load.Place {
	if at := n.Source.Place(id); at.File != serverName {
		return at
	}
	return load.Place{}
}

// footnote says what stands behind the answers.
func (f *answered) footnote(p *painter) { f.network.notes(p) }

// notes say what the source does not: subnets without machines, and groups without members, which no rule that names them matches.
func (n *networkText) notes(p *painter) {
	s := n.Source
	for _, key := range sortedKeys(s.Assumed) {
		nic := s.View.NICs[key]
		if nic == nil || !strings.HasPrefix(lastName(nic.ID), "any-in-") || len(nic.IPConfigs) == 0 {
			continue
		}
		if id, err := resource.ParseID(nic.IPConfigs[0].Subnet); err == nil {
			p.printf("%s\n", p.paint(faint, fmt.Sprintf("Note: %s stands for any machine in the subnet %s, which has none.", lastName(nic.ID), strings.Join(id.Names, "/"))))
		}
	}
	for _, id := range n.Memberless() {
		p.printf("%s\n", p.paint(faint, fmt.Sprintf("Note: the group %s has no members here, so rules that name it match nothing; `machines:` in a checks file assumes some.", lastName(id))))
	}
}
