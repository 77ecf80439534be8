package resource

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// networkInterface joins a virtual machine to a subnet.
var networkInterface = &Type{
	Name:    "Microsoft.Network/networkInterfaces",
	Words:   []string{"network", "nic"},
	Help:    "joins a virtual machine to a subnet",
	Located: true,
}

func init() {
	t := networkInterface
	t.check = checkNIC
	t.typed = typedNIC
	t.refs = func(n *node) []Ref {
		out := refAt(n.get("properties", "networkSecurityGroup"), "properties.networkSecurityGroup", networkSecurityGroup.Name)
		for i, c := range n.get("properties", "ipConfigurations").list() {
			p := fmt.Sprintf("properties.ipConfigurations[%d].properties.", i)
			out = append(out, refAt(c.get("properties", "subnet"), p+"subnet", subnet.Name)...)
			out = append(out, refsAt(c.get("properties", "applicationSecurityGroups"), p+"applicationSecurityGroups", applicationSecurityGroup.Name)...)
		}
		return out
	}
	t.inUse = func(u *use) {
		if a := u.doc.System.Attachment; a != nil {
			u.fault("NicInUse", fmt.Sprintf("Network Interface %s is attached to %s. Detach it there first: ringfence port detach.", u.doc.ID, a))
		}
		for _, d := range u.referrers(u.doc.Key()) {
			u.fault("NicInUse", fmt.Sprintf(
				"Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.", u.doc.ID, d.ID))
		}
	}
	t.Schema = object("", "NetworkInterface",
		showName(), showID(), showETag(),
		object("properties", "NetworkInterfacePropertiesFormat",
			showState(), showGUID(),
			resources("ipConfigurations", ipConfiguration).required(),
			object("dnsSettings", "NetworkInterfaceDnsSettings",
				strs("dnsServers").or("[]"), fixed("appliedDnsServers", "[]"),
				str("internalDnsNameLabel").refused(),
				str("internalFqdn").readOnly(),
				str("internalDomainNameSuffix").shown(showDomain),
			).always(),
			str("macAddress").shown(showMAC),
			flag("enableAcceleratedNetworking").none().or("false"),
			fixed("vnetEncryptionSupported", "false"),
			flag("enableIPForwarding").refused().or("false"),
			flag("disableTcpStateTracking").refused().or("false").since("2022-09-01"),
			ref("networkSecurityGroup", networkSecurityGroup.Name),
			flag("primary").shown(showPrimary),
			thing("virtualMachine").shown(func(r *render) []byte {
				if vm := attachedTo(r); vm != nil {
					return reference(vm.ID.String())
				}
				return nil
			}),
			fixed("hostedWorkloads", "[]"), fixed("tapConfigurations", "[]"),
			enum("nicType", "NetworkInterfaceNicType", "Standard", "Elastic").refused(`"Standard"`).or(`"Standard"`),
			enum("auxiliaryMode", "NetworkInterfaceAuxiliaryMode", "None", "MaxConnections", "Floating", "AcceleratedConnections").none(),
			enum("auxiliarySku", "NetworkInterfaceAuxiliarySku", "None", "A1", "A2", "A4", "A8").none(),
			flag("allowPort25Out").readOnly(), thing("privateEndpoint").readOnly(), thing("privateLinkService").refused(), thing("dscpConfiguration").readOnly(), flag("defaultOutboundConnectivityEnabled").readOnly(),
			str("workloadType").none(), enum("migrationPhase", "NetworkInterfaceMigrationPhase", "None", "Prepare", "Commit", "Abort", "Committed").refused(`"None"`),
		).required(),
		showType(), locationField(), str("kind").readOnly(), tagsField(), thing("extendedLocation").refused(),
	)
}

// attachedTo is the virtual machine that names the interface.
func attachedTo(r *render) *Doc {
	for _, key := range r.lk.Referrers(r.doc.Key()) {
		if d := r.lk.Get(key); d != nil && d.Type == virtualMachine {
			return d
		}
	}
	return nil
}

// showMAC: absent until the interface is a machine's or attached otherwise, then in upper case with hyphens.
func showMAC(r *render) []byte {
	if attachedTo(r) == nil && r.doc.System.Attachment == nil || r.doc.System.MAC == "" {
		return nil
	}
	return appendString(nil, strings.ToUpper(strings.ReplaceAll(r.doc.System.MAC, ":", "-")))
}

func showPrimary(r *render) []byte {
	vm := attachedTo(r)
	if vm == nil {
		return nil
	}
	v := parseVM(vm)
	return fmt.Appendf(nil, "%t", v.NICs[v.Primary] == r.doc.Key())
}

// showDomain: the DNS suffix of the virtual network that the interface is in.
func showDomain(r *render) []byte {
	for _, ref := range r.doc.Refs() {
		if ref.Kind == virtualNetwork.Name {
			if d := r.lk.Get(ref.To); d != nil {
				return textOrNothing(d.System.Domain)
			}
		}
	}
	return nil
}

// NIC is the typed form of a network interface's document, nil for another type. VM is not known here.
func (d *Doc) NIC() *NIC {
	if d.Type != networkInterface {
		return nil
	}
	return parseNIC(d)
}

func parseNIC(d *Doc) *NIC {
	n := *d.typed().(*NIC)
	n.Port, n.MAC, n.Attachment = d.System.Port, parseMAC(d.System.MAC), d.System.Attachment
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

// vnetOf is the key of the virtual network that an interface is in.
func vnetOf(nic *Doc) string {
	for _, c := range parseNIC(nic).IPConfigs {
		return TopKey(c.Subnet)
	}
	return ""
}
