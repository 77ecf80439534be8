package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"strings"
	"time"

	"ringfence/host/sandbox"
)

const (
	vmType          = "Microsoft.Compute/virtualMachines"
	nicType         = "Microsoft.Network/networkInterfaces"
	vnetType        = "Microsoft.Network/virtualNetworks"
	subnetType      = "Microsoft.Network/virtualNetworks/subnets"
	nsgType         = "Microsoft.Network/networkSecurityGroups"
	ruleType        = "Microsoft.Network/networkSecurityGroups/securityRules"
	defaultRuleType = "Microsoft.Network/networkSecurityGroups/defaultSecurityRules"
	ipConfigType    = "Microsoft.Network/networkInterfaces/ipConfigurations"
	asgType         = "Microsoft.Network/applicationSecurityGroups"
)

// madeFor is the tag of an interface that was created with a machine and goes with it.
const madeFor = "ringfence-vm"

type vmCommands struct {
	Create vmCreate `cmd:"" help:"Create a virtual machine with a network interface."`
	List   vmList   `cmd:"" help:"List virtual machines with addresses and hosts."`
	Show   vmShow   `cmd:"" help:"Show a virtual machine."`
	Delete vmDelete `cmd:"" help:"Delete a virtual machine and the interface that was created with it."`
	Exec   vmExec   `cmd:"" help:"Run a command inside a virtual machine."`
}

// nicFlags describe one network interface.
type nicFlags struct {
	VNet    string   `name:"vnet-name" help:"Virtual network."`
	Subnet  string   `required:"" help:"Subnet: its name, or its id without --vnet-name."`
	NSG     string   `name:"nsg" help:"Network security group of the interface: name or id."`
	ASGs    []string `name:"asgs" help:"Application security groups: names or ids; several may follow."`
	Address []string `name:"private-ip-address" placeholder:"IP" help:"Static addresses, at most one of each family; else they are allocated."`
	IPv6    bool     `name:"ipv6" help:"An IPv6 address beside the IPv4 one."`
}

type vmCreate struct {
	Group    string `short:"g" aliases:"resource-group" required:"" help:"Resource group."`
	Name     string `short:"n" required:"" help:"Name of the virtual machine."`
	Location string `short:"l" help:"Location; else that of the resource group."`
	nicFlags
	Host     string        `help:"Host to run on; else the least loaded."`
	Size     string        `default:"Standard_B1s" help:"Size, echoed only."`
	Computer string        `name:"computer-name" help:"Host name inside; else the machine's name."`
	NoWait   bool          `help:"Do not wait until the machine is enforced and configured."`
	Timeout  time.Duration `default:"30s" help:"How long to wait for the machine's address."`
}

func (vmCreate) Help() string {
	return `Writes the network interface NAME-nic and then the machine, and waits until every host enforces it and the machine has its address.

Examples:
  ringfence vm create -g shop -n web1 --vnet-name shop-vnet --subnet web --asgs web-asg --as contoso
  ringfence vm create -g shop -n db1 --vnet-name shop-vnet --subnet db --private-ip-address 10.0.3.10 --host host2`
}

func (c *vmCreate) Run(a *app) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	location, err := s.location(c.Location, c.Group)
	if err != nil {
		return err
	}
	a.progress.begin("creating the network interface of %s", c.Name)
	nic, err := c.nicFlags.body(s, c.Group, location)
	if err != nil {
		return err
	}
	nic["tags"] = map[string]any{madeFor: c.Name}
	nicPath := s.path(c.Group, nicType, c.Name+"-nic")
	var old any
	existed := s.get(nicPath, &old) == nil
	made, err := s.put(nicPath, nic, !c.NoWait)
	if err != nil {
		return err
	}
	a.progress.begin("creating %s", c.Name)
	vm, err := s.put(s.path(c.Group, vmType, c.Name), c.body(s, location), !c.NoWait)
	var refused *apiError
	if asError(err, &refused) && refused.Status >= 400 && !existed { // nothing of a refused machine stays
		return errors.Join(err, s.remove(nicPath, true))
	}
	if err != nil {
		return err
	}
	if !c.NoWait {
		a.progress.begin("waiting for the address of %s", c.Name)
		if err := s.configured(vm, c.Timeout); err != nil {
			return err
		}
	}
	return s.printMachines([]any{vm}, []any{made}, false)
}

func (c *vmCreate) body(s *session, location string) map[string]any {
	computer := c.Computer
	if computer == "" {
		computer = strings.ReplaceAll(c.Name, "_", "-")
	}
	body := map[string]any{
		"location": location,
		"properties": map[string]any{
			"hardwareProfile": map[string]any{"vmSize": c.Size},
			"osProfile":       map[string]any{"computerName": computer},
			"networkProfile": map[string]any{"networkInterfaces": []any{
				map[string]any{"id": s.id(c.Group, nicType, c.Name+"-nic"), "properties": map[string]any{"primary": true}},
			}},
		},
	}
	if c.Host != "" {
		body["tags"] = map[string]any{"ringfence-host": c.Host}
	}
	return body
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

type vmList struct {
	Group string `short:"g" aliases:"resource-group" help:"Only those of this resource group."`
}

func (vmList) Help() string {
	return "Examples:\n  ringfence vm list --as contoso\n  ringfence vm list -g shop -o json --query '[].name'"
}

func (c *vmList) Run(a *app) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	vms, err := s.list(s.path(c.Group, vmType))
	if err != nil {
		return err
	}
	if vms == nil {
		vms = []any{}
	}
	return s.printMachines(vms, nil, true)
}

type vmName struct {
	Group string `short:"g" aliases:"resource-group" help:"Resource group."`
	Name  string `short:"n" help:"Name of the virtual machine."`
	Arg   string `arg:"" optional:"" name:"machine" help:"Name of the virtual machine."`
}

func (n *vmName) get() (string, error) {
	if n.Name != "" {
		return n.Name, nil
	}
	if n.Arg != "" {
		return n.Arg, nil
	}
	return "", usagef("name the virtual machine: -n NAME")
}

type vmShow struct{ vmName }

func (vmShow) Help() string { return "Example:\n  ringfence vm show -g shop -n web1 -o json" }

func (c *vmShow) Run(a *app) error {
	name, err := c.get()
	if err != nil {
		return err
	}
	s, vm, err := a.anywhere(c.Group, name)
	if err != nil {
		return err
	}
	return s.printMachines([]any{vm}, nil, false)
}

func (n *vmName) find(a *app) (*session, any, error) {
	name, err := n.get()
	if err != nil {
		return nil, nil, err
	}
	s, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	vm, err := s.findVM(n.Group, name)
	return s, vm, err
}

// findVM finds a machine by name; without a group the name must be unique in the subscription.
func (s *session) findVM(group, name string) (any, error) {
	if group != "" {
		var vm any
		err := s.get(s.path(group, vmType, name), &vm)
		return vm, err
	}
	all, err := s.list(s.path("", vmType))
	if err != nil {
		return nil, err
	}
	var found []any
	var groups []string
	for _, vm := range all {
		if strings.EqualFold(text(vm, "name"), name) {
			found, groups = append(found, vm), append(groups, groupOf(text(vm, "id")))
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("virtual machine %s: %w in subscription %s", name, errNotFound, s.subscription)
	case 1:
		return found[0], nil
	}
	return nil, usagef("virtual machine %s is in several resource groups: name one with -g: %s", name, strings.Join(groups, ", "))
}

// anywhere finds a machine by its name alone where that is unique: among all subscriptions when none is named.
func (a *app) anywhere(group, name string) (*session, any, error) {
	s, err := a.connect()
	var several *severalSubscriptions
	if !asError(err, &several) {
		if err != nil {
			return nil, nil, err
		}
		vm, err := s.findVM(group, name)
		return s, vm, err
	}
	var found []any
	var where []string
	var home *session
	for _, sub := range several.all {
		here := &session{client: several.client, app: a, subscription: sub.SubscriptionID}
		vm, err := here.findVM(group, name)
		var api *apiError
		switch {
		case err == nil:
			found, where, home = append(found, vm), append(where, sub.DisplayName), here
		case !errors.Is(err, errNotFound) && !(asError(err, &api) && api.Status == http.StatusNotFound):
			return nil, nil, err
		}
	}
	switch len(found) {
	case 0:
		return nil, nil, fmt.Errorf("virtual machine %s: %w in any subscription", name, errNotFound)
	case 1:
		return home, found[0], nil
	}
	return nil, nil, usagef("virtual machine %s is in several subscriptions: name one with --subscription: %s", name, strings.Join(where, ", "))
}

type vmDelete struct {
	vmName
	NoWait bool `help:"Do not wait for the end."`
	Yes    bool `short:"y" help:"Accepted for az's sake: nothing is asked."`
}

func (vmDelete) Help() string { return "Example:\n  ringfence vm delete -g shop -n web1" }

func (c *vmDelete) Run(a *app) error {
	s, vm, err := c.find(a)
	if err != nil {
		return err
	}
	name, group := text(vm, "name"), groupOf(text(vm, "id"))
	a.progress.begin("deleting %s", name)
	if err := s.remove(s.path(group, vmType, name), !c.NoWait); err != nil {
		return err
	}
	for _, id := range nicIDs(vm) {
		var nic any
		if err := s.get(id, &nic); err != nil {
			return err
		}
		if strings.EqualFold(text(nic, "tags", madeFor), name) {
			if err := s.remove(id, !c.NoWait); err != nil {
				return err
			}
		}
	}
	return nil
}

type vmExec struct {
	Group   string   `short:"g" aliases:"resource-group" help:"Resource group, where the name alone is not unique."`
	Name    string   `arg:"" name:"machine" help:"Name of the virtual machine."`
	Command []string `arg:"" passthrough:"" help:"Command and its arguments."`
}

func (vmExec) Help() string {
	return "Where a name is not unique, -g and --subscription (or --as) say which is meant.\n\nExamples:\n  ringfence vm exec --subscription contoso web1 -- ping -c 1 10.0.2.4\n  ringfence vm exec -g shop --as fabrikam db1 -- ip address"
}

func (c *vmExec) Run(a *app) error {
	argv := command(c.Command)
	if len(argv) == 0 {
		return usagef("a command is missing: ringfence vm exec %s -- COMMAND", c.Name)
	}
	_, vm, err := a.anywhere(c.Group, c.Name)
	if err != nil {
		return err
	}
	boxes, err := a.boxes(a.ctx, text(vm, "id"), 0)
	if err != nil {
		return err
	}
	if len(boxes) == 0 {
		return fmt.Errorf("virtual machine %s: its sandbox is on no connected host", c.Name)
	}
	err = sandbox.Exec(boxes[0].spec(), argv)
	var missing *exec.Error
	if asError(err, &missing) {
		fmt.Fprintln(a.err, "ringfence:", err)
		return exitCode(127)
	}
	return err
}

// box is where one interface of a machine is on this computer, as the operator's socket says.
type box struct {
	Host     string `json:"host"`
	NIC      string `json:"nic"`
	Netns    string `json:"netns"`
	HostName string `json:"hostname"`
	Dir      string `json:"dir"`
	Ready    bool   `json:"ready"` // configured by DHCP
	Problem  string `json:"problem"`
}

func (b box) spec() sandbox.Spec {
	return sandbox.Spec{Namespace: b.Netns, Hostname: b.HostName, Dir: b.Dir}
}

// boxes asks the operator's socket of the lab where a machine's sandbox is: one box per interface. With patience it answers when all
// are configured, or when that time has passed.
func (a *app) boxes(ctx context.Context, id string, patience time.Duration) ([]box, error) {
	c, err := a.operatorSocket()
	if err != nil {
		return nil, err
	}
	path := "/ringfence/v1/sandboxes?id=" + url.QueryEscape(id)
	if patience > 0 {
		path += "&wait=" + patience.String()
	}
	ans, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	var list struct{ Value []box }
	if err := json.Unmarshal(ans.body, &list); err != nil {
		return nil, fmt.Errorf("read the sandboxes of %s: %w", id, err)
	}
	return list.Value, nil
}

// operatorSocket is the lab's own socket, whoever the commands speak as.
func (a *app) operatorSocket() (*client, error) {
	if path, ok := strings.CutPrefix(a.flags.Endpoint, "unix:"); ok {
		return socketClient(strings.TrimPrefix(path, "//")), nil
	}
	st, err := a.state()
	if err != nil {
		return nil, err
	}
	return socketClient(st.Socket), nil
}
