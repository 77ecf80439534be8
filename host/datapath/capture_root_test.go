package datapath

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// A capture of a port has every packet that its VM sends and gets, once, with what became of it: ARP and its answer, echo requests and replies of
// both families, what is dropped; and nothing of another port. Nobody else captures meanwhile.
func TestCapture(t *testing.T) {
	w := newWire(t, 1)
	h := w.hosts[0]
	g := testGoals(w.hosts, 3)[0]
	g.Groups[0].In = append([]goal.Rule{{Name: "securityRules/deny", Priority: 100, Protocol: goal.UDP, Src: goal.Match{Any: true}, Dst: goal.Match{Any: true},
		SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{{Lo: 7007, Hi: 7007}}, Revision: 42}}, g.Groups[0].In...)
	for i := range g.Ports {
		w.port(h, &g.Ports[i])
	}
	w.apply(h, g)
	ctx, stop := context.WithCancel(context.Background())
	var mu sync.Mutex
	var got []observe.Captured
	began, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- h.dp.Capture(ctx, 1, 64, func(c observe.Captured) {
			mu.Lock()
			defer mu.Unlock()
			c.Data = bytes.Clone(c.Data)
			got = append(got, c)
		}, func(n uint64) { t.Errorf("%d packets lost", n) })
	}()
	go func() {
		for {
			var rec watchingRecord
			if h.dp.coll.Maps[watchingMap].Lookup(uint32(0), &rec) != nil || rec.Slot != 0 {
				close(began)
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	<-began
	if err := h.dp.Capture(ctx, 2, 64, nil, nil); !errors.Is(err, ErrCapturing) {
		t.Errorf("a second capture: %v", err)
	}
	for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
		if out, err := h.ports[1].run("ping", "-c", "3", "-i", "0.05", "-W", "1", to); err != nil {
			t.Fatalf("ping %s: %v\n%s", to, err, out)
		}
	}
	h.ports[1].run("bash", "-c", "echo x > /dev/udp/10.0.0.5/7007")
	h.ports[2].run("ping", "-c", "2", "-i", "0.05", "-W", "1", "10.0.0.6")
	count := func(dir observe.Direction, action observe.Action, frame func(b []byte) bool) (n int) {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range got {
			if c.Dir == dir && c.Action == action && len(c.Data) >= 14+28 && frame(c.Data) {
				n++
			}
		}
		return n
	}
	icmp := func(kind4, kind6 byte) func(b []byte) bool {
		return func(b []byte) bool {
			return b[12] == 8 && b[13] == 0 && b[23] == 1 && b[34] == kind4 || b[12] == 0x86 && b[20] == 58 && b[54] == kind6
		}
	}
	arp := func(op byte) func(b []byte) bool {
		return func(b []byte) bool { return b[12] == 8 && b[13] == 6 && b[21] == op }
	}
	for end := time.Now().Add(5 * time.Second); count(observe.In, observe.Delivered, icmp(0, 129)) < 6 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(100 * time.Millisecond)
	if n := count(observe.Out, observe.Delivered, icmp(8, 128)); n != 6 {
		t.Errorf("%d echo requests, want 6", n)
	}
	if n := count(observe.In, observe.Delivered, icmp(0, 129)); n != 6 {
		t.Errorf("%d echo replies, want 6", n)
	}
	if a, b := count(observe.Out, observe.Answered, arp(1)), count(observe.In, observe.Delivered, arp(2)); a == 0 || a != b {
		t.Errorf("%d ARP requests and %d answers", a, b)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	denied := 0
	mac := g.Ports[0].MAC
	for _, c := range got {
		if c.Rule == "securityRules/deny" && c.Dir == observe.Out && c.Action == observe.Dropped && c.Reason == observe.ACLRule && c.At == 2 && c.Revision == 42 {
			denied++
		}
		if c.Dir == observe.In && c.Action == observe.Delivered && !bytes.Equal(c.Data[:6], mac[:]) {
			t.Errorf("the VM got %x", c.Data)
		}
		if len(c.Data) > 64 || bytes.Contains(c.Data, []byte{10, 0, 0, 5, 10, 0, 0, 6}) {
			t.Errorf("captured %x", c.Data)
		}
	}
	if denied != 1 {
		t.Errorf("%d denied datagrams, want 1", denied)
	}
	var rec watchingRecord
	if err := h.dp.coll.Maps[watchingMap].Lookup(uint32(0), &rec); err != nil || rec.Slot != 0 {
		t.Errorf("the port is looked at still: %+v, %v", rec, err)
	}
}
