package model

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// Flow is one entry of the flow table: a conversation as one port sees it. One entry serves both directions.
type Flow struct {
	Port                  uint32
	Protocol              uint8
	Local, Remote         netip.Addr
	LocalPort, RemotePort uint16 // of an echo: the identifier at the side that requests, 0 at the side that replies
	Opened                Dir    // direction of the packet that opened it
}

type flowKey struct {
	port                  uint32
	protocol              uint8
	local, remote         netip.Addr
	localPort, remotePort uint16
}

type flow struct {
	opened Dir
	tuple  Tuple // of the packet that opened it: what its rules judged
	tcp    tcpState
	seen   time.Duration // when a packet passed last, in steps of a tick
	idle   time.Duration // how long it may be silent
	other  uint32        // the port of this host that has the other half of the conversation, 0: none
}

// keyOf names the conversation that p belongs to at a port. An echo request and its reply share one; a request in the other
// direction is another conversation. An error belongs to the conversation of the packet that it quotes, which went the other way;
// one that quotes what cannot have come from whom it goes to, or no packet of a conversation, has the zero key, and no flow has that.
func keyOf(port uint32, dir Dir, p Packet) flowKey {
	if p.IsError() {
		if p.Quote.Src != p.Dst || p.Quote.Dst != p.Src || !p.Quote.converses() {
			return flowKey{}
		}
		return keyOf(port, 1-dir, p.Quote.packet())
	}
	src, dst := p.SrcPort, p.DstPort
	request, reply := p.isEcho()
	switch {
	case request:
		src, dst = p.ICMPID, 0
	case reply:
		src, dst = 0, p.ICMPID
	case p.Protocol != goal.TCP && p.Protocol != goal.UDP:
		src, dst = 0, 0
	}
	if dir == Out {
		return flowKey{port, p.Protocol, p.Src, p.Dst, src, dst}
	}
	return flowKey{port, p.Protocol, p.Dst, p.Src, dst, src}
}

// converses says whether a packet like the quoted one can have a flow.
func (q Quote) converses() bool {
	switch q.Protocol {
	case goal.TCP, goal.UDP, goal.ESP, goal.AH:
		return true
	}
	request, reply := q.packet().isEcho()
	return request || reply
}

// opens says why p may not open a flow, None when it may.
func opens(p Packet) observe.Reason {
	if p.Protocol == goal.TCP && p.TCPFlags&(SYN|ACK|RST|FIN) != SYN {
		return observe.FlowNoSYN
	}
	if _, reply := p.isEcho(); reply {
		return observe.FlowNoEcho
	}
	if p.IsError() {
		return observe.FlowNoError
	}
	return observe.None
}

// relearns: once established connections are taken up again, their bare ACKs open flows.
func (w *walk) relearns() bool {
	return w.m.Relearn && w.p.Protocol == goal.TCP && w.p.TCPFlags&(SYN|ACK|RST|FIN) == ACK
}

// known looks p's flow up at a port. A SYN on a closed connection opens another one.
func (w *walk) known(port uint32, dir Dir) *flow {
	f := w.m.flows[keyOf(port, dir, w.p)]
	if f != nil && w.reopens(f) {
		f = nil
	}
	if f != nil {
		w.step("flow", "hit")
	} else {
		w.step("flow", "miss")
	}
	return f
}

func (w *walk) reopens(f *flow) bool {
	return w.p.Protocol == goal.TCP && f.tcp.closed() && opens(w.p) == observe.None
}

// touch is a packet of a known flow; false: its state does not allow it. An error keeps nothing alive, and nothing keeps alive
// what is closed.
func (w *walk) touch(f *flow, port *goal.Port, dir Dir) bool {
	if w.p.IsError() {
		return true
	}
	if w.p.Protocol == goal.TCP {
		after, ok := f.tcp.after(w.p.TCPFlags, dir != f.opened)
		if !ok {
			return false
		}
		if after != f.tcp {
			f.tcp, f.seen, f.idle = after, w.m.now, w.m.idle(port, w.p.Protocol, after)
			return true
		}
		if after.closed() {
			return true
		}
	}
	if w.m.now-f.seen >= tick {
		f.seen = w.m.now
	}
	return true
}

// idle is how long a flow of a port may be silent.
func (m *Model) idle(port *goal.Port, protocol uint8, s tcpState) time.Duration {
	switch {
	case protocol == goal.ICMP, protocol == goal.ICMPv6:
		return idleEcho
	case s.closed():
		return idleClosed
	case s.halfOpen:
		return idleOpening
	case m.vnets[port.VNI].IdleMinutes > 0:
		return time.Duration(m.vnets[port.VNI].IdleMinutes) * time.Minute
	}
	return idleDefault
}

// Advance lets time pass: buckets fill again, and it ends the flows that have been silent for theirs: of a conversation between two ports of this host
// both halves together.
func (m *Model) Advance(d time.Duration) {
	m.now += d
	for k, f := range m.flows {
		half := m.flows[f.half(k)]
		if m.now-f.seen >= f.idle && half != nil && !f.tcp.closed() && !half.tcp.closed() {
			f.seen = max(f.seen, half.seen)
		}
		if m.now-f.seen >= f.idle {
			delete(m.flows, k)
		}
	}
}

// half is the key of a conversation at its other end, when that is on this host.
func (f *flow) half(k flowKey) flowKey {
	return flowKey{f.other, k.protocol, k.remote, k.local, k.remotePort, k.localPort}
}

// open creates p's flows at the given ends, the receiver's first: all of them or none. An end that knows the flow already is
// left alone; an end that has no room is where the packet is dropped.
func (w *walk) open(ends ...end) Verdict {
	var made []flowKey
	for _, e := range ends {
		k := keyOf(e.port, e.dir, w.p)
		if f := w.m.flows[k]; f != nil && !w.reopens(f) {
			continue
		}
		if r := w.m.room(e.port, w.p); r != observe.None {
			for _, k := range made {
				delete(w.m.flows, k)
			}
			w.port, w.dir = e.port, e.dir
			return w.drop(r)
		}
		w.m.flows[k] = w.m.fresh(w.p, e)
		made = append(made, k)
	}
	if len(ends) == 2 {
		w.join(ends[0], ends[1])
	}
	if len(made) > 0 {
		w.step("flow", "open")
	}
	return Verdict{}
}

// join tells both halves of a conversation between two ports of this host of each other.
func (w *walk) join(a, b end) {
	w.m.flows[keyOf(a.port, a.dir, w.p)].other = b.port
	w.m.flows[keyOf(b.port, b.dir, w.p)].other = a.port
}

type end struct {
	port uint32
	dir  Dir
}

// fresh is the flow that p opens at an end.
func (m *Model) fresh(p Packet, e end) *flow {
	f := &flow{opened: e.dir, tuple: p.Tuple(), seen: m.now}
	if p.Protocol == goal.TCP {
		f.tcp = tcpState{halfOpen: p.TCPFlags&SYN != 0, answered: p.TCPFlags&SYN == 0}
	}
	f.idle = m.idle(m.ports[e.port], p.Protocol, f.tcp)
	return f
}

// room says why a port may have no further flow, None when it may. Established flows are never evicted.
func (m *Model) room(port uint32, p Packet) observe.Reason {
	all, halfOpen := m.used(port)
	switch {
	case m.FlowQuota > 0 && all >= m.FlowQuota:
		return observe.FlowQuota
	case m.HalfOpen > 0 && halfOpen >= m.HalfOpen && p.Protocol == goal.TCP && p.TCPFlags&SYN != 0:
		return observe.FlowHalfOpen
	case m.FlowLimit > 0 && len(m.flows) >= m.FlowLimit:
		return observe.FlowTableFull
	}
	return observe.None
}

// used counts a port's flows, and those that are half open.
func (m *Model) used(port uint32) (all, halfOpen int) {
	for k, f := range m.flows {
		if k.port != port {
			continue
		}
		all++
		if f.tcp.halfOpen {
			halfOpen++
		}
	}
	return all, halfOpen
}

// Flows lists the flow table, sorted.
func (m *Model) Flows() []Flow {
	var out []Flow
	for k, f := range m.flows {
		out = append(out, Flow{k.port, k.protocol, k.local, k.remote, k.localPort, k.remotePort, f.opened})
	}
	slices.SortFunc(out, func(a, b Flow) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), a.Local.Compare(b.Local), a.Remote.Compare(b.Remote),
			cmp.Compare(a.LocalPort, b.LocalPort), cmp.Compare(a.RemotePort, b.RemotePort))
	})
	return out
}

// Forget ends every flow, as a loss of all state does.
func (m *Model) Forget() { clear(m.flows) }

// Update puts another goal into force. Flows keep their verdict, as Azure's do, except: flows of a port or an address that is
// gone end, at either end of them; flows of a port whose rule group changed and has Flush set are judged anew in the direction
// that opened them.
func (m *Model) Update(h *goal.Host) {
	before := m.groups
	old, networks := m.ports, m.vnets
	m.load(h)
	for k, f := range m.flows {
		p := m.ports[k.port]
		if p == nil || p.VNI != old[k.port].VNI || !own(p, k.local) || m.left(networks, p.VNI, k.remote) || m.flushed(p, before) && m.denied(p, f) {
			delete(m.flows, k)
		}
	}
	for b := range m.buckets {
		if p := m.ports[b.port]; p == nil || p.VNI != old[b.port].VNI {
			delete(m.buckets, b)
		}
	}
	for at := range m.datagrams {
		if p := m.ports[at.port]; p == nil || p.VNI != old[at.port].VNI {
			delete(m.datagrams, at)
		}
	}
}

// left says whether a virtual network had a NIC with an address and has none any more.
func (m *Model) left(before map[uint32]*vnet, vni uint32, ip netip.Addr) bool {
	_, was := before[vni].endpoints[ip]
	_, is := m.vnets[vni].endpoints[ip]
	return was && !is
}

func (m *Model) flushed(p *goal.Port, before map[string]*goal.Group) bool {
	return slices.ContainsFunc(groups(p, Out), func(id string) bool {
		now := m.groups[id]
		return now == nil || now.Flush && (before[id] == nil || before[id].Hash() != now.Hash())
	})
}

func (m *Model) denied(p *goal.Port, f *flow) bool {
	w := &walk{m: m, dir: f.opened, port: p.Index}
	return w.acl(p, f.opened, f.tuple).Action == Drop
}
