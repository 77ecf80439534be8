package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// ErrAbsent says that what a port is attached to is not there now: a tap whose program has ended, a namespace that is gone. It is
// nobody's fault; the port drops everything until it is back.
var ErrAbsent = errors.New("what the port is attached to is not there")

// inside is the namespace at the other end of a port's device and the device's name there.
func (m *Manager) inside(p goal.Port) (ns, device string) {
	if p.Attachment.Kind == goal.KindNetns {
		return p.Attachment.Namespace, p.Attachment.Device
	}
	return m.Spec(p).Namespace, p.Sandbox.Device
}

// ensureAttached is Ensure for a port whose other end is somebody else's.
func (m *Manager) ensureAttached(p goal.Port) (index int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch p.Attachment.Kind {
	case goal.KindTap:
		index, err = m.tap(p)
	case goal.KindNetns:
		if !netns.Exists(p.Attachment.Namespace) {
			return 0, fmt.Errorf("namespace %s: %w", p.Attachment.Namespace, ErrAbsent)
		}
		if err = own(p.Attachment.Namespace); err == nil {
			index, err = m.device(p, p.Attachment.Namespace)
		}
	default:
		err = fmt.Errorf("attachment of kind %q is not known to this agent", p.Attachment.Kind)
	}
	if err != nil {
		return 0, fmt.Errorf("attachment: port %d: %w", p.Index, err)
	}
	return index, nil
}

// own refuses the host's own namespace: a device there would be the host's, not a guest's.
func own(namespace string) error {
	there, err := netns.Inode(namespace)
	if err != nil {
		return err
	}
	here, err := netns.Inode("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	if there == here {
		return fmt.Errorf("namespace %s is the host's own", namespace)
	}
	return nil
}

// CheckAttachment says what speaks against attaching to a here, nil when nothing does.
func (m *Manager) CheckAttachment(a goal.Attachment) error {
	if a.Kind == goal.KindNetns {
		if !netns.Exists(a.Namespace) {
			return fmt.Errorf("%s is no network namespace", a.Namespace)
		}
		if err := own(a.Namespace); err != nil {
			return err
		}
		return netdev.With(a.Namespace, func(c *netdev.Conn) error {
			l, ok, err := c.Link(a.Device)
			if err == nil && ok && l.Kind != "veth" {
				err = fmt.Errorf("there is a device %s in %s already", a.Device, a.Namespace)
			}
			return err
		})
	}
	return netdev.With("", func(c *netdev.Conn) error {
		l, ok, err := c.Link(a.Device)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("device %s: there is none on this host", a.Device)
		}
		return usable(l)
	})
}

// usable says whether a device may be a port: a tap that is in no bridge.
func usable(l netdev.Link) error {
	switch {
	case !l.Tap:
		return fmt.Errorf("device %s is a %s, not a tap", l.Name, l.Kind)
	case l.Master != 0:
		return fmt.Errorf("device %s is in a bridge: take it out first", l.Name)
	}
	return nil
}

// tap puts the programs on a device that somebody else has made, and brings it up behind them.
func (m *Manager) tap(p goal.Port) (index int, err error) {
	err = netdev.With("", func(c *netdev.Conn) error {
		l, ok, err := c.Link(p.Attachment.Device)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("tap %s: %w", p.Attachment.Device, ErrAbsent)
		}
		if err := usable(l); err != nil {
			return err
		}
		if l.Alias != m.alias(p) {
			if err := c.SetAlias(l.Name, m.alias(p)); err != nil {
				return err
			}
		}
		if index = l.Index; m.o.Attach != nil {
			if err := m.o.Attach(index, p.Index); err != nil {
				return fmt.Errorf("attach: %w", err)
			}
		}
		return hostSide(c, l.Name)
	})
	return index, err
}

// tapAlias begins the alias of a tap that is a port; the port's index and a fingerprint follow.
func (m *Manager) tapAlias(index uint32) string {
	return "ringfence " + m.o.Instance + " tap " + strconv.FormatUint(uint64(index), 16) + " "
}

// taps calls fn for every tap that is, or was, a port of ours.
func (m *Manager) taps(fn func(c *netdev.Conn, l netdev.Link) error) error {
	return netdev.With("", func(c *netdev.Conn) error {
		links, err := c.List("")
		if err != nil {
			return err
		}
		var errs []error
		for _, l := range links {
			if l.Tap && strings.HasPrefix(l.Alias, "ringfence "+m.o.Instance+" tap ") {
				errs = append(errs, fn(c, l))
			}
		}
		return errors.Join(errs...)
	})
}

// Release takes down the tap that was a port, before its programs leave it: never does its program speak to the host itself. The device
// stays its maker's. Ports of other kinds have nothing to release.
func (m *Manager) Release(index uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.taps(func(c *netdev.Conn, l netdev.Link) error {
		if !strings.HasPrefix(l.Alias, m.tapAlias(index)) {
			return nil
		}
		m.o.Log.Info("release tap", "device", l.Name, "port", index)
		if err := c.Down(l.Name); err != nil {
			return err
		}
		return c.SetAlias(l.Name, "")
	})
}

// foreignTap says whether a tap carries p's index for another NIC, or is another one than p's.
func (m *Manager) foreignTap(p goal.Port) (foreign bool, err error) {
	err = m.taps(func(_ *netdev.Conn, l netdev.Link) error {
		if strings.HasPrefix(l.Alias, m.tapAlias(p.Index)) && (l.Alias != m.alias(p) || l.Name != p.Attachment.Device) {
			foreign = true
		}
		return nil
	})
	return foreign, err
}

// configureAttached brings the device inside somebody else's namespace up and gives it its addresses when that was asked for. A tap is
// its program's to configure.
func (m *Manager) configureAttached(ctx context.Context, p goal.Port) error {
	if p.Attachment.Kind != goal.KindNetns {
		return nil
	}
	ns, device := m.inside(p)
	fail := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("configure %s in %s: %w", device, ns, err)
	}
	if err := plug(ctx, ns, device); err != nil || !p.Attachment.Configure {
		return fail(err)
	}
	l := static(p)
	l.Device = device
	if m.applied(ns, l) {
		return nil
	}
	return fail(apply(ctx, ns, l))
}

// router6 is the address that the data plane answers for as every network's IPv6 router.
var router6 = netip.MustParseAddr("fe80::1234:5678:9abc")

// Gateway is where packets of an address's family go first.
func Gateway(a goal.Address) netip.Addr {
	if a.IP.Is6() {
		return router6
	}
	return a.Subnet.Addr().Next()
}

// static is what DHCP would tell.
func static(p goal.Port) *lease {
	l := &lease{Primary: p.Primary, MTU: int(p.MTU)}
	seen := map[bool]bool{}
	for _, a := range p.Addresses {
		bits, all := a.Subnet.Bits(), netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		if a.IP.Is6() {
			bits, all = 128, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		l.Addresses = append(l.Addresses, netip.PrefixFrom(a.IP, bits))
		if !seen[a.IP.Is6()] && p.Primary {
			seen[a.IP.Is6()] = true
			l.Routes = append(l.Routes, route{To: all, Via: Gateway(a)})
		}
	}
	return l
}

func peerOf(p goal.Port, ns, device string) netdev.Peer {
	return netdev.Peer{Namespace: ns, Name: device, MAC: net.HardwareAddr(p.MAC[:])}
}
