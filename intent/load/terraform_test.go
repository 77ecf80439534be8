package load

import (
	"strings"
	"testing"
)

const planned = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/shop/providers/microsoft.network/"

// A plan: ids that are known only after it was applied are found through the configuration, also out of a module.
func TestPlan(t *testing.T) {
	s := Load([]File{read(t, "plan.json")}, Options{})
	wantText(t, "faults", faults(s), "")
	wantText(t, "unknown", lines(s.Unknowns),
		"plan.json:27: azurerm_linux_virtual_machine_scale_set.workers: scale sets are not modelled: their machines are further members of their subnet and groups")
	v := s.View.VNets[planned+"virtualnetworks/main"]
	if v == nil || len(v.Subnets) != 1 || v.Subnets[0].NSG != planned+"networksecuritygroups/web" {
		t.Fatalf("network: %+v", v)
	}
	if g := s.View.NSGs[planned+"networksecuritygroups/web"]; g == nil || len(g.Rules) != 1 || g.Rules[0].Src.Prefixes[0] != "*" {
		t.Errorf("group: %+v", g)
	}
	n0, n1 := s.View.NICs[planned+"networkinterfaces/web-0"], s.View.NICs[planned+"networkinterfaces/web-1"]
	if n0 == nil || n1 == nil || n0.IPConfigs[0].IP.String() != "10.0.1.4" || n1.IPConfigs[0].IP.String() != "10.0.1.9" {
		t.Fatalf("interfaces: %+v %+v", n0, n1)
	}
	if len(n0.IPConfigs[0].ASGs) != 0 || len(n1.IPConfigs[0].ASGs) != 1 {
		t.Errorf("the association is of the second: %v %v", n0.IPConfigs[0].ASGs, n1.IPConfigs[0].ASGs)
	}
	if !strings.HasSuffix(n0.VM, "virtualmachines/web-0") {
		t.Errorf("machine: %q", n0.VM)
	}
	wantText(t, "place of a rule", s.Place(planned+"networkSecurityGroups/web/securityRules/https").String(), "plan.json:12")
}

// What cannot be found stays unknown, by name, and concerns what it could be.
func TestPlanWithoutConfiguration(t *testing.T) {
	f := read(t, "plan.json")
	f.Text = []byte(strings.Replace(string(f.Text), `"configuration"`, `"configuration_of_another_day"`, 1))
	s := Load([]File{f}, Options{})
	got := lines(s.Unknowns)
	for _, want := range []string{"azurerm_subnet_network_security_group_association.web: what it is attached to is known only when it is applied",
		"networkInterfaces web-0: the subnet that it is in is known only when it is applied"} {
		if !strings.Contains(got, want) {
			t.Errorf("want %s in\n%s", want, got)
		}
	}
	if s.View.NICs[planned+"networkinterfaces/web-0"] != nil {
		t.Error("an interface in a subnet that is not known has a place")
	}
}

// A value of a rule that is not known makes the rule unknown, not absent in silence.
func TestPlanWithUnknownRule(t *testing.T) {
	f := read(t, "plan.json")
	f.Text = []byte(strings.Replace(string(f.Text), `"resource_changes": [`, `"resource_changes": [
{"address": "azurerm_network_security_rule.https", "change": {"after_unknown": {"source_address_prefix": true}}},`, 1))
	s := Load([]File{f}, Options{})
	if got := lines(s.Unknowns); !strings.Contains(got, "plan.json:14: networkSecurityGroups/securityRules web/https: its sourceAddressPrefix is known only when it is applied") {
		t.Error(got)
	}
}

// A state names ids; a data source describes what others made.
func TestState(t *testing.T) {
	s := one(`{"format_version":"1.0","terraform_version":"1.9.0","values":{"root_module":{"resources":[
{"address":"data.azurerm_virtual_network.hub","mode":"data","type":"azurerm_virtual_network","name":"hub","values":{"id":"` + prefix + `virtualNetworks/hub","name":"hub","resource_group_name":"shop","address_space":["10.1.0.0/16"],"location":"westeurope"}},
{"address":"azurerm_subnet.a","mode":"managed","type":"azurerm_subnet","name":"a","values":{"id":"` + prefix + `virtualNetworks/hub/subnets/a","name":"a","virtual_network_name":"hub","resource_group_name":"shop","address_prefixes":["10.1.0.0/24"]}},
{"address":"azurerm_subnet_route_table_association.a","mode":"managed","type":"azurerm_subnet_route_table_association","name":"a","values":{"subnet_id":"` + prefix + `virtualNetworks/hub/subnets/a","route_table_id":"` + prefix + `routeTables/rt"}},
{"address":"azurerm_network_interface.n","mode":"managed","type":"azurerm_network_interface","name":"n","values":{"id":"` + prefix + `networkInterfaces/n","name":"n","resource_group_name":"shop","location":"westeurope",
 "ip_configuration":[{"name":"c","subnet_id":"` + prefix + `virtualNetworks/hub/subnets/a","private_ip_address":"10.1.0.30","private_ip_address_allocation":"Dynamic","public_ip_address_id":""}]}}
]}}}`)
	wantText(t, "faults", faults(s), "")
	wantText(t, "unknown", lines(s.Unknowns), "x.json:4: virtualNetworks/subnets hub/a: its route table rt is not modelled: packets may be sent elsewhere or dropped")
	if n := s.View.NICs[strings.ToLower(prefix+"networkInterfaces/n")]; n == nil || n.IPConfigs[0].IP.String() != "10.1.0.30" {
		t.Errorf("%+v", n)
	}
}
