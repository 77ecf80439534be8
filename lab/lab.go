// Package lab lays out several hosts, an Internet and the control plane as network namespaces on one machine.
//
// In: a name and a number of hosts. Out: namespaces joined by an underlay, a management link and an uplink; certificates and
// configuration; a running server and one running agent per host. Everything is found again by the lab's name alone, so that Down
// removes it after any crash. All addresses live inside the namespaces; on the machine's own loopback there is the API only.
package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Config says what to lay out.
type Config struct {
	Name        string              // "" stands for DefaultName
	Hosts       int                 // 0 stands for two
	Binary      string              // the ringfence program; "" stands for this one
	Listen      string              // where the API listens; "" stands for a free port of 127.0.0.1
	Locations   []string            // regions to offer; nil: the server's own
	PrefixLists map[string][]string // service tags that the operator defines
	Forwarders  []string            // DNS servers for names outside, IP or IP:PORT, as the hosts reach them
	Limits      map[string]Limit    // what each port may ask its host for; nil: the server's own
	HealAfter   string              // how long a host may be away before its machines move; "": the server's own
	Progress    func(step string)   // told what is being done; may be nil
}

// Limit is a bound of the server's configuration: packets per second, and at once.
type Limit struct {
	Rate  uint32 `yaml:"rate"`
	Burst uint32 `yaml:"burst,omitempty"`
}

// DefaultName is the lab that is meant when none is named.
const DefaultName = "lab"

// MaxHosts is what the address plan holds.
const MaxHosts = 200

// Roots of what a lab writes.
const (
	runRoot  = "/run/ringfence"
	dataRoot = "/var/lib/ringfence"
	bpffs    = "/sys/fs/bpf"
	pinRoot  = bpffs + "/ringfence"
)

// State is what people and programs need to use a lab: the file lab.json in its run directory.
type State struct {
	Name      string    `json:"name"`
	Ready     bool      `json:"ready"` // false while Up is at work, and after it was killed
	Endpoint  string    `json:"endpoint"`
	CA        string    `json:"ca"`     // file to trust the endpoint by
	Socket    string    `json:"socket"` // the operator's
	RunDir    string    `json:"run_dir"`
	Internet  string    `json:"internet"` // network namespace
	Hosts     []Host    `json:"hosts"`
	Tenants   []Tenant  `json:"tenants"`
	Processes []Process `json:"processes"`
}

// Host is one host of the lab.
type Host struct {
	Name       string `json:"name"`
	Netns      string `json:"netns"`
	Underlay   string `json:"underlay"`
	Management string `json:"management"`
	Uplink     string `json:"uplink"`
	UplinkV6   string `json:"uplink_v6"`
	RunDir     string `json:"run_dir"`
}

// Tenant is one tenant with its only subscription.
type Tenant struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	Subscription string `json:"subscription"`
	Token        string `json:"token"`         // of the tenant's owner
	ClientID     string `json:"client_id"`     // of the tenant's first service principal, which owns its subscription
	ClientSecret string `json:"client_secret"` // its secret; the server has only a hash of it
}

// checkName refuses names that could be confused with another lab's: the dash separates the parts of every derived name.
func checkName(name string) error {
	bad := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9') }
	if name == "" || len(name) > 16 || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("lab name %q: 1 to 16 of a-z and 0-9 expected", name)
	}
	return nil
}

func runDir(name string) string        { return filepath.Join(runRoot, name) }
func dataDir(name string) string       { return filepath.Join(dataRoot, name) }
func pinDir(name string) string        { return filepath.Join(pinRoot, name) }
func stateFile(name string) string     { return filepath.Join(runDir(name), "lab.json") }
func netnsPrefix(name string) string   { return "rf-" + name + "-" }
func netnsName(name, of string) string { return netnsPrefix(name) + of }

// Names returns the labs that have a run directory, sorted.
func Names() ([]string, error) {
	entries, err := os.ReadDir(runRoot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list labs: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && checkName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Load reads the state of a lab that is up.
func Load(name string) (*State, error) {
	if name == "" {
		name = DefaultName
	}
	s, err := read(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("lab %q is not up: run `ringfence lab up --name %s`", name, name)
	}
	if err != nil {
		return nil, err
	}
	if !s.Ready {
		return nil, fmt.Errorf("lab %q is not completely up: run `ringfence lab down --name %s` and bring it up again", name, name)
	}
	return s, nil
}

func read(name string) (*State, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(stateFile(name))
	if err != nil {
		return nil, fmt.Errorf("read lab %q: %w", name, err)
	}
	var s State
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read lab %q: %s: %w", name, stateFile(name), err)
	}
	return &s, nil
}

// save writes the state whole or not at all; it holds tokens.
func (s *State) save() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	tmp := stateFile(s.Name) + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return os.Rename(tmp, stateFile(s.Name))
}

// Host returns the host of that name.
func (s *State) Host(name string) (Host, bool) {
	i := slices.IndexFunc(s.Hosts, func(h Host) bool { return h.Name == name })
	if i < 0 {
		return Host{}, false
	}
	return s.Hosts[i], true
}

// Tenant returns the tenant of that name.
func (s *State) Tenant(name string) (Tenant, bool) {
	i := slices.IndexFunc(s.Tenants, func(t Tenant) bool { return t.Name == name })
	if i < 0 {
		return Tenant{}, false
	}
	return s.Tenants[i], true
}

// internetNode is what people call the Internet's namespace.
const internetNode = "internet"

// Netns returns the network namespace of a node: a host's name, or "internet".
func (s *State) Netns(node string) (string, error) {
	if node == internetNode {
		return s.Internet, nil
	}
	if h, ok := s.Host(node); ok {
		return h.Netns, nil
	}
	names := []string{internetNode}
	for _, h := range s.Hosts {
		names = append(names, h.Name)
	}
	return "", fmt.Errorf("node %q: one of %s expected", node, strings.Join(names, ", "))
}
