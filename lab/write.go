package lab

import (
	"crypto/sha256"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/intent/identity/secret"
	"ringfence/pki"
)

// serverConfig is what a lab tells its server: the shape of server.yaml.
type serverConfig struct {
	DataDir     string              `yaml:"data_dir"`
	RunDir      string              `yaml:"run_dir"`
	Listen      string              `yaml:"listen"`
	TLS         keyPair             `yaml:"tls"`
	Publish     publishConfig       `yaml:"publish"`
	Tenants     []tenantConfig      `yaml:"tenants"`
	PrefixLists map[string][]string `yaml:"prefix_lists,omitempty"`
	Limits      map[string]Limit    `yaml:"limits,omitempty"`
	Locations   []string            `yaml:"locations,omitempty"`
	Forwarders  []string            `yaml:"dns_forwarders,omitempty"`
	HealAfter   string              `yaml:"heal_after,omitempty"`
}

type keyPair struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

type publishConfig struct {
	Listen string `yaml:"listen"`
	Netns  string `yaml:"netns"`
	CA     string `yaml:"ca"`
	Cert   string `yaml:"cert"`
	Key    string `yaml:"key"`
}

type tenantConfig struct {
	Name          string         `yaml:"name"`
	ID            string         `yaml:"id"`
	Token         string         `yaml:"token"`
	Subscriptions []subscription `yaml:"subscriptions"`
	Clients       []clientConfig `yaml:"clients"`
}

type clientConfig struct {
	ID         string `yaml:"id"`
	Name       string `yaml:"name"`
	SecretHash string `yaml:"secret_hash"`
	Role       string `yaml:"role"`
}

type subscription struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

// agentConfig is what a lab tells an agent: the shape of agent.yaml.
type agentConfig struct {
	Name       string      `yaml:"name"`
	Server     string      `yaml:"server"`
	ServerName string      `yaml:"server_name"`
	CA         string      `yaml:"ca"`
	Cert       string      `yaml:"cert"`
	Key        string      `yaml:"key"`
	Underlay   underlayEnd `yaml:"underlay"`
	Uplink     uplinkEnd   `yaml:"uplink"`
	RunDir     string      `yaml:"run_dir"`
	BPFFS      string      `yaml:"bpffs"`
	Instance   string      `yaml:"instance"`
}

type underlayEnd struct {
	Device  string `yaml:"device"`
	Address string `yaml:"address"`
}

type uplinkEnd struct {
	Device string `yaml:"device"`
}

// publishPort is where agents call on the management link.
const publishPort = 7443

// The tenants of every lab.
var tenantNames = []string{"contoso", "fabrikam"}

// guid derives an identifier that is the same whenever the lab is laid out anew.
func guid(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s", len(p), p)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

func newTenant(lab, name string) Tenant {
	return Tenant{Name: name, ID: guid("tenant", lab, name), Subscription: guid("subscription", lab, name),
		Token: secret.New(), ClientID: guid("client", lab, name), ClientSecret: secret.New()}
}

// newState is the plan of a lab: everything that is known before anything is made.
func newState(c Config, listen string) *State {
	dir := runDir(c.Name)
	s := &State{
		Name: c.Name, Endpoint: "https://" + listen, CA: filepath.Join(dir, "ca.pem"), Socket: filepath.Join(dir, "api.sock"),
		RunDir: dir, Internet: netnsName(c.Name, internetNode),
	}
	for i, name := range hostNames(c.Hosts) {
		n := hostBase + i + 1
		s.Hosts = append(s.Hosts, Host{
			Name: name, Netns: netnsName(c.Name, name), RunDir: filepath.Join(dir, name),
			Underlay: addr(underlay.net4, n).String(), Management: addr(management.net4, n).String(),
			Uplink: addr(uplink.net4, n).String(), UplinkV6: addr(uplink.net6, n).String(),
		})
	}
	for _, name := range tenantNames {
		s.Tenants = append(s.Tenants, newTenant(c.Name, name))
	}
	return s
}

// writeConfig writes certificates and configuration files.
func writeConfig(c Config, s *State, listen string, now time.Time) error {
	ca, err := pki.New("ringfence lab "+s.Name, now) // its key is never written: a lab that is laid out anew has another one
	if err != nil {
		return err
	}
	if err := pki.WriteFile(s.CA, ca.PEM(), 0o644); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if err := writeServer(c, s, listen, ca, now); err != nil {
		return fmt.Errorf("configure the server: %w", err)
	}
	for _, h := range s.Hosts {
		if err := writeAgent(s, h, ca, now); err != nil {
			return fmt.Errorf("configure the agent of %s: %w", h.Name, err)
		}
	}
	return nil
}

func writeServer(c Config, s *State, listen string, ca *pki.Authority, now time.Time) error {
	file := func(name string) string { return filepath.Join(s.RunDir, name) }
	server := addr(management.net4, firstNode)
	cfg := serverConfig{
		DataDir: dataDir(s.Name), RunDir: s.RunDir, Listen: listen,
		TLS: keyPair{file("server.pem"), file("server.key")},
		Publish: publishConfig{Listen: fmt.Sprintf("%s:%d", server, publishPort), Netns: serverNetns(s.Name), CA: s.CA,
			Cert: file("publish.pem"), Key: file("publish.key")},
		PrefixLists: c.PrefixLists, Locations: c.Locations, Forwarders: c.Forwarders, Limits: c.Limits, HealAfter: c.HealAfter,
	}
	for _, t := range s.Tenants {
		cfg.Tenants = append(cfg.Tenants, tenantConfig{t.Name, t.ID, t.Token, []subscription{{t.Subscription, t.Name}},
			[]clientConfig{{t.ClientID, t.Name + "-owner", secret.Hash(t.ClientSecret), "Owner"}}})
	}
	_, err := ca.EnsureAPI(pki.Pair{Cert: cfg.TLS.Cert, Key: cfg.TLS.Key}, now, pki.AuthorityLife, "localhost", []string{"localhost"},
		[]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, server.AsSlice()})
	if err != nil {
		return err
	}
	_, err = ca.EnsureServer(pki.Pair{Cert: cfg.Publish.Cert, Key: cfg.Publish.Key}, now, pki.AuthorityLife, "publish", nil, []net.IP{server.AsSlice()})
	if err != nil {
		return err
	}
	return writeYAML(serverFile(s), cfg)
}

func writeAgent(s *State, h Host, ca *pki.Authority, now time.Time) error {
	if err := os.MkdirAll(h.RunDir, 0o700); err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(h.RunDir, name) }
	if _, err := ca.EnsureHost(pki.Pair{Cert: file("agent.pem"), Key: file("agent.key")}, now, pki.AuthorityLife, h.Name); err != nil {
		return err
	}
	return writeYAML(agentFile(h), agentConfig{
		Name: h.Name, Server: fmt.Sprintf("%s:%d", addr(management.net4, firstNode), publishPort), ServerName: pki.ServerName,
		CA: s.CA, Cert: file("agent.pem"), Key: file("agent.key"),
		Underlay: underlayEnd{underlayDevice, h.Underlay}, Uplink: uplinkEnd{uplinkDevice},
		RunDir: h.RunDir, BPFFS: filepath.Join(pinDir(s.Name), h.Name), Instance: s.Name,
	})
}

func serverFile(s *State) string     { return filepath.Join(s.RunDir, "server.yaml") }
func agentFile(h Host) string        { return filepath.Join(h.RunDir, "agent.yaml") }
func serverNetns(name string) string { return "/run/netns/" + netnsName(name, "server") }

func writeYAML(file string, v any) error {
	b, err := yaml.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o600)
}
