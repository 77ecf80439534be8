package model_test

import (
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/observe"
)

const (
	syn    = model.SYN
	synAck = model.SYN | model.ACK
	ack    = model.ACK
	finAck = model.FIN | model.ACK
	rst    = model.RST
)

// segment is one step of a connection that port 1 opens to port 2 on the same host; from 0 time goes by.
type segment struct {
	from  uint32
	flags uint8
	after time.Duration
	want  observe.Reason
}

func seg(from uint32, flags uint8, want ...observe.Reason) segment {
	return segment{from: from, flags: flags, want: append(want, observe.None)[0]}
}

func wait(d time.Duration) segment { return segment{after: d} }

// connections are walks through the states. host/datapath walks the kernel through the same kind of table.
var connections = map[string][]segment{
	"a life":                 {seg(1, syn), seg(2, synAck), seg(1, ack), seg(2, ack), seg(1, finAck), seg(2, ack), seg(2, finAck), seg(1, ack)},
	"retransmissions":        {seg(1, syn), seg(1, syn), seg(2, synAck), seg(2, synAck), seg(1, ack), seg(2, synAck), seg(1, ack)},
	"both at once":           {seg(1, syn), seg(2, syn), seg(1, synAck), seg(2, synAck), seg(1, ack)},
	"ACK before the answer":  {seg(1, syn), seg(1, ack, observe.FlowState), seg(2, synAck), seg(1, ack)},
	"FIN before the answer":  {seg(1, syn), seg(1, finAck, observe.FlowState), seg(2, finAck, observe.FlowState)},
	"SYN ACK of the opener":  {seg(1, syn), seg(1, synAck, observe.FlowState)},
	"refused":                {seg(1, syn), seg(2, rst|ack), seg(1, ack)},
	"an older connection":    {seg(1, syn), seg(2, ack), seg(1, rst), seg(1, syn), seg(2, synAck), seg(1, ack)},
	"SYN in established":     {seg(1, syn), seg(2, synAck), seg(1, ack), seg(1, syn), seg(2, ack), seg(1, ack)},
	"SYN ACK without a SYN":  {seg(2, synAck, observe.FlowNoSYN)},
	"RST for unknown":        {seg(1, rst, observe.FlowNoSYN), seg(2, rst|ack, observe.FlowNoSYN)},
	"FIN for unknown":        {seg(1, finAck, observe.FlowNoSYN)},
	"the same ports again":   {seg(1, syn), seg(2, synAck), seg(1, ack), seg(2, rst), seg(1, syn), seg(1, ack, observe.FlowState), seg(2, synAck), seg(1, ack)},
	"the other end opens":    {seg(1, syn), seg(2, rst), seg(2, syn), seg(1, synAck), seg(2, ack), seg(1, ack)},
	"a null scan":            {seg(1, 0, observe.GuardTCPFlags), seg(1, model.PSH, observe.GuardTCPFlags)},
	"a Xmas scan":            {seg(1, model.FIN|model.PSH|model.URG, observe.GuardTCPFlags), seg(1, 0xff, observe.GuardTCPFlags)},
	"a FIN scan":             {seg(1, model.FIN, observe.GuardTCPFlags)},
	"contradictions":         {seg(1, syn|model.FIN, observe.GuardTCPFlags), seg(1, syn|rst, observe.GuardTCPFlags), seg(1, rst|model.FIN|ack, observe.GuardTCPFlags), seg(1, syn|model.URG)},
	"crafted in established": {seg(1, syn), seg(2, synAck), seg(1, ack), seg(1, syn|rst, observe.GuardTCPFlags), seg(2, 0, observe.GuardTCPFlags), seg(1, ack)},
	"half open for too long": {seg(1, syn), wait(59 * time.Second), seg(1, syn), wait(59 * time.Second), seg(2, synAck), wait(60 * time.Second), seg(1, ack, observe.FlowNoSYN)},
	"silent for its time":    {seg(1, syn), seg(2, synAck), seg(1, ack), wait(239 * time.Second), seg(1, ack), wait(239 * time.Second), seg(2, ack), wait(240 * time.Second), seg(1, ack, observe.FlowNoSYN)},
	"one side talks":         {seg(1, syn), seg(2, synAck), seg(1, ack), wait(200 * time.Second), seg(1, ack), wait(200 * time.Second), seg(2, ack)},
	"stragglers":             {seg(1, syn), seg(2, synAck), seg(1, ack), seg(1, rst), wait(9 * time.Second), seg(2, ack), wait(time.Second), seg(2, ack, observe.FlowNoSYN)},
	"one FIN":                {seg(1, syn), seg(2, synAck), seg(1, finAck), wait(200 * time.Second), seg(2, ack), seg(2, finAck), seg(1, ack), wait(10 * time.Second), seg(1, ack, observe.FlowNoSYN)},
}

func TestConnections(t *testing.T) {
	for name, walk := range connections {
		f := fabric()
		p := open(t, f, 1, goal.TCP, "10.0.1.5", 80)
		for i, s := range walk {
			if s.from == 0 {
				f["host1"].Advance(s.after)
				continue
			}
			q := p
			if s.from == 2 {
				q = p.Reply(mac(2))
			}
			q.TCPFlags = s.flags
			if v := life(t, f, s.from, q); v.Reason != s.want || (v.Action == model.Deliver) != (s.want == observe.None) {
				t.Errorf("%s, step %d: %+v, want %v", name, i, v, s.want)
			}
		}
	}
}

// Connections that are not established have a share of their own, at either end; answered and acknowledged they leave it.
func TestHalfOpenShare(t *testing.T) {
	f := fabric()
	f["host1"].HalfOpen = 2
	establish := func(port uint16) {
		p := open(t, f, 1, goal.TCP, "10.0.1.5", port)
		life(t, f, 1, p)
		back := p.Reply(mac(2))
		life(t, f, 2, back)
		p.TCPFlags = ack
		if v := life(t, f, 1, p); v.Action != model.Deliver {
			t.Errorf("established: %+v", v)
		}
	}
	for port := range uint16(10) {
		establish(100 + port)
	}
	life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 81))
	life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 82))
	if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 83)); v.Reason != observe.FlowHalfOpen || v.Dir != model.In {
		t.Errorf("one more: %+v", v)
	}
	if v := life(t, f, 1, open(t, f, 1, goal.UDP, "10.0.1.5", 83)); v.Action != model.Deliver {
		t.Errorf("UDP: %+v", v)
	}
	f["host1"].Advance(time.Minute)
	if v := life(t, f, 1, open(t, f, 1, goal.TCP, "10.0.1.5", 83)); v.Action != model.Deliver {
		t.Errorf("after a minute: %+v", v)
	}
}

// While flows are learnt again the rules decide about a bare ACK as about a SYN, and about nothing else.
func TestRelearn(t *testing.T) {
	for _, relearn := range []bool{false, true} {
		f := fabric(rules("nic", nil, []goal.Rule{rule("deny", false, goal.TCP, anyone, anyone, ports(81, 81))}))
		f["host1"].Relearn = relearn
		want := map[uint8]observe.Reason{ack: observe.None, ack | model.PSH: observe.None, synAck: observe.FlowNoSYN, finAck: observe.FlowNoSYN, rst: observe.FlowNoSYN}
		for flags, want := range want {
			p := open(t, f, 1, goal.TCP, "10.0.1.5", 80)
			p.SrcPort, p.TCPFlags = 1000+uint16(flags), flags
			if !relearn {
				want = observe.FlowNoSYN
			}
			if v := life(t, f, 1, p); v.Reason != want {
				t.Errorf("relearn %t, flags %#x: %+v", relearn, flags, v)
			}
		}
		p := open(t, f, 1, goal.TCP, "10.0.1.5", 81)
		p.TCPFlags = ack
		if v := life(t, f, 1, p); v.Reason != map[bool]observe.Reason{false: observe.FlowNoSYN, true: observe.ACLRule}[relearn] {
			t.Errorf("relearn %t, denied: %+v", relearn, v)
		}
	}
}

// What goes away takes its flows with it, also those that others have with it.
func TestFlowsOfAnAddressThatIsGone(t *testing.T) {
	f := fabric()
	m := f["host1"]
	life(t, f, 1, open(t, f, 1, goal.UDP, "10.0.1.5", 80))
	life(t, f, 1, open(t, f, 1, goal.UDP, "10.0.2.4", 80))
	before := len(m.Flows())
	m.Update(fabric(func(h *goal.Host) {
		for i := range h.VNets {
			if h.Name != "host1" {
				continue
			}
			n := &h.VNets[i]
			for j := range n.Endpoints {
				if n.Endpoints[j].IP == ip("10.0.2.4") {
					n.Endpoints = append(n.Endpoints[:j:j], n.Endpoints[j+1:]...)
					break
				}
			}
		}
	})["host1"].Goal())
	if after := len(m.Flows()); before != 3 || after != 2 {
		t.Errorf("%d flows before, %d after", before, after)
	}
}
