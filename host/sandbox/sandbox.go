// Package sandbox makes the network namespaces that are the lab's VMs.
//
// In: ports of the goal. Out: for each a veth pair whose host side the data plane attaches to, and inside a device with the NIC's MAC that
// a DHCP client configures like any guest's. A sandbox has no process: bind mounts hold it, so the agent's death touches nothing, and a
// fresh agent recognises its own by the namespace's name and the alias of the host side. The agent owns it.
package sandbox

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// Options say whose sandboxes these are.
type Options struct {
	Instance string // lab name: part of every namespace's name
	Host     string
	RunDir   string // sandboxes' files live in RunDir/sandbox/NAME
	Log      *slog.Logger

	// Attach puts the programs on the host side of a port before that comes up, so that nothing of the VM ever reaches the host's own
	// stack. It is called with every Ensure. Nil: nothing is attached.
	Attach func(ifindex int, port uint32) error
}

// Manager makes and removes the sandboxes of one host. It must be used inside the host's namespace.
type Manager struct {
	o    Options
	mu   sync.Mutex // one change of namespaces and devices at a time; DHCP runs outside
	file sync.Mutex // one writer of sandboxes' files
}

// devicePrefix begins the host side's name; the port's index follows in hexadecimal.
const devicePrefix = "rfp"

// linkMTU is the device's MTU before DHCP says otherwise.
const linkMTU = 1500

// New returns a manager; it changes nothing.
func New(o Options) (*Manager, error) {
	if o.Instance == "" || o.Host == "" || o.RunDir == "" {
		return nil, errors.New("sandbox: instance, host and run directory expected")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{o: o}, nil
}

// Device names the host side of a port.
func Device(index uint32) string { return devicePrefix + strconv.FormatUint(uint64(index), 16) }

// Spec says how to enter a sandbox.
type Spec struct {
	Namespace string // network namespace
	Hostname  string
	Dir       string // holds resolv.conf, hosts and hostname; "" for none
}

// Spec of the sandbox that p is in.
func (m *Manager) Spec(p goal.Port) Spec {
	switch a := p.Attachment; a.Kind {
	case goal.KindTap:
		return Spec{}
	case goal.KindNetns:
		return Spec{Namespace: a.Namespace}
	}
	return Spec{Namespace: m.prefix() + p.Sandbox.Name, Hostname: p.Sandbox.HostName, Dir: m.dir(p.Sandbox.Name)}
}

func (m *Manager) prefix() string         { return "rf-" + m.o.Instance + "-" + m.o.Host + "-" }
func (m *Manager) root() string           { return filepath.Join(m.o.RunDir, "sandbox") }
func (m *Manager) dir(name string) string { return filepath.Join(m.root(), name) }

// serviceName is the rest of the service namespace's name: no sandbox may have it.
const serviceName = "svc"

// Ensure makes the port's sandbox and device where they are missing or another port's, and returns the index of the host side. The
// device inside is down until Configure: a VM says nothing before its port is in force.
func (m *Manager) Ensure(p goal.Port) (index int, err error) {
	if err := check(p); err != nil {
		return 0, err
	}
	if p.Attachment.Kind != goal.KindSandbox {
		return m.ensureAttached(p)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	ns := m.Spec(p).Namespace
	if err := os.MkdirAll(m.dir(p.Sandbox.Name), 0o755); err != nil {
		return 0, fmt.Errorf("sandbox %s: %w", p.Sandbox.Name, err)
	}
	created, err := netns.Ensure(ns)
	if err == nil && created {
		err = prepare(ns)
		if err != nil {
			netns.Delete(ns)
		}
	}
	if err == nil {
		index, err = m.device(p, ns)
	}
	if err != nil {
		return 0, fmt.Errorf("sandbox %s: port %d: %w", p.Sandbox.Name, p.Index, err)
	}
	return index, nil
}

func check(p goal.Port) error {
	s := p.Sandbox
	if p.MAC == (goal.MAC{}) || p.MAC[0]&1 != 0 {
		return fmt.Errorf("MAC %x of port %d: a unicast address expected", p.MAC, p.Index)
	}
	if p.Attachment.Kind != goal.KindSandbox {
		return nil
	}
	bad := func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }
	if s.Name == "" || len(s.Name) > 32 || strings.ContainsFunc(s.Name, bad) || s.Name == serviceName {
		return fmt.Errorf("sandbox name %q of port %d: 1 to 32 of a-z, 0-9 and -, and not %q expected", s.Name, p.Index, serviceName)
	}
	return nil
}

// prepare sets what a new guest's network starts with: loopback, quiet IPv6, ping for everybody, nothing forwarded.
func prepare(ns string) error {
	err := netdev.SetSysctls(ns,
		netdev.Sysctl{Key: "net/ipv4/ip_forward", Value: "0"},
		netdev.Sysctl{Key: "net/ipv4/ping_group_range", Value: "0 2147483647"},
		netdev.Sysctl{Key: "net/ipv6/conf/all/forwarding", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/accept_ra", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/router_solicitations", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/accept_dad", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/dad_transmits", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/disable_ipv6", Value: "1", Optional: true}, // until the NIC has an address
	)
	if err != nil {
		return err
	}
	return netdev.With(ns, func(c *netdev.Conn) error { return c.Up("lo") })
}

// device makes the pair and brings the host side up.
func (m *Manager) device(p goal.Port, ns string) (index int, err error) {
	_, inside := m.inside(p)
	err = netdev.With("", func(c *netdev.Conn) (err error) {
		index, _, err = c.EnsureVeth(netdev.Veth{
			Name: Device(p.Index), MTU: linkMTU, Alias: m.alias(p),
			Peer: peerOf(p, ns, inside),
		})
		if err != nil {
			return err
		}
		if m.o.Attach != nil {
			if err := m.o.Attach(index, p.Index); err != nil {
				return fmt.Errorf("attach: %w", err)
			}
		}
		return hostSide(c, Device(p.Index))
	})
	if err != nil {
		return 0, err
	}
	off := "1"
	if hasV6(p) {
		off = "0"
	}
	key := "net/ipv6/conf/" + inside + "/disable_ipv6"
	return index, netdev.SetSysctls(ns, netdev.Sysctl{Key: key, Value: off, Optional: true})
}

// hostSide silences the host's own stack on the device: it neither speaks to the VM nor listens, whatever happens to the programs there.
func hostSide(c *netdev.Conn, device string) error {
	off := netdev.Sysctl{Key: "net/ipv6/conf/" + device + "/disable_ipv6", Value: "1", Optional: true}
	if err := netdev.SetSysctls("", off); err != nil {
		return err
	}
	if err := c.SetARP(device, false); err != nil {
		return err
	}
	return c.Up(device)
}

func hasV6(p goal.Port) bool {
	return slices.ContainsFunc(p.Addresses, func(a goal.Address) bool { return a.IP.Is6() })
}

// alias is how a fresh process recognises the device of exactly this NIC: an index may be another NIC's tomorrow.
func (m *Manager) alias(p goal.Port) string {
	sum := sha256.Sum256([]byte(p.ID))
	switch a := p.Attachment; a.Kind {
	case goal.KindTap:
		return fmt.Sprintf("%s%x %x", m.tapAlias(p.Index), p.MAC, sum[:8])
	case goal.KindNetns:
		place := sha256.Sum256([]byte(a.Namespace))
		return fmt.Sprintf("ringfence %s netns %x/%s %x %x", m.o.Instance, place[:8], a.Device, p.MAC, sum[:8])
	}
	return fmt.Sprintf("ringfence %s %s/%s %x %x", m.o.Instance, p.Sandbox.Name, p.Sandbox.Device, p.MAC, sum[:8])
}

// Prune removes every device, namespace and directory of this host that no port in keep names.
func (m *Manager) Prune(keep []goal.Port) error {
	devices, names := map[string]bool{}, map[string]bool{serviceName: true}
	for _, p := range keep {
		if p.Attachment.Kind != goal.KindTap {
			devices[Device(p.Index)] = true
		}
		names[p.Sandbox.Name] = true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.pruneDevices(devices), m.pruneNamespaces(names), m.pruneDirs(names))
}

func (m *Manager) pruneDevices(keep map[string]bool) error {
	return netdev.With("", func(c *netdev.Conn) error {
		links, err := c.List(devicePrefix)
		if err != nil {
			return err
		}
		var gone []string
		for _, l := range links {
			if !keep[l.Name] && strings.HasPrefix(l.Alias, "ringfence "+m.o.Instance+" ") {
				gone = append(gone, l.Name)
			}
		}
		return c.DeleteAll(gone)
	})
}

// pruneNamespaces ends what runs in a VM that is no more, and the VM.
func (m *Manager) pruneNamespaces(keep map[string]bool) error {
	all, err := netns.List(m.prefix())
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(all, func(ns string) bool { return keep[strings.TrimPrefix(ns, m.prefix())] })
	if len(gone) == 0 {
		return nil
	}
	errs := []error{netns.Kill(gone...)}
	for _, ns := range gone {
		m.o.Log.Info("remove sandbox", "namespace", ns)
		errs = append(errs, netns.Delete(ns))
	}
	return errors.Join(errs...)
}

func (m *Manager) pruneDirs(keep map[string]bool) error {
	entries, err := os.ReadDir(m.root())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !keep[e.Name()] {
			errs = append(errs, os.RemoveAll(m.dir(e.Name())))
		}
	}
	return errors.Join(errs...)
}
