package resource

import (
	"net/netip"
	"reflect"
	"testing"
)

func TestBuildView(t *testing.T) {
	v := doc(t, "virtualNetworks/V", `{"location":"West US 2","properties":{`+net10+`,"dhcpOptions":{"dnsServers":["10.0.0.9"]},"flowTimeoutInMinutes":10,
		"subnets":[{"name":"S","properties":{"addressPrefix":"10.0.0.0/24","networkSecurityGroup":{"id":"@NETWORKSECURITYGROUPS/G"}}}]}}`)
	v.System = System{VNI: 7, Domain: "d"}
	n := doc(t, "networkInterfaces/N", `{"location":"westus2","properties":{"dnsSettings":{"dnsServers":["10.0.0.8"]},"ipConfigurations":[
		{"name":"Second","properties":{"subnet":{"id":"@virtualNetworks/v/subnets/s"},"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.77"}},
		{"name":"First","properties":{"primary":true,"subnet":{"id":"@virtualNetworks/v/subnets/S"},"applicationSecurityGroups":[{"id":"@applicationSecurityGroups/A"}]}}]}}`)
	n.System = System{MAC: "02:52:46:00:00:2a", Port: 42, Addresses: map[string]string{"first": "10.0.0.5", "second": "10.0.0.77"}}
	m := doc(t, "Microsoft.Compute/virtualMachines/M", `{"location":"West US 2","zones":["3"],"tags":{"b":"2","a":"1"},"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"priority":"Spot",
		"storageProfile":{"imageReference":{"publisher":"p","offer":"o","sku":"s","version":"v"}},
		"osProfile":{"adminUsername":"ann","linuxConfiguration":{"disablePasswordAuthentication":true,"ssh":{"publicKeys":[{"path":"/k","keyData":"ssh-rsa x"}]}}},
		"networkProfile":{"networkInterfaces":[{"id":"@networkInterfaces/other"},{"id":"@networkInterfaces/n","properties":{"primary":true}}]}}}`)
	m.System.Host, m.System.VMID = "host2", "id"
	g := doc(t, "networkSecurityGroups/G", `{"location":"westus2","properties":{"flushConnection":true,"securityRules":[{"name":"R","properties":{"protocol":"TCP","access":"allow","direction":"OUTBOUND","priority":300,
		"sourcePortRanges":["1","2-3"],"destinationPortRange":"*","sourceAddressPrefix":"1234","destinationApplicationSecurityGroups":[{"id":"@applicationSecurityGroups/A"}]}}]}}`)
	mem := newMemory(t, v, n, m, g, doc(t, "applicationSecurityGroups/A", `{"location":"westus2"}`))

	got, faults := BuildView(9, mem.all)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	key := func(id string) string { return parse(t, id).Key() }
	want := &View{Revision: 9,
		VNets: map[string]*VNet{key("virtualNetworks/v"): {ID: full("virtualNetworks/V"), Location: "westus2",
			Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00:1::/48")},
			DNS:      []netip.Addr{netip.MustParseAddr("10.0.0.9")}, IdleMinutes: 10, VNI: 7, Domain: "d",
			Subnets: []Subnet{{ID: full("virtualNetworks/V/subnets/S"), Name: "S", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, NSG: key("networkSecurityGroups/g")}}}},
		NSGs: map[string]*NSG{key("networkSecurityGroups/g"): {ID: full("networkSecurityGroups/G"), Flush: true, Rules: []SecurityRule{{Name: "R", Priority: 300, Allow: true, Protocol: "tcp",
			Src: RuleSide{Prefixes: []string{"0.0.4.210/32"}, Ports: []string{"1", "2-3"}},
			Dst: RuleSide{ASGs: []string{key("applicationSecurityGroups/a")}, Ports: []string{"*"}}}}}},
		ASGs: map[string]*ASG{key("applicationSecurityGroups/a"): {ID: full("applicationSecurityGroups/A")}},
		NICs: map[string]*NIC{key("networkInterfaces/n"): {ID: full("networkInterfaces/N"), DNS: []netip.Addr{netip.MustParseAddr("10.0.0.8")}, VM: key("Microsoft.Compute/virtualMachines/m"),
			MAC: [6]byte{2, 0x52, 0x46, 0, 0, 42}, Port: 42, IPConfigs: []IPConfig{
				{Name: "First", Primary: true, Subnet: key("virtualNetworks/v/subnets/s"), IP: netip.MustParseAddr("10.0.0.5"), ASGs: []string{key("applicationSecurityGroups/a")}},
				{Name: "Second", Subnet: key("virtualNetworks/v/subnets/s"), IP: netip.MustParseAddr("10.0.0.77")}}}},
		VMs: map[string]*VM{key("Microsoft.Compute/virtualMachines/m"): {ID: full("Microsoft.Compute/virtualMachines/M"), HostName: "m", NICs: []string{key("networkInterfaces/other"), key("networkInterfaces/n")}, Primary: 1, Host: "host2",
			Facts: VMFacts{Location: "westus2", VMID: "id", Size: "Standard_B1s", Zone: "3", OSType: "Linux", Priority: "Spot", Image: [4]string{"p", "o", "s", "v"}, AdminUser: "ann", NoPassword: true,
				Keys: [][2]string{{"/k", "ssh-rsa x"}}, Tags: [][2]string{{"a", "1"}, {"b", "2"}}}}},
		Zones: map[string]*PrivateZone{},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	again, _ := BuildView(10, mem.all)
	if again.NSGs[key("networkSecurityGroups/g")] != got.NSGs[key("networkSecurityGroups/g")] {
		t.Error("an unchanged rule group was made anew")
	}
	if _, faults := BuildView(1, func(yield func(*Doc) bool) { yield(&Doc{ID: v.ID, Type: virtualNetwork, Body: []byte("{")}) }); len(faults) != 1 {
		t.Error("a document that is no JSON is not named")
	}
}

func TestChildrenInTheirParent(t *testing.T) {
	v := doc(t, "virtualNetworks/V", `{"location":"westus2","properties":{`+net10+`}}`)
	v.Revision, v.System.VNI = 5, 7
	id := parse(t, "virtualNetworks/v/subnets/Web")
	with, faults := Put(v, id, []byte(`{"name":"WEB","properties":{"addressPrefix":"10.0.0.0/24"}}`), "2025-03-01")
	if len(faults) > 0 || with.Revision != 5 || with.System.VNI != 7 || with.ID.Name() != "V" || !with.HasChild(id.Key()) || v.HasChild(id.Key()) {
		t.Fatalf("%s %+v %v", with.Body, with, faults)
	}
	changed, _ := Put(with, parse(t, "virtualNetworks/v/subnets/WEB"), []byte(`{"properties":{"addressPrefix":"10.0.5.0/24"}}`), "2025-03-01")
	if string(Child(changed, id)) != `{"name":"Web","properties":{"addressPrefix":"10.0.5.0/24"}}` || len(changed.ChildKeys()) != 1 {
		t.Errorf("%s", changed.Body)
	}
	if without := Without(changed, id); without == nil || without.HasChild(id.Key()) {
		t.Error("the child is still there")
	}
	if Without(v, id) != nil || Child(v, id) != nil {
		t.Error("a child was found that is not there")
	}
	kept, _ := Put(changed, v.ID, []byte(`{"location":"westus2","tags":{"a":"b"},"properties":{`+net10+`}}`), "2023-11-01")
	gone, _ := Put(changed, v.ID, []byte(`{"location":"westus2","tags":{"a":"b"},"properties":{`+net10+`}}`), "2023-09-01-preview")
	if !kept.HasChild(id.Key()) || gone.HasChild(id.Key()) || kept.Tags()["a"] != "b" {
		t.Errorf("%s\n%s", kept.Body, gone.Body)
	}
}

func TestAddressRequests(t *testing.T) {
	n := doc(t, "networkInterfaces/n", `{"location":"l","properties":{"ipConfigurations":[{"name":"A","properties":{"subnet":{"id":"@virtualNetworks/V/subnets/S"}}},
		{"name":"b","properties":{"privateIPAddressVersion":"IPv6","privateIPAllocationMethod":"static","privateIPAddress":"fd00::9","subnet":{"id":"@virtualNetworks/V/subnets/S"}}}]}}`)
	s := parse(t, "virtualNetworks/v/subnets/s").Key()
	want := []AddressRequest{
		{Name: "A", ID: full("networkInterfaces/n/ipConfigurations/A"), Field: "properties.ipConfigurations[0].properties.privateIPAddress", Subnet: s},
		{Name: "b", ID: full("networkInterfaces/n/ipConfigurations/b"), Field: "properties.ipConfigurations[1].properties.privateIPAddress", Subnet: s, V6: true, Static: true, IP: netip.MustParseAddr("fd00::9")},
	}
	if got := n.AddressRequests(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if got := n.RefKeys(); len(got) != 3 { // the group, the network, the subnet
		t.Error(got)
	}
}
