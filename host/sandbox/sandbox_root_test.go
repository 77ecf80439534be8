package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/kernel/netns"
)

// The test program runs a command in a sandbox in place of itself when it is told so: what `ringfence vm exec` does.
func TestMain(m *testing.M) {
	if spec := os.Getenv("RINGFENCE_TEST_SANDBOX"); spec != "" {
		var s Spec
		err := json.Unmarshal([]byte(spec), &s)
		if err == nil {
			os.Unsetenv("RINGFENCE_TEST_SANDBOX")
			err = Exec(s, os.Args[1:])
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	os.Exit(m.Run())
}

var counter atomic.Int64

// world is one host's namespace with a manager in it.
type world struct {
	t    *testing.T
	host string
	m    *Manager
	f    *fabric
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	w := &world{t: t, f: newFabric()}
	instance := fmt.Sprintf("rftest%dx%d", os.Getpid(), counter.Add(1))
	w.host = instance + "-host"
	must(t, netns.New(w.host))
	t.Cleanup(func() { must(t, netns.Delete(w.host)) })
	w.m = w.manager(instance)
	t.Cleanup(func() {
		w.inside(func() error { return w.m.Prune(nil) })
		if left, err := netns.List(w.m.prefix()); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	return w
}

// manager is a fresh process's.
func (w *world) manager(instance string) *Manager {
	m, err := New(Options{Instance: instance, Host: "h", RunDir: filepath.Join(w.t.TempDir(), "run")})
	must(w.t, err)
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// inside runs fn as the agent would: in the host's namespace.
func (w *world) inside(fn func() error) {
	w.t.Helper()
	must(w.t, netns.Do(w.host, fn))
}

func (w *world) ensure(p goal.Port) (index int) {
	w.t.Helper()
	w.inside(func() (err error) {
		index, err = w.m.Ensure(p)
		return err
	})
	return index
}

func (w *world) configure(p goal.Port) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	must(w.t, w.m.Configure(ctx, p))
}

// boot is a port's whole way: sandbox, data plane, DHCP.
func (w *world) boot(p goal.Port) {
	w.t.Helper()
	w.ensure(p)
	w.f.attach(w.t, w.host, p)
	w.configure(p)
}

func (w *world) run(p goal.Port, argv ...string) (string, error) {
	w.t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	must(w.t, Start(w.m.Spec(p), cmd))
	err := cmd.Wait()
	return out.String(), err
}

func port(index uint32, name string, addrs ...string) goal.Port {
	p := goal.Port{
		Index: index, ID: "/nic/" + name, Primary: true, MAC: goal.MAC{0x02, 0x52, 0x46, 0, 0, byte(index)}, MTU: 1400,
		Sandbox: goal.Sandbox{Name: name, HostName: name, Device: "eth0"},
		DNS:     []netip.Addr{dhcpAddr}, Domain: "abc.rx.internal.cloudapp.net",
	}
	for i, a := range addrs {
		ip := netip.MustParseAddr(a)
		bits := 24
		if ip.Is6() {
			bits = 64
		}
		p.Addresses = append(p.Addresses, goal.Address{IP: ip, Subnet: netip.PrefixFrom(ip, bits).Masked(), Primary: i == 0})
	}
	return p
}

func TestGuest(t *testing.T) {
	w := newWorld(t)
	a, b := port(1, "web", "10.0.0.4", "10.0.0.9", "fd00::4"), port(2, "app", "10.0.1.4", "fd00:0:0:1::4")
	w.boot(a)
	w.boot(b)
	for _, to := range []string{"10.0.1.4", "fd00:0:0:1::4"} {
		if out, err := w.run(a, "ping", "-c1", "-W2", "-n", to); err != nil {
			t.Errorf("%s: %v: %s", to, err, out)
		}
	}
	if out, err := w.run(b, "ping", "-c1", "-W2", "-n", "10.0.0.9"); err != nil {
		t.Errorf("the secondary address: %v: %s", err, out)
	}
	out, _ := w.run(a, "ip", "-br", "addr", "show", "dev", "eth0")
	if fields := strings.Fields(out); len(fields) != 6 || !slices.Equal(fields[1:5], []string{"UP", "10.0.0.4/24", "10.0.0.9/24", "fd00::4/128"}) {
		t.Errorf("addresses: %s", out)
	}
	out, _ = w.run(a, "ip", "route")
	for _, want := range []string{"default via 10.0.0.1 dev eth0", "168.63.129.16 via 10.0.0.1 dev eth0", "10.0.0.0/24 dev eth0 proto kernel"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if out, _ = w.run(a, "ip", "-6", "route", "show", "default"); !strings.Contains(out, "via fe80::1234:5678:9abc dev eth0") {
		t.Errorf("IPv6 routes: %s", out)
	}
	for argv, want := range map[string]string{
		"hostname":                           "web\n",
		"cat /etc/hostname":                  "web\n",
		"cat /etc/resolv.conf":               "nameserver 168.63.129.16\nsearch abc.rx.internal.cloudapp.net\n",
		"getent ahostsv4 web":                "10.0.0.4 ",
		"cat /sys/class/net/eth0/mtu":        "1400\n",
		"cat /sys/class/net/eth0/address":    "02:52:46:00:00:01\n",
		"ls /sys/class/net":                  "eth0\nlo\n",
		"cat /proc/sys/net/ipv4/ip_forward":  "0\n",
		"setpriv --reuid 65534 ping -c1 ::1": "1 received",
	} {
		if out, err := w.run(a, strings.Fields(argv)...); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v, want %q", argv, out, err, want)
		}
	}
	if name, _ := os.Hostname(); name == "web" {
		t.Error("the machine's own name was changed")
	}
}

func TestIPv4OnlyGuestIsQuiet(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4")
	w.boot(p)
	if out, _ := w.run(p, "ip", "-6", "addr", "show", "dev", "eth0"); out != "" {
		t.Errorf("IPv6 addresses: %s", out)
	}
	out, _ := exec.Command("ip", "-n", w.host, "-d", "link", "show", "rfp1").CombinedOutput()
	if !strings.Contains(string(out), "NOARP") {
		t.Errorf("the host side speaks ARP: %s", out)
	}
	if out, _ := exec.Command("ip", "-n", w.host, "addr", "show", "rfp1").CombinedOutput(); strings.Contains(string(out), "inet") {
		t.Errorf("the host side has addresses: %s", out)
	}
}

// A secondary NIC lives in the same sandbox and brings no default route.
func TestTwoNICs(t *testing.T) {
	w := newWorld(t)
	first, second := port(1, "web", "10.0.0.4"), port(2, "web", "10.0.1.4")
	second.Primary, second.Sandbox.Device, second.Domain = false, "eth1", "other.example"
	w.boot(second) // order must not matter
	w.boot(first)
	out, _ := w.run(first, "ip", "route", "show", "default")
	if strings.Count(out, "default") != 1 || !strings.Contains(out, "dev eth0") {
		t.Errorf("routes: %s", out)
	}
	if out, _ = w.run(first, "cat", "/etc/resolv.conf", "/etc/hosts"); !strings.Contains(out, "search abc.rx") || !strings.Contains(out, "10.0.0.4 web.abc.rx.internal.cloudapp.net web") {
		t.Errorf("files: %s", out)
	}
	w.inside(func() error { return w.m.Prune([]goal.Port{first}) })
	if out, _ = w.run(first, "ls", "/sys/class/net"); out != "eth0\nlo\n" {
		t.Errorf("devices: %s", out)
	}
}

// A fresh process finds everything as it is and changes nothing.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4", "fd00::4")
	index := w.ensure(p)
	w.f.attach(t, w.host, p)
	w.configure(p)
	served := w.f.messages()
	run := w.m.o.RunDir
	m, err := New(Options{Instance: w.m.o.Instance, Host: "h", RunDir: run})
	must(t, err)
	w.m = m
	if again := w.ensure(p); again != index {
		t.Errorf("index %d, then %d", index, again)
	}
	w.configure(p)
	if w.f.messages() != served {
		t.Error("a configured sandbox asked again")
	}
	if _, err := w.run(p, "ip", "addr", "flush", "dev", "eth0"); err != nil {
		t.Fatal(err)
	}
	w.configure(p)
	if w.f.messages() == served {
		t.Error("a sandbox that lost its addresses did not ask")
	}
}

// The same index for another NIC: the device is made anew, the old sandbox goes.
func TestIndexReused(t *testing.T) {
	w := newWorld(t)
	old, now := port(1, "web", "10.0.0.4"), port(1, "app", "10.0.0.4")
	foreign := func(p goal.Port) (yes bool) {
		w.inside(func() (err error) {
			yes, err = w.m.Foreign(p)
			return err
		})
		return yes
	}
	if foreign(old) {
		t.Error("a device that does not exist is another's")
	}
	first := w.ensure(old)
	if foreign(old) || !foreign(now) {
		t.Error("whose device it is is not recognised")
	}
	second := w.ensure(now)
	if first == second {
		t.Error("another NIC's device was taken over")
	}
	w.inside(func() error { return w.m.Prune([]goal.Port{now}) })
	if names, _ := netns.List(w.m.prefix()); !slices.Equal(names, []string{w.m.prefix() + "app"}) {
		t.Errorf("namespaces: %v", names)
	}
	if _, err := os.Stat(w.m.dir("web")); !os.IsNotExist(err) {
		t.Errorf("files of the old sandbox: %v", err)
	}
}

// What the goal changes, the sandbox follows: other address, no more IPv6.
func TestReconfigure(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4", "fd00::4")
	w.boot(p)
	p.Addresses = port(1, "web", "10.0.0.7").Addresses
	p.MTU = 1300
	w.boot(p)
	out, _ := w.run(p, "ip", "-br", "addr", "show", "dev", "eth0")
	if fields := strings.Fields(out); len(fields) != 3 || fields[2] != "10.0.0.7/24" {
		t.Errorf("addresses: %s", out)
	}
	if out, _ := w.run(p, "ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1300") {
		t.Errorf("link: %s", out)
	}
}

// What gets IPv6 later gets it whole.
func TestIPv6Later(t *testing.T) {
	w := newWorld(t)
	w.boot(port(1, "web", "10.0.0.4"))
	p := port(1, "web", "10.0.0.4", "fd00::4")
	w.boot(p)
	if out, err := w.run(p, "ping", "-c1", "-W2", "fd00::4"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// With the VM goes what runs in it, and nothing else.
func TestPruneEndsProcesses(t *testing.T) {
	w := newWorld(t)
	a, b := port(1, "web", "10.0.0.4"), port(2, "app", "10.0.0.5")
	w.ensure(a)
	w.ensure(b)
	inA, inB := exec.Command("sleep", "1000"), exec.Command("sleep", "1000")
	must(t, Start(w.m.Spec(a), inA))
	must(t, Start(w.m.Spec(b), inB))
	w.inside(func() error { return w.m.Prune([]goal.Port{b}) })
	if err := inA.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	if err := inB.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the other VM's process: %v", err)
	}
	w.inside(func() error { return w.m.Prune(nil) })
	inB.Wait()
}

// Damage heals: a namespace or a device removed by hand is made again.
func TestHeals(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4")
	w.ensure(p)
	must(t, netns.Delete(w.m.Spec(p).Namespace))
	index := w.ensure(p)
	if out, err := w.run(p, "ls", "/sys/class/net"); err != nil || out != "eth0\nlo\n" {
		t.Errorf("after the namespace was removed: %s, %v", out, err)
	}
	must(t, netdev.With(w.host, func(c *netdev.Conn) error { return c.Delete(Device(1)) }))
	if again := w.ensure(p); again == index {
		t.Error("a device that was removed has the same index")
	}
}

func TestPruneLeavesOthers(t *testing.T) {
	w := newWorld(t)
	w.ensure(port(1, "web", "10.0.0.4"))
	foreign := []string{w.m.prefix() + "svc", "rf-" + w.m.o.Instance + "x-h-web"}
	for _, ns := range foreign {
		must(t, netns.New(ns))
		t.Cleanup(func() { netns.Delete(ns) })
	}
	must(t, netdev.With(w.host, func(c *netdev.Conn) error {
		_, _, err := c.EnsureVeth(netdev.Veth{Name: "rfpforeign", Peer: netdev.Peer{Namespace: w.host, Name: "x"}})
		return err
	}))
	for range 2 {
		w.inside(func() error { return w.m.Prune(nil) })
	}
	for _, ns := range foreign {
		if !netns.Exists(ns) {
			t.Errorf("%s was removed", ns)
		}
	}
	must(t, netdev.With(w.host, func(c *netdev.Conn) error {
		links, err := c.List("rfp")
		if len(links) != 1 || links[0].Name != "rfpforeign" {
			t.Errorf("devices: %+v", links)
		}
		return err
	}))
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	begin := time.Now()
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			w.boot(port(uint32(i+1), fmt.Sprintf("vm%d", i), fmt.Sprintf("10.0.0.%d", i+4), fmt.Sprintf("fd00::%x", i+4)))
		})
	}
	wg.Wait()
	t.Logf("%d sandboxes in %s", n, time.Since(begin).Round(time.Millisecond))
	last := port(n, fmt.Sprintf("vm%d", n-1), "10.0.0.43")
	if out, err := w.run(last, "ping", "-c1", "-W2", "10.0.0.4"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestNoAnswer(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4")
	w.ensure(p)
	w.f.silence()
	w.f.attach(t, w.host, p)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := w.m.Configure(ctx, p); err == nil || !strings.Contains(err.Error(), "web/eth0: dhcp") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > 2*time.Second {
		t.Errorf("gave up after %s", d)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	for name, change := range map[string]func(*goal.Port){
		"slash":      func(p *goal.Port) { p.Sandbox.Name = "a/b" },
		"empty":      func(p *goal.Port) { p.Sandbox.Name = "" },
		"service":    func(p *goal.Port) { p.Sandbox.Name = "svc" },
		"long":       func(p *goal.Port) { p.Sandbox.Name = strings.Repeat("a", 33) },
		"upper case": func(p *goal.Port) { p.Sandbox.Name = "Web" },
		"no MAC":     func(p *goal.Port) { p.MAC = goal.MAC{} },
		"multicast":  func(p *goal.Port) { p.MAC[0] = 1 },
		"device":     func(p *goal.Port) { p.Sandbox.Device = "sixteen-bytes-xx" },
	} {
		p := port(1, "web", "10.0.0.4")
		change(&p)
		if err := netns.Do(w.host, func() error { _, err := w.m.Ensure(p); return err }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// executes starts this program again, which becomes the command in the sandbox.
func (w *world) executes(p goal.Port, argv ...string) *exec.Cmd {
	spec, err := json.Marshal(w.m.Spec(p))
	must(w.t, err)
	cmd := exec.Command(os.Args[0], argv...)
	cmd.Env = append(os.Environ(), "RINGFENCE_TEST_SANDBOX="+string(spec))
	return cmd
}

func TestExec(t *testing.T) {
	w := newWorld(t)
	p := port(1, "web", "10.0.0.4")
	w.boot(p)
	in, err := netns.Inode(w.m.Spec(p).Namespace)
	must(t, err)

	dir := t.TempDir()
	cmd := w.executes(p, "sh", "-c", "cat; pwd; hostname; stat -Lc %i /proc/self/ns/net; echo bad >&2; exit 42")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader("from stdin\n")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if want := fmt.Sprintf("from stdin\n%s\nweb\n%d\n", dir, in); string(out) != want || errs.String() != "bad\n" {
		t.Errorf("got %q and %q, want %q", out, errs.String(), want)
	}
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 42 {
		t.Errorf("exit: %v", err)
	}

	cmd = w.executes(p, "sleep", "100")
	must(t, cmd.Start())
	for range 200 { // until it is the command
		if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid)); string(b) == "sleep\n" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	err = cmd.Wait()
	if exit, ok := err.(*exec.ExitError); !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("signal: %v", err)
	}
	if err := w.executes(p, "no-such-command").Run(); err == nil {
		t.Error("a command that does not exist ran")
	}
	if now, err := os.ReadFile("/etc/hostname"); err == nil && string(now) == "web\n" {
		t.Error("the machine's own file was changed")
	}
}
