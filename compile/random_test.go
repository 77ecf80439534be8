package compile_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"ringfence/compile"
	"ringfence/intent/resource"
)

// Pools from which random documents are made: few values, so that rules, packets and networks meet.
var (
	addressTexts = []string{"*", "*", "VirtualNetwork", "internet", "AzureLoadBalancer", "Storage", "AzurePlatformDNS", "10.0.0.0/24", "10.0.0.4", "10.0.0.5/32", "10.0.0.4/30",
		"10.0.1.0/24", "0.0.0.0/0", "::/0", "fd00::/64", "fd00::4", "10.0.0.0/8", "8.8.8.0/24", "168.63.129.16"}
	portTexts     = []string{"*", "*", "80", "443", "79-81", "0", "65535", "8", "1024-65535", "0-79", "128"}
	protocolTexts = []string{"*", "tcp", "udp", "icmp", "esp", "ah"}
	storage       = map[string][]netip.Prefix{"Storage": {netip.MustParsePrefix("8.8.8.8/32"), netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("fd00::5/128")}}
)

const root = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/"

func key(id string) string { return strings.ToLower(id) }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// randomView makes two overlapping VNets with two subnets each, up to six machines on two hosts, and a few NSGs and ASGs.
func randomView(r *rand.Rand) (*resource.View, compile.Facts) {
	v := &resource.View{Revision: 1 + uint64(r.IntN(9)), VNets: map[string]*resource.VNet{}, NSGs: map[string]*resource.NSG{}, ASGs: map[string]*resource.ASG{},
		NICs: map[string]*resource.NIC{}, VMs: map[string]*resource.VM{}}
	for i := range 3 {
		id := fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, i)
		v.ASGs[key(id)] = &resource.ASG{ID: id}
	}
	for i := range 4 {
		id := fmt.Sprintf("%snetworkSecurityGroups/Nsg%d", root, i)
		v.NSGs[key(id)] = randomNSG(r, id)
	}
	nsg := func() string {
		if r.IntN(3) == 0 {
			return ""
		}
		return key(fmt.Sprintf("%snetworkSecurityGroups/Nsg%d", root, r.IntN(4)))
	}
	for i := range 2 {
		id := fmt.Sprintf("%svirtualNetworks/Vnet%d", root, i)
		n := &resource.VNet{ID: id, VNI: uint32(100 + i), Domain: "d", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/48")}}
		for k := range 2 {
			n.Subnets = append(n.Subnets, resource.Subnet{ID: fmt.Sprintf("%s/subnets/S%d", id, k), Name: fmt.Sprintf("S%d", k), NSG: nsg(),
				Prefixes: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", k)), netip.MustParsePrefix(fmt.Sprintf("fd00:0:0:%d::/64", k))}})
		}
		v.VNets[key(id)] = n
	}
	for i := range 2 + r.IntN(5) {
		randomMachine(r, v, i, nsg())
	}
	return v, compile.Facts{PrefixLists: storage, Hosts: []compile.HostFact{{Name: "host1", Underlay: netip.MustParseAddr("198.18.0.11")}, {Name: "host2", Underlay: netip.MustParseAddr("198.18.0.12")}}}
}

func randomNSG(r *rand.Rand, id string) *resource.NSG {
	g := &resource.NSG{ID: id, Flush: r.IntN(2) == 0}
	for i := range r.IntN(8) {
		g.Rules = append(g.Rules, resource.SecurityRule{Name: fmt.Sprintf("R%d", i), Priority: uint16(100 + (i*7)%8), Inbound: r.IntN(2) == 0, Allow: r.IntN(2) == 0,
			Protocol: pick(r, protocolTexts), Src: randomSide(r), Dst: randomSide(r)})
	}
	return g
}

func randomSide(r *rand.Rand) resource.RuleSide {
	var s resource.RuleSide
	for range 1 + r.IntN(2) {
		s.Ports = append(s.Ports, pick(r, portTexts))
	}
	if r.IntN(3) == 0 {
		s.ASGs = []string{key(fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, r.IntN(3)))}
		return s
	}
	for range 1 + r.IntN(2) {
		s.Prefixes = append(s.Prefixes, pick(r, addressTexts))
	}
	return s
}

// randomMachine has one NIC with an IPv4 and perhaps an IPv6 address; rarely it is not placed.
func randomMachine(r *rand.Rand, v *resource.View, i int, nsg string) {
	n, s := r.IntN(2), r.IntN(2)
	nic := &resource.NIC{ID: fmt.Sprintf("%snetworkInterfaces/Nic%d", root, i), NSG: nsg, Port: uint32(i + 1), MAC: [6]byte{2, 0, 0, 0, 0, byte(i + 1)}}
	for k, ip := range []string{fmt.Sprintf("10.0.%d.%d", s, 4+i), fmt.Sprintf("fd00:0:0:%d::%d", s, 4+i)} {
		c := resource.IPConfig{Name: fmt.Sprintf("ip%d", k), Primary: k == 0, Subnet: key(fmt.Sprintf("%svirtualNetworks/Vnet%d/subnets/S%d", root, n, s)), IP: netip.MustParseAddr(ip)}
		for a := range 3 {
			if r.IntN(3) == 0 {
				c.ASGs = append(c.ASGs, key(fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, a)))
			}
		}
		if k == 0 || r.IntN(3) > 0 {
			nic.IPConfigs = append(nic.IPConfigs, c)
		}
	}
	vm := &resource.VM{ID: fmt.Sprintf("%svm%d", root, i), HostName: fmt.Sprintf("VM%d", i), NICs: []string{key(nic.ID)}, Host: pick(r, []string{"host1", "host1", "host2", "host2", "host2", ""})}
	nic.VM = key(vm.ID)
	v.NICs[key(nic.ID)], v.VMs[key(vm.ID)] = nic, vm
}
