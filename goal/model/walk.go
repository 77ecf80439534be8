package model

import (
	"net/netip"

	"ringfence/goal"
	"ringfence/observe"
)

// walk is one packet on its way through the layers of one host.
type walk struct {
	m     *Model
	p     Packet
	dir   Dir    // side on which it is at the moment
	port  uint32 // port at which it is at the moment, 0 when none yet
	steps []Step
}

// out walks the layers down: port, guard, flow, acl, route, then overlay or the receiver's layers up.
func (w *walk) out() Verdict {
	port := w.m.ports[w.port]
	if port == nil {
		return w.drop(observe.PortUnknown)
	}
	if w.m.down[w.port] {
		return w.drop(observe.PortDown)
	}
	delete(w.m.unready, w.port) // a packet has come through its device
	w.step("port", "pass")
	if v := w.guard(port); v.Action != next {
		return v
	}
	w.step("guard", "pass")
	if v := w.platform(port, w.p.Tuple()); v.Action != next {
		return v
	}
	if v := w.judge(port, Out); v.Action != next {
		return v
	}
	return w.route(port)
}

// judge asks the flow table and, when the flow is not known, the rules.
func (w *walk) judge(port *goal.Port, dir Dir) Verdict {
	if f := w.known(port.Index, dir); f != nil {
		if !w.touch(f, port, dir) {
			return w.drop(observe.FlowState)
		}
		return Verdict{}
	}
	if r := opens(w.p); r != observe.None && !w.relearns() {
		return w.drop(r)
	}
	if dir == Out { // the sender's: nobody uses up another's
		if v := w.limit(port, goal.LimitFlows, 1); v.Action != next {
			return v
		}
	}
	return w.acl(port, dir, w.p.Tuple())
}

// route finds the endpoint that has the destination in the sender's VNet.
func (w *walk) route(from *goal.Port) Verdict {
	n := w.m.vnets[from.VNI]
	if !contains(n.Prefixes, w.p.Dst) {
		return w.drop(observe.RouteNone)
	}
	e, ok := n.endpoints[w.p.Dst]
	if !ok {
		return w.drop(observe.RouteNoEndpoint)
	}
	if e.Host == w.m.host.Underlay {
		w.step("route", "local")
		return w.in(e.Port, end{from.Index, Out})
	}
	w.step("route", "remote")
	if v := w.fit(); v.Action != next {
		return v
	}
	if v := w.open(end{from.Index, Out}); v.Action != next {
		return v
	}
	w.remember(end{from.Index, Out})
	w.step("overlay", "pass")
	return Verdict{Action: Encap, Dir: Out, Port: from.Index, Host: e.Host, VNI: n.VNI}
}

// fit: what is too big for the tunnel is answered, so that its sender sends smaller ones; but there is no error about an error or a
// later fragment. What may be fragmented, is, outside the tunnel, where its receiver does not see it.
func (w *walk) fit() Verdict {
	size := w.p.Len - etherLen
	switch {
	case w.m.MTU == 0, size <= w.m.MTU, w.p.MayFragment && size <= largest:
		return Verdict{}
	case w.p.IsError(), w.p.Fragment.later():
		return w.drop(observe.OverlayMTU)
	}
	w.step("overlay", Answer.String())
	return Verdict{Action: Answer, Dir: w.dir, Port: w.port}
}

// largest is the size of the largest packet that IP can carry in VXLAN.
const largest = 65535 - 50

// overlay judges what arrives in VXLAN: a VNet that has a port here, an inner packet that could have passed a guard, an inner
// source that lives on the host that sent it, an inner destination that is a port here.
func (w *walk) overlay(vni uint32, outer netip.Addr) Verdict {
	n := w.m.vnets[vni]
	if n == nil {
		return w.drop(observe.OverlayVNI)
	}
	if r := inner(w.p); r != observe.None {
		return w.drop(r)
	}
	if e, ok := n.endpoints[w.p.Src]; !ok || e.Host != outer || outer == w.m.host.Underlay {
		return w.drop(observe.OverlaySender)
	}
	e, ok := n.endpoints[w.p.Dst]
	if !ok || e.Host != w.m.host.Underlay {
		return w.drop(observe.OverlayDestination)
	}
	w.step("overlay", "pass")
	return w.in(e.Port)
}

// in walks the layers of the receiving port up. A sender on this host gets its flow only here, when the receiver has accepted.
func (w *walk) in(port uint32, sender ...end) Verdict {
	w.dir, w.port = In, port
	to := w.m.ports[port]
	if to == nil || w.m.down[port] {
		return w.drop(observe.PortDown)
	}
	if w.m.unready[port] {
		return w.drop(observe.PortNotReady)
	}
	w.step("port", "pass")
	if len(sender) == 0 {
		if v := w.follow(end{port, In}); v.Action != next {
			return v
		}
	}
	if v := w.judge(to, In); v.Action != next {
		return v
	}
	if v := w.open(append([]end{{port, In}}, sender...)...); v.Action != next {
		return v
	}
	w.remember(append(sender, end{port, In})[0]) // where it came in
	w.step("port", "deliver")
	return Verdict{Action: Deliver, Dir: In, Port: port}
}

func (w *walk) step(layer, word string) {
	w.steps = append(w.steps, Step{Host: w.m.host.Name, Port: w.port, Dir: w.dir, Layer: layer, Word: word})
}

func (w *walk) stepRule(word, group, rule string) {
	w.step("acl", word)
	s := &w.steps[len(w.steps)-1]
	s.Group, s.Rule = group, rule
}

func (w *walk) drop(r observe.Reason) Verdict {
	v := Verdict{Action: Drop, Reason: r, Layer: r.Info().Layer, Dir: w.dir, Port: w.port}
	w.step(v.Layer, "drop")
	w.steps[len(w.steps)-1].Reason = r
	return v
}

func (w *walk) deny(r observe.Reason, group, rule string) Verdict {
	w.stepRule("deny", group, rule)
	w.steps[len(w.steps)-1].Reason = r
	return Verdict{Action: Drop, Reason: r, Layer: r.Info().Layer, Group: group, Rule: rule, Dir: w.dir, Port: w.port}
}
