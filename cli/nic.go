package cli

import (
	"net/netip"
	"strings"
)

// nicFlags describe one network interface.
type nicFlags struct {
	VNet    string   `name:"vnet-name" help:"Virtual network."`
	Subnet  string   `required:"" help:"Subnet: its name, or its id without --vnet-name."`
	NSG     string   `name:"nsg" help:"Network security group of the interface: name or id."`
	ASGs    []string `name:"asgs" help:"Application security groups: names or ids; several may follow."`
	Address []string `name:"private-ip-address" placeholder:"IP" help:"Static addresses, at most one of each family; else they are allocated."`
	IPv6    bool     `name:"ipv6" help:"An IPv6 address beside the IPv4 one."`
}

// body writes the interface: one IP configuration per family.
func (f *nicFlags) body(s *session, group, location string) (map[string]any, error) {
	subnet := f.Subnet
	if !strings.HasPrefix(subnet, "/") {
		if f.VNet == "" {
			return nil, usagef("--subnet %s: name its virtual network with --vnet-name", f.Subnet)
		}
		subnet = s.id(group, vnetType, f.VNet) + "/subnets/" + f.Subnet
	}
	four, six, err := f.addresses()
	if err != nil {
		return nil, err
	}
	configs := []any{f.ipConfig(s, group, subnet, "ipconfig1", "IPv4", four)}
	if f.IPv6 || six != "" {
		configs = append(configs, f.ipConfig(s, group, subnet, "ipconfig2", "IPv6", six))
	}
	props := map[string]any{"ipConfigurations": configs}
	if f.NSG != "" {
		props["networkSecurityGroup"] = map[string]any{"id": s.id(group, nsgType, f.NSG)}
	}
	return map[string]any{"location": location, "properties": props}, nil
}

func (f *nicFlags) addresses() (four, six string, err error) {
	for _, text := range f.Address {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return "", "", usagef("--private-ip-address %s: no IP address", text)
		}
		into := &four
		if ip.Is6() {
			into = &six
		}
		if *into != "" {
			return "", "", usagef("--private-ip-address %s: one address of each family", text)
		}
		*into = text
	}
	return four, six, nil
}

func (f *nicFlags) ipConfig(s *session, group, subnet, name, version, address string) map[string]any {
	props := map[string]any{
		"subnet":                    map[string]any{"id": subnet},
		"privateIPAllocationMethod": "Dynamic",
		"privateIPAddressVersion":   version,
		"primary":                   version == "IPv4",
	}
	if address != "" {
		props["privateIPAllocationMethod"], props["privateIPAddress"] = "Static", address
	}
	if len(f.ASGs) > 0 {
		var refs []any
		for _, n := range f.ASGs {
			refs = append(refs, map[string]any{"id": s.id(group, asgType, n)})
		}
		props["applicationSecurityGroups"] = refs
	}
	return map[string]any{"name": name, "properties": props}
}
