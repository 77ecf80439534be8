package resource

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// BuildView makes the typed view of a revision's documents. What cannot be parsed is left out and named: a stored document has
// passed Validate, so a fault here means that the store holds what this version does not understand.
func BuildView(rev uint64, docs func(yield func(*Doc) bool)) (*View, []Fault) {
	v := &View{Revision: rev, VNets: map[string]*VNet{}, NSGs: map[string]*NSG{}, ASGs: map[string]*ASG{}, NICs: map[string]*NIC{}, VMs: map[string]*VM{}}
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

// VNet is the typed form of a virtual network's document, nil for another type.
func (d *Doc) VNet() *VNet {
	if d.Type != virtualNetwork {
		return nil
	}
	return parseVNet(d)
}

// NIC is the typed form of a network interface's document, nil for another type. VM is not known here.
func (d *Doc) NIC() *NIC {
	if d.Type != networkInterface {
		return nil
	}
	return parseNIC(d)
}

// VM is the typed form of a virtual machine's document, nil for another type.
func (d *Doc) VM() *VM {
	if d.Type != virtualMachine {
		return nil
	}
	return parseVM(d)
}

func parseVNet(d *Doc) *VNet {
	v := *d.typed().(*VNet)
	v.VNI, v.Domain = d.System.VNI, d.System.Domain
	return &v
}

func typedVNet(d *Doc, root *node) any {
	p := root.get("properties")
	v := &VNet{ID: d.ID.String(), Location: ShortLocation(root.get("location").text())}
	v.Prefixes = parsePrefixes(p.get("addressSpace", "addressPrefixes").texts())
	v.DNS = parseAddrs(p.get("dhcpOptions", "dnsServers").texts())
	minutes, _ := p.get("flowTimeoutInMinutes").int()
	v.IdleMinutes = uint16(minutes)
	for _, s := range p.get("subnets").list() {
		name := s.get("name").text()
		q := s.get("properties")
		texts := q.get("addressPrefixes").texts()
		if one := q.get("addressPrefix").text(); one != "" && len(texts) == 0 {
			texts = []string{one}
		}
		v.Subnets = append(v.Subnets, Subnet{ID: d.ID.Child(subnet, name).String(), Name: name, Prefixes: parsePrefixes(texts), NSG: refKey(q.get("networkSecurityGroup"))})
	}
	return v
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

func parseNSG(d *Doc) *NSG { return d.typed().(*NSG) }

func typedNSG(d *Doc, root *node) any {
	p := root.get("properties")
	g := &NSG{ID: d.ID.String(), Flush: p.get("flushConnection").isTrue()}
	for _, n := range p.get("securityRules").list() {
		q := n.get("properties")
		priority, _ := q.get("priority").int()
		g.Rules = append(g.Rules, SecurityRule{
			Name: n.get("name").text(), Priority: uint16(priority),
			Inbound:  strings.EqualFold(q.get("direction").text(), "Inbound"),
			Allow:    strings.EqualFold(q.get("access").text(), "Allow"),
			Protocol: strings.ToLower(q.get("protocol").text()),
			Src:      parseSide(q, "source"), Dst: parseSide(q, "destination"),
		})
	}
	return g
}

func parseSide(q *node, side string) RuleSide {
	s := RuleSide{
		Prefixes: q.get(side + "AddressPrefixes").texts(),
		ASGs:     refKeys(q.get(side + "ApplicationSecurityGroups")),
		Ports:    q.get(side + "PortRanges").texts(),
	}
	if one := q.get(side + "AddressPrefix").text(); one != "" {
		s.Prefixes = append(s.Prefixes, plainAddress(one))
	}
	if one := q.get(side + "PortRange").text(); one != "" {
		s.Ports = append(s.Ports, one)
	}
	return s
}

// plainAddress writes a bare integer as the IPv4 address that it stands for.
func plainAddress(text string) string {
	if _, err := strconv.ParseUint(text, 10, 32); err != nil {
		return text
	}
	if p, ok := ParsePrefix(text); ok {
		return p.String()
	}
	return text
}

func parseNIC(d *Doc) *NIC {
	n := *d.typed().(*NIC)
	n.Port, n.MAC = d.System.Port, parseMAC(d.System.MAC)
	n.IPConfigs = slices.Clone(n.IPConfigs)
	for i := range n.IPConfigs {
		c := &n.IPConfigs[i]
		if a, err := netip.ParseAddr(d.System.Addresses[strings.ToLower(c.Name)]); err == nil {
			c.IP = a
		}
	}
	return &n
}

func typedNIC(d *Doc, root *node) any {
	p := root.get("properties")
	n := &NIC{ID: d.ID.String(), NSG: refKey(p.get("networkSecurityGroup")), DNS: parseAddrs(p.get("dnsSettings", "dnsServers").texts())}
	first := primaryConfig(root)
	for i, c := range p.get("ipConfigurations").list() {
		q := c.get("properties")
		name := c.get("name").text()
		var ip netip.Addr
		if strings.EqualFold(q.get("privateIPAllocationMethod").text(), "Static") {
			ip, _ = netip.ParseAddr(q.get("privateIPAddress").text())
		}
		n.IPConfigs = append(n.IPConfigs, IPConfig{Name: name, Primary: i == first, Subnet: refKey(q.get("subnet")), IP: ip, ASGs: refKeys(q.get("applicationSecurityGroups"))})
	}
	slices.SortStableFunc(n.IPConfigs, func(a, b IPConfig) int {
		switch {
		case a.Primary == b.Primary:
			return 0
		case a.Primary:
			return -1
		}
		return 1
	})
	return n
}

func parseMAC(text string) (mac [6]byte) {
	parts := strings.Split(text, ":")
	if len(parts) != 6 {
		return mac
	}
	for i, p := range parts {
		v, err := strconv.ParseUint(p, 16, 8)
		if err != nil {
			return [6]byte{}
		}
		mac[i] = byte(v)
	}
	return mac
}

func parseVM(d *Doc) *VM {
	v := *d.typed().(*VM)
	v.Host, v.Facts.VMID = d.System.Host, d.System.VMID
	return &v
}

func typedVM(d *Doc, root *node) any {
	p := root.get("properties")
	v := &VM{ID: d.ID.String(), HostName: strings.ToLower(p.get("osProfile", "computerName").text())}
	if v.HostName == "" {
		v.HostName = strings.ToLower(d.ID.Name())
	}
	for i, n := range p.get("networkProfile", "networkInterfaces").list() {
		v.NICs = append(v.NICs, refKey(n))
		if n.get("properties", "primary").isTrue() {
			v.Primary = i
		}
	}
	v.Facts = factsOf(root)
	return v
}

// factsOf reads what a VM is told about itself.
func factsOf(root *node) VMFacts {
	p := root.get("properties")
	linux, disk, image := p.get("osProfile", "linuxConfiguration"), p.get("storageProfile", "osDisk"), p.get("storageProfile", "imageReference")
	f := VMFacts{
		Location: ShortLocation(root.get("location").text()), Size: p.get("hardwareProfile", "vmSize").text(),
		OSType: disk.get("osType").text(), Priority: p.get("priority").text(),
		Image:     [4]string{image.get("publisher").text(), image.get("offer").text(), image.get("sku").text(), image.get("version").text()},
		AdminUser: p.get("osProfile", "adminUsername").text(), NoPassword: linux.get("disablePasswordAuthentication").isTrue(),
	}
	if zones := root.get("zones").texts(); len(zones) > 0 {
		f.Zone = zones[0]
	}
	if f.OSType == "" && linux != nil {
		f.OSType = "Linux"
	}
	if f.OSType == "" && p.get("osProfile", "windowsConfiguration") != nil {
		f.OSType = "Windows"
	}
	for _, k := range linux.get("ssh", "publicKeys").list() {
		f.Keys = append(f.Keys, [2]string{k.get("path").text(), k.get("keyData").text()})
	}
	if tags := root.get("tags"); tags != nil {
		for _, t := range tags.members {
			f.Tags = append(f.Tags, [2]string{t.name, t.value.text()})
		}
	}
	slices.SortStableFunc(f.Tags, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return f
}

// AddressRequest is what an IP configuration asks of allocation.
type AddressRequest struct {
	Name   string     // of the IP configuration
	ID     string     // of the IP configuration
	Field  string     // path of its address
	Subnet string     // key
	V6     bool       // the family
	Static bool       // Address is what the client insists on
	IP     netip.Addr // static: the address; dynamic: invalid
}

// AddressRequests lists what a network interface asks for, in document order.
func (d *Doc) AddressRequests() []AddressRequest {
	if d.Type != networkInterface {
		return nil
	}
	var out []AddressRequest
	for i, c := range d.tree().get("properties", "ipConfigurations").list() {
		q := c.get("properties")
		r := AddressRequest{
			Name: c.get("name").text(), ID: d.ID.Child(ipConfiguration, c.get("name").text()).String(),
			Field:  "properties.ipConfigurations[" + strconv.Itoa(i) + "].properties.privateIPAddress",
			Subnet: refKey(q.get("subnet")),
			V6:     strings.EqualFold(q.get("privateIPAddressVersion").text(), "IPv6"),
			Static: strings.EqualFold(q.get("privateIPAllocationMethod").text(), "Static"),
		}
		if r.Static {
			r.IP, _ = netip.ParseAddr(q.get("privateIPAddress").text())
		}
		out = append(out, r)
	}
	return out
}
