package agent

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ringfence/goal"
	"ringfence/observe"
)

type (
	// StepRecord is one layer's word on the way of a traced packet.
	StepRecord struct {
		Where
		Direction string `json:"direction"`
		Layer     string `json:"layer"`
		Word      string `json:"word"`
		Reason    string `json:"reason,omitempty"`
		Group     string `json:"group,omitempty"`
		Rule      string `json:"rule,omitempty"`
		Revision  uint64 `json:"revision,omitempty"`
	}
	// TraceRecord is what this host does with a packet. Next is the host that it is sent to in the tunnel, with VNI and frame for a question there.
	TraceRecord struct {
		Steps  []StepRecord `json:"steps"`
		Action string       `json:"action"`
		Reason string       `json:"reason,omitempty"`
		Text   string       `json:"text,omitempty"`
		Next   netip.Addr   `json:"next"`
		VNI    uint32       `json:"vni,omitempty"`
		Frame  []byte       `json:"frame,omitempty"`
	}
)

// trace answers what happens to a packet that a VM would send, or that arrives from another host: no packet is sent anywhere.
func (a *Agent) trace(q url.Values) (TraceRecord, error) {
	var t observe.Trace
	var err error
	if q.Has("vni") {
		t, err = a.traceArrival(q)
	} else {
		t, err = a.traceDeparture(q)
	}
	if err != nil {
		return TraceRecord{}, err
	}
	r := TraceRecord{Action: t.Action.String(), Next: t.Host, VNI: t.VNI, Steps: []StepRecord{}}
	if t.Action == observe.Encapsulated {
		r.Frame = t.Frame
	}
	if t.Reason != observe.None {
		r.Reason, r.Text = t.Reason.String(), t.Reason.Info().Text
	}
	for _, s := range t.Steps {
		step := StepRecord{Where: a.answers.where(s.Port), Direction: s.Dir.String(), Layer: s.Layer, Word: s.Word, Group: s.Group, Rule: s.Rule, Revision: s.Revision}
		if s.Reason != observe.None {
			step.Reason = s.Reason.String()
		}
		r.Steps = append(r.Steps, step)
	}
	return r, nil
}

func (a *Agent) traceArrival(q url.Values) (observe.Trace, error) {
	vni, err1 := strconv.ParseUint(q.Get("vni"), 10, 24)
	from, err2 := netip.ParseAddr(q.Get("from"))
	if err := errors.Join(err1, err2); err != nil || !from.Is4() {
		return observe.Trace{}, fmt.Errorf("trace: vni %q from %q: a number and an IPv4 address expected", q.Get("vni"), q.Get("from"))
	}
	return a.Datapath.TraceArrival(uint32(vni), from, []byte(q.Get("frame")))
}

func (a *Agent) traceDeparture(q url.Values) (observe.Trace, error) {
	port, err1 := strconv.ParseUint(q.Get("port"), 10, 32)
	to, err2 := netip.ParseAddr(q.Get("to"))
	sport, err3 := strconv.ParseUint(q.Get("sport"), 10, 16)
	dport, err4 := strconv.ParseUint(q.Get("dport"), 10, 16)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return observe.Trace{}, fmt.Errorf("trace: %w", err)
	}
	a.answers.mu.Lock()
	h := a.answers.goal
	a.answers.mu.Unlock()
	if h == nil {
		return observe.Trace{}, errors.New("trace: this host has no goal yet")
	}
	i := slices.IndexFunc(h.Ports, func(p goal.Port) bool { return uint64(p.Index) == port })
	if i < 0 {
		return observe.Trace{}, fmt.Errorf("trace: port %d is not on this host", port)
	}
	frame, err := opening(&h.Ports[i], q.Get("protocol"), to, uint16(sport), uint16(dport))
	if err != nil {
		return observe.Trace{}, fmt.Errorf("trace: %w", err)
	}
	return a.Datapath.Trace(uint32(port), frame)
}

// opening is the frame that opens a conversation: a TCP SYN, a datagram without content, an echo request with sport as its identifier.
// Checksums are left out: no receiver gets it.
func opening(p *goal.Port, protocol string, to netip.Addr, sport, dport uint16) ([]byte, error) {
	i := slices.IndexFunc(p.Addresses, func(a goal.Address) bool { return a.IP.Is4() == to.Is4() })
	if i < 0 {
		return nil, fmt.Errorf("the NIC has no address of the family of %s", to)
	}
	var l4 []byte
	proto := map[string]byte{"tcp": goal.TCP, "udp": goal.UDP, "icmp": goal.ICMP}[strings.ToLower(cmp.Or(protocol, "tcp"))]
	ports := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, sport), dport)
	switch {
	case proto == goal.TCP:
		l4 = append(ports, 0, 0, 0, 1, 0, 0, 0, 0, 5<<4, 2, 0xff, 0xff, 0, 0, 0, 0)
	case proto == goal.UDP:
		l4 = append(ports, 0, 8, 0, 0)
	case proto == goal.ICMP && to.Is4():
		l4 = []byte{8, 0, 0, 0, byte(sport >> 8), byte(sport), 0, 1}
	case proto == goal.ICMP:
		proto, l4 = goal.ICMPv6, []byte{128, 0, 0, 0, byte(sport >> 8), byte(sport), 0, 1}
	default:
		return nil, fmt.Errorf("protocol %q: tcp, udp or icmp expected", protocol)
	}
	gateway := [6]byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc}
	f := append(append([]byte{}, gateway[:]...), p.MAC[:]...)
	if to.Is4() {
		f = append(f, 0x08, 0x00, 0x45, 0, 0, byte(20+len(l4)), 0, 0, 0x40, 0, 64, proto, 0, 0)
	} else {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(l4)), proto, 64)
	}
	f = append(append(f, p.Addresses[i].IP.AsSlice()...), to.AsSlice()...)
	return append(f, l4...), nil
}
