package cli

import (
	"fmt"
	"net/netip"
	"strings"

	"ringfence/cli/checks"
	"ringfence/goal"
	"ringfence/intent/resource"
	"ringfence/verify"
)

type explainCommand struct {
	sourceFlags
	From     string `arg:"" help:"Where packets come from: a machine, an interface, a subnet, an application security group, an address or prefix, or Internet."`
	To       string `arg:"" help:"Where they go to."`
	Source   string `arg:"" optional:"" help:"Template, directory, export or terraform show -json; else the server."`
	File     string `short:"f" placeholder:"FILE" help:"Assertion file: FROM and TO may be its zones, and its machines are assumed."`
	Protocol string `default:"any" enum:"tcp,udp,icmp,esp,ah,any" help:"Protocol: tcp, udp, icmp, esp, ah or any."`
	Port     string `help:"Destination port or range of ports."`
}

func (explainCommand) Help() string {
	return "The way hop by hop, with the rule that decides at every security group; of what is blocked every rule that blocks it, and the smallest change that\nopens it.\n\n" +
		sourceHelp + `

Exit codes: 0 every such packet arrives, 1 some do not, 2 something is unknown, 3 bad input.

Examples:
  ringfence explain web db exports/ --protocol tcp --port 1433
  ringfence explain Internet web1 template.json --port 22`
}

func (c *explainCommand) Run(a *app) error {
	var file *checks.File
	var err error
	zones := verify.Zones{}
	if c.File != "" {
		if file, err = a.checkFile(c.File); err != nil {
			return err
		}
		zones = file.Checks.Zones
	}
	t := verify.Traffic{}
	if p := map[string]uint8{"tcp": goal.TCP, "udp": goal.UDP, "icmp": goal.ICMP, "esp": goal.ESP, "ah": goal.AH}[c.Protocol]; p != 0 {
		t.Protocols = []uint8{p}
	}
	if c.Port != "" {
		lo, hi, ok := resource.ParsePorts(c.Port)
		if !ok || c.Protocol != "tcp" && c.Protocol != "udp" && c.Protocol != "any" {
			return badInput{fmt.Errorf("--port %s: a port or range of ports of tcp or udp", c.Port)}
		}
		t.DstPorts = []goal.PortRange{{Lo: lo, Hi: hi}}
	}
	n, err := c.network(a, c.Source, file, nil)
	if err != nil {
		return err
	}
	if t.From, err = endZone(zones, n.Open, "from", c.From); err != nil {
		return badInput{err}
	}
	if t.To, err = endZone(zones, n.Open, "to", c.To); err != nil {
		return badInput{err}
	}
	e, err := n.Open.Explain(zones, t, false)
	if err != nil {
		return badInput{err}
	}
	if n.Closed != n.Open {
		least, err := n.Closed.Explain(zones, t, false)
		if err != nil {
			return badInput{err}
		}
		if (least.Allowed == nil) != (e.Allowed == nil) || (least.Denied == nil) != (e.Denied == nil) {
			e.Unknown = append(e.Unknown, n.Doubts...)
		}
	}
	text := &networkText{n}
	err = a.formatted(text.explanation(&e), func() { text.explain(newPainter(a.out), &e) }, noCI)
	if err != nil {
		return err
	}
	return proven(a.faulty(n), e.Denied != nil, len(e.Unknown) > 0)
}

// endZone finds what a word means: a zone of the file, an address, a tag, or the one resource of that name.
func endZone(zones verify.Zones, n *verify.Network, end, word string) (string, error) {
	if _, ok := zones[word]; ok {
		return word, nil
	}
	name := end + " " + word
	try := func(z verify.Zone) bool {
		zones[name] = z
		_, err := n.Reach(zones, verify.Traffic{From: name, To: name, Protocols: []uint8{goal.ESP}})
		return err == nil
	}
	var found []string
	if p, err := netip.ParsePrefix(word); err == nil {
		zones[name] = verify.Zone{Prefixes: []netip.Prefix{p.Masked()}}
		return name, nil
	}
	if ip, err := netip.ParseAddr(word); err == nil {
		zones[name] = verify.Zone{Prefixes: []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}}
		return name, nil
	}
	var meant verify.Zone
	for _, k := range []struct {
		kind string
		zone verify.Zone
	}{
		{"a virtual machine", verify.Zone{VMs: []string{word}}}, {"a network interface", verify.Zone{NICs: []string{word}}}, {"a subnet", verify.Zone{Subnets: []string{word}}},
		{"an application security group", verify.Zone{ASGs: []string{word}}}, {"a virtual network", verify.Zone{VNets: []string{word}}}, {"a service tag", verify.Zone{Tags: []string{word}}},
	} {
		if try(k.zone) {
			if k.kind == "a network interface" && len(found) == 1 { // an interface without a machine is its own
				continue
			}
			found, meant = append(found, k.kind), k.zone
		}
	}
	switch len(found) {
	case 0:
		delete(zones, name)
		if strings.EqualFold(word, "Internet") {
			zones[name] = verify.Zone{Prefixes: []netip.Prefix{netip.MustParsePrefix("1.0.0.0/8")}}
			return name, nil
		}
		return "", fmt.Errorf("%q is no machine, interface, subnet, group, network, service tag, address or prefix of the source", word)
	case 1:
		zones[name] = meant
		return name, nil
	}
	return "", fmt.Errorf("%q is %s: write more of its resource id", word, strings.Join(found, " and "))
}

type caseValue struct {
	Packet   *packetValue `json:"packet"`
	Packets  string       `json:"packets"`
	Path     []hopValue   `json:"path"`
	Blockers []hopValue   `json:"blockers,omitempty"`
	Fix      []string     `json:"fix,omitempty"`
	Pairs    int          `json:"pairs"`
	Assumed  string       `json:"assumed,omitempty"`
}

func (n *networkText) explanation(e *verify.Explanation) any {
	one := func(c *verify.Case) *caseValue {
		if c == nil {
			return nil
		}
		v := &caseValue{packetOf(&c.Witness), c.Box.String(), n.path(c.Hops), n.path(c.Blockers), nil, c.Pairs, c.Assumed}
		for _, f := range c.Fix {
			v.Fix = append(v.Fix, editText(f))
		}
		return v
	}
	return struct {
		Allowed *caseValue `json:"allowed"`
		Denied  *caseValue `json:"denied"`
		Unknown []string   `json:"unknown"`
	}{one(e.Allowed), one(e.Denied), append([]string{}, e.Unknown...)}
}

func (n *networkText) explain(p *painter, e *verify.Explanation) {
	switch {
	case e.Denied == nil && e.Allowed != nil:
		p.printf("%s every such packet arrives.\n", p.paint(green, "Allowed:"))
	case e.Allowed == nil:
		p.printf("%s no such packet arrives.\n", p.paint(red, "Denied:"))
	default:
		p.printf("%s some packets arrive, others do not.\n", p.paint(yellow, "In part:"))
	}
	for _, c := range []*verify.Case{e.Allowed, e.Denied} {
		if c == nil {
			continue
		}
		word := "arrives "
		if c == e.Denied {
			word = "blocked "
		}
		p.printf("\n%s%s%s\n", word, c.Witness, n.ends(&c.Witness))
		n.hops(p, "  ", c.Hops)
		p.printf("  all such: %s\n", c.Box)
		if c.Assumed != "" {
			p.printf("  assumed: %s\n", c.Assumed)
		}
		if c == e.Denied {
			p.printf("  blocked in %d %s.\n", len(c.Blockers), countWord(len(c.Blockers), "place", "places"))
			for _, f := range c.Fix {
				p.printf("  to open it: %s\n", editText(f))
			}
		}
	}
	for _, u := range e.Unknown {
		p.printf("%s %s\n", p.paint(yellow, "unknown:"), u)
	}
}

func countWord(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
