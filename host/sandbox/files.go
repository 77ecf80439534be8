package sandbox

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ringfence/goal"
)

// writeFiles records the lease and writes what the whole sandbox shares; the primary device's lease speaks for it.
func (m *Manager) writeFiles(p goal.Port, l *lease) error {
	m.file.Lock()
	defer m.file.Unlock()
	dir := m.dir(p.Sandbox.Name)
	b, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(m.leaseFile(p.Sandbox.Name, l.Device), string(b)+"\n"); err != nil {
		return err
	}
	leases, err := m.leases(dir)
	if err != nil {
		return err
	}
	files := map[string]string{
		"resolv.conf": resolvConf(leases),
		"hosts":       hosts(p.Sandbox.HostName, leases),
		"hostname":    p.Sandbox.HostName + "\n",
	}
	for name, text := range files {
		if err := replace(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// leases of a sandbox, the primary device's first.
func (m *Manager) leases(dir string) ([]*lease, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.lease"))
	if err != nil {
		return nil, err
	}
	var out []*lease
	for _, path := range paths {
		l, err := readLease(path)
		if err != nil {
			return nil, err
		}
		if l.Primary {
			out = append([]*lease{l}, out...)
		} else {
			out = append(out, l)
		}
	}
	return out, nil
}

// resolvConf takes name servers and search domain from the first lease that has some.
func resolvConf(leases []*lease) string {
	var b strings.Builder
	for _, l := range leases {
		if len(l.DNS) == 0 {
			continue
		}
		for _, d := range l.DNS {
			fmt.Fprintf(&b, "nameserver %s\n", d)
		}
		if l.Domain != "" {
			fmt.Fprintf(&b, "search %s\n", l.Domain)
		}
		break
	}
	return b.String()
}

// hosts lets the machine find itself by name, and nobody else.
func hosts(name string, leases []*lease) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	if name == "" || len(leases) == 0 {
		return b.String()
	}
	full := ""
	if leases[0].Domain != "" {
		full = name + "." + leases[0].Domain + " "
	}
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		for _, a := range leases[0].Addresses {
			if family(a.Addr()) {
				fmt.Fprintf(&b, "%s %s%s\n", a.Addr(), full, name)
				break
			}
		}
	}
	return b.String()
}

// replace writes a file whole or not at all: a reader never sees half of it. A directory that was pruned meanwhile stays away.
func replace(path, text string) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	if _, err := tmp.WriteString(text); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Chmod(0o644); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
