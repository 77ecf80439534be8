package cli

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

type traceCommand struct {
	VM       string `arg:"" help:"Virtual machine that would send: its name or id."`
	To       string `required:"" help:"Where to: an address, or another virtual machine's name or id."`
	Port     uint16 `help:"Destination port."`
	FromPort uint16 `default:"50000" help:"Source port; of an echo request its identifier."`
	Protocol string `enum:"tcp,udp,icmp" default:"tcp" help:"tcp (a SYN), udp or icmp (an echo request)."`
	Six      bool   `name:"ipv6" short:"6" help:"To the virtual machine's IPv6 address."`
	Group    string `name:"resource-group" short:"g" help:"Resource group of the virtual machines."`
}

func (traceCommand) Help() string {
	return "Runs the programs of the hosts on the first packet of a conversation and prints what each layer says of it, from host to host. Nothing is sent, and nothing that later packets meet is changed: " +
		"flows, counters and limits stay as they are. A packet of a flow that is there already (same addresses and ports) is told as such.\n\n" +
		"Examples:\n  ringfence trace web1 --to db1 --port 1433\n  ringfence trace web1 --to 10.0.3.4 --protocol icmp\n  ringfence trace web1 --to db1 --port 22 -o json --query reason"
}

func (c *traceCommand) Run(a *app) error {
	from, err := c.id(a, c.VM)
	if err != nil {
		return err
	}
	to := c.To
	if _, err := netip.ParseAddr(to); err != nil {
		if to, err = c.id(a, c.To); err != nil {
			return err
		}
	}
	if c.Port == 0 && c.Protocol != "icmp" {
		return usagef("--port: expected for %s", c.Protocol)
	}
	cl, err := a.operator()
	if err != nil {
		return err
	}
	q := url.Values{"vm": {from}, "to": {to}, "protocol": {c.Protocol}, "sport": {fmt.Sprint(c.FromPort)}, "dport": {fmt.Sprint(c.Port)}}
	if c.Six {
		q.Set("family", "6")
	}
	ans, err := cl.send(a.ctx, http.MethodGet, "/ringfence/v1/trace?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	v, err := decode(ans.body)
	if err != nil {
		return err
	}
	if f := a.flags.Output; a.flags.Query != "" || f != "" && f != "table" {
		return a.print(v)
	}
	steps, _ := v.(map[string]any)
	if err := a.print(steps["steps"], column{"Host", "host"}, column{"VM", "vm"}, column{"Direction", "direction"}, column{"Layer", "layer"}, column{"Word", "word"}, column{"Reason", "reason"},
		column{"SecurityGroup", "group"}, column{"Rule", "rule"}, column{"Revision", "revision"}); err != nil {
		return err
	}
	_, err = fmt.Fprintln(a.out, strings.TrimRight(fmt.Sprintf("%s %s: %s", text(v, "action"), text(v, "reason"), text(v, "text")), " :"))
	return err
}

// id finds the one machine that is called so.
func (c *traceCommand) id(a *app, name string) (string, error) {
	found, err := watchFlags{VM: name, Group: c.Group}.machines(a)
	if err != nil {
		return "", err
	}
	ids := map[string]bool{}
	for _, r := range found {
		ids[text(r, "vm")] = true
	}
	switch len(ids) {
	case 0:
		return "", fmt.Errorf("virtual machine %s: %w on any host", name, errNotFound)
	case 1:
		for id := range ids {
			return id, nil
		}
	}
	return "", usagef("several virtual machines are called %s: name one with -g and --subscription, or by its id", name)
}
