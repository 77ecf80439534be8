package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// First patience and number of tries of a request; the library doubles the patience each time: 3.1 s in all.
const (
	patience = 100 * time.Millisecond
	tries    = 5
)

// acquire runs the DHCP clients that the NIC's addresses call for.
func acquire(ctx context.Context, ns string, p goal.Port) (*lease, error) {
	l := &lease{}
	if hasV4(p) {
		if err := acquire4(ctx, ns, p, l); err != nil {
			return nil, fmt.Errorf("dhcp: %w", err)
		}
	}
	if hasV6(p) {
		if err := acquire6(ctx, ns, p, l); err != nil {
			return nil, fmt.Errorf("dhcpv6: %w", err)
		}
	}
	if l.MTU == 0 {
		l.MTU = linkMTU
	}
	return l, nil
}

func hasV4(p goal.Port) bool {
	for _, a := range p.Addresses {
		if a.IP.Is4() {
			return true
		}
	}
	return false
}

// acquire4 is discover, offer, request, acknowledge over a raw socket inside the sandbox.
func acquire4(ctx context.Context, ns string, p goal.Port, l *lease) error {
	var conn net.PacketConn
	err := netns.Do(ns, func() (err error) {
		conn, err = nclient4.NewRawUDPConn(p.Sandbox.Device, dhcpv4.ClientPort)
		return err
	})
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	client, err := nclient4.NewWithConn(conn, net.HardwareAddr(p.MAC[:]), nclient4.WithTimeout(patience), nclient4.WithRetry(tries))
	if err != nil {
		conn.Close()
		return err
	}
	defer client.Close()
	got, err := client.Request(ctx, dhcpv4.WithOption(dhcpv4.OptHostName(p.Sandbox.HostName)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName,
			dhcpv4.OptionInterfaceMTU, dhcpv4.OptionClasslessStaticRoute))
	if err != nil {
		return err
	}
	return l.take4(got.ACK)
}

// take4 reads an acknowledgement as RFC 2131 and 3442 say: classless routes replace the router option.
func (l *lease) take4(ack *dhcpv4.DHCPv4) error {
	ip, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	ones, bits := ack.SubnetMask().Size()
	if !ok || ip.IsUnspecified() || bits != 32 {
		return fmt.Errorf("an answer without address or subnet mask: %s with mask %s", ack.YourIPAddr, ack.SubnetMask())
	}
	l.Addresses = append(l.Addresses, netip.PrefixFrom(ip, ones))
	if routes := ack.ClasslessStaticRoute(); len(routes) > 0 {
		for _, r := range routes {
			to, okTo := netip.AddrFromSlice(r.Dest.IP.To4())
			n, _ := r.Dest.Mask.Size()
			via, okVia := netip.AddrFromSlice(r.Router.To4())
			if !okTo || !okVia {
				return fmt.Errorf("a route that cannot be read: %s", r)
			}
			if via.IsUnspecified() {
				via = netip.Addr{}
			}
			l.Routes = append(l.Routes, route{To: netip.PrefixFrom(to, n).Masked(), Via: via})
		}
	} else if routers := ack.Router(); len(routers) > 0 {
		via, _ := netip.AddrFromSlice(routers[0].To4())
		l.Routes = append(l.Routes, route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via})
	}
	for _, d := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(d.To4()); ok {
			l.DNS = append(l.DNS, a)
		}
	}
	l.Domain = ack.DomainName()
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil {
		l.MTU = int(mtu)
	}
	return nil
}

// acquire6 learns the router from its advertisement and the address from DHCPv6, as a guest with IPv6 on Azure must.
func acquire6(ctx context.Context, ns string, p goal.Port, l *lease) error {
	router, mtu, err := solicitRouter(ctx, ns, p.Sandbox.Device)
	if err != nil {
		return err
	}
	if l.MTU == 0 {
		l.MTU = mtu
	}
	conn, err := listen6(ctx, ns, p.Sandbox.Device)
	if err != nil {
		return err
	}
	client, err := nclient6.NewWithConn(conn, net.HardwareAddr(p.MAC[:]), nclient6.WithTimeout(patience), nclient6.WithRetry(tries))
	if err != nil {
		conn.Close()
		return err
	}
	defer client.Close()
	reply, err := client.RapidSolicit(ctx)
	if err != nil {
		return err
	}
	if err := l.take6(reply); err != nil {
		return err
	}
	if p.Primary {
		l.Routes = append(l.Routes, route{To: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: router})
	}
	return nil
}

func (l *lease) take6(reply *dhcpv6.Message) error {
	ia := reply.Options.OneIANA()
	if ia == nil || ia.Options.OneAddress() == nil {
		return errors.New("an answer without an address")
	}
	for _, a := range ia.Options.Addresses() {
		if ip, ok := netip.AddrFromSlice(a.IPv6Addr); ok && a.ValidLifetime > 0 {
			l.Addresses = append(l.Addresses, netip.PrefixFrom(ip, 128))
		}
	}
	for _, d := range reply.Options.DNS() {
		if a, ok := netip.AddrFromSlice(d); ok {
			l.DNS = append(l.DNS, a)
		}
	}
	if list := reply.Options.DomainSearchList(); l.Domain == "" && list != nil && len(list.Labels) > 0 {
		l.Domain = list.Labels[0]
	}
	return nil
}

// listen6 opens the DHCPv6 client's port on the link-local address, which the kernel makes a moment after the device came up.
func listen6(ctx context.Context, ns, device string) (conn net.PacketConn, err error) {
	local, err := linkLocal(ctx, ns, device)
	if err != nil {
		return nil, err
	}
	// By its number: package net remembers numbers of names for a minute, and every sandbox, also one made anew, has its own eth0.
	zone := ""
	err = netdev.With(ns, func(c *netdev.Conn) error {
		l, ok, err := c.Link(device)
		if err == nil && !ok {
			err = fmt.Errorf("no device %s", device)
		}
		zone = strconv.Itoa(l.Index)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = netns.Do(ns, func() (err error) {
		conn, err = net.ListenUDP("udp6", &net.UDPAddr{IP: local.AsSlice(), Port: dhcpv6.DefaultClientPort, Zone: zone})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open socket: %w", err)
	}
	return conn, nil
}

// linkLocal waits for the device's link-local address; one that somebody flushed comes back when IPv6 is switched off and on.
func linkLocal(ctx context.Context, ns, device string) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := netdev.Open(ns)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	var local netip.Addr
	turn := 0
	err = until(ctx, "no link-local address on "+device, func() (ok bool, err error) {
		if turn++; turn == 200 {
			key := "net/ipv6/conf/" + device + "/disable_ipv6"
			if err := netdev.SetSysctls(ns, netdev.Sysctl{Key: key, Value: "1"}, netdev.Sysctl{Key: key, Value: "0"}); err != nil {
				return false, err
			}
		}
		local, ok, err = c.LinkLocal(device)
		return ok, err
	})
	return local, err
}
