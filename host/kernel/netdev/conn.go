// Package netdev makes and changes network devices, addresses, routes and neighbours in any network namespace.
//
// In: typed wishes ("this veth pair with these ends"). Out: kernel state; every Ensure… is idempotent, leaves alone what
// already is as wished and replaces what carries the name but is something else. It keeps no state of its own and knows
// nothing of goals. It is the only importer of vishvananda/netlink and mdlayher/packet.
package netdev

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ringfence/host/kernel/netns"
)

// Conn speaks netlink inside one network namespace. It may be used on any thread.
type Conn struct {
	ns string
	h  *netlink.Handle
}

// Open returns a Conn for the namespace ns: a name, a path, or "" for the caller's own.
func Open(ns string) (*Conn, error) {
	c := &Conn{ns: ns}
	err := netns.Do(ns, func() (err error) {
		c.h, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink%s: %w", c.where(), err)
	}
	return c, nil
}

// With opens a Conn for ns, calls fn and closes it.
func With(ns string, fn func(*Conn) error) error {
	c, err := Open(ns)
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(c)
}

// Close closes the sockets; it changes nothing in the kernel.
func (c *Conn) Close() { c.h.Close() }

// where is the tail of an error text: which namespace.
func (c *Conn) where() string {
	if c.ns == "" {
		return ""
	}
	return " in " + c.ns
}

// fail wraps err with the operation; nil stays nil.
func (c *Conn) fail(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%s: %w", fmt.Sprintf(format, args...), c.where(), err)
}

// Lost counts packets that the kernel has lost at a device since it was made.
type Lost struct{ Received, Sent uint64 }

// Link is what a device is.
type Link struct {
	Name    string
	Index   int
	Kind    string // veth, bridge, vxlan …
	MAC     net.HardwareAddr
	MTU     int
	Up      bool
	Ready   bool // up, and the kernel has noticed the carrier: what is sent before is lost
	Running bool // up here and at its other end
	Lost    Lost
	Peer    int    // the index of a veth's other end, in its namespace
	Alias   string // text that a fresh process recognises its own by
	Tap     bool
	Master  int // index of the bridge that it is in, 0: none
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	t, tun := l.(*netlink.Tuntap)
	var lost Lost
	if a.Statistics != nil {
		lost = Lost{a.Statistics.RxDropped, a.Statistics.TxDropped}
	}
	return Link{Running: running(a.RawFlags), Lost: lost, Tap: tun && t.Mode == netlink.TUNTAP_MODE_TAP, Master: a.MasterIndex,
		Name: a.Name, Index: a.Index, Kind: l.Type(), MAC: a.HardwareAddr, MTU: a.MTU,
		Up: a.Flags&net.FlagUp != 0, Ready: a.OperState == netlink.OperUp, Peer: a.ParentIndex, Alias: a.Alias}
}

func running(flags uint32) bool {
	const up = unix.IFF_UP | unix.IFF_LOWER_UP
	return flags&up == up
}

// Link returns the device name; ok is false when there is none.
func (c *Conn) Link(name string) (l Link, ok bool, err error) {
	nl, err := c.byName(name)
	if err != nil || nl == nil {
		return Link{}, false, err
	}
	return linkOf(nl), true, nil
}

// List returns the devices whose names begin with prefix, by name as the kernel has them.
func (c *Conn) List(prefix string) ([]Link, error) {
	var all []netlink.Link
	var err error
	for range 5 { // a dump is interrupted when devices come and go meanwhile
		if all, err = c.h.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, c.fail(err, "list devices")
	}
	var out []Link
	for _, l := range all {
		if strings.HasPrefix(l.Attrs().Name, prefix) {
			out = append(out, linkOf(l))
		}
	}
	return out, nil
}

// Delete removes the device name; a veth's other end goes with it. Nothing to remove is no error.
func (c *Conn) Delete(name string) error {
	l, err := c.byName(name)
	if err != nil || l == nil {
		return err
	}
	if err := c.h.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return c.fail(err, "delete %s", name)
	}
	return nil
}

// doomed is the group that devices enter to be deleted together.
const doomed = 0x5246

// DeleteAll removes devices in one step: the kernel waits once for all packets under way, and not once for each device (some 15 ms).
func (c *Conn) DeleteAll(names []string) error {
	var found []netlink.Link
	for _, name := range names {
		l, err := c.byName(name)
		if err != nil {
			return err
		}
		if l != nil {
			found = append(found, l)
		}
	}
	if len(found) == 0 {
		return nil
	}
	for _, l := range found {
		if err := c.h.LinkSetGroup(l, doomed); err != nil && !errors.Is(err, unix.ENODEV) {
			return c.fail(err, "group %s for deletion", l.Attrs().Name)
		}
	}
	return c.fail(netns.Do(c.ns, deleteDoomed), "delete %d devices", len(found))
}

func deleteDoomed() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(doomed)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENODEV) {
		return nil // all gone by themselves
	}
	return err
}

// byName returns nil without an error when there is no such device.
func (c *Conn) byName(name string) (netlink.Link, error) {
	l, err := c.h.LinkByName(name)
	var missing netlink.LinkNotFoundError
	if errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, c.fail(err, "find %s", name)
	}
	return l, nil
}

// need is byName for devices that must be there.
func (c *Conn) need(name string) (netlink.Link, error) {
	l, err := c.byName(name)
	if err == nil && l == nil {
		err = c.fail(unix.ENODEV, "find %s", name)
	}
	return l, err
}

// checkName refuses what the kernel would cut or misread.
func checkName(name string) error {
	if name == "" || len(name) > unix.IFNAMSIZ-1 || strings.ContainsAny(name, "/ :\x00") {
		return fmt.Errorf("device name %q: 1 to %d bytes without space, slash and colon expected", name, unix.IFNAMSIZ-1)
	}
	return nil
}
