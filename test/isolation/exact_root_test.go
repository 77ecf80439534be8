package isolation

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"ringfence/goal"
)

// At a rate that the path carries, sent = received + the sum of the named drops, exactly: on one host and over both, both families, with allowed and
// denied packets mixed.
func TestSentIsReceivedPlusDropped(t *testing.T) {
	l := theLab(t)
	l.rules(t, rule("deny-7001", 100, "Deny", "Udp", "7001"))
	t.Cleanup(func() { l.rules(t) })
	b1 := l.vms["contoso/b1"]
	for _, name := range []string{"contoso/a1", "contoso/a2"} {
		t.Run("to "+name, func(t *testing.T) {
			to := l.vms[name]
			w := l.begin(t)
			before := l.traffic(t)
			out := openWire(t, b1.netns, "eth0")
			const packets = 4000
			begin := time.Now()
			first := marks + 1
			for i := range packets {
				n, b := number()
				frame, _ := stream(b1, to, i, b)
				if err := out.send(frame); err != nil {
					t.Fatalf("packet %d: %v", n, err)
				}
				if i%4 == 3 {
					time.Sleep(time.Millisecond)
				}
			}
			took := time.Since(begin)
			w.settle()
			w.checkCounters()
			w.checkPlaces()
			w.balance(b1, to, before, first, packets)
			t.Logf("%d packets in %s", packets, took.Round(time.Millisecond))
		})
	}
}

// stream is packet i of a mixed stream, and whether it is to arrive.
func stream(from, to *vm, i int, mark []byte) ([]byte, bool) {
	sport, mac := uint16(10000+i), from.port.MAC
	src, dst := from.ip, to.ip
	if i%2 == 1 {
		src, dst = from.v6, to.v6
	}
	switch i / 2 % 8 {
	case 0:
		return packet(gateway, mac, src, dst, goal.UDP, udp(sport, 7001, mark)), false // denied at the receiver
	case 1:
		return packet(gateway, mac, src, other(dst), goal.UDP, udp(sport, 7000, mark)), false // nobody has the address
	case 2:
		return packet(gateway, mac, other(src), dst, goal.UDP, udp(sport, 7000, mark)), false // not its own
	case 3:
		return packet(gateway, goal.MAC{2, 1}, src, dst, goal.UDP, udp(sport, 7000, mark)), false
	}
	return packet(gateway, mac, src, dst, goal.UDP, udp(sport-uint16(i/2%8), 7000, mark)), true // new flows and known ones
}

func other(a netip.Addr) netip.Addr {
	b := a.AsSlice()
	b[len(b)-1] ^= 0x40
	a, _ = netip.AddrFromSlice(b)
	return a
}

// traffic is what the ports' packets became.
type traffic struct{ Sent, Delivered, Local, Encapsulated, Service, Answered, Served uint64 }

func (l *lab) traffic(t *testing.T) map[string]traffic {
	t.Helper()
	var got struct {
		Value []struct {
			Host string
			Port uint32
			traffic
		}
	}
	if err := l.ask("traffic", &got); err != nil {
		t.Fatal(err)
	}
	out := map[string]traffic{}
	for _, v := range got.Value {
		out[fmt.Sprint(v.Host, v.Port)] = v.traffic
	}
	return out
}

// balance adds up without asking the specification: what the test sent, what arrived, what the counters say.
func (w *trial) balance(from, to *vm, before map[string]traffic, first uint32, packets int) {
	w.t.Helper()
	arrived, noise := 0, 0
	for _, s := range w.sights {
		switch at := w.sandbox(s.ns); {
		case at == to && s.dev == "eth0" && !s.out && s.mark >= first:
			arrived++
		case at == from && s.out && s.mark < first:
			noise++
		}
	}
	dropped := 0
	for k, n := range w.moved() {
		if k.host == from.host && k.port == from.port.Index && k.dir == "out" || k.host == to.host && k.port == to.port.Index && k.dir == "in" {
			dropped += int(n)
		}
	}
	if want := packets / 2; arrived != want {
		w.t.Errorf("%d arrived, want %d", arrived, want)
	}
	now := w.l.traffic(w.t)
	key := fmt.Sprint(from.host, from.port.Index)
	a, b := before[key], now[key]
	settled := int(b.Service - a.Service + b.Answered - a.Answered)
	if sent := int(b.Sent - a.Sent); sent != packets+noise || arrived+dropped+settled != sent {
		w.t.Errorf("sent %d, counted as sent %d; arrived %d + dropped %d + served or answered %d (of which not the test's: %d)", packets, sent, arrived, dropped, settled, noise)
	}
	key = fmt.Sprint(to.host, to.port.Index)
	if n := int(now[key].Delivered - before[key].Delivered); n != arrived {
		w.t.Errorf("counted as delivered %d, arrived %d", n, arrived)
	}
}
