package netdev

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Address is an address of a device with the length of its prefix.
type Address struct {
	Prefix        netip.Prefix // the address itself, not masked
	NoPrefixRoute bool         // the kernel adds no on-link route
	NoDAD         bool         // IPv6: usable at once, nobody is asked
}

// EnsureAddress gives a device an address; an address that is there with the same prefix length stays.
func (c *Conn) EnsureAddress(device string, a Address) error {
	l, err := c.need(device)
	if err != nil {
		return err
	}
	addr := &netlink.Addr{IPNet: ipNet(a.Prefix)}
	if a.NoPrefixRoute {
		addr.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.NoDAD && a.Prefix.Addr().Is6() {
		addr.Flags |= unix.IFA_F_NODAD
	}
	if err := c.h.AddrReplace(l, addr); err != nil {
		return c.fail(err, "give %s address %s", device, a.Prefix)
	}
	return nil
}

// Addresses lists a device's addresses without the link-local IPv6 ones.
func (c *Conn) Addresses(device string) ([]netip.Prefix, error) {
	all, err := c.addresses(device)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, a := range all {
		if p, ok := prefixOf(a.IPNet); ok && !linkLocal6(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

func linkLocal6(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() }

// LinkLocal returns a device's link-local IPv6 address; ok is false when it has none that may be used by now.
func (c *Conn) LinkLocal(device string) (addr netip.Addr, ok bool, err error) {
	all, err := c.addresses(device)
	if err != nil {
		return netip.Addr{}, false, err
	}
	for _, a := range all {
		if p, ok := prefixOf(a.IPNet); ok && linkLocal6(p) && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			return p.Addr(), true, nil
		}
	}
	return netip.Addr{}, false, nil
}

// Usable says whether all of a device's addresses can be used by now. The kernel puts an IPv6 address in force a moment after it was
// given: only then a route says that it is local, also for an address that was never tentative.
func (c *Conn) Usable(device string) (bool, error) {
	all, err := c.addresses(device)
	if err != nil {
		return false, err
	}
	for _, a := range all {
		if a.Flags&unix.IFA_F_TENTATIVE != 0 {
			return false, nil
		}
		if p, ok := prefixOf(a.IPNet); !ok || p.Addr().IsLinkLocalUnicast() {
			continue
		}
		routes, err := c.h.RouteGet(a.IP)
		if err != nil && !errors.Is(err, unix.ENETUNREACH) {
			return false, c.fail(err, "route to %s's own address %s", device, a.IP)
		}
		if len(routes) == 0 || routes[0].Type != unix.RTN_LOCAL {
			return false, nil
		}
	}
	return true, nil
}

func (c *Conn) addresses(device string) ([]netlink.Addr, error) {
	l, err := c.need(device)
	if err != nil {
		return nil, err
	}
	var list []netlink.Addr
	for range 5 {
		if list, err = c.h.AddrList(l, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, c.fail(err, "list addresses of %s", device)
	}
	return list, nil
}

// DeleteAddress removes an address. Nothing to remove is no error.
func (c *Conn) DeleteAddress(device string, p netip.Prefix) error {
	l, err := c.need(device)
	if err != nil {
		return err
	}
	if err := c.h.AddrDel(l, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return c.fail(err, "take address %s from %s", p, device)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits), true
}
