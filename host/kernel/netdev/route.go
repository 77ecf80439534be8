package netdev

import (
	"errors"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is one route of the main table.
type Route struct {
	Destination netip.Prefix // masked; 0.0.0.0/0 and ::/0 are the default routes
	Device      string
	Via         []netip.Addr // none: on-link; several: equal-cost paths over Device
	Source      netip.Addr   // preferred source, optional
	OnLink      bool         // the gateway need not be covered by a prefix of the device
	MTU         int
	Metric      int
}

// EnsureRoute makes the route, replacing one with the same destination and metric.
func (c *Conn) EnsureRoute(r Route) error {
	l, err := c.need(r.Device)
	if err != nil {
		return err
	}
	if err := c.h.RouteReplace(r.netlink(l.Attrs().Index)); err != nil {
		return c.fail(err, "route %s by %s via %v", r.Destination, r.Device, r.Via)
	}
	return nil
}

func (r Route) netlink(index int) *netlink.Route {
	out := &netlink.Route{Dst: ipNet(r.Destination), MTU: r.MTU, Priority: r.Metric, Protocol: unix.RTPROT_STATIC}
	if r.Source.IsValid() {
		out.Src = r.Source.AsSlice()
	}
	flags := 0
	if r.OnLink {
		flags = int(netlink.FLAG_ONLINK)
	}
	switch len(r.Via) {
	case 0:
		out.LinkIndex, out.Scope = index, netlink.SCOPE_LINK
		if r.Destination.Addr().Is6() {
			out.Scope = netlink.SCOPE_UNIVERSE
		}
	case 1:
		out.LinkIndex, out.Gw, out.Flags = index, r.Via[0].AsSlice(), flags
	default:
		for _, via := range r.Via {
			out.MultiPath = append(out.MultiPath, &netlink.NexthopInfo{LinkIndex: index, Gw: via.AsSlice(), Flags: flags})
		}
	}
	return out
}

// Routes lists the unicast routes of the main table over a device, without those for link-local IPv6.
func (c *Conn) Routes(device string) ([]Route, error) {
	l, err := c.need(device)
	if err != nil {
		return nil, err
	}
	var list []netlink.Route
	for range 5 {
		if list, err = c.h.RouteList(l, netlink.FAMILY_ALL); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, c.fail(err, "list routes of %s", device)
	}
	var out []Route
	for _, r := range list {
		if route, ok := routeOf(r, device); ok {
			out = append(out, route)
		}
	}
	return out, nil
}

func routeOf(r netlink.Route, device string) (Route, bool) {
	dst, ok := prefixOf(r.Dst)
	if !ok || r.Type != unix.RTN_UNICAST || dst.Addr().IsLinkLocalUnicast() && dst.Addr().Is6() || dst.Addr().IsMulticast() {
		return Route{}, false
	}
	out := Route{Destination: dst, Device: device, OnLink: r.Flags&int(netlink.FLAG_ONLINK) != 0, MTU: r.MTU, Metric: r.Priority}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		out.Via = []netip.Addr{via.Unmap()}
	}
	if src, ok := netip.AddrFromSlice(r.Src); ok {
		out.Source = src.Unmap()
	}
	return out, true
}

// DeleteRoute removes the route to a destination over a device. Nothing to remove is no error.
func (c *Conn) DeleteRoute(r Route) error {
	l, err := c.need(r.Device)
	if err != nil {
		return err
	}
	del := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(r.Destination), Priority: r.Metric}
	if err := c.h.RouteDel(del); err != nil && !errors.Is(err, unix.ESRCH) {
		return c.fail(err, "remove route %s by %s", r.Destination, r.Device)
	}
	return nil
}

// EnsureNeighbour binds an address to a MAC for good.
func (c *Conn) EnsureNeighbour(device string, addr netip.Addr, mac net.HardwareAddr) error {
	l, err := c.need(device)
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	n := &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: mac}
	return c.fail(c.h.NeighSet(n), "bind %s to %s on %s", addr, mac, device)
}
