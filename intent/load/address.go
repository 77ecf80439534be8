package load

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// allocate gives every document what the system would give it: numbers, and to interfaces without an address the lowest free one of their
// subnet. Addresses that the files name come first.
func (l *loader) allocate(w *world, kept []*raw) {
	used := map[string]map[netip.Addr]bool{} // network → addresses
	port, vni := uint32(0), uint32(0)
	given := map[string]map[string]netip.Addr{}
	for _, r := range kept {
		if d := w.docs[r.id.Key()]; d != nil && r.id.Type == "Microsoft.Network/networkInterfaces" {
			given[r.id.Key()] = l.given(r, d, used)
		}
	}
	for _, key := range w.keys() {
		d := w.docs[key]
		switch d.ID.Type {
		case "Microsoft.Network/virtualNetworks":
			vni++
			d.System.VNI, d.System.Domain = vni, "internal"
		case "Microsoft.Network/networkInterfaces":
			port++
			d.System.Port = port
			d.System.MAC = fmt.Sprintf("02:52:46:%02x:%02x:%02x", byte(port>>16), byte(port>>8), byte(port))
			d.System.Addresses = l.addresses(w, d, given[key], used)
		}
	}
}

// given are the addresses that the file names for an interface.
func (l *loader) given(r *raw, d *resource.Doc, used map[string]map[netip.Addr]bool) map[string]netip.Addr {
	out := map[string]netip.Addr{}
	for _, c := range r.body.get("properties", "ipConfigurations").list() {
		n := c.get("properties", "privateIPAddress")
		if n == nil {
			continue
		}
		a, err := netip.ParseAddr(n.str())
		if err != nil {
			l.fault(Place{r.at.File, n.line}, r.id.String(), "privateIPAddress", "%q is no address", n.str())
			continue
		}
		vnet := resource.TopKey(strings.ToLower(c.get("properties", "subnet", "id").str()))
		take(used, vnet, a)
		out[strings.ToLower(c.get("name").str())] = a
	}
	return out
}

func take(used map[string]map[netip.Addr]bool, vnet string, a netip.Addr) {
	if used[vnet] == nil {
		used[vnet] = map[netip.Addr]bool{}
	}
	used[vnet][a] = true
}

func (l *loader) addresses(w *world, d *resource.Doc, given map[string]netip.Addr, used map[string]map[netip.Addr]bool) map[string]string {
	out := map[string]string{}
	for _, c := range d.NIC().IPConfigs {
		name := strings.ToLower(c.Name)
		a, known := given[name]
		if !known && c.IP.IsValid() {
			a, known = c.IP, true
		}
		if !known {
			a = lowestFree(w, c.Subnet, versionOf(d, c.Name), used)
		}
		if !a.IsValid() {
			l.unknown(Unknown{Kind: KindMissing, ID: d.ID.String(), What: "its address is not known: its subnet is not among the files or is full", Touches: []string{d.Key(), c.Subnet}, At: l.source.Place(d.Key())})
			continue
		}
		take(used, resource.TopKey(c.Subnet), a)
		out[name] = a.String()
	}
	return out
}

// versionOf says whether a configuration asks for an IPv6 address.
func versionOf(d *resource.Doc, config string) bool {
	n, err := parseJSON(d.Body)
	if err != nil {
		return false
	}
	for _, c := range n.get("properties", "ipConfigurations").list() {
		if strings.EqualFold(c.get("name").str(), config) {
			return strings.EqualFold(c.get("properties", "privateIPAddressVersion").str(), "IPv6")
		}
	}
	return false
}

// lowestFree is the first address that a subnet has to give: the first four and the last are reserved.
func lowestFree(w *world, subnet string, v6 bool, used map[string]map[netip.Addr]bool) netip.Addr {
	d := w.docs[resource.TopKey(subnet)]
	if d == nil || d.VNet() == nil {
		return netip.Addr{}
	}
	for _, s := range d.VNet().Subnets {
		if !strings.EqualFold(s.ID, subnet) {
			continue
		}
		for _, p := range s.Prefixes {
			if p.Addr().Is6() != v6 {
				continue
			}
			for a := plus(p.Addr(), 4); p.Contains(a) && (v6 || p.Contains(a.Next())); a = a.Next() {
				if !used[d.Key()][a] {
					return a
				}
			}
		}
	}
	return netip.Addr{}
}

func plus(a netip.Addr, n uint32) netip.Addr {
	b := a.AsSlice()
	low := b[len(b)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)+n)
	out, _ := netip.AddrFromSlice(b)
	return out
}

// services are the subnets that no machine of a tenant is in.
var services = []string{"gatewaysubnet", "azurefirewallsubnet", "azurefirewallmanagementsubnet", "azurebastionsubnet", "routeserversubnet"}

// machines adds what the question assumes, and to every subnet without an interface one that stands for any machine there: what a template
// lets through can then be asked before it has machines.
func (l *loader) machines(w *world) {
	type place struct {
		vnet   *resource.Doc
		subnet resource.Subnet
	}
	var subnets []place
	for _, key := range w.keys() {
		if v := w.docs[key].VNet(); v != nil {
			for _, s := range v.Subnets {
				subnets = append(subnets, place{w.docs[key], s})
			}
		}
	}
	for _, m := range l.o.Machines {
		var found []place
		for _, s := range subnets {
			if sameEnd(s.subnet.ID, m.Subnet, s.vnet.ID.Name()+"/"+s.subnet.Name, s.subnet.Name) {
				found = append(found, s)
			}
		}
		if len(found) != 1 {
			l.fault(m.At, "", "", "the machine %s is to be in the subnet %q, which %s", m.Name, m.Subnet, count(len(found)))
			continue
		}
		l.machine(w, m, found[0].vnet, found[0].subnet)
	}
	inUse := map[string]bool{}
	w.Each("Microsoft.Network/networkInterfaces", func(d *resource.Doc) {
		for _, c := range d.NIC().IPConfigs {
			inUse[c.Subnet] = true
		}
	})
	for _, s := range subnets {
		if inUse[strings.ToLower(s.subnet.ID)] || slices.Contains(services, strings.ToLower(s.subnet.Name)) {
			continue
		}
		for _, name := range []string{"any-in-", "any-other-in-"} { // two, so that what neighbours reach of each other can be asked
			key := l.machine(w, Machine{Name: name + s.subnet.Name, At: l.source.Place(s.subnet.ID)}, s.vnet, s.subnet)
			l.source.Assumed[key] = "stands for any machine in the subnet, which has none"
		}
	}
}

func count(n int) string {
	if n == 0 {
		return "is not among the files"
	}
	return "is there several times: name its network too"
}

// sameEnd compares a name that was given with an id and its short forms.
func sameEnd(id, given string, short ...string) bool {
	if strings.EqualFold(id, given) {
		return true
	}
	return slices.ContainsFunc(short, func(s string) bool { return strings.EqualFold(s, given) })
}

// machine adds an interface in a subnet.
func (l *loader) machine(w *world, m Machine, vnet *resource.Doc, s resource.Subnet) string {
	id := resource.ID{Subscription: vnet.ID.Subscription, Group: vnet.ID.Group, Type: "Microsoft.Network/networkInterfaces", Names: []string{m.Name}}
	for n := 2; w.docs[id.Key()] != nil; n++ {
		id.Names = []string{fmt.Sprintf("%s-%d", m.Name, n)}
	}
	body := object(m.At.Line)
	configs := array(m.At.Line)
	addresses := m.Addresses
	if len(addresses) == 0 {
		addresses = make([]string, 0, 2)
		seen := map[bool]bool{}
		for _, p := range s.Prefixes {
			if !seen[p.Addr().Is6()] {
				seen[p.Addr().Is6()] = true
				addresses = append(addresses, "")
			}
		}
	}
	for i, a := range addresses {
		c, p := object(m.At.Line), object(m.At.Line)
		c.set("name", text("ipconfig"+itoa(i+1), m.At.Line))
		p.set("subnet", reference(s.ID, m.At.Line))
		v6 := strings.Contains(a, ":") || a == "" && s.Prefixes[min(i, len(s.Prefixes)-1)].Addr().Is6()
		p.set("privateIPAddressVersion", text(map[bool]string{true: "IPv6", false: "IPv4"}[v6], m.At.Line))
		if a != "" {
			p.set("privateIPAllocationMethod", text("Static", m.At.Line))
			p.set("privateIPAddress", text(a, m.At.Line))
		}
		if i == 0 {
			p.set("primary", &node{kind: kindBool, text: "true"})
		}
		groups := array(m.At.Line)
		for _, g := range m.ASGs {
			groups.items = append(groups.items, reference(l.find(w, vnet, "Microsoft.Network/applicationSecurityGroups", g), m.At.Line))
		}
		if len(groups.items) > 0 {
			p.set("applicationSecurityGroups", groups)
		}
		c.set("properties", p)
		configs.items = append(configs.items, c)
	}
	props := object(m.At.Line)
	props.set("ipConfigurations", configs)
	if m.NSG != "" {
		props.set("networkSecurityGroup", reference(l.find(w, vnet, "Microsoft.Network/networkSecurityGroups", m.NSG), m.At.Line))
	}
	body.set("location", text(cmp.Or(vnet.Location(), "westeurope"), 0))
	body.set("properties", props)
	w.put(resource.NewDoc(id, body.append(nil)))
	l.source.places[id.Key()] = m.At
	l.source.Assumed[id.Key()] = "is assumed by the checks"
	return id.Key()
}

// find gives the id of what a name means: a resource that is there, else one of that name beside the network.
func (l *loader) find(w *world, vnet *resource.Doc, typ, name string) string {
	if strings.HasPrefix(name, "/") {
		return name
	}
	id := resource.ID{Subscription: vnet.ID.Subscription, Group: vnet.ID.Group, Type: typ, Names: []string{name}}
	if w.docs[id.Key()] != nil {
		return id.String()
	}
	found := ""
	w.Each(typ, func(d *resource.Doc) {
		if strings.EqualFold(d.ID.Name(), name) && found == "" {
			found = d.ID.String()
		}
	})
	return cmp.Or(found, id.String())
}
