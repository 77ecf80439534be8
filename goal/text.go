package goal

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Text is the canonical text of a goal: every fact on a line of its own, in blocks that start at the left margin. Equal texts
// mean equal goals, so people, hashes and differences all read it.
func Text(h *Host) string {
	var b strings.Builder
	fmt.Fprintf(&b, "host %s\n  generation %d\n  underlay %s\n", word(h.Name), h.Generation, addr(h.Underlay))
	for _, f := range h.Forwarders {
		fmt.Fprintf(&b, "  forwarder %s\n", f)
	}
	for i := range h.Ports {
		h.Ports[i].text(&b)
	}
	for i := range h.VNets {
		h.VNets[i].text(&b)
	}
	for i := range h.Groups {
		h.Groups[i].text(&b)
	}
	for i := range h.Zones {
		h.Zones[i].text(&b)
	}
	return b.String()
}

// Text is the canonical text of one group, as it stands in the host's.
func (g Group) Text() string {
	var b strings.Builder
	g.text(&b)
	return b.String()
}

// Hash names the content of a goal. The generation is left out: goals that differ only in it are enforced alike.
func Hash(h *Host) [32]byte {
	c := *h
	c.Generation = 0
	return sha256.Sum256([]byte(Text(&c)))
}

// Hash names the content of a group: groups with the same hash have the same text.
func (g Group) Hash() [32]byte { return sha256.Sum256([]byte(g.Text())) }

func (p *Port) text(b *strings.Builder) {
	fmt.Fprintf(b, "\nport %d\n  id %s\n  vm %s\n", p.Index, word(p.ID), word(p.VM))
	fmt.Fprintf(b, "  sandbox %s hostname %s device %s\n", word(p.Sandbox.Name), word(p.Sandbox.HostName), word(p.Sandbox.Device))
	if a := p.Attachment; a != (Attachment{}) {
		fmt.Fprintf(b, "  attachment %s device %s namespace %s%s\n", word(string(a.Kind)), word(a.Device), word(a.Namespace), mark(" configure", a.Configure))
	}
	fmt.Fprintf(b, "  primary %t\n  mac %s\n  vni %d\n", p.Primary, p.MAC, p.VNI)
	for _, a := range p.Addresses {
		fmt.Fprintf(b, "  address %s subnet %s%s\n", addr(a.IP), a.Subnet, mark(" primary", a.Primary))
	}
	fmt.Fprintf(b, "  nic-group %s\n  subnet-group %s\n  subnet %s\n", word(p.NICGroup), word(p.SubnetGroup), word(p.SubnetID))
	for _, a := range p.DNS {
		fmt.Fprintf(b, "  dns %s\n", addr(a))
	}
	fmt.Fprintf(b, "  domain %s\n  mtu %d\n", word(p.Domain), p.MTU)
	p.Limits.text(b)
	p.Compute.text(b)
}

func (n *VNet) text(b *strings.Builder) {
	fmt.Fprintf(b, "\nvnet %d\n  id %s\n  idle-minutes %d\n  domain %s\n", n.VNI, word(n.ID), n.IdleMinutes, word(n.Domain))
	for _, p := range n.Prefixes {
		fmt.Fprintf(b, "  prefix %s\n", p)
	}
	for _, s := range n.Sets {
		fmt.Fprintf(b, "  set %s\n", word(s.Name))
		for _, p := range s.Prefixes {
			fmt.Fprintf(b, "    %s\n", p)
		}
	}
	for _, e := range n.Endpoints {
		fmt.Fprintf(b, "  endpoint %s port %d host %s mac %s\n", addr(e.IP), e.Port, addr(e.Host), e.MAC)
	}
	for i := range n.Names {
		n.Names[i].text(b)
	}
	for _, l := range n.Zones {
		fmt.Fprintf(b, "  zone %s%s\n", word(l.Zone), mark(" fallback", l.Fallback))
	}
}

func (g *Group) text(b *strings.Builder) {
	fmt.Fprintf(b, "\ngroup %s\n  flush %t\n", word(g.ID), g.Flush)
	for i := range g.In {
		g.In[i].text(b, "in")
	}
	for i := range g.Out {
		g.Out[i].text(b, "out")
	}
}

// text writes a rule as one sentence: in 100 allow tcp from any to 10.0.0.0/24 port 443 securityRules/web since 17.
func (r *Rule) text(b *strings.Builder, dir string) {
	access := "deny"
	if r.Allow {
		access = "allow"
	}
	fmt.Fprintf(b, "  %s %d %s %s from %s%s to %s%s %s", dir, r.Priority, access, ProtocolName(r.Protocol),
		r.Src.text(), ports(r.SrcPorts), r.Dst.text(), ports(r.DstPorts), word(r.Name))
	if r.Revision != 0 {
		fmt.Fprintf(b, " since %d", r.Revision)
	}
	b.WriteByte('\n')
}

func (m *Match) text() string {
	var w []string
	if m.Any {
		w = append(w, "any")
	}
	for _, p := range m.Prefixes {
		w = append(w, p.String())
	}
	for _, s := range m.Sets {
		w = append(w, word(s))
	}
	if w == nil {
		return "nothing"
	}
	return strings.Join(w, ",")
}

// ports writes nothing for every port.
func ports(ranges []PortRange) string {
	if slices.Equal(ranges, []PortRange{AnyPort}) {
		return ""
	}
	w := make([]string, len(ranges))
	for i, r := range ranges {
		w[i] = r.String()
	}
	if len(w) == 0 {
		return " port none"
	}
	return " port " + strings.Join(w, ",")
}

func (r PortRange) String() string {
	if r.Lo == r.Hi {
		return strconv.Itoa(int(r.Lo))
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
}

// ProtocolName is the word for a protocol of a rule or a packet: its name, or its number.
func ProtocolName(p uint8) string {
	switch p {
	case ProtocolAny:
		return "any"
	case ICMP:
		return "icmp"
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case ESP:
		return "esp"
	case AH:
		return "ah"
	case ICMPv6:
		return "icmpv6"
	}
	return strconv.Itoa(int(p))
}

// word keeps a name one unmistakable word: - when it is empty, quoted when it holds anything that the text uses itself.
func word(s string) string {
	switch {
	case s == "":
		return "-"
	case s == "-" || strings.ContainsFunc(s, func(c rune) bool {
		return c == ' ' || c == '"' || c == ',' || c == utf8.RuneError || !strconv.IsPrint(c)
	}):
		return strconv.Quote(s)
	}
	return s
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

func mark(s string, on bool) string {
	if on {
		return s
	}
	return ""
}
