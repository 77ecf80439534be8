package imds

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

var spaces atomic.Int32

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// space is a namespace whose loopback has the services' addresses and the aliases of some ports.
func space(t testing.TB, ports ...uint32) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	ns := fmt.Sprintf("rftest-imds-%d-%d", os.Getpid(), spaces.Add(1))
	must(t, netns.New(ns))
	t.Cleanup(func() { must(t, netns.Delete(ns)) })
	must(t, netdev.With(ns, func(c *netdev.Conn) error {
		addresses := []netip.Addr{Metadata.Addr(), Wire.Addr()}
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

func serve(t testing.TB, ns string) *Server {
	t.Helper()
	s, err := Open(Options{Namespace: ns, Rate: 1000})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	s.Set(someHost())
	return s
}

// dial connects from an alias.
func dial(ns string, port uint32, to netip.AddrPort) (conn net.Conn, err error) {
	err = netns.Do(ns, func() error {
		conn, err = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: goal.Alias(port).AsSlice()}, Timeout: 5 * time.Second}).Dial("tcp", to.String())
		return err
	})
	if err == nil {
		conn.SetDeadline(time.Now().Add(5 * time.Second))
	}
	return conn, err
}

// fetch sends one request over a connection and reads the answer.
func fetch(conn net.Conn, request string) (code int, body string, err error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, "", err
	}
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return r.StatusCode, string(b), err
}

const whoAmI = "GET /metadata/instance/compute/name?api-version=2021-02-01&format=text HTTP/1.1\r\nHost: 169.254.169.254\r\nMetadata: true\r\n\r\n"

func TestRealSockets(t *testing.T) {
	ns := space(t, 1, 3, 7)
	s := serve(t, ns)
	for port, want := range map[uint32]string{1: "Web", 7: "other"} {
		conn, err := dial(ns, port, Metadata)
		must(t, err)
		for range 3 { // several over one connection
			if code, body, err := fetch(conn, whoAmI); code != 200 || body != want || err != nil {
				t.Errorf("port %d: %d %q, %v", port, code, body, err)
			}
		}
		conn.Close()
	}
	conn, err := dial(ns, 1, Wire)
	must(t, err)
	defer conn.Close()
	if code, body, err := fetch(conn, "GET /?comp=versions HTTP/1.1\r\nHost: 168.63.129.16\r\n\r\n"); code != 200 || !strings.Contains(body, "<Preferred>") || err != nil {
		t.Errorf("the wire server: %d %q, %v", code, body, err)
	}
	if conn, err := dial(ns, 3, Metadata); err == nil {
		if code, body, err := fetch(conn, whoAmI); err == nil {
			t.Errorf("a stranger hears %d %q", code, body)
		}
	}
	// A port that goes is not answered any more, also not on the connection that it has.
	conn, err = dial(ns, 7, Metadata)
	must(t, err)
	h := someHost()
	h.Ports = h.Ports[:2]
	s.Set(h)
	if code, body, err := fetch(conn, whoAmI); err == nil {
		t.Errorf("a port that is gone hears %d %q", code, body)
	}
	if st := s.Status(); st.Answered != 7 || st.Strangers != 2 || st.Ports != 2 {
		t.Errorf("status %+v", st)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	ns := space(t, 1, 7)
	s := serve(t, ns)
	for range connectionsPerPort {
		conn, err := dial(ns, 1, Metadata)
		must(t, err)
		defer conn.Close()
		if code, _, err := fetch(conn, whoAmI); code != 200 {
			t.Fatalf("%d, %v", code, err)
		}
	}
	conn, err := dial(ns, 1, Metadata)
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more was taken: %v", err)
	}
	conn, err = dial(ns, 7, Metadata)
	must(t, err)
	if code, _, err := fetch(conn, whoAmI); code != 200 {
		t.Errorf("another port: %d, %v", code, err)
	}
	conn.Close()
	big, err := dial(ns, 7, Metadata)
	must(t, err)
	if code, _, err := fetch(big, "GET / HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"); err == nil && code != 431 {
		t.Errorf("an oversized request: %d", code)
	}
	began := time.Now()
	must(t, s.Close())
	if time.Since(began) > time.Second {
		t.Error("Close waits for idle connections")
	}
	if s.Status().Limited == 0 {
		t.Error("the refused connection is not counted")
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	ns := space(t)
	must(t, netdev.With(ns, func(c *netdev.Conn) error { return c.DeleteAddress("lo", netip.PrefixFrom(Metadata.Addr(), 32)) }))
	if _, err := Open(Options{Namespace: ns}); err == nil || !strings.Contains(err.Error(), "169.254.169.254") {
		t.Errorf("without the address: %v", err)
	}
	s, err := Open(Options{Namespace: "rftest-no-such"})
	if err == nil || s != nil {
		t.Errorf("without the namespace: %v", err)
	}
}

func BenchmarkRequest(b *testing.B) {
	s := testServer()
	for b.Loop() {
		if w := get(s, 2, "/metadata/instance?"+latest); w.Code != 200 {
			s.limit = newLimiter(1e6)
		}
	}
}
