// Package machine is Ringfence on a real machine: one configuration file, certificates of its own, the control plane and the host's agent
// in one process, and joining an installation that is there.
//
// In: the configuration file, join tokens. Out: a data directory with authority, certificates and store; a running server, a running
// agent, or both; what a machine without a configuration is told. The process owns the server and the agent; ended, it leaves in force
// what the kernel enforces.
package machine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence/host/agent"
	"ringfence/intent/identity"
	"ringfence/publish"
	"ringfence/server"
)

// Config is the file of `ringfence up`. docs/configuration.md is made from its comments.
type Config struct {
	Name     string `yaml:"name"`               // this machine's, as server and as host: 1 to 32 of a-z, 0-9 and -
	DataDir  string `yaml:"data_dir,omitempty"` // store, authority and certificates, kept; empty: /var/lib/ringfenced
	RunDir   string `yaml:"run_dir,omitempty"`  // sockets and sandboxes' files; empty: /run/ringfenced
	BPFFS    string `yaml:"bpffs,omitempty"`    // directory for pins; empty: /sys/fs/bpf/ringfenced
	Instance string `yaml:"instance,omitempty"` // part of the name of everything in the kernel; empty: main
	Log      string `yaml:"log,omitempty"`      // debug, info, warn or error; empty: info

	API     API    `yaml:"api"`
	Control Listen `yaml:"control"` // where hosts call and join; tenants must not reach it
	Peers   Listen `yaml:"peers"`   // where other servers call; tenants must not reach it
	Host    *Host  `yaml:"host,omitempty"`

	Shared `yaml:",inline"`

	path string // the file that this was read from
}

// API is where clients of ARM call.
type API struct {
	Listen string   `yaml:"listen"`          // IP:PORT, over TLS
	Names  []string `yaml:"names,omitempty"` // further names and addresses of its certificate
	Cert   string   `yaml:"cert,omitempty"`  // the operator's own certificate (PEM); empty: one of the installation's authority
	Key    string   `yaml:"key,omitempty"`   // its key
}

// Listen is an address of this machine.
type Listen struct {
	Listen string `yaml:"listen"` // IP:PORT; the others reach it under this address
}

// Host makes this machine a host, too; without it there is only the control plane.
type Host struct {
	Underlay agent.Underlay `yaml:"underlay"`           // device that carries VXLAN, and this host's address on it
	Uplink   agent.Uplink   `yaml:"uplink,omitempty"`   // device towards the Internet, if there is one; it is guarded
	Capacity int            `yaml:"capacity,omitempty"` // VMs that it takes; 0: no bound
}

// Shared is what must be the same at every server; one that joins gets it from the server that lets it in.
type Shared struct {
	Tenants     []identity.Tenant         `yaml:"tenants,omitempty"`        // who may ask; none: one is made, see tenants.yaml in the data directory
	Pools       Pools                     `yaml:"pools,omitempty"`          // what is given out
	PrefixLists map[string][]netip.Prefix `yaml:"prefix_lists,omitempty"`   // service tags of the operator: name → prefixes
	Locations   []string                  `yaml:"locations,omitempty"`      // regions that are offered; none: any
	Forwarders  []string                  `yaml:"dns_forwarders,omitempty"` // DNS servers for names outside: IP or IP:PORT, in order
	HealAfter   string                    `yaml:"heal_after,omitempty"`     // how long a host may be away before its VMs are placed elsewhere; 0: for ever; empty: 30s
	Metrics     string                    `yaml:"metrics_listen,omitempty"` // IP:PORT of the loopback for Prometheus; empty: the operator's socket alone
	Profile     string                    `yaml:"profile,omitempty"`        // contents of the tag Internet
}

// Pools are what virtual networks are given.
type Pools struct {
	VNI Range `yaml:"vni,omitempty"` // VXLAN network identifiers; empty: 1 to 16777215
}

// Range is from first to last, both in it.
type Range struct {
	First uint32 `yaml:"first"` // the lowest that is given out
	Last  uint32 `yaml:"last"`  // the highest
}

// Where things are when the file does not say.
const (
	DefaultFile     = "/etc/ringfence/ringfence.yaml"
	DefaultDataDir  = "/var/lib/ringfenced"
	DefaultRunDir   = "/run/ringfenced"
	defaultBPFFS    = "/sys/fs/bpf/ringfenced"
	defaultInstance = "main"
	maxVNI          = 1<<24 - 1
)

// Load reads a file. Every fault in it is listed.
func Load(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("configuration %s:\n%w", path, err)
	}
	c.path = path
	return c, nil
}

// Parse reads a configuration and fills in what may be left out. Fields it does not know and values of a wrong type are faults with the
// rest.
func Parse(b []byte) (Config, error) {
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err := d.Decode(&c)
	var types *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF):
		err = nil // an empty file lacks everything: said below
	case err != nil && !errors.As(err, &types):
		return Config{}, err
	}
	c.complete()
	return c, errors.Join(err, c.check())
}

func (c *Config) complete() {
	fill := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	fill(&c.DataDir, DefaultDataDir)
	fill(&c.RunDir, DefaultRunDir)
	fill(&c.BPFFS, defaultBPFFS)
	fill(&c.Instance, defaultInstance)
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// check lists everything that is wrong, each with its path.
func (c *Config) check() error {
	var faults []error
	fault := func(bad bool, field string, value any, want string) {
		if bad {
			faults = append(faults, fmt.Errorf("%s %q: %s expected", field, fmt.Sprint(value), want))
		}
	}
	fault(!nameForm.MatchString(c.Name), "name", c.Name, "1 to 32 of a-z, 0-9 and -")
	for _, l := range [][2]string{{"control.listen", c.Control.Listen}, {"peers.listen", c.Peers.Listen}} {
		at, err := netip.ParseAddrPort(l[1])
		fault(err != nil || at.Addr().IsUnspecified() || at.Port() == 0, l[0], l[1], "IP:PORT of this machine, as the others reach it,")
	}
	fault((c.API.Cert == "") != (c.API.Key == ""), "api.key", c.API.Key, "certificate and key, or none of them,")
	if v := c.Pools.VNI; v != (Range{}) {
		fault(v.First == 0 || v.Last < v.First || v.Last > maxVNI, "pools.vni", fmt.Sprintf("%d to %d", v.First, v.Last), fmt.Sprintf("first and last, 1 to %d,", maxVNI))
	}
	sc := c.serverConfig()
	if err := sc.Check(); err != nil {
		faults = append(faults, within(err, map[string]string{"listen": "api.listen", "tls.cert": "api.cert", "tls.key": "api.key"}))
	}
	if c.Host != nil {
		ac := c.agentConfig()
		if err := ac.Check(); err != nil {
			faults = append(faults, within(err, map[string]string{"underlay.device": "host.underlay.device", "underlay.address": "host.underlay.address", "capacity": "host.capacity"}))
		}
	}
	return distinct(faults)
}

// within gives the fields of an inner configuration the paths that they have in this one.
func within(err error, paths map[string]string) error {
	var out []error
	for _, line := range strings.Split(err.Error(), "\n") {
		field, rest, _ := strings.Cut(line, " ")
		if p, ok := paths[field]; ok {
			line = p + " " + rest
		}
		out = append(out, errors.New(line))
	}
	return errors.Join(out...)
}

// distinct joins faults, and says each field once.
func distinct(faults []error) error {
	said := map[string]bool{}
	var out []error
	for _, f := range faults {
		for _, line := range strings.Split(f.Error(), "\n") {
			field, _, _ := strings.Cut(line, " ")
			if said[field] || field == "publish.listen" || field == "server" {
				continue // control.listen's and peers.listen's fault, said with their own names
			}
			said[field] = true
			out = append(out, errors.New(line))
		}
	}
	return errors.Join(out...)
}

// file is a path in the data directory.
func (c *Config) file(name ...string) string {
	return filepath.Join(append([]string{c.DataDir}, name...)...)
}

func (c *Config) pkiDir() string { return c.file("pki") }

func (c *Config) serverConfig() server.Config {
	s := server.Config{DataDir: c.DataDir, RunDir: c.RunDir, Listen: c.API.Listen,
		TLS: server.KeyPair{Cert: c.file("pki", "api.pem"), Key: c.file("pki", "api.key")},
		Publish: server.Publish{Listen: c.Control.Listen,
			Files: publish.Files{CA: c.file("pki", "ca.pem"), Cert: c.file("pki", "server.pem"), Key: c.file("pki", "server.key")}},
		Metrics: c.Metrics, Tenants: c.Tenants, PrefixLists: c.PrefixLists, Forwarders: c.Forwarders, HealAfter: c.HealAfter,
		Locations: c.Locations, Profile: c.Profile, Log: c.Log, FirstVNI: c.Pools.VNI.First, LastVNI: c.Pools.VNI.Last}
	if c.API.Cert != "" {
		s.TLS = server.KeyPair{Cert: c.API.Cert, Key: c.API.Key}
	}
	return s
}

func (c *Config) agentConfig() agent.Config {
	return agent.Config{Name: c.Name, Server: c.Control.Listen, ServerName: serverName,
		Files:    publish.Files{CA: c.file("pki", "ca.pem"), Cert: c.file("host", "host.pem"), Key: c.file("host", "host.key")},
		Underlay: c.Host.Underlay, Uplink: c.Host.Uplink, RunDir: filepath.Join(c.RunDir, "host"), BPFFS: c.BPFFS, Instance: c.Instance,
		Capacity: c.Host.Capacity, Log: c.Log, DataDir: c.file("host")}
}

// ips are the addresses of the API's certificate, names the rest.
func (c *Config) apiNames() (names []string, ips []net.IP) {
	names = []string{"localhost"}
	ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	all := append([]string{}, c.API.Names...)
	if at, err := netip.ParseAddrPort(c.API.Listen); err == nil && !at.Addr().IsUnspecified() && !at.Addr().IsLoopback() {
		all = append(all, at.Addr().String())
	}
	for _, n := range all {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, n)
		}
	}
	return names, ips
}
