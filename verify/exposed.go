package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"ringfence/goal"
)

// Sensitive are the ports that nothing on the Internet should reach: remote shells and desktops, file shares, directories, mail
// and databases.
func Sensitive() []uint16 {
	return []uint16{20, 21, 22, 23, 25, 53, 110, 135, 139, 143, 161, 389, 445, 636, 993, 995, 1433, 1521, 3306, 3389, 5432, 5985, 5986, 6379, 27017}
}

// aliases are the ids that published checkers give to findings like ours.
var aliases = map[Kind][]string{
	Unattached: {"Azure.NSG.Associated", "AZR-000140"},
	Shadowed:   {"Unreachable_Line", "nacl-rule-shadowed"},
	Redundant:  {"Unreachable_Line", "sg-rule-implied"},
}

// exposedAliases are those of exposed ports.
func exposedAliases(protocol uint8, port uint16) []string {
	if protocol == goal.UDP {
		return []string{"CKV_AZURE_77", "network_udp_internet_access_restricted"}
	}
	switch port {
	case 22:
		return []string{"CKV_AZURE_10", "AZU-0050", "network_ssh_internet_access_restricted", "2ade1579-4b2c-4590-bebb-f99bf597f612"}
	case 3389:
		return []string{"CKV_AZURE_9", "AZU-0048", "network_rdp_internet_access_restricted", "59cb3da7-f206-4ae6-b827-7abf0a9cab9d"}
	}
	return []string{"AZU-0074", "594c198b-4d79-41b8-9b36-fde13348b619"}
}

// exposure is what one rule lets in.
type exposure struct {
	finding  Finding
	services []string
	nics     map[string]bool
}

// exposed are the sensitive ports that the Internet reaches through every filter of a NIC, as far as rules decide: a finding for
// every rule that lets it in last, and one for NICs without any.
func (n *Network) exposed() []Finding {
	found := map[RuleID]*exposure{}
	for _, v := range n.vnets {
		for f := V4; f <= V6; f++ {
			from := outside(f)
			if set := v.sets[f][goal.SetInternet]; len(set) > 0 {
				from = from.and(set)
			}
			for _, c := range v.classes {
				for _, protocol := range []uint8{goal.TCP, goal.UDP} {
					n.exposedTo(f, c, from, protocol, found)
				}
			}
		}
	}
	var out []Finding
	for _, id := range slices.SortedFunc(maps.Keys(found), func(a, b RuleID) int { return strings.Compare(a.ID(), b.ID()) }) {
		e := found[id]
		e.finding.NICs = len(e.nics)
		e.finding.Text = fmt.Sprintf("given a public way to them, the Internet reaches %d NICs through every rule at %s", len(e.nics), list(e.services, func(s string) string { return s }))
		if id.Group == "" {
			e.finding.Text += "; no group has a say"
		}
		slices.Sort(e.finding.Aliases)
		e.finding.Aliases = slices.Compact(e.finding.Aliases)
		out = append(out, e.finding)
	}
	return out
}

func (n *Network) exposedTo(f Family, c *class, from intervals, protocol uint8, found map[RuleID]*exposure) {
	way := n.entering(f, c)
	way.region[dimSrc], way.region[dimProtocol], way.region[dimDstPort] = way.region[dimSrc].and(from), one(uint64(protocol)), nil
	for _, port := range Sensitive() {
		way.region[dimDstPort] = append(way.region[dimDstPort], one(uint64(port))...)
	}
	way.region[dimDstPort] = normal(way.region[dimDstPort])
	if x := n.find(way, passing); !x.ok && !x.unknown {
		return
	}
	for _, port := range Sensitive() {
		way.region[dimDstPort] = one(uint64(port))
		x := n.find(way, passing)
		if !x.ok {
			continue
		}
		w := way.packet(&x.region)
		id := decider(way.trace(w.point()))
		e := found[id]
		if e == nil {
			e = &exposure{Finding{Kind: Exposed, Level: Error, Rule: id, Direction: In, Witness: &w, Priority: n.priority(id, In)}, nil, map[string]bool{}}
			found[id] = e
		}
		if s := fmt.Sprintf("%s %d", protocolWord(uint64(protocol)), port); !slices.Contains(e.services, s) {
			e.services = append(e.services, s)
		}
		e.finding.Aliases = append(e.finding.Aliases, exposedAliases(protocol, port)...)
		for _, p := range c.ports {
			if slices.ContainsFunc(p.Addresses, func(a goal.Address) bool { return familyOf(a.IP) == f && x.region[dimDst].holds(numberOf(a.IP)) }) {
				e.nics[p.ID] = true
			}
		}
	}
}

// priority is that of a rule, 0 when there is none.
func (n *Network) priority(id RuleID, dir Direction) uint16 {
	g := n.groups[id.Group]
	if g == nil {
		return 0
	}
	for _, r := range map[Direction][]goal.Rule{In: g.In, Out: g.Out}[dir] {
		if r.Name == id.Rule {
			return r.Priority
		}
	}
	return 0
}
