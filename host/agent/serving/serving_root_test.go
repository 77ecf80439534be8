package serving

import (
	"context"
	"encoding/gob"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
	"ringfence/host/services"
)

// The test binary is the program that the Keeper starts.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != Command {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := Run(ctx, Options{Dir: os.Args[3], Namespace: os.Args[7], Log: slog.New(slog.DiscardHandler)}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// bench is a host's namespace with its services.
type bench struct {
	t              *testing.T
	instance, host string
	o              Options
	link           services.Link
	lost           chan struct{}
}

const asker = 5 // port of the VM that asks

func newBench(t *testing.T) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	b := &bench{t: t, instance: fmt.Sprintf("rftestserving%d", os.Getpid()), lost: make(chan struct{}, 8)}
	b.host = b.instance + "-host"
	b.must(netns.New(b.host))
	b.o = Options{Dir: t.TempDir(), Namespace: services.Namespace(b.instance, "h"), Log: slog.New(slog.DiscardHandler)}
	t.Cleanup(func() {
		if pid, _ := holder(b.o.lock()); pid != 0 && pid != os.Getpid() {
			unix.Kill(pid, unix.SIGKILL)
		}
		netns.Delete(b.o.Namespace)
		netns.Delete(b.host)
	})
	b.ensure()
	return b
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// ensure makes the service namespace, and an address in it that asks as a VM's alias would.
func (b *bench) ensure() {
	b.t.Helper()
	b.must(netns.Do(b.host, func() (err error) { b.link, err = services.Ensure(b.instance, "h"); return err }))
	b.must(netdev.With(b.o.Namespace, func(c *netdev.Conn) error {
		return c.EnsureAddress("lo", netdev.Address{Prefix: netip.PrefixFrom(goal.Alias(asker), 32)})
	}))
}

func (b *bench) keep() *Keeper {
	k := Keep(b.o, func() error { return netns.Do(b.host, b.link.Whole) }, func() { b.lost <- struct{}{} })
	b.t.Cleanup(k.Close)
	return k
}

func (b *bench) set(k *Keeper, generation uint64, ip string) {
	b.t.Helper()
	k.Set(&goal.Host{Name: "h", Generation: generation,
		Ports: []goal.Port{{Index: asker, VM: "/vm", VNI: 7, Addresses: []goal.Address{{IP: netip.MustParseAddr("10.0.0.4"), Subnet: netip.MustParsePrefix("10.0.0.0/24")}}}},
		VNets: []goal.VNet{{VNI: 7, Names: []goal.Name{{Host: "web", IPs: []netip.Addr{netip.MustParseAddr(ip)}}}}}})
	if err := k.Problem(); err != nil {
		b.t.Fatal(err)
	}
}

// resolves waits until web is ip, and says how long that took.
func (b *bench) resolves(ip string) time.Duration {
	b.t.Helper()
	began := time.Now()
	var last string
	for time.Since(began) < 10*time.Second {
		if last = b.ask(); last == ip {
			return time.Since(began)
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.t.Fatalf("web is %q, not %s", last, ip)
	return 0
}

// ask is one question for web's address over UDP.
func (b *bench) ask() string {
	var conn *net.UDPConn
	err := netns.Do(b.o.Namespace, func() (err error) {
		conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(goal.Alias(asker), 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(services.Addresses[0], 53)))
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
	conn.Write([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01"))
	answer := make([]byte, 512)
	n, err := conn.Read(answer)
	if err != nil || n < 4 {
		return fmt.Sprint(err)
	}
	ip, _ := netip.AddrFromSlice(answer[n-4 : n])
	return ip.String()
}

func (b *bench) pid() int {
	b.t.Helper()
	pid, err := holder(b.o.lock())
	b.must(err)
	return pid
}

// An agent's end is not its services' end; theirs is noticed and healed; what they serve in is looked after.
func TestServicesOutliveTheAgent(t *testing.T) {
	b := newBench(t)
	first := b.keep()
	b.set(first, 1, "10.0.0.4")
	b.resolves("10.0.0.4")
	pid := b.pid()

	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	for _, want := range []string{"\nUid:\t65534\t65534\t65534\t65534\n", "\nGid:\t65534\t65534\t65534\t65534\n", "\nCapEff:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the process has not %q:\n%s", want, status)
		}
	}

	first.Close()
	b.resolves("10.0.0.4")
	second := b.keep()
	b.set(second, 2, "10.0.0.5")
	b.resolves("10.0.0.5")
	if now := b.pid(); now != pid {
		t.Errorf("process %d became %d though it could be taken over", pid, now)
	}

	b.must(unix.Kill(pid, unix.SIGKILL))
	for began := time.Now(); b.pid() == pid && time.Since(began) < time.Minute; {
		time.Sleep(time.Millisecond)
	}
	t.Logf("from the process's death to its successor's first answer: %v", b.resolves("10.0.0.5"))
	if err := second.Problem(); err != nil {
		t.Error(err)
	}
	b.set(second, 3, "10.0.0.6")
	b.resolves("10.0.0.6")

	pid = b.pid()
	b.must(unix.Kill(pid, unix.SIGSTOP)) // it neither answers nor ends
	for began := time.Now(); b.pid() == pid || b.pid() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("a process that does not answer is kept")
		}
	}
	b.set(second, 5, "10.0.0.8")
	b.resolves("10.0.0.8")

	pid = b.pid()
	b.must(netns.Delete(b.o.Namespace))
	<-b.lost
	b.ensure()
	second.Close()
	third := b.keep()
	b.set(third, 6, "10.0.0.7")
	b.resolves("10.0.0.7")
	if b.pid() == pid {
		t.Error("the process of a namespace that is gone was kept")
	}
}

// A process of another program, as before an upgrade, is asked to end; one that does not is ended.
func TestOtherProgramsAreReplaced(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("unix", b.o.socket())
	b.must(err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	asked := make(chan order, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		gob.NewEncoder(c).Encode(hello{Program: "older"})
		var o order
		gob.NewDecoder(c).Decode(&o)
		asked <- o
		l.Close()
	}()
	k := b.keep()
	b.set(k, 1, "10.0.0.4")
	if o := <-asked; !o.Stop {
		t.Errorf("it was told %+v", o)
	}
	pid := b.pid()
	k.Close()
	b.must(unix.Kill(pid, unix.SIGSTOP)) // deaf: it neither speaks nor ends
	k = b.keep()
	for began := time.Now(); (b.pid() == pid || b.pid() == 0) && time.Since(began) < time.Minute; {
		time.Sleep(5 * time.Millisecond)
	}
	b.set(k, 2, "10.0.0.5")
	b.resolves("10.0.0.5")
}
