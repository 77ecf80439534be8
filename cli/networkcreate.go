package cli

type vnetCommands struct {
	Create vnetCreate                 `cmd:"" help:"Create a virtual network."`
	List   listTop[vnetKind]          `cmd:"" help:"List virtual networks."`
	Show   showOne[vnetKind, alone]   `cmd:"" help:"Show a virtual network."`
	Delete deleteOne[vnetKind, alone] `cmd:"" help:"Delete a virtual network."`
	Subnet subnetCommands             `cmd:"" help:"Subnets of a virtual network."`
}

type vnetCreate struct {
	one[vnetKind, alone]
	Location       string   `short:"l" help:"Location; else that of the resource group."`
	Prefixes       []string `name:"address-prefixes" default:"10.0.0.0/16" help:"Address space; several may follow."`
	SubnetName     string   `help:"A first subnet."`
	SubnetPrefixes []string `help:"Prefixes of the first subnet."`
	DNS            []string `name:"dns-servers" help:"Name servers instead of the platform's."`
}

func (vnetCreate) Help() string {
	return "Example:\n  ringfence network vnet create -g shop -n shop-vnet --address-prefixes 10.0.0.0/16 fd00:db8::/56 --subnet-name web --subnet-prefixes 10.0.1.0/24"
}

func (c *vnetCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) {
		props := map[string]any{"addressSpace": map[string]any{"addressPrefixes": c.Prefixes}}
		if c.SubnetName != "" {
			sub := map[string]any{}
			oneOrMany(sub, "addressPrefix", c.SubnetPrefixes)
			props["subnets"] = []any{map[string]any{"name": c.SubnetName, "properties": sub}}
		}
		if len(c.DNS) > 0 {
			props["dhcpOptions"] = map[string]any{"dnsServers": c.DNS}
		}
		return located(s, c.Location, c.Group, props)
	})
}

// located is the body of a top-level resource.
func located(s *session, location, group string, props map[string]any) (map[string]any, error) {
	l, err := s.location(location, group)
	if err != nil {
		return nil, err
	}
	return map[string]any{"location": l, "properties": props}, nil
}

type subnetCommands struct {
	Create subnetCreate                     `cmd:"" help:"Create a subnet."`
	List   listChildren[subnetKind, inVNet] `cmd:"" help:"List the subnets of a virtual network."`
	Show   showOne[subnetKind, inVNet]      `cmd:"" help:"Show a subnet."`
	Delete deleteOne[subnetKind, inVNet]    `cmd:"" help:"Delete a subnet."`
}

type subnetCreate struct {
	one[subnetKind, inVNet]
	Prefixes []string `name:"address-prefixes" required:"" help:"Prefixes; several may follow."`
	NSG      string   `name:"nsg" aliases:"network-security-group" help:"Network security group: name or id."`
}

func (subnetCreate) Help() string {
	return "Example:\n  ringfence network vnet subnet create -g shop --vnet-name shop-vnet -n db --address-prefixes 10.0.3.0/24 --nsg db-nsg"
}

func (c *subnetCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) {
		props := map[string]any{}
		oneOrMany(props, "addressPrefix", c.Prefixes)
		if c.NSG != "" {
			props["networkSecurityGroup"] = map[string]any{"id": s.id(c.Group, nsgType, c.NSG)}
		}
		return map[string]any{"properties": props}, nil
	})
}

type nsgCommands struct {
	Create nsgCreate                 `cmd:"" help:"Create a network security group."`
	List   listTop[nsgKind]          `cmd:"" help:"List network security groups."`
	Show   showOne[nsgKind, alone]   `cmd:"" help:"Show a network security group."`
	Delete deleteOne[nsgKind, alone] `cmd:"" help:"Delete a network security group."`
	Rule   ruleCommands              `cmd:"" help:"Rules of a network security group."`
	Final  defaultRuleCommands       `cmd:"" name:"default-rule" help:"The six rules that every network security group ends with."`
}

type defaultRuleCommands struct {
	List listChildren[defaultRuleKind, inNSG] `cmd:"" help:"List the default rules."`
	Show showOne[defaultRuleKind, inNSG]      `cmd:"" help:"Show a default rule."`
}

type nsgCreate struct {
	one[nsgKind, alone]
	Location string `short:"l" help:"Location; else that of the resource group."`
}

func (nsgCreate) Help() string { return "Example:\n  ringfence network nsg create -g shop -n web-nsg" }

func (c *nsgCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) { return located(s, c.Location, c.Group, map[string]any{}) })
}

type ruleCommands struct {
	Create ruleCreate                    `cmd:"" help:"Create a security rule."`
	List   listChildren[ruleKind, inNSG] `cmd:"" help:"List the rules of a network security group."`
	Show   showOne[ruleKind, inNSG]      `cmd:"" help:"Show a security rule."`
	Delete deleteOne[ruleKind, inNSG]    `cmd:"" help:"Delete a security rule."`
}

type ruleCreate struct {
	one[ruleKind, inNSG]
	Priority    int      `required:"" help:"100 to 4096; the smallest number is asked first."`
	Direction   string   `default:"Inbound" help:"Inbound or Outbound."`
	Access      string   `default:"Allow" help:"Allow or Deny."`
	Protocol    string   `default:"*" help:"Tcp, Udp, Icmp, Esp, Ah or *."`
	Sources     []string `name:"source-address-prefixes" help:"Prefixes, addresses, a service tag or *."`
	SourcePorts []string `name:"source-port-ranges" default:"*" help:"Ports and ranges, or *."`
	Targets     []string `name:"destination-address-prefixes" help:"Prefixes, addresses, a service tag or *."`
	TargetPorts []string `name:"destination-port-ranges" default:"*" help:"Ports and ranges, or *."`
	SourceASGs  []string `name:"source-asgs" help:"Application security groups instead of source prefixes."`
	TargetASGs  []string `name:"destination-asgs" help:"Application security groups instead of destination prefixes."`
	Description string   `help:"Description."`
}

func (ruleCreate) Help() string {
	return `Example:
  ringfence network nsg rule create -g shop --nsg-name web-nsg -n https --priority 100 --protocol Tcp \
      --source-address-prefixes Internet --destination-asgs web-asg --destination-port-ranges 443`
}

func (c *ruleCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) {
		p := map[string]any{"priority": c.Priority, "direction": c.Direction, "access": c.Access, "protocol": c.Protocol}
		if c.Description != "" {
			p["description"] = c.Description
		}
		side := func(name string, prefixes, asgs, ports []string) {
			if len(asgs) > 0 {
				p[name+"ApplicationSecurityGroups"] = references(s, c.Group, asgType, asgs)
			}
			if len(prefixes) == 0 && len(asgs) == 0 {
				prefixes = []string{"*"}
			}
			oneOrMany(p, name+"AddressPrefix", prefixes)
			oneOrMany(p, name+"PortRange", ports)
		}
		side("source", c.Sources, c.SourceASGs, c.SourcePorts)
		side("destination", c.Targets, c.TargetASGs, c.TargetPorts)
		return map[string]any{"properties": p}, nil
	})
}

type asgCommands struct {
	Create asgCreate                 `cmd:"" help:"Create an application security group."`
	List   listTop[asgKind]          `cmd:"" help:"List application security groups."`
	Show   showOne[asgKind, alone]   `cmd:"" help:"Show an application security group."`
	Delete deleteOne[asgKind, alone] `cmd:"" help:"Delete an application security group."`
}

type asgCreate struct {
	one[asgKind, alone]
	Location string `short:"l" help:"Location; else that of the resource group."`
}

func (asgCreate) Help() string { return "Example:\n  ringfence network asg create -g shop -n web-asg" }

func (c *asgCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) { return located(s, c.Location, c.Group, map[string]any{}) })
}

type nicCommands struct {
	Create nicCreate                 `cmd:"" help:"Create a network interface."`
	List   listTop[nicKind]          `cmd:"" help:"List network interfaces."`
	Show   showOne[nicKind, alone]   `cmd:"" help:"Show a network interface."`
	Delete deleteOne[nicKind, alone] `cmd:"" help:"Delete a network interface."`
	IP     ipConfigCommands          `cmd:"" name:"ip-config" help:"IP configurations of a network interface."`
	Rules  nicRules                  `cmd:"" name:"list-effective-nsg" help:"List the security rules in force at a network interface, tags and groups resolved."`
}

type ipConfigCommands struct {
	List listChildren[ipConfigKind, inNIC] `cmd:"" help:"List the IP configurations."`
	Show showOne[ipConfigKind, inNIC]      `cmd:"" help:"Show an IP configuration."`
}

type nicCreate struct {
	one[nicKind, alone]
	Location string `short:"l" help:"Location; else that of the resource group."`
	nicFlags
}

func (nicCreate) Help() string {
	return "Example:\n  ringfence network nic create -g shop -n web1-nic --vnet-name shop-vnet --subnet web --asgs web-asg"
}

func (c *nicCreate) Run(a *app) error {
	return c.create(a, func(s *session) (map[string]any, error) {
		l, err := s.location(c.Location, c.Group)
		if err != nil {
			return nil, err
		}
		return c.nicFlags.body(s, c.Group, l)
	})
}
