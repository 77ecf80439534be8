package machine

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"ringfence/host/agent"
	"ringfence/intent/identity"
	"ringfence/intent/store"
	"ringfence/pki"
	"ringfence/server"
)

const (
	serverName  = pki.ServerName
	renewEvery  = time.Hour
	clusterFile = "cluster" // members of the store that this server was let into, until its store knows them itself
)

// Up runs what the configuration says until ctx ends: the control plane, and the agent of this host beside it. ready is told when the
// operator's socket answers.
func Up(ctx context.Context, c Config, ready func(*State)) error {
	if err := prepare(&c, time.Now()); err != nil {
		return err
	}
	sc, err := c.installation()
	if err != nil {
		return err
	}
	state, err := c.writeState()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go c.keepCertificates(ctx)
	ended := make(chan error, 2)
	go func() {
		ended <- part(ctx, "control plane", func(ctx context.Context) error { return server.Run(ctx, sc) })
	}()
	running := 1
	socket := filepath.Join(c.RunDir, socketName)
	if err := awaitSocket(ctx, socket, ended); err != nil {
		cancel(err)
		return err
	}
	if c.Host != nil {
		running++
		go func() {
			ended <- part(ctx, "agent", func(ctx context.Context) error { return agent.Run(ctx, c.agentConfig()) })
		}()
	}
	if ready != nil {
		ready(state)
	}
	// Whichever ends first takes the other with it: half an installation that looks whole is worse. What is in the kernel stays.
	var faults []error
	for range running {
		faults = append(faults, <-ended)
		cancel(nil)
	}
	return errors.Join(faults...)
}

// part runs one half; its end without being asked to is an error.
func part(ctx context.Context, what string, run func(context.Context) error) error {
	err := run(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if ctx.Err() == nil {
		return fmt.Errorf("%s: ended by itself", what)
	}
	return nil
}

func awaitSocket(ctx context.Context, path string, ended chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("unix", path); err == nil {
			return conn.Close()
		}
		select {
		case err := <-ended:
			if err == nil {
				err = ctx.Err()
			}
			return err
		case <-tick.C:
		}
	}
}

// prepare makes directories, authority, certificates and, where nobody is configured, a tenant; and service principals where none are.
func prepare(c *Config, now time.Time) error {
	for _, dir := range []string{c.DataDir, c.RunDir, c.pkiDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if c.Host != nil {
		for _, dir := range []string{c.file("host"), c.agentConfig().RunDir, c.BPFFS} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("make directory: %w", err)
			}
		}
	}
	if _, err := c.certificates(now); err != nil {
		return err
	}
	if err := c.ensureTenant(); err != nil {
		return err
	}
	return c.ensureClients()
}

// certificates makes and renews this machine's.
func (c *Config) certificates(now time.Time) (*pki.Authority, error) {
	a, err := pki.Open(c.pkiDir(), "ringfence "+c.Instance, now)
	if err != nil {
		return nil, err
	}
	var at []net.IP
	for _, l := range []string{c.Control.Listen, c.Peers.Listen} {
		if ap, err := netip.ParseAddrPort(l); err == nil {
			at = append(at, ap.Addr().AsSlice())
		}
	}
	if _, err := a.EnsureServer(c.pair("server"), now, pki.Life, c.Name, nil, at); err != nil {
		return nil, err
	}
	if c.API.Cert == "" {
		names, ips := c.apiNames()
		if _, err := a.EnsureAPI(c.pair("api"), now, pki.Life, c.Name, names, ips); err != nil {
			return nil, err
		}
	}
	if c.Host != nil {
		if _, err := a.EnsureHost(c.hostPair(), now, pki.Life, c.Name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (c *Config) pair(name string) pki.Pair {
	return pki.Pair{Cert: c.file("pki", name+".pem"), Key: c.file("pki", name+".key")}
}

func (c *Config) hostPair() pki.Pair {
	return pki.Pair{Cert: c.file("host", "host.pem"), Key: c.file("host", "host.key")}
}

// keepCertificates renews them in time; every connection reads them anew.
func (c *Config) keepCertificates(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if _, err := c.certificates(time.Now()); err != nil {
				fmt.Fprintln(os.Stderr, "ringfence: certificates are not renewed:", err)
			}
		}
	}
}

// installation is the server's configuration with what makes it one of an installation.
func (c *Config) installation() (server.Config, error) {
	sc := c.serverConfig()
	a, err := pki.Open(c.pkiDir(), "", time.Now())
	if err != nil {
		return sc, err
	}
	shared, err := c.shared()
	if err != nil {
		return sc, err
	}
	p := c.pair("server")
	in := &server.Installation{Name: c.Name, Authority: a, Agents: c.Control.Listen, Shared: shared,
		Cluster: &store.Cluster{Peer: c.Peers.Listen, CA: pki.CertFile(c.pkiDir()), Cert: p.Cert, Key: p.Key, ServerName: serverName}}
	initial, err := os.ReadFile(c.file(clusterFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return sc, fmt.Errorf("read the cluster's members: %w", err)
	}
	in.Cluster.Initial = string(initial)
	if c.Host != nil {
		leaf, err := c.hostPair().Leaf()
		if err != nil {
			return sc, err
		}
		if in.LocalKey, err = pki.KeyPrint(leaf.PublicKey); err != nil {
			return sc, err
		}
		in.Local = c.Name
	}
	sc.Installation = in
	return sc, nil
}

// shared travels as YAML inside JSON: that is the form in which its fields have names.
func (c *Config) shared() (json.RawMessage, error) {
	b, err := yaml.Marshal(c.Shared)
	if err != nil {
		return nil, fmt.Errorf("shared configuration: %w", err)
	}
	return json.Marshal(string(b))
}

// tenantsFile holds the tenant that is made where none is configured.
const tenantsFile = "tenants.yaml"

func (c *Config) ensureTenant() error {
	if len(c.Tenants) > 0 {
		return nil
	}
	b, err := os.ReadFile(c.file(tenantsFile))
	if errors.Is(err, fs.ErrNotExist) {
		t := identity.Tenant{Name: "default", ID: newID(), Token: rand.Text() + rand.Text(), Subscriptions: []identity.Subscription{{ID: newID(), Name: "default"}}}
		if b, err = yaml.Marshal([]identity.Tenant{t}); err == nil {
			err = pki.WriteFile(c.file(tenantsFile), b, 0o600)
		}
	}
	if err == nil {
		err = yaml.Unmarshal(b, &c.Tenants)
	}
	if err != nil {
		return fmt.Errorf("the default tenant: %w", err)
	}
	return nil
}
