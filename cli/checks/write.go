package checks

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/verify"
)

// Write is the text of an assertion file that Read understands as the same. Packets and differences are people's to write: they are
// left out.
func Write(c verify.Checks) []byte {
	var b strings.Builder
	b.WriteString("version: 1\n\nzones:\n")
	for _, name := range slices.Sorted(maps.Keys(c.Zones)) {
		fmt.Fprintf(&b, "  %s: %s\n", word(name), zoneText(c.Zones[name]))
	}
	if len(c.Assert) > 0 {
		b.WriteString("\nassert:\n")
	}
	for i := range c.Assert {
		a := &c.Assert[i]
		if a.None == nil && a.All == nil && a.Some == nil {
			continue
		}
		fmt.Fprintf(&b, "- id: %s\n", word(a.ID))
		for _, q := range []struct {
			kind string
			t    *verify.Traffic
		}{{"none", a.None}, {"all", a.All}, {"some", a.Some}} {
			if q.t != nil {
				fmt.Fprintf(&b, "  %s: %s\n", q.kind, trafficText(q.t))
			}
		}
		if len(a.Except) > 0 {
			b.WriteString("  except:\n")
			for j := range a.Except {
				fmt.Fprintf(&b, "  - %s\n", trafficText(&a.Except[j]))
			}
		}
	}
	b.WriteString("\nlint: {dead-rules: error, redundant: warn, unattached: warn}\n")
	return []byte(b.String())
}

func zoneText(z verify.Zone) string {
	var out []string
	add := func(name string, list []string) {
		if len(list) > 0 {
			out = append(out, name+": "+listed(list))
		}
	}
	add("asg", z.ASGs)
	add("subnet", z.Subnets)
	add("vnet", z.VNets)
	add("nic", z.NICs)
	add("vm", z.VMs)
	add("tag", z.Tags)
	add("cidr", prefixTexts(z.Prefixes))
	return "{" + strings.Join(out, ", ") + "}"
}

func prefixTexts(list []netip.Prefix) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// listed writes one word as it is and several as a list.
func listed(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = word(s)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// word quotes what YAML would read as something else.
func word(s string) string {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || i > 0 && (c >= '0' && c <= '9' || strings.ContainsRune("-_./", c)) || c == '/'
		if !letter {
			return fmt.Sprintf("%q", s)
		}
	}
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf":
		return fmt.Sprintf("%q", s)
	}
	return s
}

func trafficText(t *verify.Traffic) string {
	var out []string
	add := func(name, text string) {
		if text != "" {
			out = append(out, name+": "+text)
		}
	}
	if t.From != "" {
		add("from", word(t.From))
	}
	if t.To != "" {
		add("to", word(t.To))
	}
	if list := prefixTexts(t.Src); len(list) > 0 {
		add("src", listed(list))
	}
	if list := prefixTexts(t.Dst); len(list) > 0 {
		add("dst", listed(list))
	}
	var protos []string
	for _, p := range t.Protocols {
		for name, list := range protocols {
			if len(list) == 1 && list[0] == p {
				protos = append(protos, name)
			}
		}
	}
	if len(protos) > 0 {
		add("proto", listed(protos))
	}
	if t.Through != "" {
		add("through", word(t.Through))
	}
	add("sport", portTexts(t.SrcPorts))
	add("dport", portTexts(t.DstPorts))
	var types []string
	for _, n := range t.ICMPTypes {
		types = append(types, fmt.Sprint(n))
	}
	if len(types) == 1 {
		add("icmp-type", types[0])
	} else if len(types) > 1 {
		add("icmp-type", "["+strings.Join(types, ", ")+"]")
	}
	return "{" + strings.Join(out, ", ") + "}"
}

func portTexts(list []goal.PortRange) string {
	var out []string
	for _, p := range list {
		if p.Lo == p.Hi {
			out = append(out, fmt.Sprint(p.Lo))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", p.Lo, p.Hi))
		}
	}
	if len(out) < 2 {
		return strings.Join(out, "")
	}
	return "[" + strings.Join(out, ", ") + "]"
}
