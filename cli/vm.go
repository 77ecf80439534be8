package cli

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"ringfence/intent/resource"
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
	kong.Plugins
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
	if err := resource.CheckName(resource.Find(vmType), c.Name); err != nil { // before the interface, whose name is made of it, is refused
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
		if gone := s.remove(nicPath, true); gone != nil {
			return errors.Join(err, fmt.Errorf("its network interface %s-nic stays: %w", c.Name, gone))
		}
		a.progress.done()
		fmt.Fprintf(a.err, "ringfence: the network interface %s-nic, made for it, is removed again\n", c.Name)
		return err
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
	slices.Sort(where)
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
