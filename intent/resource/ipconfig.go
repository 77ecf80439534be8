package resource

import (
	"net/netip"
	"strconv"
	"strings"
)

// ipConfiguration is one address of a network interface. It is written with its interface only.
var ipConfiguration = &Type{
	Name:     "Microsoft.Network/networkInterfaces/ipConfigurations",
	Parent:   networkInterface,
	List:     "ipConfigurations",
	Words:    []string{"network", "nic", "ip-config"},
	Help:     "one address of a network interface",
	ReadOnly: true,
}

func init() {
	ipConfiguration.Schema = object("", "NetworkInterfaceIPConfiguration",
		str("name"), showID(), showETag(), showType(),
		object("properties", "NetworkInterfaceIPConfigurationPropertiesFormat",
			showState(),
			&Field{Name: "privateIPAddress", show: showAddress},
			enum("privateIPAllocationMethod", "IPAllocationMethod", "Dynamic", "Static").or(`"Dynamic"`),
			ref("subnet", subnet.Name),
			&Field{Name: "primary", Kind: Bool, show: showConfigPrimary},
			enum("privateIPAddressVersion", "IPVersion", "IPv4", "IPv6").or(`"IPv4"`),
			refs("applicationSecurityGroups", applicationSecurityGroup.Name),
			thing("publicIPAddress").refused(),
			num("privateIPAddressPrefixLength").refused(),
			list("loadBalancerBackendAddressPools", &Field{Kind: Any}).refused(),
			list("loadBalancerInboundNatRules", &Field{Kind: Any}).refused(),
			list("applicationGatewayBackendAddressPools", &Field{Kind: Any}).refused(),
			list("virtualNetworkTaps", &Field{Kind: Any}).refused(),
			thing("gatewayLoadBalancer").refused(),
			thing("privateLinkConnectionProperties").readOnly(),
		).required(),
	)
}

// showAddress: what was allocated, else what was asked for.
func showAddress(r *render) []byte {
	if a := r.doc.System.Addresses[strings.ToLower(r.id.Name())]; a != "" {
		return appendString(nil, a)
	}
	return textOrNothing(r.body.get("properties", "privateIPAddress").text())
}

func showConfigPrimary(r *render) []byte {
	if i := primaryConfig(r.doc.tree()); i >= 0 {
		first := r.doc.tree().get("properties", "ipConfigurations").list()[i]
		if strings.EqualFold(first.get("name").text(), r.id.Name()) {
			return []byte("true")
		}
	}
	return []byte("false")
}

// primaryConfig is the index of the primary IP configuration: the one marked, else the first; -1 when there is none.
func primaryConfig(root *node) int {
	configs := root.get("properties", "ipConfigurations").list()
	for i, c := range configs {
		if c.get("properties", "primary").isTrue() {
			return i
		}
	}
	return min(0, len(configs)-1)
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
