package datapath

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"ringfence/observe"
)

// ethtoolSet changes one flag of a device by ethtool's oldest commands.
func ethtoolSet(socket int, device string, cmd, value uint32) error {
	data := struct{ cmd, value uint32 }{cmd, value}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		rest [16]byte
	}{data: unsafe.Pointer(&data)}
	copy(req.name[:], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
		return errno
	}
	return nil
}

// noWrongSums checks that a machine has received nothing whose checksum was wrong.
func (p *wirePort) noWrongSums(t *testing.T) {
	t.Helper()
	var text []byte
	if err := inNamespace(p.ns, func() error {
		for _, f := range []string{"snmp", "snmp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + f)
			if err != nil {
				return err
			}
			text = append(text, b...)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	found := 0
	var names []string
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) == 2 && strings.HasSuffix(f[0], "InCsumErrors") {
			found++
			if f[1] != "0" {
				t.Errorf("%s: %s", p.ns, line)
			}
		}
		if names == nil || names[0] != f[0] {
			names = f
			continue
		}
		for i, name := range names {
			if name == "InCsumErrors" {
				found++
				if n, err := strconv.Atoi(f[i]); n != 0 || err != nil {
					t.Errorf("%s: %s %s: %d wrong checksums", p.ns, f[0], name, n)
				}
			}
		}
	}
	if found < 5 {
		t.Errorf("%s: only %d counts of wrong checksums found in\n%s", p.ns, found, text)
	}
}

// Real packets with options and extension headers, whole and in fragments, on one host and between two: they are judged by what they
// carry, and answers find their flow. A source route is refused.
func TestOptions(t *testing.T) {
	rr := "\x07\x0b\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00" // record route: room for two
	pad := "\x00\x00\x01\x04\x00\x00\x00\x00"                // a header of six bytes of padding
	long := "\x00\x0f\x1e\x7c" + strings.Repeat("\x00", 124) // of 128 bytes: an option that receivers skip
	for _, hosts := range []int{1, 2} {
		t.Run(fmt.Sprintf("hosts=%d", hosts), func(t *testing.T) {
			w, a, b := pair(t, hosts)
			for _, c := range []struct {
				what, to      string
				level, number int
				value         string
			}{
				{"record route", "10.0.0.5", unix.IPPROTO_IP, unix.IP_OPTIONS, rr},
				{"destination options", "fd00:db8::5", unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, pad},
				{"hop-by-hop options", "fd00:db8::5", unix.IPPROTO_IPV6, unix.IPV6_HOPOPTS, pad},
				{"long options", "fd00:db8::5", unix.IPPROTO_IPV6, unix.IPV6_DSTOPTS, long},
			} {
				to := hasher(t, b, c.to)
				conn, err := a.dial("udp", to)
				if err != nil {
					t.Fatal(err)
				}
				setOption(t, conn, c.level, c.number, c.value)
				for _, size := range []int{1, 100, 1300, 1453, 3000, 9000} {
					if err := ask(conn, bytes.Repeat([]byte{byte(size)}, size)); err != nil {
						t.Errorf("%s, %d bytes: %v", c.what, size, err)
					}
				}
				conn.Close()
			}
			if out, err := a.run("ping", "-c", "2", "-i", "0.1", "-W", "1", "-R", "10.0.0.5"); err != nil || !bytes.Contains(out, []byte("RR:")) {
				t.Errorf("ping with record route: %v\n%s", err, out)
			}
			for _, to := range []string{"10.0.0.5", "fd00:db8::5"} {
				if out, err := a.run("ping", "-c", "2", "-i", "0.1", "-W", "1", "-s", "20000", to); err != nil {
					t.Errorf("a large ping to %s: %v\n%s", to, err, out)
				}
			}
			conn, err := a.dial("udp", hasher(t, b, "10.0.0.5"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			before := w.hosts[0].counted(t)
			setOption(t, conn, unix.IPPROTO_IP, unix.IP_OPTIONS, "\x83\x07\x04\x0a\x00\x00\x05\x00")
			conn.Write([]byte("this way"))
			name := "port 1 out " + observe.GuardOptions.String()
			if n := w.hosts[0].counted(t)[name] - before[name]; n != 1 {
				t.Errorf("%d packets with a source route were dropped, not 1", n)
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

func setOption(t *testing.T, c net.Conn, level, name int, value string) {
	t.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), level, name, value) }); cerr != nil || err != nil {
		t.Fatalf("option %d: %v %v", name, cerr, err)
	}
}
