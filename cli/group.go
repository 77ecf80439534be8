package cli

import (
	"fmt"
)

const groupType = "Microsoft.Resources/resourceGroups"

const defaultLocation = "westeurope"

var groupColumns = []column{{"Name", "name"}, {"Location", "location"}, {"Status", "properties.provisioningState"}}

type groupCommands struct {
	Create groupCreate `cmd:"" help:"Create a resource group."`
	List   groupList   `cmd:"" help:"List the resource groups of the subscription."`
	Show   groupShow   `cmd:"" help:"Show a resource group."`
	Delete groupDelete `cmd:"" help:"Delete a resource group with everything in it."`
}

// groupName takes the group as -n, -g or by position.
type groupName struct {
	Name  string `short:"n" aliases:"resource-group" help:"Name of the resource group."`
	Group string `short:"g" hidden:"" help:"The same as --name."`
	Arg   string `arg:"" optional:"" name:"group" help:"Name of the resource group."`
}

func (g *groupName) get() (string, error) {
	for _, n := range []string{g.Name, g.Group, g.Arg} {
		if n != "" {
			return n, nil
		}
	}
	return "", usagef("name the resource group: -n NAME")
}

type groupCreate struct {
	groupName
	Location string            `short:"l" help:"Location." default:"westeurope"`
	Tags     map[string]string `help:"Tags: name=value …"`
}

func (groupCreate) Help() string {
	return "Example:\n  ringfence group create -n shop -l westeurope --as contoso"
}

func (c *groupCreate) Run(a *app) error {
	name, err := c.get()
	if err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	body := map[string]any{"location": c.Location}
	if c.Tags != nil {
		body["tags"] = c.Tags
	}
	v, err := s.put(s.groupPath(name), body, true)
	if err != nil {
		return err
	}
	return a.print(v, groupColumns...)
}

type groupList struct{}

func (groupList) Help() string { return "Example:\n  ringfence group list --subscription contoso" }

func (c *groupList) Run(a *app) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	v, err := s.list("/subscriptions/" + s.subscription + "/resourcegroups")
	if err != nil {
		return err
	}
	return a.print(v, groupColumns...)
}

type groupShow struct{ groupName }

func (groupShow) Help() string { return "Example:\n  ringfence group show -n shop -o json" }

func (c *groupShow) Run(a *app) error {
	name, err := c.get()
	if err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	var v any
	if err := s.get(s.groupPath(name), &v); err != nil {
		return err
	}
	return a.print(v, groupColumns...)
}

type groupDelete struct {
	groupName
	NoWait bool `help:"Do not wait for the end."`
	Yes    bool `short:"y" help:"Accepted for az's sake: nothing is asked."`
}

func (groupDelete) Help() string { return "Example:\n  ringfence group delete -n shop" }

func (c *groupDelete) Run(a *app) error {
	name, err := c.get()
	if err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	a.progress.begin("deleting resource group %s", name)
	return s.remove(s.groupPath(name), !c.NoWait)
}

// location is the given one, else that of the resource group.
func (s *session) location(given, group string) (string, error) {
	if given != "" {
		return given, nil
	}
	var g struct{ Location string }
	if err := s.get(s.groupPath(group), &g); err != nil {
		return "", fmt.Errorf("location of resource group %s: %w", group, err)
	}
	if g.Location == "" {
		return defaultLocation, nil
	}
	return g.Location, nil
}
