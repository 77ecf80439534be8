package resource

import (
	"net/netip"
	"slices"
)

// BuildView makes the typed view of a revision's documents. What cannot be parsed is left out and named: a stored document has
// passed Validate, so a fault here means that the store holds what this version does not understand.
func BuildView(rev uint64, docs func(yield func(*Doc) bool)) (*View, []Fault) {
	v := &View{Revision: rev, VNets: map[string]*VNet{}, NSGs: map[string]*NSG{}, ASGs: map[string]*ASG{}, NICs: map[string]*NIC{}, VMs: map[string]*VM{}, Zones: map[string]*PrivateZone{}}
	var faults []Fault
	docs(func(d *Doc) bool {
		key := d.Key()
		if d.parsedAt == nil && d.tree() == nil {
			faults = append(faults, bad(key, "InvalidRequestContent", "the stored document "+key+" is not JSON"))
			return true
		}
		switch d.Type {
		case virtualNetwork:
			v.VNets[key] = parseVNet(d)
		case networkSecurityGroup:
			v.NSGs[key] = parseNSG(d)
		case applicationSecurityGroup:
			v.ASGs[key] = &ASG{ID: d.ID.String()}
		case networkInterface:
			v.NICs[key] = parseNIC(d)
		case virtualMachine:
			v.VMs[key] = parseVM(d)
		case privateDNSZone:
			v.Zones[key] = d.typed().(*PrivateZone)
		}
		return true
	})
	attach(v)
	return v, faults
}

// attach tells each interface which machine names it: the first by key.
func attach(v *View) {
	for _, key := range slices.Sorted(mapKeys(v.VMs)) {
		for _, nic := range v.VMs[key].NICs {
			if n := v.NICs[nic]; n != nil && n.VM == "" {
				n.VM = key
			}
		}
	}
}

// refKey is the key that a reference object names.
func refKey(n *node) string {
	if n == nil {
		return ""
	}
	return keyOf(n.get("id").text())
}

func refKeys(n *node) []string {
	var keys []string
	for _, e := range n.list() {
		keys = append(keys, refKey(e))
	}
	return keys
}

func parsePrefixes(texts []string) []netip.Prefix {
	var out []netip.Prefix
	for _, t := range texts {
		if p, err := netip.ParsePrefix(t); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func parseAddrs(texts []string) []netip.Addr {
	var out []netip.Addr
	for _, t := range texts {
		if a, err := netip.ParseAddr(t); err == nil {
			out = append(out, a)
		}
	}
	return out
}
