package goal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Limits of the numbers that name ports and virtual networks.
const (
	MaxPort uint32 = 1<<22 - 2
	MaxVNI  uint32 = 1<<24 - 1
)

// Check says why a goal must not be applied, nil when it may. A host refuses a goal that does not pass: everything it relies on
// (order, uniqueness, references that exist) is asked here once and nowhere else.
func Check(h *Host) error {
	if h.Name == "" || !h.Underlay.IsValid() {
		return fmt.Errorf("host %q: underlay %s: expected a name and an address", h.Name, h.Underlay)
	}
	c := checker{h: h, groups: map[string]*Group{}, vnets: map[uint32]*VNet{}, resolved: map[reference]bool{}}
	return cmp.Or(h.checkForwarders(), c.checkGroups(), c.checkVNets(), c.checkPorts(), c.checkLocalEndpoints(), c.checkUsed(), c.checkZones())
}

type checker struct {
	h        *Host
	groups   map[string]*Group
	vnets    map[uint32]*VNet
	resolved map[reference]bool
}

type reference struct {
	group string
	vni   uint32
}

func (c *checker) checkGroups() error {
	for i := range c.h.Groups {
		g := &c.h.Groups[i]
		if g.ID == "" || i > 0 && c.h.Groups[i-1].ID >= g.ID {
			return fmt.Errorf("group %q: expected ids in ascending order, none empty", g.ID)
		}
		if err := cmp.Or(checkRules(g.In), checkRules(g.Out)); err != nil {
			return fmt.Errorf("group %q: %w", g.ID, err)
		}
		c.groups[g.ID] = g
	}
	return nil
}

// checkRules wants ascending priorities and a last rule that leaves no packet without a verdict.
func checkRules(rules []Rule) error {
	for i := range rules {
		r := &rules[i]
		if r.Name == "" || i > 0 && rules[i-1].Priority > r.Priority {
			return fmt.Errorf("rule %q: priority %d: expected a name and ascending priorities", r.Name, r.Priority)
		}
		if err := cmp.Or(checkMatch(r.Src), checkMatch(r.Dst), checkRanges(r.SrcPorts), checkRanges(r.DstPorts)); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
	}
	if len(rules) == 0 || !rules[len(rules)-1].matchesAll() {
		return fmt.Errorf("expected a last rule that matches everything in both directions")
	}
	return nil
}

func (r *Rule) matchesAll() bool {
	any := []PortRange{AnyPort}
	return r.Protocol == ProtocolAny && r.Src.Any && r.Dst.Any && slices.Equal(r.SrcPorts, any) && slices.Equal(r.DstPorts, any)
}

func checkMatch(m Match) error {
	some := len(m.Prefixes) + len(m.Sets)
	if m.Any == (some > 0) {
		return fmt.Errorf("addresses: expected either any, or prefixes and sets")
	}
	if !ascending(m.Sets, strings.Compare) {
		return fmt.Errorf("sets %q: expected ascending order", m.Sets)
	}
	return checkPrefixes(m.Prefixes)
}

func checkPrefixes(list []netip.Prefix) error {
	for _, p := range list {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return fmt.Errorf("prefix %s: expected a prefix without host bits", p)
		}
	}
	if !ascending(list, netip.Prefix.Compare) {
		return fmt.Errorf("prefixes %s: expected ascending order", list)
	}
	return nil
}

// checkRanges wants at least one range, in order, none touching the next.
func checkRanges(ranges []PortRange) error {
	end := -2
	for _, r := range ranges {
		if r.Lo > r.Hi || int(r.Lo) <= end+1 {
			return fmt.Errorf("port range %s: expected ascending ranges that do not touch", r)
		}
		end = int(r.Hi)
	}
	if len(ranges) == 0 {
		return fmt.Errorf("port ranges: expected at least one")
	}
	return nil
}

func (c *checker) checkVNets() error {
	for i := range c.h.VNets {
		n := &c.h.VNets[i]
		if n.VNI == 0 || n.VNI > MaxVNI || i > 0 && c.h.VNets[i-1].VNI >= n.VNI {
			return fmt.Errorf("vnet %d: expected ascending VNIs from 1 to %d", n.VNI, MaxVNI)
		}
		if err := n.check(); err != nil {
			return fmt.Errorf("vnet %d: %w", n.VNI, err)
		}
		c.vnets[n.VNI] = n
	}
	return nil
}

func (n *VNet) check() error {
	if err := checkPrefixes(n.Prefixes); err != nil {
		return err
	}
	for i, s := range n.Sets {
		if s.Name == "" || i > 0 && n.Sets[i-1].Name >= s.Name {
			return fmt.Errorf("set %q: expected ascending names, none empty", s.Name)
		}
		if err := checkPrefixes(s.Prefixes); err != nil {
			return fmt.Errorf("set %q: %w", s.Name, err)
		}
		for k := 1; k < len(s.Prefixes); k++ {
			if s.Prefixes[k-1].Overlaps(s.Prefixes[k]) {
				return fmt.Errorf("set %q: %s overlaps %s", s.Name, s.Prefixes[k-1], s.Prefixes[k])
			}
		}
	}
	for i, e := range n.Endpoints {
		if !plain(e.IP) || !e.Host.IsValid() || e.Port == 0 || e.Port > MaxPort {
			return fmt.Errorf("endpoint %s: port %d host %s: expected an address, a port and a host", e.IP, e.Port, e.Host)
		}
		if i > 0 && n.Endpoints[i-1].IP.Compare(e.IP) >= 0 {
			return fmt.Errorf("endpoint %s: expected ascending addresses", e.IP)
		}
	}
	return n.checkNames()
}

func (c *checker) checkPorts() error {
	sandbox, attached := map[Sandbox]bool{}, map[Attachment]bool{}
	for i := range c.h.Ports {
		p := &c.h.Ports[i]
		if p.Index == 0 || p.Index > MaxPort || i > 0 && c.h.Ports[i-1].Index >= p.Index {
			return fmt.Errorf("port %d: expected ascending numbers from 1 to %d", p.Index, MaxPort)
		}
		if err := c.checkPort(p); err != nil {
			return fmt.Errorf("port %d: %w", p.Index, err)
		}
		if a := p.Attachment; a.Kind != KindSandbox {
			a.Configure = false
			if attached[a] {
				return fmt.Errorf("port %d: another port is attached to %s %s %s", p.Index, a.Kind, a.Namespace, a.Device)
			}
			attached[a] = true
			continue
		}
		device := Sandbox{Name: p.Sandbox.Name, Device: p.Sandbox.Device}
		if sandbox[device] {
			return fmt.Errorf("port %d: another port is %s in sandbox %s", p.Index, device.Device, device.Name)
		}
		sandbox[device] = true
	}
	return nil
}

func (c *checker) checkPort(p *Port) error {
	n := c.vnets[p.VNI]
	switch {
	case n == nil:
		return fmt.Errorf("vnet %d is not in the goal", p.VNI)
	case p.MAC == MAC{} || p.MAC[0]&1 != 0:
		return fmt.Errorf("MAC %s: expected a unicast address", p.MAC)
	case p.Attachment.Kind != KindSandbox:
		if err := p.checkAttachment(); err != nil {
			return err
		}
	case p.Attachment != Attachment{}:
		return fmt.Errorf("attachment %+v: expected none of a sandbox", p.Attachment)
	case !sandboxName(p.Sandbox.Name) || p.Sandbox.Device == "" || len(p.Sandbox.Device) > 15:
		return fmt.Errorf("sandbox %q device %q: expected at most 32 of a-z, 0-9 and -, and a device of 1 to 15 bytes", p.Sandbox.Name, p.Sandbox.Device)
	}
	if len(p.Addresses) == 0 || !p.Addresses[0].Primary {
		return fmt.Errorf("expected at least one address, the primary one first")
	}
	for i, a := range p.Addresses {
		if !plain(a.IP) || !a.Subnet.IsValid() || a.Subnet != a.Subnet.Masked() || !a.Subnet.Contains(a.IP) || a.Primary != (i == 0) {
			return fmt.Errorf("address %s: subnet %s: expected an address in its subnet, one primary", a.IP, a.Subnet)
		}
		if e, ok := n.endpoint(a.IP); !ok || e.Port != p.Index || e.Host != c.h.Underlay || e.MAC != p.MAC {
			return fmt.Errorf("address %s: expected it as endpoint of this port on this host", a.IP)
		}
	}
	return cmp.Or(p.Limits.Check(), c.checkReference(p.NICGroup, n), c.checkReference(p.SubnetGroup, n))
}

func (p *Port) checkAttachment() error {
	a := p.Attachment
	device := a.Device != "" && len(a.Device) <= 15 && !strings.ContainsAny(a.Device, "/ :\x00")
	switch {
	case a.Kind == KindTap && device && a.Namespace == "" && !a.Configure:
	case a.Kind == KindNetns && device && strings.HasPrefix(a.Namespace, "/"):
	default:
		return fmt.Errorf("attachment %+v: expected a tap with a device, or a namespace's path and a device", a)
	}
	if p.Sandbox.Name != "" || p.Sandbox.Device != "" {
		return fmt.Errorf("attachment %+v: expected no sandbox beside it", a)
	}
	return nil
}

// checkReference wants the group, and every set that it refers to in the VNet. It asks once per group and VNet.
func (c *checker) checkReference(id string, n *VNet) error {
	if id == "" || c.resolved[reference{id, n.VNI}] {
		return nil
	}
	c.resolved[reference{id, n.VNI}] = true
	g := c.groups[id]
	if g == nil {
		return fmt.Errorf("group %q is not in the goal", id)
	}
	for _, rules := range [][]Rule{g.In, g.Out} {
		for i := range rules {
			for _, name := range slices.Concat(rules[i].Src.Sets, rules[i].Dst.Sets) {
				if !slices.ContainsFunc(n.Sets, func(s Set) bool { return s.Name == name }) {
					return fmt.Errorf("group %q: rule %q: set %q is not in vnet %d", id, rules[i].Name, name, n.VNI)
				}
			}
		}
	}
	return nil
}

// checkLocalEndpoints wants a port with that address for every endpoint that is said to be here.
func (c *checker) checkLocalEndpoints() error {
	addresses := map[Endpoint]bool{}
	vni := map[uint32]uint32{}
	for _, p := range c.h.Ports {
		vni[p.Index] = p.VNI
		for _, a := range p.Addresses {
			addresses[Endpoint{IP: a.IP, Port: p.Index}] = true
		}
	}
	for _, n := range c.h.VNets {
		for _, e := range n.Endpoints {
			if e.Host == c.h.Underlay && (vni[e.Port] != n.VNI || !addresses[Endpoint{IP: e.IP, Port: e.Port}]) {
				return fmt.Errorf("vnet %d: endpoint %s: no port %d with this address here", n.VNI, e.IP, e.Port)
			}
		}
	}
	return nil
}

// checkUsed wants nothing that no port needs: a goal holds what a host must know and not more.
func (c *checker) checkUsed() error {
	groups, vnets := map[string]bool{}, map[uint32]bool{}
	for _, p := range c.h.Ports {
		groups[p.NICGroup], groups[p.SubnetGroup], vnets[p.VNI] = true, true, true
	}
	for _, g := range c.h.Groups {
		if !groups[g.ID] {
			return fmt.Errorf("group %q: no port here uses it", g.ID)
		}
	}
	for _, n := range c.h.VNets {
		if !vnets[n.VNI] {
			return fmt.Errorf("vnet %d: no port here is in it", n.VNI)
		}
	}
	return nil
}

func (n *VNet) endpoint(ip netip.Addr) (Endpoint, bool) {
	i, ok := slices.BinarySearchFunc(n.Endpoints, ip, func(e Endpoint, ip netip.Addr) int { return e.IP.Compare(ip) })
	if !ok {
		return Endpoint{}, false
	}
	return n.Endpoints[i], true
}

func plain(a netip.Addr) bool { return a.IsValid() && !a.Is4In6() && a.Zone() == "" }

func ascending[T any](list []T, compare func(a, b T) int) bool {
	for i := 1; i < len(list); i++ {
		if compare(list[i-1], list[i]) >= 0 {
			return false
		}
	}
	return true
}

func sandboxName(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
