package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// Answers of an agent to the operator's questions: lists of these records.
type (
	// DropRecord is one counter of dropped packets.
	DropRecord struct {
		Where
		Direction string `json:"direction"`
		Why
		Packets uint64 `json:"packets"`
	}
	// EventRecord is one dropped packet.
	EventRecord struct {
		Time time.Time `json:"time"`
		Where
		Direction string `json:"direction"`
		Why
		EtherType       string     `json:"etherType"`
		SourceMAC       goal.MAC   `json:"sourceMac"`
		DestinationMAC  goal.MAC   `json:"destinationMac"`
		Protocol        string     `json:"protocol"`
		Source          netip.Addr `json:"source"`
		SourcePort      uint16     `json:"sourcePort"`
		Destination     netip.Addr `json:"destination"`
		DestinationPort uint16     `json:"destinationPort"`
		Length          uint32     `json:"length"`
	}
	// TrafficRecord counts a port's packets that were not dropped.
	TrafficRecord struct {
		Where
		Sent      uint64 `json:"sent"`
		Delivered uint64 `json:"delivered"`
		Local     uint64 `json:"local"`
		Encap     uint64 `json:"encapsulated"`
		Service   uint64 `json:"service"`
		Answered  uint64 `json:"answered"`
		Served    uint64 `json:"served"`
	}
	// FlowRecord is one entry of the flow table.
	FlowRecord struct {
		Where
		Protocol   string     `json:"protocol"`
		Local      netip.Addr `json:"local"`
		LocalPort  uint16     `json:"localPort"`
		Remote     netip.Addr `json:"remote"`
		RemotePort uint16     `json:"remotePort"`
		State      string     `json:"state"`
		IdleMillis int64      `json:"idleMillis"`
		PeerPort   uint32     `json:"peerPort,omitempty"`
		PeerHost   netip.Addr `json:"peerHost"`
	}
	// Where is the port and what it belongs to; port 0 is the host itself.
	Where struct {
		Port uint32 `json:"port"`
		NIC  string `json:"nic,omitempty"`
		VM   string `json:"vm,omitempty"`
	}
	// Why is the reason in words, with the rule that decided.
	Why struct {
		Reason string `json:"reason"`
		Layer  string `json:"layer"`
		Text   string `json:"text"`
		Group  string `json:"group,omitempty"`
		Rule   string `json:"rule,omitempty"`
		// Revision of the store that brought the rule as it is.
		Revision uint64 `json:"revision,omitempty"`
	}
)

// answers is what questions are answered from; it is used by several goroutines.
type answers struct {
	mu     sync.Mutex
	ports  map[uint32]Where
	goal   *goal.Host // the newest; nobody changes it
	events events
}

// name remembers what the ports of a goal are called.
func (s *answers) name(h *goal.Host) {
	ports := make(map[uint32]Where, len(h.Ports))
	for _, p := range h.Ports {
		ports[p.Index] = Where{Port: p.Index, NIC: p.ID, VM: p.VM}
	}
	s.mu.Lock()
	s.ports, s.goal = ports, h
	s.mu.Unlock()
}

func (s *answers) where(port uint32) Where {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w, ok := s.ports[port]; ok {
		return w
	}
	return Where{Port: port}
}

func why(r observe.Reason, group, rule string, revision uint64) Why {
	i := r.Info()
	return Why{Reason: i.Name, Layer: i.Layer, Text: i.Text, Group: group, Rule: rule, Revision: revision}
}

// Answer answers one of the operator's questions: drops, events, follow, trace, capture, traffic, flows, check, metrics, checkup; what is asked for exactly stands
// behind the word as in a URL.
func (a *Agent) Answer(question string) (json.RawMessage, error) {
	kind, rest, _ := strings.Cut(question, "?")
	q, err := url.ParseQuery(rest)
	if err != nil {
		return nil, fmt.Errorf("question %q: %w", question, err)
	}
	var list any
	switch kind {
	case "drops":
		list, err = a.drops()
	case "events":
		list = a.answers.recent()
	case "follow":
		list, err = a.follow(q)
	case "trace":
		list, err = a.trace(q)
	case "capture":
		list, err = a.capture(q)
	case "traffic":
		list, err = a.traffic()
	case "flows":
		list, err = a.flows()
	case "check":
		list, err = a.checkLoaded()
	case "metrics":
		list, err = a.sample()
	case "checkup":
		list = a.checkup()
	default:
		return nil, fmt.Errorf("question %q: drops, events, follow, trace, capture, traffic, flows, check, metrics or checkup expected", kind)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(list)
}

func (a *Agent) drops() ([]DropRecord, error) {
	all, err := a.dropped()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(x, y observe.Drop) int {
		return cmp.Or(cmp.Compare(x.Port, y.Port), cmp.Compare(x.Dir, y.Dir), cmp.Compare(x.Reason, y.Reason),
			cmp.Compare(x.Group, y.Group), cmp.Compare(x.Rule, y.Rule))
	})
	out := make([]DropRecord, 0, len(all))
	for _, d := range all {
		out = append(out, DropRecord{Where: a.answers.where(d.Port), Direction: d.Dir.String(), Why: why(d.Reason, d.Group, d.Rule, d.Revision),
			Packets: d.Packets})
	}
	return out, nil
}

// dropped is what the programs have dropped and what the kernel has lost.
func (a *Agent) dropped() ([]observe.Drop, error) {
	all, err := a.Datapath.Drops()
	if err != nil {
		return nil, err
	}
	lost, err := a.Datapath.Losses()
	return append(all, lost...), err
}

func (a *Agent) traffic() ([]TrafficRecord, error) {
	all, err := a.Datapath.Traffic()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(x, y observe.Traffic) int { return cmp.Compare(x.Port, y.Port) })
	out := make([]TrafficRecord, 0, len(all))
	for _, t := range all {
		out = append(out, TrafficRecord{Where: a.answers.where(t.Port), Sent: t.Sent, Delivered: t.Delivered, Local: t.Local,
			Encap: t.Encap, Service: t.Service, Answered: t.Answered, Served: t.Served})
	}
	return out, nil
}

func (a *Agent) flows() ([]FlowRecord, error) {
	all, err := a.Datapath.Flows()
	if err != nil {
		return nil, err
	}
	out := make([]FlowRecord, 0, len(all))
	for _, f := range all {
		out = append(out, FlowRecord{Where: a.answers.where(f.Port), Protocol: goal.ProtocolName(f.Protocol), Local: f.Local,
			LocalPort: f.LocalPort, Remote: f.Remote, RemotePort: f.RemotePort, State: f.State, IdleMillis: f.Idle.Milliseconds(),
			PeerPort: f.PeerPort, PeerHost: f.PeerHost})
	}
	return out, nil
}
