package load

import (
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// convert turns a resource of Terraform's into the one that Azure would have.
func (t *tfFile) convert(r *tfResource) {
	typ := tfTypes[r.typ]
	if strings.HasSuffix(r.typ, "_association") {
		return
	}
	props := object(r.at.Line)
	switch r.typ {
	case "azurerm_virtual_network":
		t.vnet(r, props)
	case "azurerm_subnet":
		t.subnet(r, props)
	case "azurerm_network_security_group":
		rules := array(r.at.Line)
		for _, n := range blocks(r.v.get("security_rule")) {
			rule := object(n.line)
			rule.set("name", known(n.get("name"), n.line))
			rule.set("properties", t.rule(r, n, r.config.get("security_rule")))
			rules.items = append(rules.items, rule)
		}
		if v := r.v.get("security_rule"); v != nil && v.kind == kindUnknown && r.config.get("security_rule") != nil {
			rules = v // a group without inline rules shows them as not known too
		}
		props.set("securityRules", rules)
	case "azurerm_network_security_rule":
		props = t.rule(r, r.v, r.config)
	case "azurerm_application_security_group":
	case "azurerm_network_interface":
		t.nic(r, props)
	case "azurerm_linux_virtual_machine", "azurerm_windows_virtual_machine", "azurerm_virtual_machine":
		list := array(r.at.Line)
		for _, n := range t.refs(r, r.v.get("network_interface_ids"), r.config.get("network_interface_ids")) {
			list.items = append(list.items, reference(n.str(), n.line))
		}
		profile := object(r.at.Line)
		profile.set("networkInterfaces", list)
		props.set("networkProfile", profile)
	case "azurerm_virtual_network_peering":
		props.set("remoteVirtualNetwork", idOrUnknown(t.ref(r, r.v.get("remote_virtual_network_id"), r.config.get("remote_virtual_network_id"))))
	default:
		t.other(r)
		return
	}
	t.emit(r, typ, props)
}

func (t *tfFile) emit(r *tfResource, typ string, props *node) {
	id, err := resource.ParseID(r.id)
	if err != nil || !strings.EqualFold(id.Type, typ) {
		t.lost(r)
		return
	}
	body := object(r.at.Line)
	body.set("name", text(id.Name(), r.at.Line))
	if loc := r.v.get("location"); loc.str() != "" {
		body.set("location", loc)
	}
	body.set("properties", props)
	if r.data && t.l.byKey[id.Key()] != nil {
		return
	}
	t.l.add(&raw{id: id, body: clean(body), at: r.at, template: true})
}

func known(n *node, line int) *node {
	if n == nil {
		return text("", line)
	}
	return n
}

func blocks(n *node) []*node {
	if n != nil && n.kind == kindObject {
		return []*node{n}
	}
	return n.list()
}

// blockAt is the configuration of the i-th block, or of the one dynamic block that stands for all.
func blockAt(n *node, i int) *node {
	if n == nil || n.kind != kindArray {
		return n
	}
	if i < len(n.items) {
		return n.items[i]
	}
	if len(n.items) == 1 {
		return n.items[0]
	}
	return nil
}

func idOrUnknown(n *node) *node {
	if n == nil {
		return &node{kind: kindNull}
	}
	if n.kind == kindUnknown {
		out := object(n.line)
		out.set("id", n)
		return out
	}
	return reference(n.str(), n.line)
}

// copyAttr copies an attribute under Azure's name.
func copyAttr(to *node, name string, from *node) {
	if from != nil && !(from.kind == kindArray && len(from.items) == 0) {
		to.set(name, from)
	}
}

func (t *tfFile) vnet(r *tfResource, props *node) {
	space := object(r.at.Line)
	copyAttr(space, "addressPrefixes", r.v.get("address_space"))
	props.set("addressSpace", space)
	subnets := array(r.at.Line)
	for i, n := range blocks(r.v.get("subnet")) {
		if n.kind == kindUnknown || n.get("name").str() == "" {
			continue
		}
		s, p := object(n.line), object(n.line)
		s.set("name", n.get("name"))
		copyAttr(p, "addressPrefix", n.get("address_prefix"))
		copyAttr(p, "addressPrefixes", n.get("address_prefixes"))
		conf := blockAt(r.config.get("subnet"), i)
		if g := t.ref(r, n.get("security_group"), conf.get("security_group")); g != nil && (g.kind == kindUnknown || g.text != "") {
			p.set("networkSecurityGroup", idOrUnknown(g))
		}
		if g := n.get("route_table_id"); g.str() != "" {
			p.set("routeTable", reference(g.str(), g.line))
		}
		s.set("properties", p)
		subnets.items = append(subnets.items, s)
	}
	if v := r.v.get("subnet"); v != nil && v.kind == kindUnknown && r.config.get("subnet") != nil {
		subnets = v
	}
	props.set("subnets", subnets)
}

func (t *tfFile) subnet(r *tfResource, props *node) {
	copyAttr(props, "addressPrefixes", r.v.get("address_prefixes"))
	if props.get("addressPrefixes") == nil {
		copyAttr(props, "addressPrefix", r.v.get("address_prefix"))
	}
	for _, d := range r.v.get("delegation").list() {
		if d.kind == kindObject {
			props.set("delegations", r.v.get("delegation"))
		}
	}
	if g := r.v.get("network_security_group_id"); g.str() != "" {
		props.set("networkSecurityGroup", reference(g.str(), g.line))
	}
	if r.data {
		if g := r.v.get("route_table_id"); g.str() != "" {
			props.set("routeTable", reference(g.str(), g.line))
		}
	}
}

var ruleAttributes = [][2]string{{"name", ""}, {"description", "description"}, {"priority", "priority"}, {"direction", "direction"}, {"access", "access"}, {"protocol", "protocol"},
	{"source_port_range", "sourcePortRange"}, {"source_port_ranges", "sourcePortRanges"}, {"destination_port_range", "destinationPortRange"},
	{"destination_port_ranges", "destinationPortRanges"}, {"source_address_prefix", "sourceAddressPrefix"}, {"source_address_prefixes", "sourceAddressPrefixes"},
	{"destination_address_prefix", "destinationAddressPrefix"}, {"destination_address_prefixes", "destinationAddressPrefixes"}}

func (t *tfFile) rule(r *tfResource, v, conf *node) *node {
	p := object(v.line)
	for _, a := range ruleAttributes {
		if a[1] != "" {
			copyAttr(p, a[1], v.get(a[0]))
		}
	}
	for _, side := range []string{"source", "destination"} {
		ids := t.refs(r, v.get(side+"_application_security_group_ids"), conf.get(side+"_application_security_group_ids"))
		if len(ids) == 0 {
			continue
		}
		list := array(v.line)
		for _, id := range ids {
			list.items = append(list.items, idOrUnknown(id))
		}
		p.set(side+"ApplicationSecurityGroups", list)
	}
	return p
}

func (t *tfFile) nic(r *tfResource, props *node) {
	configs := array(r.at.Line)
	for i, n := range blocks(r.v.get("ip_configuration")) {
		conf := blockAt(r.config.get("ip_configuration"), i)
		c, p := object(n.line), object(n.line)
		name := n.get("name")
		if name.str() == "" {
			name = text("ipconfig"+itoa(i+1), n.line)
		}
		c.set("name", name)
		p.set("subnet", idOrUnknown(t.ref(r, n.get("subnet_id"), conf.get("subnet_id"))))
		copyAttr(p, "privateIPAllocationMethod", n.get("private_ip_address_allocation"))
		copyAttr(p, "privateIPAddressVersion", n.get("private_ip_address_version"))
		copyAttr(p, "privateIPAddress", n.get("private_ip_address"))
		copyAttr(p, "primary", n.get("primary"))
		if a := p.get("primary"); a != nil && a.kind != kindBool {
			p.drop("primary")
		}
		if a := p.get("privateIPAddress"); a != nil && a.kind == kindUnknown {
			p.drop("privateIPAddress")
		}
		if pip := t.ref(r, n.get("public_ip_address_id"), conf.get("public_ip_address_id")); pip != nil && (pip.kind == kindUnknown || pip.text != "") {
			if conf == nil || pip.kind == kindString || conf.get("public_ip_address_id") != nil {
				p.set("publicIPAddress", idOrUnknown(pip))
			}
		}
		c.set("properties", p)
		configs.items = append(configs.items, c)
	}
	props.set("ipConfigurations", configs)
	if r.v.get("ip_forwarding_enabled").isTrue() || r.v.get("enable_ip_forwarding").isTrue() {
		props.set("enableIPForwarding", &node{kind: kindBool, text: "true", line: r.at.Line})
	}
	if g := r.v.get("network_security_group_id"); g.str() != "" {
		props.set("networkSecurityGroup", reference(g.str(), g.line))
	}
}

// associations join two resources: what is joined, the attribute that names it, what it gets, and the attribute that names that.
var associations = map[string][2]string{
	"azurerm_subnet_network_security_group_association":                {"subnet_id", "network_security_group_id"},
	"azurerm_subnet_route_table_association":                           {"subnet_id", "route_table_id"},
	"azurerm_network_interface_security_group_association":             {"network_interface_id", "network_security_group_id"},
	"azurerm_network_interface_application_security_group_association": {"network_interface_id", "application_security_group_id"},
	"azurerm_network_interface_backend_address_pool_association":       {"network_interface_id", "backend_address_pool_id"},
	"azurerm_network_interface_nat_rule_association":                   {"network_interface_id", "nat_rule_id"},
}

// associate writes an association into the body of what it joins to something.
func (t *tfFile) associate(r *tfResource) {
	a, ok := associations[r.typ]
	if !ok {
		return
	}
	left := t.ref(r, r.v.get(a[0]), r.config.get(a[0]))
	right := t.ref(r, r.v.get(a[1]), r.config.get(a[1]))
	target := t.l.byKey[strings.ToLower(left.str())]
	if target == nil {
		touches := []string{Everything}
		what := "what it is attached to is known only when it is applied"
		if left.str() != "" {
			touches, what = []string{left.str()}, "it is attached to "+resourceName(left.str())+", which is not among the files"
		}
		t.l.unknown(Unknown{Kind: KindFilter, ID: r.address, What: what, Touches: touches, At: r.at})
		return
	}
	props := target.body.get("properties")
	switch {
	case a[1] == "network_security_group_id":
		props.set("networkSecurityGroup", idOrUnknown(right))
	case a[1] == "route_table_id":
		props.set("routeTable", idOrUnknown(right))
		if right.str() == "" {
			props.set("routeTable", reference(r.address, r.at.Line))
		}
	case a[1] == "application_security_group_id":
		for _, c := range props.get("ipConfigurations").list() {
			p := c.get("properties")
			list := p.get("applicationSecurityGroups")
			if list == nil {
				list = array(r.at.Line)
				p.set("applicationSecurityGroups", list)
			}
			list.items = append(list.items, idOrUnknown(right))
		}
	default:
		t.l.unknown(Unknown{Kind: KindPublic, ID: target.id.String(), What: "a load balancer (" + r.address + ") is not modelled", Touches: []string{target.id.Key()}, At: r.at})
	}
}

// tfKinds say what other types stand for.
var tfKinds = []struct{ part, kind, what string }{
	{"scale_set", KindMembers, "scale sets are not modelled: their machines are further members of their subnet and groups"},
	{"virtual_network_gateway", KindGateway, "gateways are not modelled: networks behind it may be reached, and belong to the tag VirtualNetwork"},
	{"express_route", KindGateway, "ExpressRoute is not modelled"},
	{"firewall", KindFilter, "firewalls are not modelled"},
	{"application_gateway", KindPublic, "application gateways are not modelled: they open connections of their own"},
	{"bastion", KindMembers, "bastion hosts are not modelled: they open connections from inside their subnet"},
	{"private_endpoint", KindMembers, "private endpoints are not modelled: they are further members of their subnet"},
	{"kubernetes_cluster", KindMembers, "the nodes of a cluster are not modelled: they are further members of their subnet"},
	{"lb", KindPublic, "load balancers are not modelled"},
	{"network_manager", KindFilter, "network managers are not modelled: their security admin rules are asked before every NSG"},
	{"virtual_hub", KindGateway, "virtual hubs are not modelled"},
}

// tfInert change nothing between machines, whatever they refer to.
var tfInert = []string{"azurerm_storage", "azurerm_key_vault", "azurerm_private_dns", "azurerm_dns", "azurerm_monitor", "azurerm_log_analytics", "azurerm_network_watcher",
	"azurerm_mssql", "azurerm_sql", "azurerm_cosmosdb", "azurerm_role", "azurerm_nat_gateway", "azurerm_subnet_nat_gateway", "azurerm_public_ip", "azurerm_route", "azurerm_managed_disk",
	"azurerm_virtual_machine_extension", "azurerm_virtual_machine_data_disk", "azurerm_user_assigned_identity", "azurerm_servicebus", "azurerm_eventhub", "azurerm_container_registry",
	"azurerm_availability_set", "azurerm_backup", "azurerm_recovery", "azurerm_dev_test", "azurerm_subnet_service_endpoint", "azurerm_resource_group"}

// other names a resource that is not modelled, with what it refers to.
func (t *tfFile) other(r *tfResource) {
	if r.data || slices.ContainsFunc(tfInert, func(p string) bool { return strings.HasPrefix(r.typ, p) }) {
		t.l.source.Ignored = append(t.l.source.Ignored, r.address)
		return
	}
	u := Unknown{Kind: KindResource, ID: r.address, At: r.at, What: "the type " + r.typ + " is not modelled"}
	for _, k := range tfKinds {
		if strings.Contains(r.typ, k.part) {
			u.Kind, u.What = k.kind, k.what
			break
		}
	}
	u.Touches = t.l.referredBy(r.v, nil)
	t.mentioned(r, r.config, &u)
	if u.Kind == KindFilter && strings.Contains(r.typ, "network_manager") {
		u.Touches = []string{Everything}
	}
	if len(u.Touches) == 0 {
		t.l.source.Ignored = append(t.l.source.Ignored, r.address)
		return
	}
	t.l.unknown(u)
}

// mentioned adds what the expressions of a resource refer to.
func (t *tfFile) mentioned(r *tfResource, n *node, u *Unknown) {
	if n == nil {
		return
	}
	for _, f := range t.targets(r, r.module, n, 0) {
		if id, err := resource.ParseID(f.id); err == nil && slices.Contains(concerned, id.Top().Type) && f.v.get("name") != nil {
			u.Touches = append(u.Touches, id.Key())
		}
	}
	for _, e := range n.items {
		t.mentioned(r, e, u)
	}
	for _, m := range n.members {
		t.mentioned(r, m.value, u)
	}
}
