// Package e2e tests Ringfence as people use it: the program, a lab on this machine, real packets between sandboxes. It knows nothing of the
// inside: it runs `ringfence` and looks at what comes out. In: root and a Linux kernel. Out: whether the whole works.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var binary string

// TestMain builds the program once. Inside a sandbox the test's own program answers and sends instead.
func TestMain(m *testing.M) {
	if role := os.Getenv("E2E_ROLE"); role != "" {
		os.Exit(play(role, os.Getenv("E2E_ADDRESS")))
	}
	os.Exit(build(m))
}

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ringfence-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() == 0 {
		binary = filepath.Join(dir, "ringfence")
		if out, err := exec.Command("go", "build", "-o", binary, "ringfence/cmd/ringfence").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
	}
	return m.Run()
}

// play is what the test's program does inside a sandbox: serve, or send and expect the echo.
func play(role, address string) int {
	var err error
	switch role {
	case "tcp-serve":
		err = serveTCP(address)
	case "udp-serve":
		err = serveUDP(address)
	case "steady":
		err = steady(address)
	case "never":
		err = never(address)
	default:
		err = send(role, address)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serveTCP(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 2048)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				c.Write(buf[:n])
			}
		}()
	}
}

func serveUDP(address string) error {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return err
		}
		c.WriteTo(buf[:n], from)
	}
}

// steady keeps one connection busy until its input ends; an answer that does not come ends it with an error.
func steady(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("steady")
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(ended) }()
	for buf := make([]byte, 16); ; time.Sleep(2 * time.Millisecond) {
		select {
		case <-ended:
			return nil
		default:
		}
		c.SetDeadline(time.Now().Add(3 * time.Second))
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
}

// never tries to connect until its input ends; that it once succeeds is the error.
func never(address string) error {
	fmt.Println("trying")
	ended := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(ended) }()
	for {
		select {
		case <-ended:
			return nil
		default:
		}
		if c, err := net.DialTimeout("tcp", address, 100*time.Millisecond); err == nil {
			c.Close()
			return errors.New("a connection that is denied was made")
		}
	}
}

// patience is how long a packet may be on its way before it counts as dropped.
const patience = 700 * time.Millisecond

func send(network, address string) error {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("hello")); err != nil {
		return err
	}
	buf := make([]byte, 16)
	n, err := c.Read(buf)
	if err == nil && string(buf[:n]) != "hello" {
		err = fmt.Errorf("echo %q", buf[:n])
	}
	return err
}

var labs atomic.Int32

// lab is a running lab of this test.
type lab struct {
	t     *testing.T
	name  string
	State state
}

// state is what the test reads of `lab status -o json`.
type state struct {
	Hosts []struct {
		Name   string
		Netns  string
		RunDir string `json:"run_dir"`
	}
	Tenants []struct {
		Name         string
		Subscription string
	}
	Processes []struct {
		Name   string
		PID    int
		Config string

		started *exec.Cmd // by the test, in the place of the lab's
	}
	RunDir string `json:"run_dir"`
}

func newLab(t *testing.T, hosts int, more ...string) *lab {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root (Geteuid is not 0)")
	}
	l := &lab{t: t, name: fmt.Sprintf("e%dx%d", os.Getpid(), labs.Add(1))}
	t.Cleanup(l.down)
	l.must(append([]string{"lab", "up", "--name", l.name, "--hosts", strconv.Itoa(hosts)}, more...)...)
	l.load()
	return l
}

func (l *lab) load() {
	l.t.Helper()
	if err := json.Unmarshal([]byte(l.must("lab", "status", "--name", l.name, "-o", "json")), &l.State); err != nil {
		l.t.Fatal(err)
	}
}

// down takes the lab away and looks whether anything is left.
func (l *lab) down() {
	if l.t.Failed() {
		for _, h := range append(l.State.Hosts[:len(l.State.Hosts):len(l.State.Hosts)], struct {
			Name   string
			Netns  string
			RunDir string `json:"run_dir"`
		}{RunDir: l.State.RunDir}) {
			logs, _ := filepath.Glob(filepath.Join(h.RunDir, "*.log"))
			for _, f := range logs {
				b, _ := os.ReadFile(f)
				l.t.Logf("%s:\n%s", f, b[max(0, len(b)-3000):])
			}
		}
	}
	if _, errs, err := l.try("lab", "down", "--name", l.name); err != nil {
		l.t.Errorf("lab down: %v: %s", err, errs)
	}
	for _, pattern := range []string{"/run/netns/rf-" + l.name + "-*", "/sys/fs/bpf/ringfence/" + l.name, "/run/ringfence/" + l.name + "/*", "/var/lib/ringfence/" + l.name} {
		if left, _ := filepath.Glob(pattern); len(left) > 0 {
			l.t.Errorf("lab down leaves %v", left)
		}
	}
}

// hosts is the list of hosts as the server has it.
func (l *lab) hosts() (hosts []struct {
	Name              string
	Connected         bool
	Generation, Acked uint64
}, err error) {
	out, _, err := l.try("host", "list", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &hosts)
	}
	return hosts, err
}

// try runs the program.
func (l *lab) try(args ...string) (out, errs string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "RINGFENCE_LAB="+l.name)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func (l *lab) must(args ...string) string {
	l.t.Helper()
	out, errs, err := l.try(args...)
	if err != nil {
		l.t.Fatalf("ringfence %s: %v\n%s%s", strings.Join(args, " "), err, out, errs)
	}
	return out
}

// put writes a resource of a tenant's group g; path begins after the group.
func (l *lab) put(tenant, path, body string) {
	l.t.Helper()
	l.must("rest", "PUT", l.path(tenant, path), "-d", body, "--as", tenant)
}

func (l *lab) path(tenant, path string) string {
	l.t.Helper()
	for _, t := range l.State.Tenants {
		if t.Name == tenant {
			return "/subscriptions/" + t.Subscription + "/resourceGroups/g" + path
		}
	}
	l.t.Fatalf("no tenant %s", tenant)
	return ""
}

const network = "/providers/Microsoft.Network/"

// vnet makes group g with a VNet of both families: subnets a (with the NSG n) and b.
func (l *lab) vnet(tenant string) {
	l.t.Helper()
	l.must("group", "create", "-n", "g", "-l", "westeurope", "--as", tenant)
	l.rules(tenant, "")
	l.put(tenant, network+"virtualNetworks/v", `{"location":"westeurope","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16","fd00:1::/48"]},
		"subnets":[{"name":"a","properties":{"addressPrefixes":["10.0.1.0/24","fd00:1:0:1::/64"],"networkSecurityGroup":{"id":"`+l.path(tenant, network+"networkSecurityGroups/n")+`"}}},
		{"name":"b","properties":{"addressPrefixes":["10.0.2.0/24","fd00:1:0:2::/64"]}}]}}`)
}

// rules replaces the NSG of subnet a.
func (l *lab) rules(tenant, rules string) {
	l.t.Helper()
	l.put(tenant, network+"networkSecurityGroups/n", `{"location":"westeurope","properties":{"securityRules":[`+rules+`]}}`)
}

// deny is a rule against inbound traffic to a port.
func deny(protocol string, port int) string {
	return fmt.Sprintf(`{"name":"deny-%s-%d","properties":{"priority":%d,"direction":"Inbound","access":"Deny","protocol":"%s",
		"sourceAddressPrefix":"*","sourcePortRange":"*","destinationAddressPrefix":"*","destinationPortRange":"%d"}}`, protocol, port, 100+port%1000, protocol, port)
}

func (l *lab) vm(tenant, name, subnet, host string) {
	l.t.Helper()
	l.must("vm", "create", "-g", "g", "-n", name, "--vnet-name", "v", "--subnet", subnet, "--ipv6", "--host", host, "--as", tenant)
}

// play starts the test's own program inside a sandbox.
func (l *lab) play(tenant, vm, role, address string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command(binary, "vm", "exec", "-g", "g", "--as", tenant, vm, "--", self)
	cmd.Env = append(os.Environ(), "RINGFENCE_LAB="+l.name, "E2E_ROLE="+role, "E2E_ADDRESS="+address)
	return cmd
}

// serve answers in a sandbox until the test ends.
func (l *lab) serve(tenant, vm, role, address string) {
	l.t.Helper()
	cmd := l.play(tenant, vm, role, address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		l.t.Fatalf("%s on %s in %s: %v %s", role, address, vm, err, errs.String())
	}
}

// reaches sends from a sandbox and says whether the echo came back.
func (l *lab) reaches(tenant, from, network, address string) bool {
	l.t.Helper()
	cmd := l.play(tenant, from, network, address)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		l.t.Errorf("send from %s to %s: %v\n%s", from, address, err, out)
	}
	return err == nil
}

// inside sends from a sandbox's network namespace: it needs no control plane.
func (l *lab) inside(namespace, network, address string) bool {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", namespace, self)
	cmd.Env = append(os.Environ(), "E2E_ROLE="+network, "E2E_ADDRESS="+address)
	return cmd.Run() == nil
}

// inhabit starts a role in a network namespace; the returned function ends it and gives its error.
func (l *lab) inhabit(namespace, role, address string) (end func() error) {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", namespace, self)
	cmd.Env = append(os.Environ(), "E2E_ROLE="+role, "E2E_ADDRESS="+address)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		l.t.Fatal(err)
	}
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		l.t.Fatalf("%s to %s: %v %s", role, address, err, errs.String())
	}
	var once sync.Once
	var result error
	end = func() error {
		once.Do(func() {
			in.Close()
			if err := cmd.Wait(); err != nil {
				result = fmt.Errorf("%s to %s: %w %s", role, address, err, errs.String())
			}
		})
		return result
	}
	l.t.Cleanup(func() { end() })
	return end
}

// namespace of a machine.
func (l *lab) namespace(tenant, vm string) string {
	l.t.Helper()
	var found struct{ Value []struct{ Netns string } }
	id := l.path(tenant, "/providers/Microsoft.Compute/virtualMachines/"+vm)
	if err := json.Unmarshal([]byte(l.must("rest", "GET", "/ringfence/v1/sandboxes?id="+id)), &found); err != nil || len(found.Value) != 1 {
		l.t.Fatalf("sandboxes of %s: %+v, %v", vm, found, err)
	}
	return filepath.Base(found.Value[0].Netns)
}

// probe is one thing to send and whether it shall get through.
type probe struct {
	want    bool
	from    string
	network string
	to      string
}

// expect sends all probes at once.
func (l *lab) expect(tenant string, probes ...probe) {
	l.t.Helper()
	var sent sync.WaitGroup
	for _, p := range probes {
		sent.Go(func() {
			if got := l.reaches(tenant, p.from, p.network, p.to); got != p.want {
				l.t.Errorf("%s: %s from %s to %s: got through %v, want %v", tenant, p.network, p.from, p.to, got, p.want)
			}
		})
	}
	sent.Wait()
}
