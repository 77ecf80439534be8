package verify

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"ringfence/goal"
)

// Propose makes an assertion file of what holds today: a zone for every application security group that has members and every
// subnet that has NICs, and the Internet; for every zone, that nothing reaches it but what reaches it now. Every proposed
// assertion was checked.
func (n *Network) Propose() Checks {
	c := Checks{Zones: n.proposeZones()}
	names := slices.Sorted(maps.Keys(c.Zones))
	for _, to := range names {
		if to == internet {
			continue
		}
		for _, from := range names {
			a := Assertion{ID: from + "-to-" + to, None: &Traffic{From: from, To: to}}
			r, err := n.Reach(c.Zones, *a.None)
			if err != nil || len(r.Unknown) > 0 {
				continue
			}
			a.Except = open(r, from, to)
			if slices.ContainsFunc(a.Except, func(t Traffic) bool { return t.Protocols == nil }) {
				continue // everything is open: there is nothing to hold
			}
			if x, err := n.check(c.Zones, &a, nil); err == nil && x.Status == Holds {
				c.Assert = append(c.Assert, a)
			}
		}
	}
	return c
}

const internet = "internet"

func (n *Network) proposeZones() Zones {
	out := Zones{}
	taken := func(name string) bool { _, ok := out[name]; return ok || name == internet }
	give := func(id string, z Zone) {
		name := strings.ToLower(lastName(id))
		for i := 2; taken(name); i++ {
			name = fmt.Sprintf("%s-%d", strings.ToLower(lastName(id)), i)
		}
		if _, err := n.resolve(name, z); err == nil {
			out[name] = z
		}
	}
	subnets, asgs := map[string]bool{}, map[string]bool{}
	tagged := false
	for _, v := range n.vnets {
		for _, c := range v.classes {
			for _, p := range c.ports {
				subnets[p.SubnetID] = true
			}
		}
		for set := range v.sets[V4] {
			if id, ok := strings.CutPrefix(set, "asg:"); ok {
				asgs[id] = true
			}
			tagged = tagged || set == goal.SetInternet
		}
	}
	for _, id := range slices.Sorted(maps.Keys(asgs)) {
		give(id, Zone{ASGs: []string{id}})
	}
	for _, id := range slices.Sorted(maps.Keys(subnets)) {
		give(id, Zone{Subnets: []string{id}})
	}
	if tagged {
		out[internet] = Zone{Tags: []string{"Internet"}}
	}
	return out
}

// open is what reaches a zone now, as exceptions by protocol: their addresses are the zones'.
func open(r Reach, from, to string) []Traffic {
	type service struct {
		protocol uint8
		ports    string
	}
	byService := map[service]Traffic{}
	for _, f := range r.Flows {
		for _, b := range f.Boxes {
			if len(b.Protocols) > 8 {
				return []Traffic{{From: from, To: to}}
			}
			for _, p := range b.Protocols {
				for n := int(p.Lo); n <= int(p.Hi); n++ {
					t := Traffic{From: from, To: to, Protocols: []uint8{uint8(n)}}
					switch {
					case p.ICMP:
						t.Protocols, t.ICMPTypes = []uint8{goal.ICMP}, []uint8{uint8(n)}
					case n == int(goal.TCP) || n == int(goal.UDP):
						t.DstPorts = b.DstPorts
					}
					if len(t.DstPorts) == 1 && t.DstPorts[0] == goal.AnyPort {
						t.DstPorts = nil
					}
					byService[service{t.Protocols[0], fmt.Sprint(t.DstPorts, t.ICMPTypes)}] = t
				}
			}
		}
	}
	var out []Traffic
	for _, k := range slices.SortedFunc(maps.Keys(byService), func(a, b service) int {
		return cmp.Or(int(a.protocol)-int(b.protocol), strings.Compare(a.ports, b.ports))
	}) {
		out = append(out, byService[k])
	}
	return out
}
