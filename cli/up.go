package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"ringfence/machine"
)

type upCommand struct {
	Config string `short:"c" type:"path" help:"Configuration file (YAML); else /etc/ringfence/ringfence.yaml, where it is."`
}

func (upCommand) Help() string {
	return `Control plane, store and this host's agent in one process, on this machine itself. Without a configuration nothing is started: what is needed is printed, with a file to begin from.
What the kernel enforces stays in force when the process ends; SIGTERM ends it. docs/configuration.md lists every field.

Examples:
  ringfence up
  ringfence up -c /etc/ringfence/ringfence.yaml`
}

func (c *upCommand) Run(a *app) error {
	file := c.Config
	if file == "" {
		file = machine.DefaultFile
		if _, err := os.Stat(file); err != nil {
			if err := machine.Explain(a.out, file); err != nil {
				return err
			}
			return errors.New("nothing was started: there is no configuration")
		}
	}
	conf, err := machine.Load(file)
	if err != nil {
		return err
	}
	return a.up(conf)
}

// up runs a configuration until the process is told to end.
func (a *app) up(c machine.Config) error {
	return machine.Up(a.ctx, c, func(s *machine.State) { machine.Greet(a.out, c, s) })
}

type agentCommand struct {
	Config   string `short:"c" type:"path" help:"Configuration file (YAML); else the one that joining made in the data directory."`
	Join     string `placeholder:"TOKEN" help:"Join first, with a token of ringfence host add."`
	Server   string `placeholder:"IP:PORT" help:"Where to join: control address of any server."`
	Underlay string `placeholder:"DEVICE" help:"Device that reaches the other hosts."`
	Address  string `placeholder:"IP" help:"This host's address on it, where it has several."`
	Uplink   string `placeholder:"DEVICE" help:"Device towards the Internet, if there is one."`
	Capacity int    `help:"VMs that this host takes; 0: no bound."`
	DataDir  string `type:"path" help:"Key, certificate and configuration of a host that joined." default:"/var/lib/ringfenced"`
	RunDir   string `type:"path" help:"Sandboxes' files." default:"/run/ringfenced"`
	BPFFS    string `name:"bpffs" type:"path" help:"Directory for pins." default:"/sys/fs/bpf/ringfenced"`
	Instance string `help:"Part of the name of everything in the kernel." default:"main"`
	Only     bool   `help:"Join and end: a service manager starts the agent."`
}

func (agentCommand) Help() string {
	return `With --join this machine becomes a host: it makes a key, has its certificate signed by the server that the token is of, and keeps its configuration. Then, and later without --join, the
agent runs. A token lets one in, once.

Examples:
  ringfence agent --config host1.yaml
  ringfence agent --join ringfence-host-… --server 192.0.2.1:7443 --underlay eth1
  ringfence agent`
}

func (c *agentCommand) Run(a *app) error {
	if a.programs.Agent == nil {
		return errors.New("this program was built without the agent")
	}
	if c.Join == "" {
		file := c.Config
		if file == "" {
			file = machine.AgentFile(c.DataDir)
		}
		return a.programs.Agent(a.ctx, file)
	}
	if _, err := netip.ParseAddrPort(c.Server); err != nil {
		return usagef("--server %q: IP:PORT of a server's control address expected", c.Server)
	}
	j := machine.HostJoin{Token: c.Join, Server: c.Server, Underlay: c.Underlay, Uplink: c.Uplink, Capacity: c.Capacity, DataDir: c.DataDir, RunDir: c.RunDir,
		BPFFS: c.BPFFS, Instance: c.Instance}
	if c.Address != "" {
		var err error
		if j.Address, err = netip.ParseAddr(c.Address); err != nil {
			return usagef("--address %q: an IP address expected", c.Address)
		}
	}
	conf, err := machine.JoinHost(a.ctx, j)
	if err != nil {
		return err
	}
	file := machine.AgentFile(c.DataDir)
	fmt.Fprintf(a.err, "Joined as host %s; configuration in %s.\n", conf.Name, file)
	if c.Only {
		return nil
	}
	return a.programs.Agent(a.ctx, file)
}

type serverCommands struct {
	Start  serverRun    `cmd:"" name:"run" default:"withargs" help:"Run the control plane, or join others and run it."`
	List   serverList   `cmd:"" help:"List the servers of the cluster."`
	Token  serverToken  `cmd:"" help:"Make a token by which one more server joins."`
	Remove serverRemove `cmd:"" help:"Take a server out of the cluster for ever."`
}

type serverRun struct {
	Config string `short:"c" required:"" type:"existingfile" help:"Configuration file (YAML)."`
	Join   string `placeholder:"TOKEN" help:"Join the servers that are there, with a token of ringfence server token."`
	Server string `placeholder:"IP:PORT" help:"Where to join: control address of any server."`
	Only   bool   `help:"Join and end: a service manager starts the server."`
}

func (serverRun) Help() string {
	return `With --join the file is one of ringfence up; what must be the same at every server (tenants, pools, prefix lists …) comes from the others, and the whole is kept as ringfence.yaml in the
data directory. Afterwards: ringfence up -c THAT FILE.

Examples:
  ringfence server --config server.yaml
  ringfence server --join ringfence-server-… --server 192.0.2.1:7443 -c /etc/ringfence/ringfence.yaml`
}

func (c *serverRun) Run(a *app) error {
	if a.programs.Server == nil {
		return errors.New("this program was built without the control plane")
	}
	if c.Join == "" {
		return a.programs.Server(a.ctx, c.Config)
	}
	conf, err := machine.Load(c.Config)
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddrPort(c.Server); err != nil {
		return usagef("--server %q: IP:PORT of a server's control address expected", c.Server)
	}
	if conf, err = machine.JoinServer(a.ctx, conf, c.Join, c.Server); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "Let in as server %s; configuration in %s.\n", conf.Name, machine.ServerFile(conf.DataDir))
	if c.Only {
		return nil
	}
	return a.up(conf)
}

type serverList struct{}

func (serverList) Help() string {
	return "State: voting; learning (it has no vote until it has what the others have); invited (it has not come yet); alone (a lab's).\n\nExample:\n  ringfence server list"
}

func (c *serverList) Run(a *app) error {
	return a.operatorList("/ringfence/v1/servers", func(any) bool { return true }, func() error { return nil }, nameColumn, column{"State", "state"}, column{"Alive", "alive"}, column{"Leader", "leader"},
		column{"Here", "here"}, column{"Control", "agents"}, column{"Peer", "peer"}, column{"Version", "version"}, column{"Seen", "seen"})
}

type serverToken struct {
	Name string `arg:"" help:"Name of the new server."`
	Life string `help:"How long the token is good." default:"1h"`
}

func (serverToken) Help() string {
	return "Whoever has the token can become a server and gets the authority's key: hand it over as a secret.\n\nExample:\n  ringfence server token server2"
}

func (c *serverToken) Run(a *app) error {
	return a.token("/ringfence/v1/servers/"+url.PathEscape(c.Name)+"/token", c.Life, "ringfence server --join %s --server %s -c FILE")
}

type serverRemove struct {
	Name string `arg:"" help:"Name of the server."`
}

func (serverRemove) Help() string {
	return "A server whose data is lost is removed and joins anew; one that is only down is not removed, it is started.\n\nExample:\n  ringfence server remove server2"
}

func (c *serverRemove) Run(a *app) error {
	return a.operatorSend(http.MethodDelete, "/ringfence/v1/servers/"+url.PathEscape(c.Name))
}

// token asks for a token and says how it is used.
func (a *app) token(path, life, how string) error {
	v, err := a.operatorAsk(http.MethodPost, path+"?life="+url.QueryEscape(life))
	if err != nil {
		return err
	}
	if f := a.flags.Output; f != "" && f != "table" || a.flags.Query != "" {
		return a.print(v)
	}
	a.progress.done()
	fmt.Fprintf(a.out, "%s\n", text(v, "token"))
	_, err = fmt.Fprintf(a.err, "Good once, until %s, for %s:\n  "+how+"\n", text(v, "expires"), text(v, "name"), text(v, "token"), text(v, "server"))
	return err
}

func (a *app) operatorSend(method, path string) error {
	_, err := a.operatorAsk(method, path)
	return err
}

func (a *app) operatorAsk(method, path string) (any, error) {
	cl, err := a.operator()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(a.ctx, answerTime)
	defer cancel()
	ans, err := cl.send(ctx, method, path, nil)
	if err != nil || len(ans.body) == 0 {
		return nil, err
	}
	return decode(ans.body)
}
