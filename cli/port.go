package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ringfence/host/agent/local"
	"ringfence/machine"
)

type portCommands struct {
	Attach portAttach `cmd:"" help:"Attach a network interface to a tap or a network namespace on this host."`
	Detach portDetach `cmd:"" help:"Take a network interface off this host."`
	List   portList   `cmd:"" help:"List what is attached on this host."`
}

// agentFlags say which agent is spoken to: that of the host on which the command runs.
type agentFlags struct {
	Agent string `env:"RINGFENCE_AGENT" placeholder:"PATH" help:"The agent's socket; default: that of this machine's agent, or with --host that of a lab's host."`
	Host  string `help:"Host of the lab that --lab names."`
}

func (f *agentFlags) client(a *app) (*local.Client, error) {
	switch {
	case f.Agent != "":
		return local.Dial(f.Agent), nil
	case f.Host == "":
		return local.Dial(agentSocket()), nil
	}
	st, err := a.state()
	if err != nil {
		return nil, err
	}
	for _, h := range st.Hosts {
		if h.Name == f.Host {
			return local.Dial(filepath.Join(h.RunDir, local.Socket)), nil
		}
	}
	return nil, usagef("--host %s: the lab has no such host", f.Host)
}

// agentSocket is that of this machine's agent: where ringfence up and joining put it, or else where packages of agents alone do.
func agentSocket() string {
	own := filepath.Join(machine.DefaultRunDir, "host", local.Socket)
	if st, err := machine.Find(); err == nil {
		own = filepath.Join(st.RunDir, "host", local.Socket)
	}
	other := filepath.Join("/run/ringfence", local.Socket)
	if _, err := os.Stat(own); err != nil {
		if _, err := os.Stat(other); err == nil {
			return other
		}
	}
	return own
}

// portNIC names a network interface.
type portNIC struct {
	Group string `short:"g" aliases:"resource-group" help:"Resource group, where the interface is given by its name."`
	NIC   string `arg:"" name:"nic" help:"Network interface: its id, or its name with --resource-group."`
}

func (f *portNIC) id(a *app) (string, error) {
	if strings.HasPrefix(f.NIC, "/") {
		return f.NIC, nil
	}
	if f.Group == "" {
		return "", usagef("%s: give the interface's id, or --resource-group beside its name", f.NIC)
	}
	s, err := a.connect()
	if err != nil {
		return "", err
	}
	return s.id(f.Group, nicType, f.NIC), nil
}

type portAttach struct {
	portNIC
	agentFlags
	Tap       string `xor:"place" required:"" placeholder:"DEVICE" help:"Tap device on the host, made by whoever reads it."`
	Netns     string `xor:"place" required:"" placeholder:"PATH" help:"File of a network namespace; a device is made in it."`
	IfName    string `name:"ifname" default:"eth0" help:"Name of the device in the namespace."`
	HostName  string `name:"hostname" help:"Name in the virtual network's internal DNS; none without it."`
	Configure bool   `help:"Set addresses and routes of the device in the namespace at once, instead of leaving them to a DHCP client."`
}

func (portAttach) Help() string {
	return `The interface must be no virtual machine's and attached nowhere else. Its policy is in force before the device is connected, and the command returns when both are. A guest behind a tap must use the
interface's MAC, which is printed; DHCP gives it the rest.

Examples:
  ringfence port attach -g shop web-nic --tap vm1
  ringfence port attach /subscriptions/SUB/resourceGroups/shop/providers/Microsoft.Network/networkInterfaces/job --netns /run/netns/job --configure`
}

var portColumns = []column{{"NIC", "nic"}, {"Kind", "kind"}, {"Device", "device"}, {"Namespace", "namespace"}, {"MAC", "mac"},
	{"Addresses", "addresses[].prefix"}, {"Ready", "ready"}, {"Problem", "problem"}}

func (c *portAttach) Run(a *app) error {
	id, err := c.id(a)
	if err != nil {
		return err
	}
	agent, err := c.client(a)
	if err != nil {
		return err
	}
	want := local.Attach{NIC: id, Kind: local.Tap, Device: c.Tap, HostName: c.HostName, Configure: c.Configure}
	if c.Netns != "" {
		want.Kind, want.Device = local.Netns, c.IfName
		if want.Namespace, err = filepath.Abs(c.Netns); err != nil {
			return err
		}
	}
	p, err := agent.Attach(a.ctx, want)
	if err != nil {
		return err
	}
	return a.print(plain(p), portColumns...)
}

type portDetach struct {
	portNIC
	agentFlags
	Force bool `help:"Also when another host has the interface, if its agent is away."`
}

func (portDetach) Help() string {
	return `A tap is taken down and stays its maker's; of a namespace only the device goes. An interface that is not attached is no error.

Example:
  ringfence port detach -g shop web-nic`
}

func (c *portDetach) Run(a *app) error {
	id, err := c.id(a)
	if err != nil {
		return err
	}
	agent, err := c.client(a)
	if err != nil {
		return err
	}
	return agent.Detach(a.ctx, id, c.Force)
}

type portList struct{ agentFlags }

func (portList) Help() string { return "Example:\n  ringfence port list --lab lab --host host1" }

func (c *portList) Run(a *app) error {
	agent, err := c.client(a)
	if err != nil {
		return err
	}
	ports, err := agent.Ports(a.ctx)
	if err != nil {
		return err
	}
	rows := []any{}
	for _, p := range ports {
		rows = append(rows, plain(p))
	}
	return a.print(rows, portColumns...)
}

// plain is a value as what its JSON says.
func plain(v any) (out any) {
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		panic(fmt.Sprintf("a port is not JSON: %v", err))
	}
	return out
}
