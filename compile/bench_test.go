package compile_test

import (
	"fmt"
	"net/netip"
	"testing"

	"ringfence/compile"
	"ringfence/intent/resource"
)

// large is a view with n NICs in one VNet of ten subnets over ten hosts, an NSG of 1,000 augmented rules on every subnet and
// another one on every NIC.
func large(n int) (*resource.View, compile.Facts) {
	v := &resource.View{Revision: 1, VNets: map[string]*resource.VNet{}, NSGs: map[string]*resource.NSG{}, ASGs: map[string]*resource.ASG{}, NICs: map[string]*resource.NIC{}, VMs: map[string]*resource.VM{}}
	var f compile.Facts
	for i := range 10 {
		f.Hosts = append(f.Hosts, compile.HostFact{Name: fmt.Sprintf("host%d", i), Underlay: netip.AddrFrom4([4]byte{198, 18, 0, byte(10 + i)})})
	}
	for i := range 10 {
		id := fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, i)
		v.ASGs[key(id)] = &resource.ASG{ID: id}
	}
	for _, name := range []string{"Subnet", "Nic"} {
		v.NSGs[key(root+"networkSecurityGroups/"+name)] = largeNSG(name)
	}
	net := &resource.VNet{ID: root + "virtualNetworks/Large", VNI: 100, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	v.VNets[key(net.ID)] = net
	for i := range 10 {
		net.Subnets = append(net.Subnets, resource.Subnet{ID: fmt.Sprintf("%s/subnets/S%d", net.ID, i), NSG: key(root + "networkSecurityGroups/Subnet"), Prefixes: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.%d.0.0/16", i))}})
	}
	for i := range n {
		nic := &resource.NIC{ID: fmt.Sprintf("%snetworkInterfaces/Nic%d", root, i), NSG: key(root + "networkSecurityGroups/Nic"), Port: uint32(i + 1), MAC: [6]byte{2, 0, 0, 0, byte(i >> 8), byte(i)},
			IPConfigs: []resource.IPConfig{{Name: "ip", Primary: true, Subnet: key(fmt.Sprintf("%s/subnets/S%d", net.ID, i%10)), IP: netip.AddrFrom4([4]byte{10, byte(i % 10), byte(i >> 8), byte(4 + i%250)}),
				ASGs: []string{key(fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, i%10))}}}}
		vm := &resource.VM{ID: fmt.Sprintf("%svirtualMachines/Vm%d", root, i), HostName: fmt.Sprintf("vm%d", i), NICs: []string{key(nic.ID)}, Host: fmt.Sprintf("host%d", i%10)}
		nic.VM = key(vm.ID)
		v.NICs[key(nic.ID)], v.VMs[key(vm.ID)] = nic, vm
	}
	return v, f
}

func largeNSG(name string) *resource.NSG {
	g := &resource.NSG{ID: root + "networkSecurityGroups/" + name}
	for i := range 1000 {
		r := resource.SecurityRule{Name: fmt.Sprintf("Rule%d", i), Priority: uint16(100 + i), Inbound: i%2 == 0, Allow: i%3 == 0, Protocol: "tcp",
			Src: resource.RuleSide{Ports: []string{"*"}, Prefixes: []string{fmt.Sprintf("10.%d.%d.0/24", i%256, i/256), fmt.Sprintf("172.16.%d.0/24", i%256), fmt.Sprintf("192.168.%d.%d", i/256, i%256)}},
			Dst: resource.RuleSide{Ports: []string{fmt.Sprint(i), fmt.Sprintf("%d-%d", 2000+i, 3000+i)}, ASGs: []string{key(fmt.Sprintf("%sapplicationSecurityGroups/Asg%d", root, i%10))}}}
		if i%10 == 0 {
			r.Src.Prefixes = []string{"VirtualNetwork"}
		}
		g.Rules = append(g.Rules, r)
	}
	return g
}

// Compile for 1,000 NICs and NSGs of 1,000 rules: without a memo, with one and the same view, with an equal view that shares nothing,
// and after the smallest changes.
func BenchmarkCompile(b *testing.B) {
	const nics = 1000
	v, f := large(nics)
	b.Run("scratch", func(b *testing.B) {
		for b.Loop() {
			compile.Compile(v, f, nil)
		}
	})
	b.Run("same-view", func(b *testing.B) {
		memo := compile.NewMemo()
		compile.Compile(v, f, memo)
		for b.Loop() {
			compile.Compile(v, f, memo)
		}
	})
	b.Run("equal-view", func(b *testing.B) {
		w, _ := large(nics)
		memo := compile.NewMemo()
		compile.Compile(v, f, memo)
		for b.Loop() {
			compile.Compile(w, f, memo)
			v, w = w, v
		}
	})
	b.Run("one-rule-changed", func(b *testing.B) {
		memo := compile.NewMemo()
		compile.Compile(v, f, memo)
		for b.Loop() {
			changed := *v.NSGs[key(root+"networkSecurityGroups/Subnet")]
			changed.Rules = append([]resource.SecurityRule(nil), changed.Rules...)
			changed.Rules[500].Allow = !changed.Rules[500].Allow
			v.NSGs[key(changed.ID)] = &changed
			compile.Compile(v, f, memo)
		}
	})
	b.Run("one-nic-changed", func(b *testing.B) {
		memo := compile.NewMemo()
		compile.Compile(v, f, memo)
		id := key(root + "networkInterfaces/Nic7")
		for b.Loop() {
			changed := *v.NICs[id]
			changed.MAC[0] ^= 4
			v.NICs[id] = &changed
			compile.Compile(v, f, memo)
		}
	})
}
