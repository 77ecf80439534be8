// Package model is the executable specification: what the data plane must do with every packet, written to be read.
//
// In: a goal.Host and one packet after another. Out: the verdict on each, with every step that led to it. The order of the
// checks is law: the kernel must give the same first reason. It is slow and obvious on purpose; it judges the eBPF programs and
// never serves traffic. A Model keeps the flows its packets opened and belongs to one caller.
package model

import (
	"maps"
	"net/netip"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// Addresses that the fabric itself has in every virtual network.
var (
	WireServer = netip.MustParseAddr("168.63.129.16")        // DHCP, DNS, probes
	Metadata   = netip.MustParseAddr("169.254.169.254")      // instance metadata
	Router6    = netip.MustParseAddr("fe80::1234:5678:9abc") // IPv6 gateway, and source of IPv6 probes
	Gateway    = goal.MAC{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
)

// Dir is a direction, always the VM's: Out leaves it, In enters it.
type Dir uint8

const (
	Out Dir = iota
	In
)

func (d Dir) String() string { return [...]string{"out", "in"}[d] }

// Action is what becomes of a packet.
type Action uint8

const (
	next    Action = iota // not decided yet: the next check looks at it
	Drop                  // it is gone, for Verdict.Reason
	Deliver               // it enters the VM behind Verdict.Port
	Encap                 // it leaves in VXLAN to Verdict.Host with Verdict.VNI
	Service               // the host's service gets it: DHCP, router solicitation
	Answer                // the fabric answers in the VM's place: ARP, neighbour solicitation, a packet too big for the tunnel
)

func (a Action) String() string {
	return [...]string{"next", "drop", "deliver", "encap", "service", "answer"}[a]
}

// Verdict is what becomes of one packet and who decided it.
type Verdict struct {
	Action      Action
	Reason      observe.Reason // of a drop
	Layer       string         // of a drop: the layer that dropped it
	Group, Rule string         // of a drop by a rule: Group.ID and Rule.Name
	Dir         Dir            // side on which it was decided
	Port        uint32         // the port it was delivered to, or at which it was decided
	Host        netip.Addr     // Encap: underlay address of the receiving host
	VNI         uint32         // Encap: the VNet's
}

// Step is one layer's word on the way to the verdict.
type Step struct {
	Host  string
	Port  uint32
	Dir   Dir
	Layer string // port, guard, flow, acl, route, overlay
	Word  string // pass, drop, hit, miss, open, allow, deny, skip, local, remote, deliver, service, answer
	// of acl: the rule group asked and the rule that matched first
	Group, Rule string
	Reason      observe.Reason // of drop and deny
}

// Model judges the packets of one host. The zero limits mean no limit.
type Model struct {
	FlowLimit int // flow entries on the host; beyond it FlowTableFull
	FlowQuota int // flow entries of one port; beyond it FlowQuota
	HalfOpen  int // of these, TCP connections that are not established; beyond it FlowHalfOpen
	MTU       int // the largest IP packet that fits the tunnel; beyond it Answer or OverlayMTU

	Relearn bool // segments of unknown TCP connections are judged like first packets, after a loss of all flows

	host    *goal.Host
	ports   map[uint32]*goal.Port
	vnets   map[uint32]*vnet
	groups  map[string]*goal.Group
	down    map[uint32]bool
	unready map[uint32]bool
	flows   map[flowKey]*flow

	now     time.Duration // since the model was made
	buckets map[bucket]time.Duration

	datagrams map[end][]*datagram // of which the first fragment has passed, by port and direction
}

type vnet struct {
	*goal.VNet
	sets      Sets
	endpoints map[netip.Addr]goal.Endpoint
}

// New returns a model of h without flows and with every port up.
func New(h *goal.Host) *Model {
	m := &Model{down: map[uint32]bool{}, unready: map[uint32]bool{}, flows: map[flowKey]*flow{}, buckets: map[bucket]time.Duration{}, datagrams: map[end][]*datagram{}}
	m.load(h)
	return m
}

func (m *Model) load(h *goal.Host) {
	m.host = h
	m.ports, m.vnets, m.groups = map[uint32]*goal.Port{}, map[uint32]*vnet{}, map[string]*goal.Group{}
	for i := range h.Ports {
		m.ports[h.Ports[i].Index] = &h.Ports[i]
	}
	for i := range h.Groups {
		m.groups[h.Groups[i].ID] = &h.Groups[i]
	}
	for i := range h.VNets {
		n := &vnet{VNet: &h.VNets[i], sets: Sets{}, endpoints: map[netip.Addr]goal.Endpoint{}}
		for _, s := range n.Sets {
			n.sets[s.Name] = s.Prefixes
		}
		for _, e := range n.Endpoints {
			n.endpoints[e.IP] = e
		}
		m.vnets[n.VNI] = n
	}
}

// Goal returns the goal that is judged by.
func (m *Model) Goal() *goal.Host { return m.host }

// SetDown takes a port down or up again: a port is down while its device or a part of its policy is missing.
func (m *Model) SetDown(port uint32, down bool) { m.down[port] = down }

// SetReady says whether a port's device is up at both ends; while it is not, the port gets nothing.
func (m *Model) SetReady(port uint32, ready bool) { m.unready[port] = !ready }

// Out judges a frame that the VM behind port sends, up to its delivery when the receiver is on this host.
func (m *Model) Out(port uint32, p Packet) (Verdict, []Step) {
	w := &walk{m: m, p: p, dir: Out, port: port}
	return w.out(), w.steps
}

// In judges an inner frame that arrives in VXLAN with vni from the underlay address outer.
func (m *Model) In(vni uint32, outer netip.Addr, p Packet) (Verdict, []Step) {
	w := &walk{m: m, p: p, dir: In}
	return w.overlay(vni, outer), w.steps
}

// Send judges a packet's whole life: out of a port of the named host and, when it is encapsulated, into the host that it is
// sent to. When that host is not among hosts the verdict stays Encap.
func Send(hosts map[string]*Model, host string, port uint32, p Packet) (Verdict, []Step) {
	m := hosts[host]
	if m == nil {
		return Verdict{Action: Drop, Reason: observe.PortUnknown, Layer: observe.PortUnknown.Info().Layer, Port: port}, nil
	}
	v, steps := m.Out(port, p)
	if v.Action != Encap {
		return v, steps
	}
	for _, to := range hosts {
		if to.host.Underlay == v.Host {
			v, more := to.In(v.VNI, m.host.Underlay, p)
			return v, append(steps, more...)
		}
	}
	return v, steps
}

// Copy returns a model that goes its own way from here: what is asked of it changes nothing in m.
func (m *Model) Copy() *Model {
	c := *m
	c.unready = maps.Clone(m.unready)
	c.down, c.flows, c.buckets = maps.Clone(m.down), map[flowKey]*flow{}, maps.Clone(m.buckets)
	for k, f := range m.flows {
		own := *f
		c.flows[k] = &own
	}
	c.datagrams = map[end][]*datagram{}
	for e, all := range m.datagrams {
		for _, d := range all {
			own := *d
			c.datagrams[e] = append(c.datagrams[e], &own)
		}
	}
	return &c
}
