package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

const watcherType = "Microsoft.Network/networkWatchers"

// ask posts one of Azure's questions and prints the answer.
func (a *app) ask(s *session, path string, body any, rows func(any) any, columns ...column) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	ans, err := s.send(a.ctx, http.MethodPost, versioned(path), raw)
	if err != nil {
		return err
	}
	v, err := decode(ans.body)
	if err != nil {
		return err
	}
	if rows != nil && (a.flags.Output == "" || a.flags.Output == "table") && a.flags.Query == "" {
		v = rows(v)
	}
	return a.print(v, columns...)
}

type nicRules struct {
	Group string `short:"g" aliases:"resource-group" required:"" help:"Resource group."`
	Name  string `short:"n" required:"" help:"Name of the network interface."`
}

func (nicRules) Help() string {
	return "As the host enforces them: of every group at the interface and at its subnet.\n\nExample:\n  ringfence network nic list-effective-nsg -g shop -n web1-nic"
}

func (c *nicRules) Run(a *app) error {
	s, err := a.connect()
	if err != nil {
		return err
	}
	rows := func(v any) any {
		out := []any{}
		for _, g := range list(v, "value") {
			rules, _ := at(g, "effectiveSecurityRules").([]any)
			for _, r := range rules {
				r.(map[string]any)["group"] = text(at(g, "networkSecurityGroup"), "id")
				out = append(out, r)
			}
		}
		return out
	}
	return a.ask(s, s.path(c.Group, nicType, c.Name)+"/effectiveNetworkSecurityGroups", nil, rows, column{"SecurityGroup", "group"}, column{"Direction", "direction"},
		column{"Priority", "priority"}, column{"Rule", "name"}, column{"Access", "access"}, column{"Protocol", "protocol"}, column{"Source", "sourceAddressPrefixes"},
		column{"Destination", "destinationAddressPrefixes"}, column{"Ports", "destinationPortRanges"})
}

// watched is a machine that a network watcher is asked about.
type watched struct {
	Group   string `short:"g" aliases:"resource-group" help:"Resource group of the machine."`
	Watcher string `help:"Network watcher: its id; without it the one of the machine's location."`
}

// question finds the machine and the path of the watcher that is asked.
func (w *watched) question(a *app, vm, word string) (s *session, id, path string, err error) {
	s, err = a.connect()
	if err != nil {
		return nil, "", "", err
	}
	place := ""
	if strings.HasPrefix(vm, "/") {
		id = vm
	} else {
		found, err := s.findVM(w.Group, vm)
		if err != nil {
			return nil, "", "", err
		}
		id, place = text(found, "id"), text(found, "location")
	}
	if w.Watcher != "" {
		return s, id, w.Watcher + "/" + word, nil
	}
	all, err := s.list(s.path("", watcherType))
	if err != nil {
		return nil, "", "", err
	}
	for _, one := range all {
		if place == "" || strings.EqualFold(text(one, "location"), place) {
			u := url.URL{Path: text(one, "id") + "/" + word}
			return s, id, u.EscapedPath(), nil
		}
	}
	return nil, "", "", fmt.Errorf("there is no network watcher in %s: make one: ringfence network watcher create -g GROUP -n NAME -d '{\"location\":\"%s\"}'", place, place)
}

type testIPFlow struct {
	watched
	VM        string `name:"vm" required:"" help:"Machine: name or id."`
	NIC       string `name:"nic" help:"Id of the interface, where the machine has several."`
	Direction string `required:"" help:"Inbound or Outbound."`
	Protocol  string `required:"" help:"TCP or UDP."`
	Local     string `required:"" placeholder:"IP:PORT" help:"The machine's end. An IPv6 address in brackets; port * is any."`
	Remote    string `required:"" placeholder:"IP:PORT" help:"The other end."`
}

func (testIPFlow) Help() string {
	return "Only the rules are asked, as Azure's IP flow verify does: not routes, not the other end.\n\nExample:\n  ringfence network watcher test-ip-flow --vm db1 -g shop --direction Inbound --protocol TCP --local 10.0.3.4:1433 --remote 10.0.2.4:*"
}

func (c *testIPFlow) Run(a *app) error {
	body := map[string]any{"direction": c.Direction, "protocol": c.Protocol}
	for name, end := range map[string]string{"local": c.Local, "remote": c.Remote} {
		ip, port, err := net.SplitHostPort(end)
		if err != nil {
			return usagef("--%s %s: IP:PORT expected", name, end)
		}
		body[name+"IPAddress"], body[name+"Port"] = ip, port
	}
	s, id, path, err := c.question(a, c.VM, "ipFlowVerify")
	if err != nil {
		return err
	}
	body["targetResourceId"] = id
	if c.NIC != "" {
		body["targetNicResourceId"] = c.NIC
	}
	return a.ask(s, path, body, nil, column{"Access", "access"}, column{"RuleName", "ruleName"})
}

type runDiagnostic struct {
	watched
	Resource    string `required:"" help:"Machine or interface: a machine's name, or an id."`
	Direction   string `required:"" help:"Inbound or Outbound."`
	Protocol    string `required:"" help:"TCP, UDP or *."`
	Source      string `required:"" help:"Address, prefix, service tag or *."`
	Destination string `required:"" help:"The same."`
	Port        string `required:"" help:"Destination port, range or *."`
}

func (runDiagnostic) Help() string {
	return "Every group on the way, rule by rule, up to the one that decides.\n\nExample:\n  ringfence network watcher run-configuration-diagnostic --resource db1 -g shop --direction Inbound --protocol TCP --source VirtualNetwork --destination 10.0.3.4 --port 1433"
}

func (c *runDiagnostic) Run(a *app) error {
	s, id, path, err := c.question(a, c.Resource, "networkConfigurationDiagnostic")
	if err != nil {
		return err
	}
	body := map[string]any{"targetResourceId": id, "profiles": []any{map[string]any{"direction": c.Direction, "protocol": c.Protocol, "source": c.Source,
		"destination": c.Destination, "destinationPort": c.Port}}}
	rows := func(v any) any {
		out := []any{}
		for _, r := range list(v, "results") {
			for _, g := range list(at(r, "networkSecurityGroupResult"), "evaluatedNetworkSecurityGroups") {
				out = append(out, g)
			}
		}
		return out
	}
	return a.ask(s, path, body, rows, column{"SecurityGroup", "networkSecurityGroupId"}, column{"AppliedTo", "appliedTo"}, column{"Rule", "matchedRule.ruleName"},
		column{"Action", "matchedRule.action"})
}
