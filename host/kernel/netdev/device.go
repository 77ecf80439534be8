package netdev

import (
	"bytes"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Veth describes a pair: one end here, the other in Peer.Namespace.
type Veth struct {
	Name  string
	MAC   net.HardwareAddr // nil: the kernel chooses
	MTU   int
	Alias string // when set, a pair with another alias is replaced
	Peer  Peer
}

// Peer is the other end of a pair.
type Peer struct {
	Namespace string // name or path
	Name      string
	MAC       net.HardwareAddr
	MTU       int
}

// EnsureVeth makes the pair and says whether it had to. Neither end is brought up. Both ends are born in their namespaces: no
// other namespace ever sees them.
func (c *Conn) EnsureVeth(v Veth) (index int, created bool, err error) {
	if err := checkName(v.Name); err != nil {
		return 0, false, err
	}
	if err := checkName(v.Peer.Name); err != nil {
		return 0, false, err
	}
	old, err := c.byName(v.Name)
	if err != nil {
		return 0, false, err
	}
	if old != nil {
		same, err := c.sameVeth(old, v)
		if err != nil || same {
			return old.Attrs().Index, false, err
		}
		if err := c.Delete(v.Name); err != nil {
			return 0, false, err
		}
	}
	index, err = c.addVeth(v)
	return index, err == nil, err
}

func (c *Conn) addVeth(v Veth) (int, error) {
	peer, err := netns.Open(v.Peer.Namespace)
	if err != nil {
		return 0, err
	}
	defer peer.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = v.Name, v.MTU, v.MAC
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerMTU = v.Peer.Name, v.Peer.MAC, uint32(v.Peer.MTU)
	veth.PeerNamespace = netlink.NsFd(int(peer))
	if err := c.h.LinkAdd(veth); err != nil {
		return 0, c.fail(err, "make veth %s with %s in %s", v.Name, v.Peer.Name, v.Peer.Namespace)
	}
	l, err := c.need(v.Name)
	if err != nil {
		return 0, err
	}
	if v.Alias != "" {
		if err := c.h.LinkSetAlias(l, v.Alias); err != nil {
			c.h.LinkDel(l)
			return 0, c.fail(err, "set alias of %s", v.Name)
		}
	}
	return l.Attrs().Index, nil
}

// sameVeth says whether old is the pair v; differing MTUs are corrected in place.
func (c *Conn) sameVeth(old netlink.Link, v Veth) (bool, error) {
	a := old.Attrs()
	if old.Type() != "veth" || (v.Alias != "" && a.Alias != v.Alias) || (v.MAC != nil && !bytes.Equal(a.HardwareAddr, v.MAC)) {
		return false, nil
	}
	same := false
	err := With(v.Peer.Namespace, func(pc *Conn) error {
		p, err := pc.byName(v.Peer.Name)
		if err != nil || p == nil || p.Type() != "veth" || p.Attrs().ParentIndex != a.Index || a.ParentIndex != p.Attrs().Index {
			return err
		}
		if v.Peer.MAC != nil && !bytes.Equal(p.Attrs().HardwareAddr, v.Peer.MAC) {
			return nil
		}
		same = true
		return pc.setMTU(p, v.Peer.MTU)
	})
	if err != nil || !same {
		return false, err
	}
	return true, c.setMTU(old, v.MTU)
}

func (c *Conn) setMTU(l netlink.Link, mtu int) error {
	if mtu == 0 || l.Attrs().MTU == mtu {
		return nil
	}
	return c.fail(c.h.LinkSetMTU(l, mtu), "set MTU of %s to %d", l.Attrs().Name, mtu)
}

// SetMTU changes a device's MTU.
func (c *Conn) SetMTU(name string, mtu int) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	return c.setMTU(l, mtu)
}

// EnsureVXLAN makes an external (collect_md) VXLAN device: tunnel and VNI come with each packet, nothing is learnt.
func (c *Conn) EnsureVXLAN(name string, port, mtu int) (index int, err error) {
	old, err := c.byName(name)
	if err != nil {
		return 0, err
	}
	if old != nil {
		if vx, ok := old.(*netlink.Vxlan); ok && vx.FlowBased && vx.Port == port && !vx.Learning {
			return old.Attrs().Index, c.setMTU(old, mtu)
		}
		if err := c.Delete(name); err != nil {
			return 0, err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	return c.add(&netlink.Vxlan{LinkAttrs: attrs, FlowBased: true, Port: port})
}

// EnsureBridge makes a plain learning bridge.
func (c *Conn) EnsureBridge(name string, mtu int) (index int, err error) {
	old, err := c.byName(name)
	if err != nil {
		return 0, err
	}
	if old != nil {
		if old.Type() == "bridge" {
			return old.Attrs().Index, c.setMTU(old, mtu)
		}
		if err := c.Delete(name); err != nil {
			return 0, err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	snooping := false // a host's neighbour discovery must not wait for a querier
	return c.add(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
}

func (c *Conn) add(l netlink.Link) (int, error) {
	name := l.Attrs().Name
	if err := checkName(name); err != nil {
		return 0, err
	}
	if err := c.h.LinkAdd(l); err != nil {
		return 0, c.fail(err, "make %s %s", l.Type(), name)
	}
	made, err := c.need(name)
	if err != nil {
		return 0, err
	}
	return made.Attrs().Index, nil
}

// SetMaster puts a device into a bridge.
func (c *Conn) SetMaster(name, bridge string) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	b, err := c.need(bridge)
	if err != nil {
		return err
	}
	if l.Attrs().MasterIndex == b.Attrs().Index {
		return nil
	}
	return c.fail(c.h.LinkSetMasterByIndex(l, b.Attrs().Index), "put %s into bridge %s", name, bridge)
}

// Up brings a device up.
func (c *Conn) Up(name string) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	return c.fail(c.h.LinkSetUp(l), "bring %s up", name)
}

// Down takes a device down.
func (c *Conn) Down(name string) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	return c.fail(c.h.LinkSetDown(l), "take %s down", name)
}

// SetAlias gives a device the text by which a fresh process recognises it; "" takes it away.
func (c *Conn) SetAlias(name, alias string) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	return c.fail(c.h.LinkSetAlias(l, alias), "set alias of %s", name)
}

// SetARP switches address resolution on a device; without it the kernel neither asks nor answers there.
func (c *Conn) SetARP(name string, on bool) error {
	l, err := c.need(name)
	if err != nil {
		return err
	}
	noARP := l.Attrs().RawFlags&unix.IFF_NOARP != 0
	if noARP == !on {
		return nil
	}
	if on {
		return c.fail(c.h.LinkSetARPOn(l), "set arp on %s", name)
	}
	return c.fail(c.h.LinkSetARPOff(l), "set noarp on %s", name)
}
