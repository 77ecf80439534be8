package dhcp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// scene is a guest's namespace, a host's and a service namespace; between the host's two devices the test does what the data plane does.
type scene struct{ guest, host, service string }

func newScene(t *testing.T) scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var s scene
	for i, ns := range []*string{&s.guest, &s.host, &s.service} {
		*ns = fmt.Sprintf("rftest-dhcp-%d-%d", os.Getpid(), i)
		must(t, netns.New(*ns))
		t.Cleanup(func() { must(t, netns.Delete(*ns)) })
		must(t, netdev.SetSysctls(*ns, netdev.Sysctl{Key: "net/ipv6/conf/default/accept_dad", Value: "0"}))
	}
	must(t, netdev.SetSysctls(s.host, netdev.Sysctl{Key: "net/ipv6/conf/default/disable_ipv6", Value: "1"}))
	must(t, netdev.With(s.host, func(c *netdev.Conn) error {
		for _, v := range []netdev.Veth{
			{Name: "vm", Peer: netdev.Peer{Namespace: s.guest, Name: "eth0", MAC: net.HardwareAddr(nicMAC[:])}},
			{Name: "svc", Peer: netdev.Peer{Namespace: s.service, Name: "svc0"}},
		} {
			if _, _, err := c.EnsureVeth(v); err != nil {
				return err
			}
			if err := c.Up(v.Name); err != nil {
				return err
			}
			must(t, netdev.With(v.Peer.Namespace, func(p *netdev.Conn) error { return p.Up(v.Peer.Name) }))
		}
		return nil
	}))
	s.pump(t, "vm", "svc", func(f []byte) bool {
		copy(f, []byte{0x02, 0x5f, 0, 0, 0, 7})
		return true
	})
	s.pump(t, "svc", "vm", func(f []byte) bool {
		ours := string(f[6:12]) == "\x02\x5f\x00\x00\x00\x07"
		copy(f[6:12], fabric[:])
		return ours
	})
	return s
}

// pump carries frames from one device of the host to the other, changed.
func (s scene) pump(t *testing.T, from, to string, change func([]byte) bool) {
	t.Helper()
	in, err := netdev.OpenPacket(s.host, from)
	must(t, err)
	out, err := netdev.OpenPacket(s.host, to)
	must(t, err)
	t.Cleanup(func() { in.Close(); out.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := in.Read(buf)
			if err != nil {
				return
			}
			if change(buf[:n]) {
				out.Write(buf[:n])
			}
		}
	}()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Other people's clients get what Azure's guests get: insomniacslk's for DHCP, the kernel itself for the router.
func TestRealClients(t *testing.T) {
	s := newScene(t)
	server, err := Open(Options{Namespace: s.service, Device: "svc0"})
	must(t, err)
	server.Set(&goal.Host{Generation: 1, Ports: []goal.Port{nic()}})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()

	var conn4, conn6 net.PacketConn
	must(t, netns.Do(s.guest, func() (err error) {
		if conn4, err = nclient4.NewRawUDPConn("eth0", 68); err != nil {
			return err
		}
		for range 200 { // the link-local address comes a moment after the carrier
			if conn6, err = nclient6.NewIPv6UDPConn("eth0", 546); err == nil {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
		return err
	}))
	four, err := nclient4.NewWithConn(conn4, nicMAC[:])
	must(t, err)
	defer four.Close()
	lease, err := four.Request(ctx)
	must(t, err)
	if ip := lease.ACK.YourIPAddr.String(); ip != "10.0.0.4" || len(lease.ACK.ClasslessStaticRoute()) != 3 {
		t.Errorf("lease %s", lease.ACK.Summary())
	}
	renewed, err := four.Inform(ctx, net.IP{10, 0, 0, 4})
	must(t, err)
	if len(renewed.DNS()) != 2 {
		t.Errorf("inform %s", renewed.Summary())
	}
	six, err := nclient6.NewWithConn(conn6, nicMAC[:])
	must(t, err)
	defer six.Close()
	for name, get := range map[string]func() (string, error){
		"two steps": func() (string, error) {
			adv, err := six.Solicit(ctx)
			if err != nil {
				return "", err
			}
			reply, err := six.Request(ctx, adv)
			if err != nil {
				return "", err
			}
			return reply.Options.OneIANA().Options.OneAddress().IPv6Addr.String(), nil
		},
		"rapid": func() (string, error) {
			reply, err := six.RapidSolicit(ctx)
			if err != nil {
				return "", err
			}
			return reply.Options.OneIANA().Options.OneAddress().IPv6Addr.String(), nil
		},
	} {
		if ip, err := get(); err != nil || ip != "fd00::4" {
			t.Errorf("%s: %s, %v", name, ip, err)
		}
	}
	awaitRoute(t, s.guest)
	if st := server.Status(); st.Answered < 7 || st.Malformed != 0 || st.UnknownPort != 0 || st.SendErrors != 0 {
		t.Errorf("status %+v", st)
	}
	must(t, server.Close())
}

// awaitRoute waits until the guest's kernel has taken its default route from an advertisement.
func awaitRoute(t *testing.T, ns string) {
	t.Helper()
	var out []byte
	for range 100 {
		var err error
		out, err = exec.Command("ip", "-n", ns, "-6", "route", "show", "default").CombinedOutput()
		must(t, err)
		if strings.Contains(string(out), "via "+router.String()) && strings.Contains(string(out), "proto ra") && strings.Contains(string(out), "mtu 1400") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the kernel did not learn its router: %s", out)
}

// The device goes away under the server, as when the service namespace is removed: it says so and still ends when told.
func TestDeviceGone(t *testing.T) {
	s := newScene(t)
	server, err := Open(Options{Namespace: s.service, Device: "svc0"})
	must(t, err)
	must(t, netdev.With(s.host, func(c *netdev.Conn) error { return c.Delete("svc") }))
	server.Set(&goal.Host{Ports: []goal.Port{nic()}})
	server.send(advertisement(newPort(&goal.Port{Index: 7, MAC: nicMAC}), netip.MustParseAddr("ff02::1")))
	if server.Status().SendErrors == 0 {
		t.Error("a frame into nothing is no error")
	}
	done := make(chan error)
	go func() { done <- server.Close() }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Error("Close hangs")
	}
	if _, err := Open(Options{Namespace: s.service, Device: "svc0"}); err == nil || !strings.Contains(err.Error(), "svc0") {
		t.Errorf("opened a device that is gone: %v", err)
	}
}
