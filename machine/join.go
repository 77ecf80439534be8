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
	"ringfence/pki"
	"ringfence/publish"
)

// HostJoin is what a machine needs to become a host of an installation.
type HostJoin struct {
	Token    string
	Server   string // IP:PORT of a server, its control address
	Underlay string // device; its first global IPv4 address is the tunnel's end, unless Address says another
	Address  netip.Addr
	Uplink   string // device; may be empty
	Capacity int
	DataDir  string
	RunDir   string
	BPFFS    string
	Instance string
}

// AgentFile is where a joined host keeps its configuration.
func AgentFile(dataDir string) string { return filepath.Join(dataDir, "host", "agent.yaml") }

// JoinHost makes this machine a host: it makes a key, has its certificate signed, and writes the agent's configuration. Nothing is written
// before the server has let it in but the key.
func JoinHost(ctx context.Context, j HostJoin) (agent.Config, error) {
	j.complete()
	t, err := pki.ParseToken(j.Token)
	if err != nil {
		return agent.Config{}, err
	}
	if t.Kind != pki.HostKind {
		return agent.Config{}, errors.New("join token: it is a server's; `ringfence host add NAME` makes one for a host")
	}
	if !j.Address.IsValid() {
		if j.Address, err = addressOf(j.Underlay); err != nil {
			return agent.Config{}, err
		}
	}
	dir := filepath.Join(j.DataDir, "host")
	if _, err := os.Stat(AgentFile(j.DataDir)); err == nil {
		if old, err := agent.LoadConfig(AgentFile(j.DataDir)); err == nil {
			if leaf, err := (pki.Pair{Cert: old.Cert, Key: old.Key}).Leaf(); err == nil && publish.Expired(leaf, time.Now()) == nil {
				if ca, err := os.ReadFile(old.CA); err == nil && !isOf(ca, t.CA) {
					return agent.Config{}, fmt.Errorf("this machine is host %s of another installation: remove %s first", old.Name, dir)
				}
			}
		}
	}
	for _, d := range []string{dir, filepath.Join(j.RunDir, "host"), j.BPFFS} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return agent.Config{}, fmt.Errorf("join: %w", err)
		}
	}
	p := pki.Pair{Cert: filepath.Join(dir, "host.pem"), Key: filepath.Join(dir, "host.key")}
	csr, err := p.Request("joining")
	if err != nil {
		return agent.Config{}, err
	}
	a, err := publish.Join(ctx, j.Server, t.ClientTLS(time.Now), publish.JoinRequest{ID: t.ID, Secret: t.Secret, Kind: t.Kind, CSR: csr,
		Underlay: j.Address, Version: publish.Version()})
	if err != nil {
		return agent.Config{}, err
	}
	return j.keep(dir, p, a)
}

func (j *HostJoin) complete() {
	fill := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	fill(&j.DataDir, DefaultDataDir)
	fill(&j.RunDir, DefaultRunDir)
	fill(&j.BPFFS, defaultBPFFS)
	fill(&j.Instance, defaultInstance)
}

// keep writes what the server gave; the configuration last: with it the host has joined.
func (j *HostJoin) keep(dir string, p pki.Pair, a publish.JoinAnswer) (agent.Config, error) {
	c := agent.Config{Name: a.Name, Server: j.Server, ServerName: serverName,
		Files:    publish.Files{CA: filepath.Join(dir, "ca.pem"), Cert: p.Cert, Key: p.Key},
		Underlay: agent.Underlay{Device: j.Underlay, Address: j.Address}, Uplink: agent.Uplink{Device: j.Uplink},
		RunDir: filepath.Join(j.RunDir, "host"), BPFFS: j.BPFFS, Instance: j.Instance, Capacity: j.Capacity, DataDir: dir}
	if err := pki.WriteFile(c.CA, a.CA, 0o644); err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	if err := p.Put(a.Cert); err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	if err := c.Check(); err != nil {
		return c, fmt.Errorf("join: the configuration is not complete:\n%w", err)
	}
	b, err := yaml.Marshal(c)
	if err == nil {
		err = pki.WriteFile(AgentFile(j.DataDir), b, 0o600)
	}
	if err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	return c, nil
}

// JoinServer makes this machine a further server of an installation, as the configuration says where it listens. Afterwards Up runs it.
func JoinServer(ctx context.Context, c Config, token, at string) (Config, error) {
	t, err := pki.ParseToken(token)
	if err != nil {
		return c, err
	}
	if t.Kind != pki.ServerKind {
		return c, errors.New("join token: it is a host's; `ringfence server token NAME` makes one for a server")
	}
	for _, taken := range []string{c.file("etcd"), pki.CertFile(c.pkiDir())} {
		if _, err := os.Stat(taken); !errors.Is(err, fs.ErrNotExist) {
			return c, fmt.Errorf("%s is there already: a server joins with an empty data directory; one that was a member starts without joining", taken)
		}
	}
	a, err := publish.Join(ctx, at, t.ClientTLS(time.Now), publish.JoinRequest{ID: t.ID, Secret: t.Secret, Kind: t.Kind, Name: c.Name, Peer: c.Peers.Listen,
		Version: publish.Version()})
	if err != nil {
		return c, err
	}
	authority, err := pki.Parse(a.CA, a.CAKey)
	if err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	var text string
	if err := json.Unmarshal(a.Shared, &text); err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	shared := Shared{}
	if err := yaml.Unmarshal([]byte(text), &shared); err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	c.Shared = shared
	b, err := yaml.Marshal(c)
	if err != nil {
		return c, fmt.Errorf("join: %w", err)
	}
	return c, errors.Join(authority.Save(c.pkiDir()), pki.WriteFile(c.file(clusterFile), []byte(a.Cluster), 0o600),
		pki.WriteFile(ServerFile(c.DataDir), b, 0o600))
}

// ServerFile is where a server that joined keeps its whole configuration.
func ServerFile(dataDir string) string { return filepath.Join(dataDir, "ringfence.yaml") }

// addressOf is the first global IPv4 address of a device, or else IPv6.
func addressOf(device string) (netip.Addr, error) {
	if device == "" {
		return netip.Addr{}, errors.New("the underlay's device is missing: which one reaches the other hosts?")
	}
	i, err := net.InterfaceByName(device)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("underlay device %s: %w", device, err)
	}
	all, err := i.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("underlay device %s: %w", device, err)
	}
	var six netip.Addr
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		switch {
		case err != nil || p.Addr().IsLinkLocalUnicast():
		case p.Addr().Is4():
			return p.Addr(), nil
		case !six.IsValid():
			six = p.Addr()
		}
	}
	if !six.IsValid() {
		return netip.Addr{}, fmt.Errorf("underlay device %s: it has no address", device)
	}
	return six, nil
}

func isOf(ca []byte, fingerprint string) bool {
	f, err := pki.FingerprintPEM(ca)
	return err == nil && f == fingerprint
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
