package datapath

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"ringfence/host/kernel/netns"
	"ringfence/observe"
)

// listen opens a listener in a sandbox; sockets stay in the namespace they are born in.
func (p *wirePort) listen(t testing.TB, network, addr string) net.Listener {
	t.Helper()
	var l net.Listener
	if err := netns.Do(p.ns, func() (err error) { l, err = net.Listen(network, addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (p *wirePort) dial(network, addr string) (c net.Conn, err error) {
	err = netns.Do(p.ns, func() (err error) { c, err = net.DialTimeout(network, addr, 3*time.Second); return err })
	return c, err
}

func (p *wirePort) packets(t testing.TB, addr string) net.PacketConn {
	t.Helper()
	var c net.PacketConn
	if err := netns.Do(p.ns, func() (err error) { c, err = net.ListenPacket("udp", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// transfer sends size random bytes from one sandbox to another over TCP and compares what arrives.
func transfer(t *testing.T, from, to *wirePort, addr string, size int) {
	t.Helper()
	l := to.listen(t, "tcp", net.JoinHostPort(addr, "0"))
	data := make([]byte, size)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	got := make(chan [32]byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		h := sha256.New()
		io.Copy(h, c)
		got <- [32]byte(h.Sum(nil))
	}()
	start := time.Now()
	c, err := from.dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.Copy(c, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	c.(*net.TCPConn).CloseWrite()
	select {
	case sum := <-got:
		if sum != sha256.Sum256(data) {
			t.Errorf("%s: other bytes arrived than were sent", addr)
		}
		d := time.Since(start)
		t.Logf("%s: %.1f Gbit/s", addr, float64(size)*8/d.Seconds()/1e9)
	case <-time.After(20 * time.Second):
		t.Errorf("%s: not all bytes arrived", addr)
	}
}

func pair(t testing.TB, hosts int) (w *wire, a, b *wirePort) {
	return pairOver(t, hosts, 1600)
}

func pairOver(t testing.TB, hosts, mtu int) (w *wire, a, b *wirePort) {
	w = newWireOver(t, hosts, mtu)
	goals := testGoals(w.hosts, 2/hosts)
	for i, g := range goals {
		for j := range g.Ports {
			w.port(w.hosts[i], &g.Ports[j])
		}
		w.apply(w.hosts[i], g)
	}
	return w, w.hosts[0].ports[1], w.hosts[len(w.hosts)-1].ports[2]
}

func TestStreams(t *testing.T) {
	for _, hosts := range []int{1, 2} {
		t.Run(fmt.Sprintf("hosts=%d", hosts), func(t *testing.T) {
			w, a, b := pair(t, hosts)
			for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
				transfer(t, a, b, to, 64<<20)
				datagrams(t, a, b, to)
			}
			transfer(t, b, a, "10.0.0.4", 8<<20)
			w.balance()
			if t.Failed() {
				for _, h := range w.hosts {
					w.explain(h)
				}
			}
		})
	}
}

// datagrams sends UDP of several sizes there and back.
func datagrams(t *testing.T, from, to *wirePort, addr string) {
	t.Helper()
	s := to.packets(t, net.JoinHostPort(addr, "0"))
	go func() {
		buf := make([]byte, 2000)
		for {
			n, peer, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			s.WriteTo(buf[:n], peer)
		}
	}()
	c, err := from.dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, size := range []int{0, 1, 2, 17, 512, 1400, 1452} {
		msg := bytes.Repeat([]byte{byte(size)}, size)
		if _, err := c.Write(msg); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 2000)
		c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], msg) {
			t.Errorf("%s: %d bytes of UDP: %d came back, %v", addr, size, n, err)
		}
	}
}

// balance checks that every packet that a VM sent ended in exactly one counter.
func (w *wire) balance() {
	w.t.Helper()
	for _, h := range w.hosts {
		if err := h.balance(); err != nil {
			w.t.Error(err)
		}
	}
}

func (h *wireHost) balance() error {
	traffic, err := h.dp.Traffic()
	if err != nil {
		return err
	}
	drops, err := h.dp.Drops()
	if err != nil {
		return err
	}
	var sent, ended, local, delivered uint64
	for _, x := range traffic {
		sent += x.Sent
		ended += x.Local + x.Encap + x.Service + x.Answered
		local += x.Local
		delivered += x.Delivered
	}
	for _, x := range drops {
		if x.Reason == observe.GuardHost {
			continue // no VM sent it
		}
		if x.Port != 0 && x.Dir == observe.Out || x.Port != 0 && len(h.goal.Ports) > 1 {
			ended += x.Packets
		}
	}
	if sent != ended {
		return errors.Join(fmt.Errorf("%s: %d packets sent, %d accounted for", h.ns, sent, ended))
	}
	if local > delivered {
		return fmt.Errorf("%s: %d delivered, of which %d local", h.ns, delivered, local)
	}
	return nil
}
