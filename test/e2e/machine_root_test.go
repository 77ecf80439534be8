package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// computer is one machine of an installation: a network namespace with a device towards the others, and directories of its own.
type computer struct {
	t       *testing.T
	name    string // also of the host
	netns   string
	address string
	dir     string
	run     *exec.Cmd
}

// twoComputers are joined by a cable, and have nothing else.
func twoComputers(t *testing.T) (a, b *computer) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root (Geteuid is not 0)")
	}
	id := fmt.Sprintf("e%dm%d", os.Getpid(), labs.Add(1))
	make := func(name, address string) *computer {
		dir, err := os.MkdirTemp("", "rfm") // short: it holds sockets
		if err != nil {
			t.Fatal(err)
		}
		c := &computer{t: t, name: name, netns: id + name, address: address, dir: dir}
		t.Cleanup(c.clear)
		sh(t, "ip", "netns", "add", c.netns)
		return c
	}
	a, b = make("m1", "192.0.2.1"), make("m2", "192.0.2.2")
	sh(t, "ip", "-n", a.netns, "link", "add", "wire", "mtu", "1600", "type", "veth", "peer", "name", "wire", "mtu", "1600", "netns", b.netns)
	for _, c := range []*computer{a, b} {
		sh(t, "ip", "-n", c.netns, "address", "add", c.address+"/24", "dev", "wire")
		sh(t, "ip", "-n", c.netns, "link", "set", "wire", "up")
		sh(t, "ip", "-n", c.netns, "link", "set", "lo", "up")
	}
	return a, b
}

func sh(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v %s", args, err, out)
	}
}

func (c *computer) path(name string) string { return filepath.Join(c.dir, name) }
func (c *computer) bpffs() string           { return "/sys/fs/bpf/" + c.netns }

// command runs on the machine. nsenter, not ip netns exec: that hides the BPF file system.
func (c *computer) command(args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"--net=/run/netns/" + c.netns, binary}, args...)...)
	cmd.Env = append(os.Environ(), "RINGFENCE_LAB=", "RINGFENCE_ENDPOINT=unix:"+c.path("r/api.sock"))
	return cmd
}

func (c *computer) must(args ...string) string {
	c.t.Helper()
	var out, errs bytes.Buffer
	cmd := c.command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("%s: ringfence %s: %v\n%s%s", c.name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String()
}

// start runs a program of the machine until it is ended.
func (c *computer) start(args ...string) {
	c.t.Helper()
	c.run = c.command(args...)
	log, err := os.OpenFile(c.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) // a file: the services' process keeps it open after the program's end
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.run.Stdout, c.run.Stderr = log, log
	if err := c.run.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// log is what its programs have said last.
func (c *computer) log() string {
	b, _ := os.ReadFile(c.path("log"))
	return string(b[max(0, len(b)-6000):])
}

// end tells the program to end, as a service manager does, and wants it to do so without a fault.
func (c *computer) end() {
	c.t.Helper()
	c.run.Process.Signal(syscall.SIGTERM)
	process := c.run.Process
	defer time.AfterFunc(30*time.Second, func() { process.Kill() }).Stop()
	if err := c.run.Wait(); err != nil {
		c.t.Errorf("%s: SIGTERM ends it with %v\n%s", c.name, err, c.log())
	}
	c.run = nil
}

// clear takes away everything of the machine, whatever has run on it.
func (c *computer) clear() {
	if c.t.Failed() {
		c.t.Logf("log of %s:\n%s", c.name, c.log())
	}
	if c.run != nil {
		c.run.Process.Kill()
		c.run.Wait()
	}
	spaces := []string{c.netns}
	own, _ := filepath.Glob("/run/netns/rf-" + c.netns + "-*")
	for _, s := range own {
		spaces = append(spaces, filepath.Base(s))
	}
	for _, s := range spaces {
		pids, _ := exec.Command("ip", "netns", "pids", s).Output()
		for _, pid := range strings.Fields(string(pids)) {
			exec.Command("kill", "-9", pid).Run()
		}
		exec.Command("ip", "netns", "del", s).Run()
	}
	os.RemoveAll(c.bpffs())
	os.RemoveAll(c.dir)
}

func (c *computer) eventually(what string, ok func() bool) {
	c.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s: never %s", c.name, what)
		}
	}
}

// ready says whether so many hosts enforce their goals.
func (c *computer) ready(hosts int) bool {
	out, err := c.command("host", "list", "-o", "json", "--query", "[?connected && state=='ready' && acked>`0`].name").Output()
	var names []string
	return err == nil && json.Unmarshal(out, &names) == nil && len(names) == hosts
}

// write makes the configuration that Explain would print, for this machine.
func (c *computer) write() {
	c.t.Helper()
	text := fmt.Sprintf(`name: %s
data_dir: %s
run_dir: %s
bpffs: %s
instance: %s
api: {listen: "127.0.0.1:8443"}
control: {listen: "%[6]s:7443"}
peers: {listen: "%[6]s:7444"}
host: {underlay: {device: wire, address: %[6]s}}
`, c.name, c.path("d"), c.path("r"), c.bpffs(), c.netns, c.address)
	if err := os.WriteFile(c.path("ringfence.yaml"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// reaches sends from a sandbox, which is on this computer, too.
func (c *computer) reaches(from, network, address string) bool {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := c.command("vm", "exec", "-g", "g", "--as", "default", from, "--", self)
	cmd.Env = append(cmd.Env, "E2E_ROLE="+network, "E2E_ADDRESS="+address)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		c.t.Errorf("send from %s to %s: %v\n%s", from, address, err, out)
	}
	return err == nil
}

func (c *computer) serve(vm, role, address string) {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := c.command("vm", "exec", "-g", "g", "--as", "default", vm, "--", self)
	cmd.Env = append(cmd.Env, "E2E_ROLE="+role, "E2E_ADDRESS="+address)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		c.t.Fatalf("%s on %s in %s: %v", role, address, vm, err)
	}
}

// inNamespace sends from a sandbox's network namespace: it needs no control plane.
func inNamespace(t *testing.T, namespace, address string) bool {
	t.Helper()
	return (&lab{t: t}).inside(namespace, "tcp", address)
}

// Two real machines: one runs all, the other joins it with a token. Machines on both speak over the cable as their rules allow, clients of
// ARM get what they need, and neither SIGTERM nor a restart changes what is enforced or stored.
func TestTwoMachines(t *testing.T) {
	first, second := twoComputers(t)
	first.write()
	first.start("up", "-c", first.path("ringfence.yaml"))
	first.eventually("ready", func() bool { return first.ready(1) })

	var made struct{ Token, Server string }
	if err := json.Unmarshal([]byte(first.must("host", "add", "m2", "-o", "json")), &made); err != nil {
		t.Fatal(err)
	}
	second.start("agent", "--join", made.Token, "--server", made.Server, "--underlay", "wire", "--data-dir", second.path("d"), "--run-dir", second.path("r"),
		"--bpffs", second.bpffs(), "--instance", second.netns)
	first.eventually("two hosts", func() bool { return first.ready(2) })

	first.must("group", "create", "-n", "g", "-l", "westeurope", "--as", "default")
	first.must("network", "nsg", "create", "-g", "g", "-n", "n", "--as", "default")
	first.must("network", "vnet", "create", "-g", "g", "-n", "v", "--address-prefixes", "10.0.0.0/16", "--subnet-name", "a", "--subnet-prefixes", "10.0.1.0/24", "--as", "default")
	rule := func(name, priority, port string) {
		first.must("network", "nsg", "rule", "create", "-g", "g", "--nsg-name", "n", "-n", name, "--priority", priority, "--access", "Deny", "--protocol", "Tcp",
			"--direction", "Inbound", "--destination-port-ranges", port, "--as", "default")
	}
	rule("deny-81", "100", "81")
	for _, vm := range []string{"a", "b"} {
		first.must("vm", "create", "-g", "g", "-n", vm, "--vnet-name", "v", "--subnet", "a", "--nsg", "n", "--host", map[string]string{"a": "m1", "b": "m2"}[vm], "--as", "default")
	}
	for _, port := range []string{"80", "81"} {
		first.serve("b", "tcp-serve", "10.0.1.5:"+port)
	}
	held := func(when string) {
		t.Helper()
		if !first.reaches("a", "tcp", "10.0.1.5:80") {
			t.Errorf("%s: what is allowed does not get through", when)
		}
		if first.reaches("a", "tcp", "10.0.1.5:81") {
			t.Errorf("%s: what is denied gets through", when)
		}
	}
	held("at first")
	env := first.must("env", "terraform")
	if !strings.Contains(env, "ARM_CLIENT_SECRET=") || !strings.Contains(env, "ARM_METADATA_HOSTNAME='127.0.0.1:8443'") {
		t.Errorf("what Terraform gets:\n%s", env)
	}
	for _, line := range []string{"Credentials", "env terraform --as default"} {
		if !strings.Contains(first.log(), line) {
			t.Errorf("up does not say %q:\n%s", line, first.log())
		}
	}

	sandbox := first.must("rest", "GET", "/ringfence/v1/sandboxes", "--query", "value[?host=='m1'].netns|[0]", "-o", "json")
	// Both programs end; what the kernels enforce goes on without them. Then they come back, and nothing is another.
	first.end()
	second.end()
	if sandbox = strings.Trim(sandbox, "\"\n"); !inNamespace(t, sandbox, "10.0.1.5:80") || inNamespace(t, sandbox, "10.0.1.5:81") {
		t.Error("without the programs another policy is in force")
	}
	first.start("up", "-c", first.path("ringfence.yaml"))
	second.start("agent", "--data-dir", second.path("d"))
	first.eventually("two hosts again", func() bool { return first.ready(2) })
	held("after the restart")
	if again := first.must("env", "terraform"); again != env {
		t.Errorf("other credentials after a restart:\n%s\n%s", env, again)
	}
	rule("deny-80", "110", "80")
	first.eventually("a rule of after the restart is enforced", func() bool { return !first.reaches("a", "tcp", "10.0.1.5:80") })
	if out := first.must("doctor", "-o", "json", "--query", "[?state=='fail']"); strings.TrimSpace(out) != "[]" {
		t.Errorf("the doctor finds %s", out)
	}
	first.end()
	second.end()
}
