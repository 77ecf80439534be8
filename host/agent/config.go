package agent

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/publish"
)

// Config is the agent's configuration file.
type Config struct {
	Name          string `yaml:"name"`        // host name: the common name of the certificate
	Server        string `yaml:"server"`      // IP:PORT of the control plane
	ServerName    string `yaml:"server_name"` // in the control plane's certificate
	publish.Files `yaml:",inline"`
	Underlay      Underlay `yaml:"underlay"`
	Uplink        Uplink   `yaml:"uplink,omitempty"`
	RunDir        string   `yaml:"run_dir"`  // sandboxes' files
	BPFFS         string   `yaml:"bpffs"`    // directory for pins, on a BPF file system
	Instance      string   `yaml:"instance"` // lab or installation name: part of the name of everything in the kernel
	Capacity      int      `yaml:"capacity,omitempty"`
	RelearnFlows  string   `yaml:"relearn_flows,omitempty"` // for so long after a loss of all flows connections are taken up again; empty: not at all
	Log           string   `yaml:"log,omitempty"`           // debug, info, warn or error; empty: info
	DataDir       string   `yaml:"data_dir,omitempty"`      // what the agent learns: other servers' addresses; with it the certificate is renewed by itself
}

// Underlay is the device that carries VXLAN and the host's address on it.
type Underlay struct {
	Device  string     `yaml:"device"`
	Address netip.Addr `yaml:"address"`
}

// Uplink is the device towards the Internet, if there is one.
type Uplink struct {
	Device string `yaml:"device"`
}

// LoadConfig reads a file. Every fault in it is listed.
func LoadConfig(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read agent configuration: %w", err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		return Config{}, fmt.Errorf("agent configuration %s:\n%w", path, err)
	}
	return c, nil
}

// ParseConfig reads a configuration; fields it does not know are faults.
func ParseConfig(b []byte) (Config, error) {
	var c Config
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		return Config{}, err
	}
	return c, c.Check()
}

var nameForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// relearn parses RelearnFlows.
func (c *Config) relearn() (time.Duration, error) {
	if c.RelearnFlows == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(c.RelearnFlows)
	if err == nil && (d < time.Second || d > 10*time.Minute) {
		err = fmt.Errorf("%v: 1s to 10m", d)
	}
	return d, err
}

// Check lists every fault of a configuration.
func (c *Config) Check() error {
	var faults []error
	fault := func(bad bool, field string, value any, want string) {
		if bad {
			faults = append(faults, fmt.Errorf("%s %q: %s expected", field, fmt.Sprint(value), want))
		}
	}
	fault(!nameForm.MatchString(c.Name), "name", c.Name, "1 to 32 of a-z, 0-9 and -")
	fault(!nameForm.MatchString(c.Instance), "instance", c.Instance, "1 to 32 of a-z, 0-9 and -")
	_, err := netip.ParseAddrPort(c.Server)
	fault(err != nil, "server", c.Server, "IP:PORT")
	fault(c.ServerName == "", "server_name", c.ServerName, "the name in the server's certificate")
	for _, p := range [][2]string{{"ca", c.CA}, {"cert", c.Cert}, {"key", c.Key}, {"run_dir", c.RunDir}, {"bpffs", c.BPFFS}} {
		fault(!filepath.IsAbs(p[1]), p[0], p[1], "an absolute path")
	}
	fault(c.DataDir != "" && !filepath.IsAbs(c.DataDir), "data_dir", c.DataDir, "an absolute path")
	fault(c.Underlay.Device == "", "underlay.device", c.Underlay.Device, "a device name")
	fault(!c.Underlay.Address.IsValid(), "underlay.address", "", "an IP address")
	fault(c.Capacity < 0, "capacity", c.Capacity, "a number of VMs, or 0 for no bound")
	_, err = c.relearn()
	fault(err != nil, "relearn_flows", c.RelearnFlows, "a duration of 1s to 10m, or nothing")
	switch c.Log {
	case "", "debug", "info", "warn", "error":
	default:
		fault(true, "log", c.Log, "debug, info, warn or error")
	}
	return errors.Join(faults...)
}
