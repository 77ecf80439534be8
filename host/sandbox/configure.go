package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
)

// lease is what DHCP told one device: also the file RunDir/sandbox/NAME/DEVICE.lease.
type lease struct {
	Device    string
	Primary   bool
	Of        string         // fingerprint of what the goal says about the port: another one asks again
	Addresses []netip.Prefix // own address with the length of its prefix, secondary ones too
	Routes    []route
	DNS       []netip.Addr
	Domain    string
	MTU       int
}

type route struct {
	To  netip.Prefix
	Via netip.Addr // invalid: on-link
}

// longest bounds one attempt, whatever the caller's patience.
const longest = 15 * time.Second

// Configure asks the fabric by DHCP from inside the sandbox and applies the answers: addresses, routes, MTU, name servers, files. A
// port that has its configuration already is left alone. Ports may be configured concurrently; the data plane must carry the port by now.
func (m *Manager) Configure(ctx context.Context, p goal.Port) error {
	if err := check(p); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	if p.Attachment.Kind != goal.KindSandbox {
		return m.configureAttached(ctx, p)
	}
	ns := m.Spec(p).Namespace
	if err := plug(ctx, ns, p.Sandbox.Device); err != nil {
		return fmt.Errorf("configure %s/%s: %w", p.Sandbox.Name, p.Sandbox.Device, err)
	}
	of := fingerprint(p)
	if old, err := m.readLease(p.Sandbox.Name, p.Sandbox.Device); err == nil && old.Of == of && m.applied(ns, old) {
		return nil
	}
	l, err := acquire(ctx, ns, p)
	if err != nil {
		return fmt.Errorf("configure %s/%s: %w", p.Sandbox.Name, p.Sandbox.Device, err)
	}
	l.Device, l.Primary, l.Of = p.Sandbox.Device, p.Primary, of
	l.Addresses = append(l.Addresses, secondary(p, l.Addresses)...)
	if err := apply(ctx, ns, l); err != nil {
		return fmt.Errorf("configure %s/%s: %w", p.Sandbox.Name, p.Sandbox.Device, err)
	}
	if err := m.writeFiles(p, l); err != nil {
		return fmt.Errorf("configure %s: files: %w", p.Sandbox.Name, err)
	}
	return nil
}

// plug brings the guest's end of the link up and waits until it carries: a request sent earlier would be lost, and its repetition late.
func plug(ctx context.Context, ns, device string) error {
	return netdev.With(ns, func(c *netdev.Conn) error {
		if err := c.Up(device); err != nil {
			return err
		}
		return until(ctx, "the link does not come up", func() (bool, error) {
			l, ok, err := c.Link(device)
			return ok && l.Ready, err
		})
	})
}

// until asks every millisecond or two; what names the failure when ctx ends first.
func until(ctx context.Context, what string, ready func() (bool, error)) error {
	for {
		ok, err := ready()
		if err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// fingerprint covers whatever DHCP answers depend on.
func fingerprint(p goal.Port) string {
	b, _ := json.Marshal([]any{p.MAC, p.Primary, p.Addresses, p.DNS, p.Domain, p.MTU, p.Sandbox}) // plain values: cannot fail
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// secondary are the addresses that DHCP does not give: a guest on Azure takes them from the metadata service, a sandbox from the goal.
func secondary(p goal.Port, got []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range p.Addresses {
		bits := a.Subnet.Bits()
		if a.IP.Is6() {
			bits = 128
		}
		if !slices.ContainsFunc(got, func(g netip.Prefix) bool { return g.Addr() == a.IP }) {
			out = append(out, netip.PrefixFrom(a.IP, bits))
		}
	}
	return out
}

// applied says whether the device still has what the lease gave it.
func (m *Manager) applied(ns string, l *lease) bool {
	err := netdev.With(ns, func(c *netdev.Conn) error {
		have, err := c.Addresses(l.Device)
		if err != nil {
			return err
		}
		for _, a := range l.Addresses {
			if !slices.Contains(have, a) {
				return errors.New("address missing")
			}
		}
		routes, err := c.Routes(l.Device)
		if err != nil {
			return err
		}
		for _, r := range l.Routes {
			if !slices.ContainsFunc(routes, func(h netdev.Route) bool { return h.Destination == r.To }) {
				return errors.New("route missing")
			}
		}
		return nil
	})
	return err == nil
}

// apply makes the device be as the lease says, and nothing else on it.
func apply(ctx context.Context, ns string, l *lease) error {
	return netdev.With(ns, func(c *netdev.Conn) error {
		if err := c.SetMTU(l.Device, l.MTU); err != nil {
			return err
		}
		have, err := c.Addresses(l.Device)
		if err != nil {
			return err
		}
		for _, a := range have {
			if !slices.Contains(l.Addresses, a) {
				if err := c.DeleteAddress(l.Device, a); err != nil {
					return err
				}
			}
		}
		for _, a := range l.Addresses {
			if err := c.EnsureAddress(l.Device, netdev.Address{Prefix: a, NoDAD: true}); err != nil {
				return err
			}
		}
		if err := applyRoutes(c, l); err != nil {
			return err
		}
		return until(ctx, "addresses stay tentative", func() (bool, error) { return c.Usable(l.Device) })
	})
}

// applyRoutes sets the lease's routes and removes what an older lease left: every route with a gateway that is not wanted.
func applyRoutes(c *netdev.Conn, l *lease) error {
	have, err := c.Routes(l.Device)
	if err != nil {
		return err
	}
	for _, h := range have {
		wanted := slices.ContainsFunc(l.Routes, func(r route) bool { return r.To == h.Destination })
		if len(h.Via) > 0 && !wanted {
			if err := c.DeleteRoute(h); err != nil {
				return err
			}
		}
	}
	for _, r := range l.Routes {
		out := netdev.Route{Destination: r.To, Device: l.Device, OnLink: true}
		if r.Via.IsValid() {
			out.Via = []netip.Addr{r.Via}
		}
		if err := c.EnsureRoute(out); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) leaseFile(sandbox, device string) string {
	return filepath.Join(m.dir(sandbox), device+".lease")
}

func (m *Manager) readLease(sandbox, device string) (*lease, error) {
	return readLease(m.leaseFile(sandbox, device))
}

func readLease(path string) (*lease, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l lease
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return &l, nil
}
