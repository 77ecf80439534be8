// Package services makes the service namespace of a host: where DHCP, DNS and metadata are served to VMs.
//
// In: the lab's or machine's instance and the host's name. Out: a namespace with the platform's addresses and a device pair into
// it; the data plane redirects VMs' service frames to the host's end and takes answers from it. The agent owns it. The services themselves are the packages below.
package services

import (
	"fmt"
	"net"
	"net/netip"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// Device is the host's end of the pair, Inside the service namespace's end.
const (
	Device = "rfsvc"
	Inside = "svc0"
)

// insideMAC belongs to the fabric: VMs never see it. The data plane sends to it what is for DNS and metadata.
var insideMAC = net.HardwareAddr{0x02, 0x5f, 0xff, 0xff, 0xff, 0xff}

// Addresses are what VMs know the services by: the platform's (DHCP, DNS, the wire server) and the metadata service's.
var Addresses = []netip.Addr{netip.AddrFrom4([4]byte{168, 63, 129, 16}), netip.AddrFrom4([4]byte{169, 254, 169, 254})}

// Link is the made pair.
type Link struct {
	Namespace string // of Inside
	Inode     uint64 // of the namespace: another one may have its name tomorrow
	Index     int    // of Device, in the host's namespace
}

// Whole says what of the pair is not there any more, called inside the host's namespace.
func (l Link) Whole() error {
	if inode, err := netns.Inode(l.Namespace); err != nil || inode != l.Inode {
		return fmt.Errorf("namespace %s was removed or replaced", l.Namespace)
	}
	here := func(space, device string, index int) error {
		return netdev.With(space, func(c *netdev.Conn) error {
			d, ok, err := c.Link(device)
			switch {
			case err != nil:
				return err
			case !ok || !d.Up || index != 0 && d.Index != index:
				return fmt.Errorf("device %s was removed, replaced or taken down", device)
			}
			return nil
		})
	}
	if err := here("", Device, l.Index); err != nil {
		return err
	}
	return here(l.Namespace, Inside, 0)
}

// Namespace names the service namespace of a host.
func Namespace(instance, host string) string { return "rf-" + instance + "-" + host + "-svc" }

// Ensure makes the namespace and the pair, called inside the host's namespace. Both ends are up, without IPv6.
func Ensure(instance, host string) (Link, error) {
	ns := Namespace(instance, host)
	if _, err := netns.Ensure(ns); err != nil {
		return Link{}, err
	}
	quiet := []netdev.Sysctl{
		{Key: "net/ipv6/conf/default/disable_ipv6", Value: "1", Optional: true},
		{Key: "net/ipv4/ip_forward", Value: "0"},
	}
	if err := netdev.SetSysctls(ns, quiet...); err != nil {
		return Link{}, fmt.Errorf("service namespace: %w", err)
	}
	link := Link{Namespace: ns}
	var err error
	if link.Inode, err = netns.Inode(ns); err != nil {
		return Link{}, err
	}
	err = netdev.With("", func(c *netdev.Conn) (err error) {
		link.Index, _, err = c.EnsureVeth(netdev.Veth{
			Name: Device, MTU: 1500,
			Peer: netdev.Peer{Namespace: ns, Name: Inside, MAC: insideMAC, MTU: 1500},
		})
		if err != nil {
			return err
		}
		off := netdev.Sysctl{Key: "net/ipv6/conf/" + Device + "/disable_ipv6", Value: "1", Optional: true}
		if err := netdev.SetSysctls("", off); err != nil {
			return err
		}
		if err := c.SetARP(Device, false); err != nil {
			return err
		}
		return c.Up(Device)
	})
	if err != nil {
		return Link{}, fmt.Errorf("service device: %w", err)
	}
	if err := netdev.With(ns, inside); err != nil {
		return Link{}, fmt.Errorf("service device: %w", err)
	}
	return link, nil
}

// inside makes the service namespace's end: the platform's addresses stand on its loopback, and every alias is behind the device,
// which asks nobody for MAC addresses: frames that leave carry its own MAC on both sides, frames that arrive must be sent to it.
func inside(c *netdev.Conn) error {
	if err := c.SetARP(Inside, false); err != nil {
		return err
	}
	for _, device := range []string{"lo", Inside} {
		if err := c.Up(device); err != nil {
			return err
		}
	}
	for _, ip := range Addresses {
		if err := c.EnsureAddress("lo", netdev.Address{Prefix: netip.PrefixFrom(ip, 32)}); err != nil {
			return err
		}
	}
	return c.EnsureRoute(netdev.Route{Destination: goal.Aliases, Device: Inside, Source: Addresses[0]})
}

// Remove takes the namespace and the pair away.
func Remove(instance, host string) error {
	if err := netdev.With("", func(c *netdev.Conn) error { return c.Delete(Device) }); err != nil {
		return err
	}
	return netns.Delete(Namespace(instance, host))
}
