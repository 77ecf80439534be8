package cli

import (
	"strings"

	"github.com/alecthomas/kong"
)

type networkCommands struct {
	VNet vnetCommands `cmd:"" name:"vnet" help:"Virtual networks and their subnets."`
	NSG  nsgCommands  `cmd:"" name:"nsg" help:"Network security groups and their rules."`
	ASG  asgCommands  `cmd:"" name:"asg" help:"Application security groups."`
	NIC  nicCommands  `cmd:"" name:"nic" help:"Network interfaces."`
	kong.Plugins
}

// kind ties a type of the table to the generic commands; its values are types without fields.
type kind interface {
	typeName() string
	columns() []column
}

var (
	nameColumn  = column{"Name", "name"}
	placeColumn = column{"Location", "location"}
	stateColumn = column{"State", "properties.provisioningState"}
)

type vnetKind struct{}

func (vnetKind) typeName() string { return vnetType }
func (vnetKind) columns() []column {
	return []column{nameColumn, placeColumn, {"Prefixes", "properties.addressSpace.addressPrefixes"}, {"Subnets", "properties.subnets[].name"}, stateColumn}
}

type subnetKind struct{}

func (subnetKind) typeName() string { return subnetType }
func (subnetKind) columns() []column {
	return []column{nameColumn, {"Prefixes", "properties.addressPrefixes || [properties.addressPrefix]"},
		{"SecurityGroup", "properties.networkSecurityGroup.id"}, stateColumn}
}

type nsgKind struct{}

func (nsgKind) typeName() string { return nsgType }
func (nsgKind) columns() []column {
	return []column{nameColumn, placeColumn, {"Rules", "length(properties.securityRules)"}, stateColumn}
}

type ruleKind struct{}

func (ruleKind) typeName() string { return ruleType }
func (ruleKind) columns() []column {
	side := func(s string) string {
		return "properties." + s + "AddressPrefix || properties." + s + "AddressPrefixes[0] && properties." + s +
			"AddressPrefixes || properties." + s + "ApplicationSecurityGroups[].id"
	}
	ports := func(s string) string {
		return "properties." + s + "PortRange || properties." + s + "PortRanges"
	}
	return []column{nameColumn, {"Priority", "properties.priority"}, {"Direction", "properties.direction"}, {"Access", "properties.access"},
		{"Protocol", "properties.protocol"}, {"Source", side("source")}, {"SourcePorts", ports("source")},
		{"Destination", side("destination")}, {"Ports", ports("destination")}}
}

// defaultRuleKind are the six rules that every group ends with: read only.
type defaultRuleKind struct{ ruleKind }

func (defaultRuleKind) typeName() string { return defaultRuleType }

// ipConfigKind are an interface's IP configurations: written with the interface.
type ipConfigKind struct{}

func (ipConfigKind) typeName() string { return ipConfigType }
func (ipConfigKind) columns() []column {
	return []column{nameColumn, {"Address", "properties.privateIPAddress"}, {"Method", "properties.privateIPAllocationMethod"},
		{"Version", "properties.privateIPAddressVersion"}, {"Subnet", "properties.subnet.id"}, {"Groups", "properties.applicationSecurityGroups[].id"}}
}

type deploymentKind struct{}

func (deploymentKind) typeName() string { return deploymentType }
func (deploymentKind) columns() []column {
	return []column{nameColumn, {"State", "properties.provisioningState"}, {"Time", "properties.timestamp"}}
}

type asgKind struct{}

func (asgKind) typeName() string  { return asgType }
func (asgKind) columns() []column { return []column{nameColumn, placeColumn, stateColumn} }

type nicKind struct{}

func (nicKind) typeName() string { return nicType }
func (nicKind) columns() []column {
	return []column{nameColumn, {"Addresses", "properties.ipConfigurations[].properties.privateIPAddress"},
		{"MAC", "properties.macAddress"}, {"VirtualMachine", "properties.virtualMachine.id"}, stateColumn}
}

// inVNet and inNSG name the parent of a child resource.
type inVNet struct {
	Parent string `name:"vnet-name" required:"" help:"Virtual network."`
}

type inNSG struct {
	Parent string `name:"nsg-name" required:"" help:"Network security group."`
}

type inNIC struct {
	Parent string `name:"nic-name" required:"" help:"Network interface."`
}

func (p inNIC) names() []string  { return []string{p.Parent} }
func (p inVNet) names() []string { return []string{p.Parent} }
func (p inNSG) names() []string  { return []string{p.Parent} }

// alone is the parent of a top-level resource: none.
type alone struct{}

func (alone) names() []string { return nil }

type parent interface{ names() []string }

// one is a resource that the flags name.
type one[K kind, P parent] struct {
	Parent P      `embed:""`
	Group  string `short:"g" aliases:"resource-group" required:"" help:"Resource group."`
	Name   string `short:"n" required:"" help:"Name."`
}

func (o *one[K, P]) path(s *session) string {
	var k K
	return s.path(o.Group, k.typeName(), append(o.Parent.names(), o.Name)...)
}

// create writes the resource and prints it.
func (o *one[K, P]) create(a *app, body func(*session) (map[string]any, error)) error {
	var k K
	s, err := a.connect()
	if err != nil {
		return err
	}
	b, err := body(s)
	if err != nil {
		return err
	}
	a.progress.begin("creating %s", o.Name)
	v, err := s.put(o.path(s), b, true)
	if err != nil {
		return err
	}
	return a.print(v, k.columns()...)
}

type showOne[K kind, P parent] struct{ one[K, P] }

func (showOne[K, P]) Help() string { return exampleOf[K, P]("show", " -n NAME -o json") }

func (c *showOne[K, P]) Run(a *app) error {
	var k K
	s, err := a.connect()
	if err != nil {
		return err
	}
	var v any
	if err := s.get(c.path(s), &v); err != nil {
		return err
	}
	return a.print(v, k.columns()...)
}

type deleteOne[K kind, P parent] struct {
	one[K, P]
	NoWait bool `help:"Do not wait for the end."`
	Yes    bool `short:"y" help:"Accepted for az's sake: nothing is asked."`
}

func (deleteOne[K, P]) Help() string { return exampleOf[K, P]("delete", " -n NAME") }

func (c *deleteOne[K, P]) Run(a *app) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	a.progress.begin("deleting %s", c.Name)
	return s.remove(c.path(s), !c.NoWait)
}

// listTop lists top-level resources: of a group or of the subscription.
type listTop[K kind] struct {
	Group string `short:"g" aliases:"resource-group" help:"Only those of this resource group."`
}

func (listTop[K]) Help() string { return exampleOf[K, alone]("list", "") }

func (c *listTop[K]) Run(a *app) error {
	var k K
	return a.listAll(func(s *session) string { return s.path(c.Group, k.typeName()) }, k.columns())
}

// listChildren lists the children of one resource.
type listChildren[K kind, P parent] struct {
	Parent P      `embed:""`
	Group  string `short:"g" aliases:"resource-group" required:"" help:"Resource group."`
}

func (listChildren[K, P]) Help() string { return exampleOf[K, P]("list", "") }

func (c *listChildren[K, P]) Run(a *app) error {
	var k K
	return a.listAll(func(s *session) string { return s.path(c.Group, k.typeName(), c.Parent.names()...) }, k.columns())
}

func (a *app) listAll(path func(*session) string, columns []column) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	v, err := s.list(path(s))
	if err != nil {
		return err
	}
	if v == nil {
		v = []any{}
	}
	return a.print(v, columns...)
}

var commandWords = map[string]string{deploymentType: "deployment group", vnetType: "network vnet", subnetType: "network vnet subnet",
	nsgType: "network nsg", ruleType: "network nsg rule", defaultRuleType: "network nsg default-rule", asgType: "network asg", nicType: "network nic",
	ipConfigType: "network nic ip-config"}

func exampleOf[K kind, P parent](verb, rest string) string {
	var k K
	var p P
	flag := map[string]string{subnetType: " --vnet-name shop-vnet", ruleType: " --nsg-name web-nsg", defaultRuleType: " --nsg-name web-nsg",
		ipConfigType: " --nic-name web1-nic"}[k.typeName()]
	if p.names() == nil {
		flag = ""
	}
	return "Example:\n  ringfence " + commandWords[k.typeName()] + " " + verb + " -g shop" + flag + rest
}

func references(s *session, group, typ string, names []string) []any {
	var out []any
	for _, n := range names {
		out = append(out, map[string]any{"id": s.id(group, typ, n)})
	}
	return out
}

// oneOrMany writes a value into the singular member, several into the plural one.
func oneOrMany(into map[string]any, singular string, values []string) {
	if len(values) == 1 {
		into[singular] = values[0]
	} else if len(values) > 1 {
		into[plural(singular)] = values
	}
}

func plural(s string) string {
	if strings.HasSuffix(s, "x") {
		return s + "es"
	}
	return s + "s"
}
