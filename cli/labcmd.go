package cli

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/lab"
)

type labCommands struct {
	Up     labUp     `cmd:"" help:"Bring a lab up: hosts, an Internet and the control plane."`
	Status labStatus `cmd:"" help:"Show whether a lab is up and what it consists of."`
	Down   labDown   `cmd:"" help:"Remove everything a lab has made, also after a crash."`
	Exec   labExec   `cmd:"" help:"Run a command on a node of the lab: host1, host2 …, internet."`
}

type labUp struct {
	Hosts  int      `default:"2" help:"Number of hosts."`
	Name   string   `help:"Name of the lab; else that of --lab."`
	Lists  []string `name:"prefix-list" sep:"none" placeholder:"NAME=PREFIX,…" help:"A service tag of the operator's, for security rules; may be repeated."`
	Config string   `type:"existingfile" help:"YAML file with prefix_lists (name: [prefixes]), locations ([names]), dns_forwarders ([addresses]), heal_after (duration) and limits (arp, nd, dhcp, dns, service, flows: {rate, burst})."`
}

func (labUp) Help() string {
	return `Needs root. All addresses live in network namespaces; only the API listens on this machine's loopback.

Examples:
  ringfence lab up
  ringfence lab up --hosts 3 --name staging
  ringfence lab up --prefix-list Storage=203.0.113.0/28,2001:db8:203::/64 --prefix-list Backup=10.0.9.0/24`
}

func (c *labUp) Run(a *app) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	config.Name, config.Progress = a.labName(c.Name), func(step string) { a.progress.begin("%s", step) }
	st, err := lab.Up(a.ctx, config)
	if err != nil {
		return err
	}
	a.progress.done()
	return a.printLab(st)
}

// labFile is what --config may say.
type labFile struct {
	PrefixLists map[string][]string  `yaml:"prefix_lists"`
	Locations   []string             `yaml:"locations"`
	Forwarders  []string             `yaml:"dns_forwarders"`
	HealAfter   string               `yaml:"heal_after"`
	Limits      map[string]lab.Limit `yaml:"limits"`
}

// config joins the file with the flags, which come later and win by name.
func (c *labUp) config() (lab.Config, error) {
	var f labFile
	if c.Hosts < 1 || c.Hosts > lab.MaxHosts {
		return lab.Config{}, usagef("--hosts %d: expected 1 to %d", c.Hosts, lab.MaxHosts)
	}
	if c.Config != "" {
		b, err := os.ReadFile(c.Config)
		if err != nil {
			return lab.Config{}, err
		}
		d := yaml.NewDecoder(bytes.NewReader(b))
		d.KnownFields(true)
		if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
			return lab.Config{}, usagef("--config %s: %w", c.Config, err)
		}
	}
	if f.PrefixLists == nil {
		f.PrefixLists = map[string][]string{}
	}
	for _, l := range c.Lists {
		name, prefixes, ok := strings.Cut(l, "=")
		if !ok || name == "" || prefixes == "" {
			return lab.Config{}, usagef("--prefix-list %s: expected NAME=PREFIX,…", l)
		}
		f.PrefixLists[name] = strings.Split(prefixes, ",")
	}
	for _, name := range sortedKeys(f.PrefixLists) {
		for _, p := range f.PrefixLists[name] {
			if _, err := netip.ParsePrefix(p); err != nil {
				return lab.Config{}, usagef("prefix list %s: %q is no address prefix", name, p)
			}
		}
	}
	for _, s := range f.Forwarders {
		_, err := netip.ParseAddr(s)
		if _, portErr := netip.ParseAddrPort(s); err != nil && portErr != nil {
			return lab.Config{}, usagef("DNS forwarder %q: expected IP or IP:PORT", s)
		}
	}
	if _, err := time.ParseDuration(f.HealAfter); err != nil && f.HealAfter != "" {
		return lab.Config{}, usagef("heal_after %q: expected a duration, as 30s", f.HealAfter)
	}
	return lab.Config{Hosts: c.Hosts, PrefixLists: f.PrefixLists, Locations: f.Locations, Forwarders: f.Forwarders, Limits: f.Limits, HealAfter: f.HealAfter}, nil
}

// prefixLists reads back which tags the lab's server was given.
func prefixLists(st *lab.State) ([]any, error) {
	b, err := os.ReadFile(filepath.Join(st.RunDir, "server.yaml"))
	if err != nil {
		return nil, err
	}
	var f labFile
	if err := yaml.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("read the server's configuration: %w", err)
	}
	var out []any
	for _, name := range sortedKeys(f.PrefixLists) {
		out = append(out, map[string]any{"name": name, "prefixes": generic(f.PrefixLists[name])})
	}
	return out, nil
}

// labName is the lab that a command of `ringfence lab` means.
func (a *app) labName(name string) string {
	if name != "" {
		return name
	}
	return cmp.Or(a.flags.Lab, lab.DefaultName)
}

// printLab says how to speak as each tenant.
func (a *app) printLab(st *lab.State) error {
	if f := a.flags.Output; f != "" && f != "table" || a.flags.Query != "" {
		return a.print(generic(st))
	}
	fmt.Fprintf(a.out, "Lab %s is up: %d hosts (%s) and %s.\n\n", st.Name, len(st.Hosts), strings.Join(hostNames(st), ", "), "internet")
	fmt.Fprintf(a.out, "API       %s\nTrust     %s\nOperator  unix:%s\n", st.Endpoint, st.CA, st.Socket)
	flag := ""
	if st.Name != lab.DefaultName {
		flag = " --lab " + st.Name
	}
	for _, t := range st.Tenants {
		fmt.Fprintf(a.out, "\nTenant %s\n  tenant id     %s\n  subscription  %s\n  token         %s\n", t.Name, t.ID, t.Subscription, t.Token)
		fmt.Fprintf(a.out, "  as it         ringfence group list%s --as %s\n", flag, t.Name)
		fmt.Fprintf(a.out, "  with curl     curl --cacert %s -H 'Authorization: Bearer %s' '%s/subscriptions/%s/resourcegroups?api-version=2021-04-01'\n",
			st.CA, t.Token, st.Endpoint, t.Subscription)
	}
	return nil
}

func hostNames(st *lab.State) []string {
	var out []string
	for _, h := range st.Hosts {
		out = append(out, h.Name)
	}
	return out
}

type labStatus struct {
	Name string `help:"Name of the lab; else that of --lab."`
}

func (labStatus) Help() string { return "Example:\n  ringfence lab status --name staging -o json" }

func (c *labStatus) Run(a *app) error {
	r, err := lab.Status(a.ctx, a.labName(c.Name))
	if err != nil {
		return err
	}
	tags, err := prefixLists(r.State)
	if err != nil {
		return err
	}
	v := generic(r)
	if o, ok := v.(map[string]any); ok && tags != nil {
		o["prefix_lists"] = tags
	}
	if f := a.flags.Output; f != "" && f != "table" || a.flags.Query != "" {
		return a.print(v)
	}
	fmt.Fprintf(a.out, "Lab %s: API %s, hosts connected: %s\n\n", r.Name, r.Endpoint, strings.Join(r.Connected, ", "))
	if err := a.print(at(v, "programs"), column{"Program", "name"}, column{"PID", "pid"}, column{"Running", "running"}, column{"Log", "log"}); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.print(at(v, "hosts"), column{"Host", "name"}, column{"Namespace", "netns"}, column{"Underlay", "underlay"},
		column{"Management", "management"}, column{"Uplink", "uplink"}); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	if err := a.print(at(v, "tenants"), column{"Tenant", "name"}, column{"Subscription", "subscription"}, column{"Token", "token"}); err != nil {
		return err
	}
	if tags != nil {
		fmt.Fprintln(a.out)
		if err := a.print(tags, column{"Tag", "name"}, column{"Prefixes", "prefixes"}); err != nil {
			return err
		}
	}
	if r.Problem != "" {
		return errors.New(r.Problem)
	}
	return nil
}

type labDown struct {
	Name string `help:"Name of the lab; else that of --lab."`
}

func (labDown) Help() string { return "Example:\n  ringfence lab down --name staging" }

func (c *labDown) Run(a *app) error {
	name := a.labName(c.Name)
	a.progress.begin("removing lab %s", name)
	return lab.Down(a.ctx, name)
}

type labExec struct {
	Name    string   `help:"Name of the lab; else that of --lab."`
	Node    string   `arg:"" help:"host1, host2 … or internet."`
	Command []string `arg:"" passthrough:"" help:"Command and its arguments."`
}

func (labExec) Help() string { return "Example:\n  ringfence lab exec internet -- ip address" }

func (c *labExec) Run(a *app) error {
	st, err := lab.Load(a.labName(c.Name))
	if err != nil {
		return err
	}
	argv := command(c.Command)
	if len(argv) == 0 {
		return usagef("a command is missing: ringfence lab exec %s -- COMMAND", c.Node)
	}
	if _, err := st.Netns(c.Node); err != nil {
		return fmt.Errorf("%w: %w", errNotFound, err)
	}
	return commandError(lab.Exec(st, c.Node, argv))
}

// command drops the dashes that separate a command from ours.
func command(words []string) []string {
	if len(words) > 0 && words[0] == "--" {
		return words[1:]
	}
	return words
}

// commandError gives the exit code of a command that ran, and 127 for one that could not be found.
func commandError(err error) error {
	var ran *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ran):
		return exitCode(ran.ExitCode())
	}
	return err
}
