package model

import (
	"cmp"
	"net/netip"
	"slices"

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

// known looks p's flow up at a port.
func (w *walk) known(port uint32, dir Dir) bool {
	_, hit := w.m.flows[keyOf(port, dir, w.p)]
	if hit {
		w.step("flow", "hit")
	} else {
		w.step("flow", "miss")
	}
	return hit
}

// open creates p's flows at the given ends, the receiver's first: all of them or none. An end that knows the flow already is
// left alone; an end that has no room is where the packet is dropped.
func (w *walk) open(ends ...end) Verdict {
	var made []flowKey
	for _, e := range ends {
		k := keyOf(e.port, e.dir, w.p)
		if _, known := w.m.flows[k]; known {
			continue
		}
		if r := w.m.room(e.port); r != observe.None {
			for _, k := range made {
				delete(w.m.flows, k)
			}
			w.port, w.dir = e.port, e.dir
			return w.drop(r)
		}
		w.m.flows[k] = flow{e.dir, w.p.Tuple()}
		made = append(made, k)
	}
	if len(made) > 0 {
		w.step("flow", "open")
	}
	return Verdict{}
}

type end struct {
	port uint32
	dir  Dir
}

// room says why a port may have no further flow, None when it may. Established flows are never evicted.
func (m *Model) room(port uint32) observe.Reason {
	switch {
	case m.FlowQuota > 0 && m.used(port) >= m.FlowQuota:
		return observe.FlowQuota
	case m.FlowLimit > 0 && len(m.flows) >= m.FlowLimit:
		return observe.FlowTableFull
	}
	return observe.None
}

// used counts a port's flows.
func (m *Model) used(port uint32) int {
	n := 0
	for k := range m.flows {
		if k.port == port {
			n++
		}
	}
	return n
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

// Forget ends every flow, as their idle time does.
func (m *Model) Forget() { clear(m.flows) }

// Update puts another goal into force. Flows keep their verdict, as Azure's do, except: flows of a port or an address that is
// gone end; flows of a port whose rule group changed and has Flush set are judged anew in the direction that opened them.
func (m *Model) Update(h *goal.Host) {
	before := m.groups
	old := m.ports
	m.load(h)
	for k, f := range m.flows {
		p := m.ports[k.port]
		if p == nil || p.VNI != old[k.port].VNI || !own(p, k.local) || m.flushed(p, before) && m.denied(p, f) {
			delete(m.flows, k)
		}
	}
	for b := range m.buckets {
		if p := m.ports[b.port]; p == nil || p.VNI != old[b.port].VNI {
			delete(m.buckets, b)
		}
	}
}

func (m *Model) flushed(p *goal.Port, before map[string]*goal.Group) bool {
	return slices.ContainsFunc(groups(p, Out), func(id string) bool {
		now := m.groups[id]
		return now == nil || now.Flush && (before[id] == nil || before[id].Hash() != now.Hash())
	})
}

func (m *Model) denied(p *goal.Port, f flow) bool {
	w := &walk{m: m, dir: f.opened, port: p.Index}
	return w.acl(p, f.opened, f.tuple).Action == Drop
}
