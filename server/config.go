package server

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/compile"
	"ringfence/goal"
	"ringfence/intent/identity"
	"ringfence/publish"
)

// Config is the server's configuration file.
type Config struct {
	DataDir     string                    `yaml:"data_dir"`                 // etcd
	RunDir      string                    `yaml:"run_dir"`                  // the operator's socket and etcd's own
	Listen      string                    `yaml:"listen"`                   // IP:PORT of the API over TLS
	TLS         KeyPair                   `yaml:"tls"`                      // the API's certificate
	Publish     Publish                   `yaml:"publish"`                  // where agents call
	Metrics     string                    `yaml:"metrics_listen,omitempty"` // IP:PORT of the loopback for Prometheus; empty: the operator's socket alone
	APILimits   *identity.Limits          `yaml:"api_limits,omitempty"`     // requests of one principal in one subscription; absent: identity.DefaultLimits
	Tenants     []identity.Tenant         `yaml:"tenants"`
	PrefixLists map[string][]netip.Prefix `yaml:"prefix_lists,omitempty"`   // service tags of the operator: name → prefixes
	Forwarders  []string                  `yaml:"dns_forwarders,omitempty"` // DNS servers for names outside: IP or IP:PORT, in order
	HealAfter   string                    `yaml:"heal_after,omitempty"`     // how long a host may be away before its VMs are placed elsewhere; 0: for ever; empty: 30s
	Locations   []string                  `yaml:"locations,omitempty"`      // regions that are offered
	Limits      map[string]Limit          `yaml:"limits,omitempty"`         // arp, nd, dhcp, dns, service, flows: what each port may ask its host for
	Profile     string                    `yaml:"profile,omitempty"`        // contents of the tag Internet
	Log         string                    `yaml:"log,omitempty"`            // debug, info, warn or error; empty: info

	Installation *Installation `yaml:"-"` // nil: a lab
	FirstVNI     uint32        `yaml:"-"` // of the pool for virtual networks; 0: 1
	LastVNI      uint32        `yaml:"-"` // 0: all there are
}

// KeyPair names the PEM files of a certificate and its key.
type KeyPair struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Publish is the listener for agents: mutual TLS on a link that tenants cannot reach.
type Publish struct {
	Listen        string `yaml:"listen"`          // IP:PORT
	Netns         string `yaml:"netns,omitempty"` // network namespace that the address is in; empty: the server's own
	publish.Files `yaml:",inline"`
}

// LoadConfig reads a file. Every fault in it is listed.
func LoadConfig(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read server configuration: %w", err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		return Config{}, fmt.Errorf("server configuration %s:\n%w", path, err)
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

var tagName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9.]{0,79}$`)

// Check lists every fault of a configuration.
func (c *Config) Check() error {
	var faults []error
	fault := func(bad bool, field string, value any, want string) {
		if bad {
			faults = append(faults, fmt.Errorf("%s %q: %s expected", field, fmt.Sprint(value), want))
		}
	}
	for _, p := range [][2]string{{"data_dir", c.DataDir}, {"run_dir", c.RunDir}, {"tls.cert", c.TLS.Cert}, {"tls.key", c.TLS.Key},
		{"publish.ca", c.Publish.CA}, {"publish.cert", c.Publish.Cert}, {"publish.key", c.Publish.Key}} {
		fault(!filepath.IsAbs(p[1]), p[0], p[1], "an absolute path")
	}
	for _, l := range [][2]string{{"listen", c.Listen}, {"publish.listen", c.Publish.Listen}} {
		_, err := netip.ParseAddrPort(l[1])
		fault(err != nil, l[0], l[1], "IP:PORT")
	}
	if c.Metrics != "" {
		at, err := netip.ParseAddrPort(c.Metrics)
		fault(err != nil || !at.Addr().IsLoopback(), "metrics_listen", c.Metrics, "IP:PORT of the loopback")
	}
	faults = append(faults, c.apiLimits().Check()...)
	if _, err := identity.New(c.Tenants); err != nil {
		faults = append(faults, fmt.Errorf("tenants: %w", err))
	}
	for _, name := range slices.SortedFunc(maps.Keys(c.PrefixLists), cmp.Compare) {
		fault(!tagName.MatchString(name), "prefix_lists", name, "a service tag's name, a letter and then letters, digits and dots,")
		for i, p := range c.PrefixLists[name] {
			fault(!p.IsValid() || p != p.Masked(), fmt.Sprintf("prefix_lists.%s[%d]", name, i), p, "a prefix without host bits")
		}
	}
	if _, err := c.forwarders(); err != nil {
		faults = append(faults, err)
	}
	if _, err := c.healAfter(); err != nil {
		faults = append(faults, err)
	}
	if _, err := c.limits(); err != nil {
		faults = append(faults, err)
	}
	fault(!slices.Contains(compile.Profiles(), c.Profile), "profile", c.Profile, fmt.Sprintf("one of %q", compile.Profiles()))
	switch c.Log {
	case "", "debug", "info", "warn", "error":
	default:
		fault(true, "log", c.Log, "debug, info, warn or error")
	}
	return errors.Join(faults...)
}

// forwarders reads dns_forwarders; port 53 is meant where none is said.
func (c *Config) forwarders() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for i, text := range c.Forwarders {
		at, err := netip.ParseAddrPort(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			at, err = netip.AddrPortFrom(ip, 53), nil
		}
		if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() || at.Addr().Zone() != "" {
			return nil, fmt.Errorf("dns_forwarders[%d] %q: IP or IP:PORT expected", i, text)
		}
		out = append(out, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
	}
	return out, nil
}

// Limit is a token bucket of every port.
type Limit struct {
	Rate  uint32 `yaml:"rate"`  // packets per second; 0: no bound
	Burst uint32 `yaml:"burst"` // packets at once; 0: a second's
}

// limits are the defaults with what the configuration says instead.
func (c *Config) limits() (goal.Limits, error) {
	out, kinds := goal.DefaultLimits, map[string]goal.LimitKind{}
	for k := range goal.LimitKinds {
		kinds[k.String()] = k
	}
	for _, name := range slices.Sorted(maps.Keys(c.Limits)) {
		kind, ok := kinds[name]
		if !ok {
			return out, fmt.Errorf("limits.%s: one of %q expected", name, slices.Sorted(maps.Keys(kinds)))
		}
		l := c.Limits[name]
		*out.Of(kind) = goal.Rate{PerSecond: l.Rate, Burst: cmp.Or(l.Burst, l.Rate)}
	}
	if err := out.Check(); err != nil {
		return out, fmt.Errorf("limits: %w", err)
	}
	return out, nil
}

// Bounds of heal_after: a host that only changed its server, or whose agent was only replaced, is not to be taken for dead.
const (
	healDefault = 30 * time.Second
	healLeast   = 15 * time.Second
)

func (c *Config) healAfter() (time.Duration, error) {
	if c.HealAfter == "" {
		return healDefault, nil
	}
	d, err := time.ParseDuration(c.HealAfter)
	if err != nil || d != 0 && d < healLeast {
		return 0, fmt.Errorf("heal_after %q: a duration of at least %s expected, or 0 for never", c.HealAfter, healLeast)
	}
	return d, nil
}

func (c *Config) apiLimits() identity.Limits {
	if c.APILimits == nil {
		return identity.DefaultLimits
	}
	return *c.APILimits
}
