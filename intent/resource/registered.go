package resource

import (
	"net/netip"
	"slices"
	"strings"
)

// RegisteredTTL is how long the name of a machine may be remembered.
const RegisteredTTL = 10

// registeredSets are the record sets that a zone has because machines of its registering networks are there.
func registeredSets(r *render, t *Type) []*render {
	var out []*render
	root := r.doc.tree()
	taken := map[string]bool{}
	for _, kind := range []string{t.List, "CNAME"} {
		for _, n := range root.get("properties", kind).list() {
			taken[strings.ToLower(n.get("name").text())] = true
		}
	}
	for _, vnet := range registering(root) {
		for _, m := range machineNames(r.lk, vnet) {
			a := m.address(t.List == "AAAA")
			if taken[m.host] || !a.IsValid() {
				continue
			}
			taken[m.host] = true
			out = append(out, r.child(t, m.host, registeredBody(t.List, m.host, a)))
		}
	}
	return out
}

func registeredBody(kind, host string, a netip.Addr) *node {
	n := &node{kind: kindObject}
	p := &node{kind: kindObject}
	n.set("name", jsonString(host))
	p.set("ttl", &node{kind: kindNumber, raw: []byte("10")})
	p.set("isAutoRegistered", &node{kind: kindBool, raw: []byte("true")})
	record := &node{kind: kindObject}
	record.set(recordFields[kind][0], jsonString(a.String()))
	p.set(strings.ToLower(kind)+"Records", &node{kind: kindArray, elems: []*node{record}})
	n.set("properties", p)
	return n
}

// machineName is a machine as the names of its network know it.
type machineName struct {
	key, host string
	nic       *NIC
}

// address is the primary interface's primary IPv4 address, or its first IPv6 one.
func (m *machineName) address(six bool) netip.Addr {
	for _, c := range m.nic.IPConfigs {
		if c.IP.IsValid() && c.IP.Is6() == six {
			return c.IP
		}
	}
	return netip.Addr{}
}

// machineNames are the names of the machines of a virtual network that are placed, as the compiler registers them: a name belongs
// to the first machine by id.
func machineNames(lk Lookup, vnet string) []machineName {
	var all []machineName
	for _, key := range lk.Referrers(vnet) {
		d := lk.Get(key)
		if d == nil || d.Type != networkInterface {
			continue
		}
		nic := parseNIC(d)
		if a := nic.Attachment; a != nil && a.HostName != "" {
			all = append(all, machineName{"~" + key, strings.ToLower(a.HostName), nic})
		}
		if vm := machineOf(lk, key); vm != nil {
			if v := parseVM(vm); v.Host != "" && v.NICs[v.Primary] == key {
				all = append(all, machineName{vm.Key(), v.HostName, nic})
			}
		}
	}
	slices.SortFunc(all, func(a, b machineName) int { return strings.Compare(a.key, b.key) })
	var out []machineName
	seen := map[string]bool{}
	for _, m := range all {
		if !seen[m.host] && strings.Trim(m.host, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" {
			seen[m.host] = true
			out = append(out, m)
		}
	}
	return out
}
