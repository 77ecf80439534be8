package datapath

import (
	"net/netip"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/goal/model"
	"ringfence/host/kernel/netdev"
	"ringfence/observe"
)

// cut is a fragment of p.
func cut(p model.Packet, id uint32, first, behind int, last bool) model.Packet {
	p.Fragment, p.Len = model.Fragment{ID: id, First: first, Behind: behind, Last: last}, 0
	if !p.Src.Is4() {
		p.OptionBytes = 8
	}
	return p
}

// Fragments for real, from one machine into another's socket: what comes behind its first arrives as one datagram, what comes before or
// overlaps does not, and each drop has its counter.
func TestFragmentsArrive(t *testing.T) {
	for _, hosts := range []int{1, 2} {
		w, a, b := pair(t, hosts)
		w.quiet(a, "10.0.0.5")
		pc, err := netdev.OpenPacket(a.ns, "eth0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close() })
		s := b.packets(t, "10.0.0.5:7000")
		h := w.hosts[0]
		p := model.Open(&h.goal.Ports[0], goal.UDP, netip.MustParseAddr("10.0.0.5"), 4000, 7000)
		whole := p
		whole.Len = 14 + 20 + 100
		first := cut(p, 0, 0, 64, false).Frame()
		copy(first[34:42], whole.Frame()[34:42]) // length and checksum of the whole: all its bytes are zero
		for i, c := range []struct {
			name    string
			order   []int // of the pieces 0–64, 64–96, 96–100; 3: 88–100
			arrives bool
			reason  observe.Reason
			drops   uint64
		}{
			{"in order", []int{0, 1, 2}, true, 0, 0},
			{"shuffled", []int{0, 2, 1}, true, 0, 0},
			{"the first last", []int{1, 2, 0}, false, observe.FlowNoFirst, 2},
			{"one before the first and again", []int{1, 0, 1, 2}, true, observe.FlowNoFirst, 1},
			{"one twice", []int{0, 1, 1, 2}, true, observe.FlowOverlap, 1},
			{"overlap", []int{0, 1, 3, 2}, false, observe.FlowOverlap, 2},
		} {
			before := h.counted(t)
			for _, k := range c.order {
				f := first
				if k > 0 {
					x := [][2]int{1: {64, 96}, 2: {96, 100}, 3: {88, 100}}[k]
					f = cut(p, 0, x[0], x[1], x[1] == 100).Frame()
				}
				f = withID(f, uint16(100*hosts+i))
				if _, err := pc.Write(f); err != nil {
					t.Fatal(err)
				}
			}
			buf := make([]byte, 200)
			s.SetReadDeadline(time.Now().Add(map[bool]time.Duration{true: 2 * time.Second, false: 100 * time.Millisecond}[c.arrives]))
			if n, _, err := s.ReadFrom(buf); (err == nil) != c.arrives || c.arrives && n != 92 {
				t.Errorf("%d hosts, %s: %d bytes, %v", hosts, c.name, n, err)
			}
			name := "port 1 out " + c.reason.String()
			if d := h.counted(t)[name] - before[name]; d != c.drops {
				t.Errorf("%d hosts, %s: %s +%d, not %d", hosts, c.name, name, d, c.drops)
			}
		}
	}
}

// withID gives an IPv4 frame another identification.
func withID(f []byte, id uint16) []byte {
	f = append([]byte{}, f...)
	f[18], f[19] = byte(id>>8), byte(id)
	f[24], f[25] = 0, 0
	sum := ^uint16(onesSum(f[14:34]))
	f[24], f[25] = byte(sum>>8), byte(sum)
	return f
}

// What the kernel remembers of a datagram ends with its time, its port and its place among the newest.
func TestFragmentsAreForgotten(t *testing.T) {
	inJudge(t, nil, func(j *judge) {
		h := twoPorts(netip.MustParseAddr("198.18.0.11"))
		j.load(h)
		p := model.Open(&h.Ports[0], goal.UDP, h.Ports[1].Addresses[0].IP, 4000, 53)
		send := func(what string, id uint32, first int, want observe.Reason) {
			t.Helper()
			v, _ := j.out(1, cut(p, id, first, first+64, first > 0).Frame())
			action := model.Deliver
			if want != observe.None {
				action = model.Drop
			}
			j.want(what, v, action, want)
		}
		send("first", 1, 0, observe.None)
		j.now += uint64(model.FragmentTime) - 1
		send("just in time", 1, 64, observe.None)
		send("first", 1, 0, observe.None)
		j.now += uint64(model.FragmentTime)
		send("too late", 1, 64, observe.FlowNoFirst)
		for id := range uint32(model.Datagrams + 1) {
			send("first", 10+id, 0, observe.None)
		}
		send("the oldest of too many", 10, 64, observe.FlowNoFirst)
		send("the next", 11, 64, observe.None)
		send("the newest", 10+model.Datagrams, 64, observe.None)
		next := *h
		next.Ports = h.Ports[1:]
		send("first", 5, 0, observe.None)
		j.apply(&next)
		j.apply(h)
		send("of a port that was gone", 5, 64, observe.FlowNoFirst)
	})
}

// A question to a service on a socket in fragments, with options, and its answer: addresses and checksums hold.
func TestSocketsInFragments(t *testing.T) {
	w, a, _ := pair(t, 1)
	h := w.hosts[0]
	w.quiet(a)
	svc := w.services(h)
	server, err := netdev.OpenPacket(svc, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client, err := netdev.OpenPacket(a.ns, "eth0")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	port, inside := &h.goal.Ports[0], goal.MAC{0x02, 0x5f, 0xff, 0xff, 0xff, 0xff}
	ask := model.Open(port, goal.UDP, model.WireServer, 40001, 53)
	withOptions := ask
	withOptions.OptionBytes, withOptions.Len = 12, 201
	for _, p := range []model.Packet{withOptions, cut(ask, 9, 0, 128, false), cut(ask, 9, 128, 301, true)} {
		if _, err := client.Write(p.Frame()); err != nil {
			t.Fatal(err)
		}
		want := p
		want.Src, want.DstMAC = goal.Alias(port.Index), inside
		arrives(t, server, want)

		answer := want.Reply(inside)
		answer.SrcMAC, answer.DstMAC = inside, inside
		if _, err := server.Write(answer.Frame()); err != nil {
			t.Fatal(err)
		}
		want = answer
		want.Dst, want.DstMAC, want.SrcMAC = port.Addresses[0].IP, port.MAC, model.Gateway
		arrives(t, client, want)
	}
}
