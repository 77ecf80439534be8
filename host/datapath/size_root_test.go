package datapath

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/observe"
)

// How a socket finds its way's size: IP_PMTUDISC_*, the same numbers for IPv6.
const (
	mayFragment  = unix.IP_PMTUDISC_DONT
	learnsSize   = unix.IP_PMTUDISC_WANT
	dontFragment = unix.IP_PMTUDISC_PROBE // whatever it has been told
)

// option sets a socket option of a connection.
func option(t testing.TB, c net.Conn, level, name, value int) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, value) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
}

// hasher answers every datagram with the hash of what it is, whatever size that has.
func hasher(t testing.TB, at *wirePort, addr string) string {
	t.Helper()
	s := at.packets(t, net.JoinHostPort(addr, "0"))
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, peer, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			sum := sha256.Sum256(buf[:n])
			s.WriteTo(sum[:], peer)
		}
	}()
	return s.LocalAddr().String()
}

// sizes are those of packets from the smallest to one more than the machine's MTU, in CI not all of them, and of packets that a
// machine sends in fragments.
func sizes(header int) []int {
	var out []int
	for size := header + 1; size <= 1501; size++ {
		if near := size < header+4 || size%1450 < 3 || size%1450 > 1447 || size >= 1499; near || os.Getenv("RINGFENCE_SOAK") == "1" || size%101 == 0 {
			out = append(out, size)
		}
	}
	return append(out, 1480+28, 2*1480+20, 2*1480+21, 4000, 9000, 65507+28)
}

// Every size of both families, to be fragmented or not, on one host and between two over an underlay that is large enough and one
// that is not: what is sent arrives with the same bytes, or the sender is told which size would.
func TestEverySizeArrivesOrIsAnswered(t *testing.T) {
	for _, c := range []struct{ hosts, underlay, path int }{{1, 1600, 1500}, {2, 1600, 1500}, {2, 1500, 1450}} {
		t.Run(fmt.Sprintf("hosts=%d/underlay=%d", c.hosts, c.underlay), func(t *testing.T) {
			w, a, b := pairOver(t, c.hosts, c.underlay)
			for _, x := range []struct {
				to, back                   string
				header, level, name, asked int
			}{
				{"10.0.0.5", "10.0.0.4", 28, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_MTU},
				{"fd00:db8::5", "fd00:db8::4", 48, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_MTU},
			} {
				there, back := hasher(t, b, x.to), hasher(t, a, x.back)
				for _, how := range []int{dontFragment, learnsSize, mayFragment} {
					for _, ends := range []struct {
						from *wirePort
						to   string
					}{{a, there}, {b, back}} {
						ends.from.forgetMTU(t)
						conn, err := ends.from.dial("udp", ends.to)
						if err != nil {
							t.Fatal(err)
						}
						option(t, conn, x.level, x.name, how)
						everySize(t, conn, x.header, how, c.path)
						conn.Close()
					}
				}
			}
			w.balance()
			if t.Failed() {
				for _, h := range w.hosts {
					w.explain(h)
				}
			}
		})
	}
}

// everySize sends every size and wants each back or refused.
func everySize(t *testing.T, conn net.Conn, header, how, path int) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, uint64(how)))
	refused := 0
	for _, size := range sizes(header) {
		msg := make([]byte, min(size-header, 65507))
		for i := range msg {
			msg[i] = byte(r.Uint32())
		}
		err := ask(conn, msg)
		if errors.Is(err, unix.EMSGSIZE) && how != mayFragment && size > path {
			refused++
			if how == dontFragment {
				continue
			}
			err = ask(conn, msg) // it knows the size now, and cuts
		}
		if v6MayFragment := header == 48 && how == mayFragment && size > path; v6MayFragment && errors.Is(err, os.ErrDeadlineExceeded) && refused == 0 {
			refused++ // IPv6 has no way to say so: the sender is told, its socket is not
			err = ask(conn, msg)
		}
		if how == dontFragment && size > path {
			t.Errorf("%d bytes to %v over a way of %d: %v", size, conn.RemoteAddr(), path, err)
			continue
		}
		if err != nil {
			t.Errorf("%d bytes to %v, %d: %v", size, conn.RemoteAddr(), how, err)
		}
	}
	if limit := map[int]int{dontFragment: 1000, learnsSize: 1, mayFragment: 1}[how]; refused > limit || how == dontFragment && refused == 0 {
		t.Errorf("%d sizes refused to %v, %d", refused, conn.RemoteAddr(), how)
	}
}

// ask sends a datagram and wants its hash back.
func ask(conn net.Conn, msg []byte) error {
	if _, err := conn.Write(msg); err != nil {
		return err
	}
	want := sha256.Sum256(msg)
	conn.SetReadDeadline(time.Now().Add(time.Second))
	got := make([]byte, 100)
	n, err := conn.Read(got)
	if err == nil && !bytes.Equal(got[:n], want[:]) {
		return fmt.Errorf("other bytes arrived than were sent")
	}
	return err
}

// offload switches a device's offloads: checksums, and segmentation of TCP and UDP.
func (p *wirePort) offload(t *testing.T, on uint32) {
	t.Helper()
	const stxcsum, stso, sgso = 0x17, 0x1f, 0x24
	err := inNamespace(p.ns, func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(s)
		order := []uint32{sgso, stso, stxcsum}
		if on == 1 {
			slices.Reverse(order)
		}
		for _, cmd := range order {
			if err := ethtoolSet(s, "eth0", cmd, on); err != nil {
				return fmt.Errorf("ethtool command %#x: %w", cmd, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Streams and datagrams that the kernel carries as large ones and cuts late, and such that the sender cuts and sums itself: the same
// bytes arrive, and no checksum is wrong.
func TestOffloads(t *testing.T) {
	for _, c := range []struct{ hosts, underlay int }{{1, 1600}, {2, 1600}, {2, 1500}} {
		t.Run(fmt.Sprintf("hosts=%d/underlay=%d", c.hosts, c.underlay), func(t *testing.T) {
			w, a, b := pairOver(t, c.hosts, c.underlay)
			for _, on := range []uint32{0, 1} {
				a.offload(t, on)
				b.offload(t, on)
				for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
					transfer(t, a, b, to, 8<<20)
					segments(t, a, b, to)
				}
				transfer(t, b, a, "10.0.0.4", 4<<20)
				transfer(t, b, a, "fd00:db8::4", 4<<20)
			}
			for _, p := range []*wirePort{a, b} {
				p.noWrongSums(t)
			}
			for _, h := range w.hosts {
				drops, err := h.dp.Drops()
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range drops { // machines speak of themselves to everybody
					if d.Port != 0 && d.Reason != observe.GuardMulticast && d.Reason != observe.GuardSource && d.Reason != observe.GuardND {
						t.Errorf("%s: %+v", h.ns, d)
					}
				}
			}
			w.balance()
		})
	}
}

// segments has the kernel cut one large write into datagrams.
func segments(t *testing.T, from, to *wirePort, addr string) {
	t.Helper()
	const segment, n = 1200, 20
	s := to.packets(t, net.JoinHostPort(addr, "0"))
	c, err := from.dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	option(t, c, unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
	data := make([]byte, segment*n)
	r := rand.New(rand.NewPCG(8, 8))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, 1<<16)
	for len(got) < len(data) {
		s.SetReadDeadline(time.Now().Add(2 * time.Second))
		k, _, err := s.ReadFrom(buf)
		if err != nil || k != segment {
			t.Fatalf("%s: %d bytes behind %d: %v", addr, k, len(got), err)
		}
		got = append(got, buf[:k]...)
	}
	if !bytes.Equal(got, data) {
		t.Errorf("%s: other bytes arrived than were sent", addr)
	}
}
