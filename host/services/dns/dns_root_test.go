package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

var spaces atomic.Int32

// space is a namespace whose loopback has the service's address and the aliases of some ports.
func space(t testing.TB, ports ...uint32) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ns := fmt.Sprintf("rftest-dns-%d-%d", os.Getpid(), spaces.Add(1))
	must(t, netns.New(ns))
	t.Cleanup(func() { must(t, netns.Delete(ns)) })
	must(t, netdev.With(ns, func(c *netdev.Conn) error {
		addresses := []netip.Addr{Address.Addr(), netip.MustParseAddr("192.0.2.1")}
		for _, p := range ports {
			addresses = append(addresses, goal.Alias(p))
		}
		for _, a := range addresses {
			if err := c.EnsureAddress("lo", netdev.Address{Prefix: netip.PrefixFrom(a, 32)}); err != nil {
				return err
			}
		}
		return c.Up("lo")
	}))
	return ns
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects to the server from an address of the namespace.
func dial(t testing.TB, ns, network string, from netip.Addr) net.Conn {
	t.Helper()
	var conn net.Conn
	must(t, netns.Do(ns, func() (err error) {
		var local net.Addr = &net.UDPAddr{IP: from.AsSlice()}
		if network == "tcp" {
			local = &net.TCPAddr{IP: from.AsSlice()}
		}
		conn, err = (&net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}).Dial(network, Address.String())
		return err
	}))
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	return conn
}

func serve(t testing.TB, ns string, rate int) *Server {
	t.Helper()
	s, err := Open(Options{Namespace: ns, Rate: rate})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	s.Set(twoVNets())
	return s
}

func TestRealSockets(t *testing.T) {
	ns := space(t, 1, 3, 7)
	s := serve(t, ns, 0)
	for port, want := range map[uint32]string{1: "NOERROR A 10.0.0.4", 7: "NOERROR A 10.0.0.9"} {
		for _, network := range []string{"udp", "tcp"} {
			c := &dns.Conn{Conn: dial(t, ns, network, goal.Alias(port))}
			for range 3 { // several over one connection
				must(t, c.WriteMsg(question("web.", dns.TypeA)))
				m, err := c.ReadMsg()
				if err != nil || brief(m) != want {
					t.Fatalf("port %d over %s: %v, %v", port, network, m, err)
				}
			}
		}
	}
	// Nobody else: not by UDP, not by TCP, neither from a port that is not here nor from elsewhere.
	for _, from := range []netip.Addr{goal.Alias(3), netip.MustParseAddr("192.0.2.1"), Address.Addr()} {
		c := &dns.Conn{Conn: dial(t, ns, "udp", from)}
		must(t, c.WriteMsg(question("web.", dns.TypeA)))
		c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		if m, err := c.ReadMsg(); err == nil {
			t.Errorf("%s is answered: %v", from, m)
		}
		var conn net.Conn
		err := netns.Do(ns, func() (err error) {
			conn, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}).Dial("tcp", Address.String())
			return err
		})
		if err != nil {
			continue // the reset came at once
		}
		c = &dns.Conn{Conn: conn}
		c.WriteMsg(question("web.", dns.TypeA))
		if m, err := c.ReadMsg(); err == nil {
			t.Errorf("%s is answered over TCP: %v", from, m)
		}
		conn.Close()
	}
	if st := s.Status(); st.Answered != 12 || st.Strangers != 6 || st.Generation != 42 || st.Ports != 3 || st.SendErrors != 0 {
		t.Errorf("status %+v", st)
	}
}

// guestOf is a namespace beside the service's whose only address is an alias.
func guestOf(t *testing.T, ns string, alias netip.Addr) string {
	t.Helper()
	guest := ns + "g"
	must(t, netns.New(guest))
	t.Cleanup(func() { must(t, netns.Delete(guest)) })
	must(t, netdev.With(ns, func(c *netdev.Conn) error {
		if _, _, err := c.EnsureVeth(netdev.Veth{Name: "svc0", Peer: netdev.Peer{Namespace: guest, Name: "eth0"}}); err != nil {
			return err
		}
		if err := c.Up("svc0"); err != nil {
			return err
		}
		return c.EnsureRoute(netdev.Route{Destination: goal.Aliases, Device: "svc0", Source: Address.Addr()})
	}))
	must(t, netdev.With(guest, func(c *netdev.Conn) error {
		if err := c.EnsureAddress("eth0", netdev.Address{Prefix: netip.PrefixFrom(alias, 32)}); err != nil {
			return err
		}
		if err := c.Up("eth0"); err != nil {
			return err
		}
		return c.EnsureRoute(netdev.Route{Destination: netip.PrefixFrom(Address.Addr(), 32), Device: "eth0", Source: alias})
	}))
	return guest
}

// Somebody else's resolver, as it runs in a guest: the search list makes a bare name whole.
func TestGuestsResolver(t *testing.T) {
	ns := space(t)
	serve(t, ns, 0)
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/resolv.conf", []byte("nameserver 168.63.129.16\nsearch one.rx.internal.cloudapp.net\noptions timeout:2 attempts:2\n"), 0o644))
	guest := guestOf(t, ns, goal.Alias(1))
	for question, want := range map[string]string{
		"ahostsv4 web":    "10.0.0.4",
		"ahostsv6 both":   "fd00:db8::5",
		"hosts 10.0.0.5":  "both.internal.cloudapp.net",
		"ahostsv4 nobody": "exit status 2", // not found: not "try again"
	} {
		script := fmt.Sprintf("mount --bind %s/resolv.conf /etc/resolv.conf && exec getent -s dns %s", dir, question)
		out, err := exec.Command("ip", "netns", "exec", guest, "unshare", "--mount", "sh", "-c", script).CombinedOutput()
		if got := string(out); !strings.Contains(got, want) && (err == nil || err.Error() != want) {
			t.Errorf("getent %s: %q, %v", question, got, err)
		}
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	ns := space(t, 1, 7)
	s := serve(t, ns, 0)
	var conns []net.Conn
	for range connectionsPerPort {
		conns = append(conns, dial(t, ns, "tcp", goal.Alias(1)))
	}
	c := &dns.Conn{Conn: conns[len(conns)-1]}
	must(t, c.WriteMsg(question("web.", dns.TypeA)))
	if _, err := c.ReadMsg(); err != nil {
		t.Fatalf("the last allowed: %v", err)
	}
	err := netns.Do(ns, func() error {
		one, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: goal.Alias(1).AsSlice()}}).Dial("tcp", Address.String())
		if err != nil {
			return err
		}
		defer one.Close()
		one.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = one.Read(make([]byte, 1))
		return err
	})
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more was taken: %v", err)
	}
	c = &dns.Conn{Conn: dial(t, ns, "tcp", goal.Alias(7))}
	must(t, c.WriteMsg(question("web.", dns.TypeA)))
	if _, err := c.ReadMsg(); err != nil {
		t.Errorf("another port: %v", err)
	}
	big := dial(t, ns, "tcp", goal.Alias(7))
	big.Write([]byte{0xff, 0xff})
	if _, err := big.Read(make([]byte, 1)); err == nil {
		t.Error("an oversized question is waited for")
	}
	began := time.Now()
	must(t, s.Close())
	if time.Since(began) > time.Second {
		t.Error("Close waits for idle connections")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	ns := space(t)
	must(t, netdev.With(ns, func(c *netdev.Conn) error { return c.DeleteAddress("lo", netip.PrefixFrom(Address.Addr(), 32)) }))
	if _, err := Open(Options{Namespace: ns}); err == nil || !strings.Contains(err.Error(), "168.63.129.16") {
		t.Errorf("without the address: %v", err)
	}
	if _, err := Open(Options{Namespace: "rftest-no-such"}); err == nil || !strings.Contains(err.Error(), "rftest-no-such") {
		t.Errorf("without the namespace: %v", err)
	}
}

// BenchmarkUDP is the whole way over real sockets: 64 ports ask at once, each waits for its answer before it asks again.
func BenchmarkUDP(b *testing.B) {
	ports := make([]uint32, 64)
	h := twoVNets()
	h.Ports = nil
	for i := range ports {
		ports[i] = uint32(i + 1)
		h.Ports = append(h.Ports, goal.Port{Index: ports[i], VNI: 100})
	}
	ns := space(b, ports...)
	serve(b, ns, 1e9).Set(h)
	m := pack(b, question("web.one.rx.internal.cloudapp.net.", dns.TypeA))
	conns := make([]net.Conn, len(ports))
	for i, p := range ports {
		conns[i] = dial(b, ns, "udp", goal.Alias(p))
		conns[i].SetDeadline(time.Time{})
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, len(conns))
	var all sync.WaitGroup
	before := processorTime(b)
	b.ResetTimer()
	for i, c := range conns {
		all.Go(func() {
			buf := make([]byte, 512)
			for left.Add(-1) >= 0 {
				began := time.Now()
				if _, err := c.Write(m); err != nil {
					b.Error(err)
					return
				}
				if n, err := c.Read(buf); err != nil || n < len(m) {
					b.Error(n, err)
					return
				}
				took[i] = append(took[i], time.Since(began))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	every := slices.Concat(took...)
	slices.Sort(every)
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/query") // asker and server together
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "queries/s")
	b.ReportMetric(float64(every[len(every)*99/100].Microseconds()), "p99-µs")
}

// processorTime is what this process has used: unlike the clock it does not count others.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	must(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
