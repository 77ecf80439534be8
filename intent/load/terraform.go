package load

import (
	"strings"

	"ringfence/intent/resource"
)

// isTerraform: what `terraform show -json` prints of a plan or of a state.
func isTerraform(n *node) bool {
	return n.get("format_version") != nil && (n.get("planned_values") != nil || n.get("values") != nil || n.get("resource_changes") != nil)
}

// tfResource is one instance of a resource or data source.
type tfResource struct {
	address string // module.net.azurerm_subnet.web["a"]
	module  string // module.net
	base    string // azurerm_subnet.web, with data. before it for a data source
	index   string // ["a"], "" for none
	typ     string
	data    bool
	v       *node // attributes; what is not known yet is kindUnknown
	config  *node // expressions of its block in the configuration, nil for a state
	at      Place
	id      string // known or made of its names
}

// tfFile is one plan or state on its way.
type tfFile struct {
	l         *loader
	file      string
	root      *node
	all       []*tfResource
	byAddress map[string][]*tfResource // with and without index
	changes   map[string]*node         // resource_changes by address
}

// terraform reads a plan (as it would be after it was applied) or a state.
func (l *loader) terraform(f File, root *node) {
	t := &tfFile{l: l, file: f.Name, root: root, byAddress: map[string][]*tfResource{}}
	values := root.get("planned_values", "root_module")
	if values == nil {
		values = root.get("values", "root_module")
	}
	if values == nil && root.get("planned_values") == nil && root.get("values") == nil {
		l.fault(Place{f.Name, root.line}, "", "", "the plan has no planned_values")
		return
	}
	if errored := root.get("errored"); errored.isTrue() {
		l.fault(Place{f.Name, errored.line}, "", "errored", "the plan ended with an error: it is not complete")
		l.unknown(Unknown{Kind: KindResource, What: "the plan is not complete", Touches: []string{Everything}, At: Place{f.Name, errored.line}})
	}
	t.module(values, false)
	t.module(root.get("prior_state", "values", "root_module"), true)
	for _, r := range t.all {
		r.config = t.block(r)
	}
	for _, r := range t.all {
		r.id = t.idOf(r)
	}
	for _, r := range t.all {
		if !strings.HasPrefix(r.typ, "azurerm_") && !strings.HasPrefix(r.typ, "azapi_") {
			continue
		}
		t.convert(r)
	}
	for _, r := range t.all {
		t.associate(r)
	}
}

// module collects the resources of a module and of those below it.
func (t *tfFile) module(m *node, onlyData bool) {
	if m == nil {
		return
	}
	for _, n := range m.get("resources").list() {
		r := &tfResource{address: n.get("address").str(), typ: n.get("type").str(), data: n.get("mode").str() == "data", v: n.get("values"), at: Place{t.file, n.line}}
		if onlyData && !r.data || len(t.byAddress[r.address]) > 0 {
			continue
		}
		r.module = m.get("address").str()
		r.base = r.typ + "." + n.get("name").str()
		if r.data {
			r.base = "data." + r.base
		}
		r.index = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(r.address, r.module), "."), r.base)
		if r.v == nil {
			r.v = object(n.line)
		}
		t.mark(r)
		t.all = append(t.all, r)
		for _, a := range []string{r.address, strings.TrimSuffix(r.address, r.index)} {
			if len(t.byAddress[a]) == 0 || t.byAddress[a][len(t.byAddress[a])-1] != r {
				t.byAddress[a] = append(t.byAddress[a], r)
			}
		}
	}
	for _, c := range m.get("child_modules").list() {
		t.module(c, onlyData)
	}
}

// mark writes into the attributes which of them are not known before the plan is applied.
func (t *tfFile) mark(r *tfResource) {
	if t.changes == nil {
		t.changes = map[string]*node{}
		for _, c := range t.root.get("resource_changes").list() {
			t.changes[c.get("address").str()] = c
		}
	}
	if u := t.changes[r.address].get("change", "after_unknown"); u != nil {
		r.v = overlay(r.v, u)
	}
}

// overlay puts marks where after_unknown says true.
func overlay(v, unknown *node) *node {
	switch {
	case unknown.isTrue():
		line := unknown.line
		if v != nil {
			line = v.line
		}
		return &node{kind: kindUnknown, line: line}
	case unknown.kind == kindObject:
		out := object(unknown.line)
		if v != nil && v.kind == kindObject {
			out.line, out.members = v.line, append(out.members, v.members...)
		}
		for _, m := range unknown.members {
			if o := overlay(out.get(m.name), m.value); o != nil {
				out.set(m.name, o)
			}
		}
		if v == nil && len(out.members) == 0 {
			return nil
		}
		return out
	case unknown.kind == kindArray && len(unknown.items) > 0:
		out := array(unknown.line)
		if v != nil && v.kind == kindArray {
			out.line, out.items = v.line, append(out.items, v.items...)
		}
		for i, u := range unknown.items {
			if i < len(out.items) {
				if o := overlay(out.items[i], u); o != nil {
					out.items[i] = o
				}
			} else if o := overlay(nil, u); o != nil {
				out.items = append(out.items, o)
			}
		}
		return out
	}
	return v
}

// block finds the expressions of a resource in the configuration.
func (t *tfFile) block(r *tfResource) *node {
	m := t.moduleConfig(r.module)
	for _, n := range m.get("resources").list() {
		if n.get("address").str() == r.base {
			return n.get("expressions")
		}
	}
	return nil
}

// moduleConfig is the configuration of a module by its address: module.a.module.b["x"].
func (t *tfFile) moduleConfig(address string) *node {
	n := t.root.get("configuration", "root_module")
	for _, name := range moduleNames(address) {
		n = n.get("module_calls", name, "module")
	}
	return n
}

// moduleNames are the names in a module's address, without indices.
func moduleNames(address string) []string {
	var out []string
	for address != "" {
		rest := strings.TrimPrefix(address, "module.")
		if rest == address {
			return out
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			return append(out, rest)
		}
		out = append(out, rest[:end])
		rest = rest[end:]
		if rest[0] == '[' {
			close := strings.Index(rest, "]")
			if strings.HasPrefix(rest, `["`) {
				close = strings.Index(rest, `"]`) + 1
			}
			if close <= 0 {
				return out
			}
			rest = rest[close+1:]
		}
		address = strings.TrimPrefix(rest, ".")
	}
	return out
}

// upper is the address of the module around a module, and its own name.
func upper(address string) (string, string) {
	names := moduleNames(address)
	if len(names) == 0 {
		return "", ""
	}
	last := names[len(names)-1]
	i := strings.LastIndex(address, "module."+last)
	if i < 0 {
		return "", last
	}
	return strings.TrimSuffix(address[:i], "."), last
}

// deepestReference bounds how many modules a reference is followed through.
const deepestReference = 20

// targets are the resources that an expression of the configuration refers to.
func (t *tfFile) targets(r *tfResource, module string, expr *node, depth int) []*tfResource {
	if expr == nil || depth > deepestReference {
		return nil
	}
	for _, ref := range expr.get("references").list() { // the most specific comes first
		if found := t.target(r, module, ref.str(), depth); len(found) > 0 {
			return found
		}
	}
	return nil
}

func (t *tfFile) target(r *tfResource, module, ref string, depth int) []*tfResource {
	parts := strings.Split(ref, ".")
	switch {
	case len(parts) >= 2 && parts[0] == "var":
		up, name := upper(module)
		if name == "" {
			return nil
		}
		return t.targets(r, up, t.moduleConfig(up).get("module_calls", name, "expressions", parts[1]), depth+1)
	case len(parts) >= 3 && parts[0] == "module":
		name, _, _ := strings.Cut(parts[1], "[")
		below := strings.TrimPrefix(module+".module."+parts[1], ".")
		out := t.moduleConfig(below).get("outputs", strings.TrimRight(parts[2], "[]0123456789\""), "expression")
		if found := t.targets(r, below, out, depth+1); len(found) > 0 {
			return found
		}
		return t.targets(r, strings.TrimPrefix(module+".module."+name, "."), out, depth+1)
	}
	address := strings.TrimPrefix(module+"."+ref, ".")
	for address != "" {
		if found := t.byAddress[address]; len(found) > 0 {
			if len(found) > 1 {
				for _, f := range found {
					if f.index != "" && f.index == r.index {
						return []*tfResource{f}
					}
				}
			}
			return found
		}
		i := strings.LastIndexByte(address, '.')
		if i <= len(module) {
			break
		}
		address = address[:i]
	}
	return nil
}

// ref is the id that an attribute holds, or that of the one resource that its expression refers to; else it is not known.
func (t *tfFile) ref(r *tfResource, v, expr *node) *node {
	if v == nil || v.kind == kindString {
		return v
	}
	if found := t.targets(r, r.module, expr, 0); len(found) == 1 && found[0].id != "" {
		return text(found[0].id, v.line)
	}
	return &node{kind: kindUnknown, line: v.line}
}

// refs is the same for a list of ids.
func (t *tfFile) refs(r *tfResource, v, expr *node) []*node {
	if v == nil {
		return nil
	}
	if v.kind == kindUnknown {
		var out []*node
		for _, f := range t.targets(r, r.module, expr, 0) {
			out = append(out, text(f.id, v.line))
		}
		if out == nil {
			return []*node{v}
		}
		return out
	}
	var out []*node
	for i, e := range v.items {
		if e.kind == kindUnknown {
			found := t.targets(r, r.module, expr, 0)
			if len(found) == len(v.items) {
				e = text(found[i].id, e.line)
			}
		}
		out = append(out, e)
	}
	return out
}

// tfTypes are the resources that ids can be made of.
var tfTypes = map[string]string{
	"azurerm_virtual_network":            "Microsoft.Network/virtualNetworks",
	"azurerm_subnet":                     "Microsoft.Network/virtualNetworks/subnets",
	"azurerm_network_security_group":     "Microsoft.Network/networkSecurityGroups",
	"azurerm_network_security_rule":      "Microsoft.Network/networkSecurityGroups/securityRules",
	"azurerm_application_security_group": "Microsoft.Network/applicationSecurityGroups",
	"azurerm_network_interface":          "Microsoft.Network/networkInterfaces",
	"azurerm_linux_virtual_machine":      "Microsoft.Compute/virtualMachines",
	"azurerm_windows_virtual_machine":    "Microsoft.Compute/virtualMachines",
	"azurerm_virtual_machine":            "Microsoft.Compute/virtualMachines",
	"azurerm_virtual_network_peering":    "Microsoft.Network/virtualNetworks/virtualNetworkPeerings",
	"azurerm_route_table":                "Microsoft.Network/routeTables",
	"azurerm_public_ip":                  "Microsoft.Network/publicIPAddresses",
	"azurerm_nat_gateway":                "Microsoft.Network/natGateways",
	"azurerm_lb":                         "Microsoft.Network/loadBalancers",
}

// idOf is the id that the file says, else one made of the names; "" when a name is not known.
func (t *tfFile) idOf(r *tfResource) string {
	if id := r.v.get("id").str(); strings.HasPrefix(id, "/") {
		return id
	}
	typ := tfTypes[r.typ]
	if typ == "" {
		return ""
	}
	group := t.name(r, "resource_group_name", "azurerm_resource_group")
	if group == "" {
		group = t.l.o.Group
	}
	id := resource.ID{Subscription: t.l.o.Subscription, Group: group, Type: typ}
	switch r.typ {
	case "azurerm_subnet", "azurerm_virtual_network_peering":
		id.Names = append(id.Names, t.name(r, "virtual_network_name", "azurerm_virtual_network"))
	case "azurerm_network_security_rule":
		id.Names = append(id.Names, t.name(r, "network_security_group_name", "azurerm_network_security_group"))
	}
	name := r.v.get("name").str()
	if name == "" { // names may be random; the address is as good
		name = notInName.Replace(strings.TrimPrefix(strings.TrimPrefix(r.address, r.module+"."), r.typ+"."))
	}
	id.Names = append(id.Names, name)
	for _, n := range id.Names {
		if n == "" || strings.ContainsAny(n, "/?#%\\") {
			return ""
		}
	}
	return id.String()
}

var notInName = strings.NewReplacer(`["`, "-", `"]`, "", "[", "-", "]", "", "/", "-", `"`, "")

// name is an attribute that names another resource, or that resource's name.
func (t *tfFile) name(r *tfResource, attribute, typ string) string {
	if v := r.v.get(attribute); v.str() != "" {
		return v.text
	}
	found := t.targets(r, r.module, r.config.get(attribute), 0)
	if len(found) != 1 || found[0].typ != typ && found[0].typ != "data."+typ {
		return ""
	}
	if name := found[0].v.get("name").str(); name != "" {
		return name
	}
	return notInName.Replace(strings.TrimPrefix(strings.TrimPrefix(found[0].address, found[0].module+"."), found[0].typ+"."))
}

// lost names a resource of which not even the id is known.
func (t *tfFile) lost(r *tfResource) {
	t.l.unknown(Unknown{Kind: KindResource, ID: r.address, What: "its name is known only when it is applied", Touches: []string{Everything}, At: r.at})
}
