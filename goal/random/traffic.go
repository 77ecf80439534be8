package random

import (
	"math/rand/v2"

	"ringfence/goal"
	"ringfence/goal/model"
)

// Traffic makes packets of one host's ports that belong together: new ones, further ones of the same conversations, and the
// other side's answers, so that flow tables have something to know.
type Traffic struct {
	r    *rand.Rand
	h    *goal.Host
	sent []sent // the last ones
	rest []sent // fragments of one packet
}

type sent struct {
	port uint32
	p    model.Packet
}

// NewTraffic begins without any conversation. The host has at least one port.
func NewTraffic(r *rand.Rand, h *goal.Host) *Traffic { return &Traffic{r: r, h: h} }

const remembered = 64

// Next is the next packet and the port that sends it.
func (t *Traffic) Next() (port uint32, p model.Packet) {
	if len(t.rest) > 0 && t.r.IntN(3) > 0 {
		s := t.rest[0]
		t.rest = t.rest[1:]
		return s.port, s.p
	}
	s, ok := sent{}, false
	switch t.r.IntN(4) {
	case 0:
		s, ok = t.further()
	case 1:
		s, ok = t.answer()
	}
	if !ok {
		s.port = t.h.Ports[t.r.IntN(len(t.h.Ports))].Index
		s.p = Packet(t.r, t.h, s.port)
	}
	if len(t.sent) < remembered {
		t.sent = append(t.sent, s)
	} else {
		t.sent[t.r.IntN(remembered)] = s
	}
	if len(t.rest) == 0 && t.r.IntN(24) == 0 {
		for _, p := range Pieces(t.r, s.p) {
			t.rest = append(t.rest, sent{s.port, p})
		}
	}
	return s.port, s.p
}

// further is another packet of a conversation by the same side.
func (t *Traffic) further() (sent, bool) {
	if len(t.sent) == 0 {
		return sent{}, false
	}
	s := t.sent[t.r.IntN(len(t.sent))]
	if s.p.Protocol == goal.TCP && t.r.IntN(2) == 0 {
		s.p.TCPFlags = [...]uint8{model.ACK, model.ACK | model.PSH, model.FIN | model.ACK, model.RST}[t.r.IntN(4)]
	}
	return s, true
}

// answer is the reply of a receiver on this host, in the same VNet or in another one that has its address too.
func (t *Traffic) answer() (sent, bool) {
	if len(t.sent) == 0 {
		return sent{}, false
	}
	s := t.sent[t.r.IntN(len(t.sent))]
	for _, i := range t.r.Perm(len(t.h.Ports)) {
		port := &t.h.Ports[i]
		for _, a := range port.Addresses {
			if a.IP == s.p.Dst {
				if t.r.IntN(5) == 0 && !s.p.IsError() {
					return sent{port.Index, Error(t.r, s.p, port.MAC)}, true
				}
				return sent{port.Index, s.p.Reply(port.MAC)}, true
			}
		}
	}
	return sent{}, false
}
