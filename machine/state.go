package machine

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ringfence/pki"
)

// State is what the command line needs to speak with an installation: the file installation.json beside the operator's socket. It holds
// secrets and is root's.
type State struct {
	Name     string   `json:"name"`     // the machine's
	Endpoint string   `json:"endpoint"` // of the API
	CA       string   `json:"ca"`       // file to trust it by; empty: the operator's own certificate, trusted as any other
	Socket   string   `json:"socket"`   // the operator's
	RunDir   string   `json:"run_dir"`
	Config   string   `json:"config"` // file that it was started with
	Tenants  []Tenant `json:"tenants"`
}

// Tenant is one tenant with its first subscription.
type Tenant struct {
	Name         string `json:"name"`
	ID           string `json:"id"`
	Subscription string `json:"subscription"`
	Token        string `json:"token"`         // of the tenant's owner; may be empty
	ClientID     string `json:"client_id"`     // of the service principal that was made for it; empty where the configuration names others
	ClientSecret string `json:"client_secret"` // its secret
}

const (
	stateName  = "installation.json"
	socketName = "api.sock"
)

// ErrNone says that there is no installation where it was looked for.
var ErrNone = errors.New("no installation of this machine is there")

// Beside reads the state of the installation whose operator's socket that is.
func Beside(socket string) (*State, error) {
	file := filepath.Join(filepath.Dir(socket), stateName)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	var s State
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return nil, fmt.Errorf("read the installation's state: %w", err)
	}
	return &s, nil
}

// Find looks for the installation of this machine: where the configuration of the default place says, or that of no configuration.
// ErrNone: there is none that was ever started.
func Find() (*State, error) {
	dir := DefaultRunDir
	if c, err := Load(DefaultFile); err == nil {
		dir = c.RunDir
	}
	return Beside(filepath.Join(dir, socketName))
}

// Running says whether its server listens.
func (s *State) Running() bool {
	conn, err := net.Dial("unix", s.Socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// endpoint is the API's address as clients of this machine use it: by a name that stands in the certificate.
func (c *Config) endpoint() string {
	at, err := netip.ParseAddrPort(c.API.Listen)
	if err != nil {
		return "https://" + c.API.Listen // checked with the configuration
	}
	host := at.Addr().String()
	if at.Addr().IsUnspecified() {
		host = "localhost"
	}
	if len(c.API.Names) > 0 && (at.Addr().IsUnspecified() || c.API.Cert != "") {
		host = c.API.Names[0]
	}
	return "https://" + net.JoinHostPort(host, fmt.Sprint(at.Port()))
}

// state is what this configuration, prepared, tells the command line.
func (c *Config) state() (*State, error) {
	s := &State{Name: c.Name, Endpoint: c.endpoint(), Socket: filepath.Join(c.RunDir, socketName), RunDir: c.RunDir, Config: c.path}
	if c.API.Cert == "" {
		s.CA = pki.CertFile(c.pkiDir())
	}
	known, err := c.credentials()
	if err != nil {
		return nil, err
	}
	for _, t := range c.Tenants {
		out := Tenant{Name: t.Name, ID: t.ID, Token: t.Token}
		if len(t.Subscriptions) > 0 {
			out.Subscription = t.Subscriptions[0].ID
		}
		i := slices.IndexFunc(known, func(k credential) bool { return strings.EqualFold(k.Tenant, t.ID) })
		if i >= 0 && len(t.Clients) > 0 && strings.EqualFold(t.Clients[0].App, known[i].Client) {
			out.ClientID, out.ClientSecret = known[i].Client, known[i].Secret
		}
		s.Tenants = append(s.Tenants, out)
	}
	slices.SortStableFunc(s.Tenants, func(a, b Tenant) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}

// writeState tells the command line where this installation is.
func (c *Config) writeState() (*State, error) {
	s, err := c.state()
	if err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = pki.WriteFile(filepath.Join(c.RunDir, stateName), append(b, '\n'), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("write the installation's state: %w", err)
	}
	return s, nil
}
