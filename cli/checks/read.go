package checks

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence/goal"
	"ringfence/intent/load"
	"ringfence/intent/resource"
	"ringfence/verify"
)

// root reads the outermost names.
func (r *reader) root(n *yaml.Node) {
	version := ""
	var later []func()
	r.fields(n, "", map[string]func(*yaml.Node, string){
		"version":  r.one(&version),
		"tags":     r.tags,
		"machines": r.machines,
		"zones":    r.zones,
		"assert":   func(n *yaml.Node, path string) { later = append(later, func() { r.assertions(n, path) }) },
		"lint":     r.lint,
	})
	switch {
	case version == "" && n.Kind == yaml.MappingNode && !r.said("version"):
		r.bad(n, "version", "it is missing: this program reads version: 1")
	case version != "" && version != "1":
		r.bad(n, "version", "version %q is not known: this program reads version: 1", version)
	}
	for _, f := range later { // the zones are known by now
		f()
	}
}

func (r *reader) said(path string) bool {
	return slices.ContainsFunc(r.faults, func(f Fault) bool { return f.Path == path })
}

// members visits a mapping whose names are the user's.
func (r *reader) members(n *yaml.Node, path string, each func(key, v *yaml.Node, path string)) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, path, "expected names and values, found %s", what(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		each(n.Content[i], n.Content[i+1], join(path, n.Content[i].Value))
	}
}

func (r *reader) list(n *yaml.Node, path string, each func(n *yaml.Node, path string)) {
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		r.bad(n, path, "expected a list, found %s", emptyList(n))
		return
	}
	for i, e := range n.Content {
		each(e, fmt.Sprintf("%s[%d]", path, i))
	}
}

func (r *reader) tags(n *yaml.Node, path string) {
	r.members(n, path, func(key, v *yaml.Node, path string) {
		if _, known := resource.KnownTag(key.Value, nil); known {
			r.bad(key, path, "the tag is built in and cannot be defined")
			return
		}
		var list []netip.Prefix
		r.prefixes(&list)(v, path)
		r.file.Tags[key.Value] = list
	})
}

func (r *reader) machines(n *yaml.Node, path string) {
	seen := map[string]bool{}
	r.list(n, path, func(n *yaml.Node, path string) {
		m := load.Machine{At: load.Place{File: r.file.Name, Line: n.Line}}
		r.fields(n, path, map[string]func(*yaml.Node, string){
			"name": r.one(&m.Name), "subnet": r.one(&m.Subnet), "asg": r.into(&m.ASGs), "nsg": r.one(&m.NSG),
			"ip": func(n *yaml.Node, path string) {
				r.texts(n, path, func(n *yaml.Node, path, s string) {
					if _, err := netip.ParseAddr(s); err != nil {
						r.bad(n, path, "%q is no address", s)
						return
					}
					m.Addresses = append(m.Addresses, s)
				})
			},
		})
		switch {
		case m.Name == "" && !r.said(path+".name"):
			r.bad(n, path+".name", "it is missing")
		case m.Subnet == "" && !r.said(path+".subnet"):
			r.bad(n, path+".subnet", "it is missing")
		case seen[strings.ToLower(m.Name)]:
			r.bad(n, path+".name", "two machines are called %s", m.Name)
		}
		seen[strings.ToLower(m.Name)] = true
		r.file.Machines = append(r.file.Machines, m)
	})
}

func (r *reader) zones(n *yaml.Node, path string) {
	r.members(n, path, func(key, v *yaml.Node, path string) {
		var z verify.Zone
		var ids []string
		before := len(r.faults)
		r.fields(v, path, map[string]func(*yaml.Node, string){
			"asg": r.into(&z.ASGs), "subnet": r.into(&z.Subnets), "vnet": r.into(&z.VNets), "nic": r.into(&z.NICs), "vm": r.into(&z.VMs),
			"cidr": r.prefixes(&z.Prefixes), "tag": r.into(&z.Tags), "via": r.one(&z.Via), "id": r.into(&ids),
		})
		for _, id := range ids {
			if !zoneByID(&z, id) {
				r.bad(v, path+".id", "%q is no id of an application security group, a subnet, a virtual network, a network interface or a virtual machine", id)
			}
		}
		if len(r.faults) == before && len(z.ASGs)+len(z.Subnets)+len(z.VNets)+len(z.NICs)+len(z.VMs)+len(z.Prefixes)+len(z.Tags) == 0 {
			r.bad(key, path, "the zone names nothing: give asg, subnet, vnet, nic, vm, cidr, tag or id")
		}
		r.file.Checks.Zones[key.Value] = z
	})
}

// zoneByID adds a resource by its full id.
func zoneByID(z *verify.Zone, text string) bool {
	id, err := resource.ParseID(text)
	if err != nil {
		return false
	}
	switch id.Type {
	case "Microsoft.Network/applicationSecurityGroups":
		z.ASGs = append(z.ASGs, id.String())
	case "Microsoft.Network/virtualNetworks/subnets":
		z.Subnets = append(z.Subnets, id.String())
	case "Microsoft.Network/virtualNetworks":
		z.VNets = append(z.VNets, id.String())
	case "Microsoft.Network/networkInterfaces":
		z.NICs = append(z.NICs, id.String())
	case "Microsoft.Compute/virtualMachines":
		z.VMs = append(z.VMs, id.String())
	default:
		return false
	}
	return true
}

// Findings are the names that lint levels are given by.
var Findings = []string{"dead-rules", "redundant", "conflicting", "unattached", "one-sided", "exposed", "assumed"}

func (r *reader) lint(n *yaml.Node, path string) {
	r.members(n, path, func(key, v *yaml.Node, path string) {
		if !slices.Contains(Findings, key.Value) {
			r.bad(key, path, "unknown; there are: %s", strings.Join(Findings, ", "))
			return
		}
		level := Level(v.Value)
		if v.Kind != yaml.ScalarNode || !slices.Contains([]Level{Off, Info, Warn, Error}, level) {
			r.bad(v, path, "expected off, info, warn or error, found %s", what(v))
			return
		}
		r.file.Lint[key.Value] = level
	})
}

func (r *reader) assertions(n *yaml.Node, path string) {
	r.list(n, path, r.assertion)
}

// assertion reads one entry of the list.
func (r *reader) assertion(n *yaml.Node, path string) {
	var a verify.Assertion
	var kinds []string
	var expected *yaml.Node
	hasExcept, note := false, ""
	about := func(kind string, to **verify.Traffic) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			kinds = append(kinds, kind)
			t := r.traffic(n, path)
			*to = &t
		}
	}
	var packet *verify.Traffic
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"id": r.one(&a.ID), "note": r.one(&note),
		"none": about("none", &a.None), "all": about("all", &a.All), "some": about("some", &a.Some), "packet": about("packet", &packet),
		"diff": func(n *yaml.Node, path string) {
			kinds, a.Diff = append(kinds, "diff"), &verify.Limit{}
			r.diff(n, path, a.Diff)
		},
		"except": func(n *yaml.Node, path string) {
			hasExcept = true
			r.list(n, path, func(n *yaml.Node, path string) { a.Except = append(a.Except, r.traffic(n, path)) })
		},
		"expect": func(n *yaml.Node, path string) { expected = n },
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	if packet != nil {
		a.Packet = probe(*packet)
	}
	switch {
	case len(kinds) != 1:
		r.bad(n, path, "expected exactly one of none, all, some, packet and diff, found %s", orNothing(kinds))
	case hasExcept && (a.Packet != nil || a.Diff != nil):
		r.bad(n, path+".except", "it belongs to none, all and some, not to %s", kinds[0])
	case expected != nil && a.Packet == nil:
		r.bad(expected, path+".expect", "it belongs to packet, not to %s", kinds[0])
	case expected == nil && a.Packet != nil:
		r.bad(n, path+".expect", "it is missing: packet needs expect: {verdict: Allow} or {verdict: Deny}")
	case expected != nil:
		r.expect(expected, path+".expect", a.Packet)
	}
	if _, twice := r.file.Lines[a.ID]; a.ID == "" && !r.said(path+".id") {
		r.bad(n, path+".id", "it is missing")
	} else if twice && a.ID != "" {
		r.bad(n, path+".id", "two assertions are called %s", a.ID)
	}
	r.file.Lines[a.ID] = n.Line
	r.file.Checks.Assert = append(r.file.Checks.Assert, a)
}

// probe makes one packet of traffic; a single address is the packet's own.
func probe(t verify.Traffic) *verify.Probe {
	p := &verify.Probe{Traffic: t}
	single := func(list *[]netip.Prefix, to *netip.Addr) {
		if len(*list) == 1 && (*list)[0].IsSingleIP() {
			*to, *list = (*list)[0].Addr(), nil
		}
	}
	single(&p.Traffic.Src, &p.Src)
	single(&p.Traffic.Dst, &p.Dst)
	return p
}

func orNothing(words []string) string {
	if len(words) == 0 {
		return "none of them"
	}
	return strings.Join(words, " and ")
}

func (r *reader) expect(n *yaml.Node, path string, to *verify.Probe) {
	verdict := ""
	r.fields(n, path, map[string]func(*yaml.Node, string){"verdict": r.one(&verdict), "rule": r.one(&to.Rule)})
	switch strings.ToLower(verdict) {
	case "allow":
		to.Allow = true
	case "deny":
	default:
		r.bad(n, path+".verdict", "expected Allow or Deny, found %q", verdict)
	}
}

func (r *reader) diff(n *yaml.Node, path string, to *verify.Limit) {
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"only": func(n *yaml.Node, path string) {
			r.list(n, path, func(n *yaml.Node, path string) { to.Only = append(to.Only, r.traffic(n, path)) })
		},
		"never-more-open": func(n *yaml.Node, path string) {
			r.texts(n, path, func(n *yaml.Node, path, s string) {
				r.zone(n, path, s)
				to.NeverMoreOpen = append(to.NeverMoreOpen, s)
			})
		},
	})
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		r.bad(n, path, "it is empty: give only, never-more-open or both")
	}
}

// zone checks that a name is one of the file's zones.
func (r *reader) zone(n *yaml.Node, path, name string) {
	if _, ok := r.file.Checks.Zones[name]; !ok {
		r.bad(n, path, "there is no zone %q; there are: %s", name, cmp.Or(words(r.file.Checks.Zones), "none"))
	}
}

var protocols = map[string][]uint8{"tcp": {goal.TCP}, "udp": {goal.UDP}, "icmp": {goal.ICMP}, "esp": {goal.ESP}, "ah": {goal.AH}, "any": nil, "*": nil}

// traffic reads a set of packets.
func (r *reader) traffic(n *yaml.Node, path string) verify.Traffic {
	var t verify.Traffic
	zone := func(to *string) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			before := len(r.faults)
			if r.one(to)(n, path); len(r.faults) == before {
				r.zone(n, path, *to)
			}
		}
	}
	r.fields(n, path, map[string]func(*yaml.Node, string){
		"from": zone(&t.From), "to": zone(&t.To), "src": r.prefixes(&t.Src), "dst": r.prefixes(&t.Dst), "through": r.one(&t.Through),
		"sport": r.ports(&t.SrcPorts), "dport": r.ports(&t.DstPorts),
		"proto": func(n *yaml.Node, path string) {
			r.texts(n, path, func(n *yaml.Node, path, s string) {
				p, ok := protocols[strings.ToLower(s)]
				if !ok {
					r.bad(n, path, "%q is no protocol; there are: %s", s, words(protocols))
				}
				t.Protocols = append(t.Protocols, p...)
			})
		},
		"icmp-type": func(n *yaml.Node, path string) {
			r.texts(n, path, func(n *yaml.Node, path, s string) {
				lo, hi, ok := resource.ParsePorts(s)
				if !ok || lo != hi || lo > 255 {
					r.bad(n, path, "%q is no ICMP type: 0 to 255", s)
					return
				}
				t.ICMPTypes = append(t.ICMPTypes, uint8(lo))
			})
		},
	})
	if len(t.SrcPorts)+len(t.DstPorts) > 0 && slices.ContainsFunc(t.Protocols, func(p uint8) bool { return p != goal.TCP && p != goal.UDP }) {
		r.bad(n, path, "only tcp and udp have ports")
	}
	return t
}

func (r *reader) ports(list *[]goal.PortRange) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		r.texts(n, path, func(n *yaml.Node, path, s string) {
			lo, hi, ok := resource.ParsePorts(s)
			if !ok {
				r.bad(n, path, "%q is no port and no range of ports, 0 to 65535", s)
				return
			}
			*list = append(*list, goal.PortRange{Lo: lo, Hi: hi})
		})
	}
}
