package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// Devices of a host, the same in every lab: the namespace's name tells labs and hosts apart.
const (
	underlayDevice   = "under0"
	managementDevice = "mgmt0"
	uplinkDevice     = "uplink0"
)

// MTUs: the underlay carries a guest's 1500 bytes inside VXLAN.
const (
	underlayMTU = 1600
	plainMTU    = 1500
)

// link is one of the three layer-2 segments: a bridge in the fabric's namespace.
type link struct {
	bridge string
	device string // a node's end
	port   string // prefix of the bridge ports' names
	mtu    int
	net4   netip.Prefix
	net6   netip.Prefix // invalid: IPv4 only
}

var (
	underlay   = link{"under", underlayDevice, "u", underlayMTU, netip.MustParsePrefix("198.18.0.0/24"), netip.Prefix{}}
	management = link{"mgmt", managementDevice, "m", plainMTU, netip.MustParsePrefix("198.18.1.0/24"), netip.Prefix{}}
	uplink     = link{"uplink", uplinkDevice, "x", plainMTU, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:203::/64")}
)

// Numbers of nodes in a segment's prefix: the server and the Internet are 1, host i is 10+i.
const (
	firstNode = 1
	hostBase  = 10
)

// addr is node n's address in prefix p.
func addr(p netip.Prefix, n int) netip.Addr {
	b := p.Addr().AsSlice()
	b[len(b)-1] += byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// mac of node n in a segment: fixed, so that the Internet can name a host's without asking it.
func (l link) mac(n int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x5e, 0x00, 0x00, l.port[0], byte(n)}
}

// beyond is what the Internet sends towards the hosts' uplinks: whatever a tenant, the underlay or the platform could have.
var beyond = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("169.254.169.254/32"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("2001:db8::/32"),
}

// hostNames are host1, host2 …
func hostNames(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("host%d", i+1))
	}
	return out
}

// lay makes the namespaces, bridges and links of a lab with n hosts. Uplinks of hosts stay down: see openUplinks.
func lay(name string, n int) error {
	fabric := netnsName(name, "fabric")
	if err := makeNode(fabric); err != nil {
		return err
	}
	return netdev.With(fabric, func(c *netdev.Conn) error {
		for _, l := range []link{underlay, management, uplink} {
			if _, err := c.EnsureBridge(l.bridge, l.mtu); err != nil {
				return err
			}
			if err := c.Up(l.bridge); err != nil {
				return err
			}
		}
		if err := layServer(c, name); err != nil {
			return err
		}
		for i, host := range hostNames(n) {
			if err := layHost(c, netnsName(name, host), i+1); err != nil {
				return fmt.Errorf("%s: %w", host, err)
			}
		}
		return layInternet(c, name, n)
	})
}

// layServer makes the namespace of the control plane's end of the management link.
func layServer(fabric *netdev.Conn, name string) error {
	ns := netnsName(name, "server")
	if err := makeNode(ns); err != nil {
		return err
	}
	return management.join(fabric, ns, firstNode)
}

func layHost(fabric *netdev.Conn, ns string, i int) error {
	if err := makeNode(ns); err != nil {
		return err
	}
	for _, l := range []link{underlay, management, uplink} {
		if err := l.join(fabric, ns, hostBase+i); err != nil {
			return err
		}
	}
	return netdev.With(ns, func(c *netdev.Conn) error { return c.Down(uplinkDevice) })
}

// layInternet makes the node that stands for everybody outside, with routes and neighbours that let it try whatever it likes.
func layInternet(fabric *netdev.Conn, name string, n int) error {
	ns := netnsName(name, internetNode)
	if err := makeNode(ns); err != nil {
		return err
	}
	if err := uplink.join(fabric, ns, firstNode); err != nil {
		return err
	}
	return netdev.With(ns, func(c *netdev.Conn) error {
		var via4, via6 []netip.Addr
		for i := 1; i <= n; i++ {
			for _, a := range []netip.Addr{addr(uplink.net4, hostBase+i), addr(uplink.net6, hostBase+i)} {
				if err := c.EnsureNeighbour(uplinkDevice, a, uplink.mac(hostBase+i)); err != nil {
					return err
				}
			}
			via4, via6 = append(via4, addr(uplink.net4, hostBase+i)), append(via6, addr(uplink.net6, hostBase+i))
		}
		for _, to := range beyond {
			via := via4
			if to.Addr().Is6() {
				via = via6
			}
			if err := c.EnsureRoute(netdev.Route{Destination: to, Device: uplinkDevice, Via: via}); err != nil {
				return err
			}
		}
		return nil
	})
}

// openUplinks brings the hosts' uplinks up and waits until they carry: only when the agents have their programs on them, so that no
// host's own stack is ever open.
func openUplinks(name string, n int) error {
	var errs []error
	for i, host := range hostNames(n) {
		errs = append(errs, netdev.With(netnsName(name, host), func(c *netdev.Conn) error {
			if err := c.Up(uplinkDevice); err != nil {
				return err
			}
			return uplink.address(c, hostBase+i+1) // IPv6 addresses were lost with the link
		}))
	}
	for i, host := range hostNames(n) {
		errs = append(errs, carries(netnsName(name, host), uplinkDevice), carries(netnsName(name, "fabric"), uplink.bridgePort(hostBase+i+1)))
	}
	return errors.Join(errs...)
}

// carrierTime is how long the kernel may take to notice that both ends of a pair are up.
const carrierTime = 3 * time.Second

// carries waits until what is sent over the device is not lost any more.
func carries(ns, device string) error {
	return netdev.With(ns, func(c *netdev.Conn) error {
		for end := time.Now().Add(carrierTime); ; time.Sleep(2 * time.Millisecond) {
			l, ok, err := c.Link(device)
			if err != nil || ok && l.Ready {
				return err
			}
			if time.Now().After(end) {
				return fmt.Errorf("%s in %s does not come up", device, ns)
			}
		}
	})
}

// makeNode makes a namespace that forwards nothing and says nothing by itself.
func makeNode(ns string) error {
	if err := netns.New(ns); err != nil {
		return err
	}
	err := netdev.SetSysctls(ns,
		netdev.Sysctl{Key: "net/ipv4/ip_forward", Value: "0"},
		netdev.Sysctl{Key: "net/ipv4/ping_group_range", Value: "0 2147483647"},
		netdev.Sysctl{Key: "net/ipv4/conf/all/arp_ignore", Value: "1"},
		netdev.Sysctl{Key: "net/ipv6/conf/all/forwarding", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/disable_ipv6", Value: "1", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/accept_ra", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/accept_dad", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/ipv6/conf/default/router_solicitations", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/bridge/bridge-nf-call-iptables", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/bridge/bridge-nf-call-ip6tables", Value: "0", Optional: true},
		netdev.Sysctl{Key: "net/bridge/bridge-nf-call-arptables", Value: "0", Optional: true},
	)
	if err != nil {
		return fmt.Errorf("prepare %s: %w", ns, err)
	}
	return netdev.With(ns, func(c *netdev.Conn) error { return c.Up("lo") })
}

// bridgePort names node n's end in the fabric.
func (l link) bridgePort(n int) string { return fmt.Sprintf("%s%d", l.port, n) }

// join connects the namespace ns as node n of the segment.
func (l link) join(fabric *netdev.Conn, ns string, n int) error {
	port := l.bridgePort(n)
	_, _, err := fabric.EnsureVeth(netdev.Veth{
		Name: port, MTU: l.mtu,
		Peer: netdev.Peer{Namespace: ns, Name: l.device, MAC: l.mac(n), MTU: l.mtu},
	})
	if err != nil {
		return err
	}
	if err := fabric.SetMaster(port, l.bridge); err != nil {
		return err
	}
	if err := fabric.Up(port); err != nil {
		return err
	}
	if l.net6.IsValid() {
		on := netdev.Sysctl{Key: "net/ipv6/conf/" + l.device + "/disable_ipv6", Value: "0", Optional: true}
		if err := netdev.SetSysctls(ns, on); err != nil {
			return err
		}
	}
	return netdev.With(ns, func(c *netdev.Conn) error {
		if err := c.Up(l.device); err != nil {
			return err
		}
		return l.address(c, n)
	})
}

func (l link) address(c *netdev.Conn, n int) error {
	for _, p := range []netip.Prefix{l.net4, l.net6} {
		if !p.IsValid() {
			continue
		}
		a := netdev.Address{Prefix: netip.PrefixFrom(addr(p, n), p.Bits()), NoDAD: true}
		if err := c.EnsureAddress(l.device, a); err != nil {
			return err
		}
	}
	return nil
}
