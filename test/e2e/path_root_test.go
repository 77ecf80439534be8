package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The first path: two tenants with the same addresses, machines on two hosts, every protocol in both families, rules that change.
func TestFirstPath(t *testing.T) {
	l := newLab(t, 2)
	for _, tenant := range []string{"contoso", "fabrikam"} {
		l.vnet(tenant)
		l.vm(tenant, "a1", "a", "host1")
		l.vm(tenant, "a2", "a", "host2")
		l.vm(tenant, "b1", "b", "host1")
	}
	// Addresses: a1 .1.4, a2 .1.5, b1 .2.4, in both tenants.
	l.serve("contoso", "a1", "tcp-serve", ":80")
	l.serve("contoso", "a1", "udp-serve", ":53")
	l.serve("contoso", "a1", "tcp-serve", ":8080")
	t.Run("default rules let the VNet through", func(t *testing.T) {
		for _, from := range []string{"a2", "b1"} {
			l.expect("contoso", probe{true, from, "tcp", "10.0.1.4:80"}, probe{true, from, "tcp", "[fd00:1:0:1::4]:80"},
				probe{true, from, "udp", "10.0.1.4:53"}, probe{true, from, "udp", "[fd00:1:0:1::4]:53"})
			l.ping(true, "contoso", from, "10.0.1.4")
			l.ping(true, "contoso", from, "fd00:1:0:1::4")
		}
	})
	t.Run("another tenant with the same addresses", func(t *testing.T) {
		l.expect("fabrikam", probe{false, "a2", "tcp", "10.0.1.4:80"}) // its own a1, which serves nothing
		l.serve("fabrikam", "a1", "tcp-serve", ":81")
		l.expect("fabrikam", probe{true, "a2", "tcp", "10.0.1.4:81"})
		l.expect("contoso", probe{false, "a2", "tcp", "10.0.1.4:81"})
	})
	t.Run("a success answer means enforced", func(t *testing.T) {
		for range 3 {
			l.rules("contoso", deny("Tcp", 80)+","+deny("Udp", 53))
			l.expect("contoso",
				probe{false, "a2", "tcp", "10.0.1.4:80"}, probe{false, "a2", "tcp", "[fd00:1:0:1::4]:80"}, probe{true, "a2", "tcp", "10.0.1.4:8080"},
				probe{false, "b1", "tcp", "10.0.1.4:80"}, probe{false, "b1", "tcp", "[fd00:1:0:1::4]:80"}, probe{true, "b1", "tcp", "10.0.1.4:8080"},
				probe{false, "b1", "udp", "10.0.1.4:53"})
			l.rules("contoso", "")
			l.expect("contoso", probe{true, "a2", "tcp", "10.0.1.4:80"}, probe{true, "b1", "udp", "10.0.1.4:53"})
		}
	})
	t.Run("drops name reason and rule", func(t *testing.T) {
		l.rules("contoso", deny("Tcp", 80))
		l.expect("contoso", probe{false, "b1", "tcp", "10.0.1.4:80"})
		out := l.must("drops", "-o", "json")
		if !strings.Contains(out, "securityRules/deny-Tcp-80") || !strings.Contains(out, "acl_rule") {
			t.Errorf("drops: %s", out)
		}
		l.rules("contoso", "")
	})
	t.Run("what is deleted is gone", func(t *testing.T) {
		l.must("vm", "delete", "-g", "g", "-n", "b1", "--as", "fabrikam")
		ns := fmt.Sprintf("/run/netns/rf-%s-host1-", l.name)
		deadline := time.Now().Add(5 * time.Second)
		for {
			left, _ := filepath.Glob(ns + "*")
			if len(left) == 4 { // three sandboxes and the services
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("namespaces %v", left)
			}
			time.Sleep(10 * time.Millisecond)
		}
		l.ping(true, "contoso", "b1", "10.0.1.4")
	})
}

// ping sends one ICMP echo.
func (l *lab) ping(want bool, tenant, from, address string) {
	l.t.Helper()
	_, errs, err := l.try("vm", "exec", "-g", "g", "--as", tenant, from, "--", "ping", "-c", "1", "-W", "1", address)
	if (err == nil) != want {
		l.t.Errorf("%s: ping from %s to %s: got through %v, want %v %s", tenant, from, address, err == nil, want, errs)
	}
}

// A machine moves to another host with its addresses; what it talked to finds it there.
func TestMachineMoves(t *testing.T) {
	l := newLab(t, 2)
	l.vnet("contoso")
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "b1", "b", "host1")
	for _, host := range []string{"host2", "host1"} {
		id := l.path("contoso", "/providers/Microsoft.Compute/virtualMachines/a1")
		nic := l.path("contoso", network+"networkInterfaces/a1-nic")
		l.put("contoso", "/providers/Microsoft.Compute/virtualMachines/a1", `{"location":"westeurope","tags":{"ringfence-host":"`+host+`"},
			"properties":{"hardwareProfile":{"vmSize":"Standard_B1s"},"osProfile":{"computerName":"a1"},"networkProfile":{"networkInterfaces":[{"id":"`+nic+`"}]}}}`)
		deadline := time.Now().Add(10 * time.Second)
		for {
			out := l.must("rest", "GET", "/ringfence/v1/sandboxes?wait=5s&id="+id)
			if strings.Count(out, `"ready": true`) == 1 && strings.Contains(out, `"host": "`+host+`"`) && !strings.Contains(out, `"ready": false`) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not on %s: %s", host, out)
			}
			time.Sleep(20 * time.Millisecond)
		}
		l.serve("contoso", "a1", "tcp-serve", ":80")
		l.expect("contoso", probe{true, "b1", "tcp", "10.0.1.4:80"})
		l.ping(true, "contoso", "b1", "fd00:1:0:1::4")
	}
}

// The agent dies; packets go on, rules too; a fresh one takes over what is there.
func TestAgentDiesAndReturns(t *testing.T) {
	l := newLab(t, 2)
	l.vnet("contoso")
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "a2", "a", "host2")
	l.vm("contoso", "b1", "b", "host1")
	l.vm("contoso", "old", "b", "host1")
	l.serve("contoso", "a1", "tcp-serve", ":80")
	l.serve("contoso", "a1", "tcp-serve", ":81")
	l.rules("contoso", deny("Tcp", 81))
	whole := l.kernel("host1")
	config := l.kill("host1")
	l.expect("contoso", probe{true, "a2", "tcp", "10.0.1.4:80"}, probe{false, "a2", "tcp", "10.0.1.4:81"},
		probe{true, "b1", "tcp", "10.0.1.4:80"}, probe{false, "b1", "tcp", "10.0.1.4:81"})
	// Nobody waits for a host that is gone; what is written meanwhile is enforced when it is back.
	l.rules("contoso", deny("Tcp", 80))
	l.expect("contoso", probe{true, "b1", "tcp", "10.0.1.4:80"})
	l.must("vm", "delete", "-g", "g", "-n", "old", "--as", "contoso")
	l.start("host1", config)
	l.expect("contoso", probe{false, "b1", "tcp", "10.0.1.4:80"})
	l.expect("contoso", probe{true, "a2", "tcp", "10.0.1.4:81"})
	if now := l.kernel("host1"); now != whole-3 {
		t.Errorf("%d namespaces, devices and links after one machine went, %d before: a namespace, a device and its pins expected to go", now, whole)
	}
	l.vm("contoso", "new", "b", "host1")
	l.expect("contoso", probe{true, "new", "tcp", "10.0.1.4:81"})
	if now := l.kernel("host1"); now != whole {
		t.Errorf("%d namespaces, devices and links after one machine for another, %d before", now, whole)
	}
}

// The agent is killed at random moments while rules are replaced: no established connection notices, nothing that is denied gets
// through, and nothing is left over.
func TestAgentKilledInMidUpdate(t *testing.T) {
	l := newLab(t, 2)
	l.vnet("contoso")
	l.rules("contoso", deny("Tcp", 81))
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "b1", "b", "host1")
	l.vm("contoso", "b2", "b", "host2")
	l.serve("contoso", "a1", "tcp-serve", ":80")
	l.serve("contoso", "a1", "tcp-serve", ":81")
	whole := l.kernel("host1")
	b1, b2 := l.namespace("contoso", "b1"), l.namespace("contoso", "b2")
	watches := []func() error{
		l.inhabit(b1, "steady", "10.0.1.4:80"), l.inhabit(b2, "steady", "10.0.1.4:80"), l.inhabit(b2, "steady", "[fd00:1:0:1::4]:80"),
		l.inhabit(b1, "never", "10.0.1.4:81"), l.inhabit(b2, "never", "[fd00:1:0:1::4]:81"),
	}
	kills := 10
	if os.Getenv("RINGFENCE_SOAK") != "" {
		kills = 100
	}
	for i := range kills {
		written := make(chan struct{})
		go func() {
			defer close(written)
			for j := range 5 {
				l.try("rest", "PUT", l.path("contoso", network+"networkSecurityGroups/n"), "--as", "contoso", "-d",
					`{"location":"westeurope","properties":{"securityRules":[`+deny("Tcp", 81)+","+deny("Udp", 100+i*5+j)+`]}}`)
			}
		}()
		time.Sleep(time.Duration(rand.IntN(150)) * time.Millisecond)
		config := l.end("host1")
		<-written
		l.start("host1", config)
	}
	for _, end := range watches {
		if err := end(); err != nil {
			t.Error(err)
		}
	}
	l.expect("contoso", probe{true, "b1", "tcp", "10.0.1.4:80"})
	if now := l.kernel("host1"); now != whole {
		t.Errorf("%d namespaces, devices and links after the kills, %d before", now, whole)
	}
}

// kernel counts what a host has in the kernel per machine: namespaces, ports' devices, and which ports have pinned links.
func (l *lab) kernel(host string) int {
	l.t.Helper()
	namespaces, _ := filepath.Glob("/run/netns/rf-" + l.name + "-" + host + "-*")
	devices := strings.Count(l.must("lab", "exec", host, "--", "ip", "-br", "link"), "rfp")
	ports := map[string]bool{}
	links, _ := filepath.Glob("/sys/fs/bpf/ringfence/" + l.name + "/" + host + "/links/port-*")
	for _, f := range links {
		ports[strings.Split(filepath.Base(f), "-")[1]] = true
	}
	return len(namespaces) + devices + len(ports)
}

// The control plane dies; packets go on; a fresh one has everything that was acknowledged, and the agents find it again.
func TestControlPlaneDiesAndReturns(t *testing.T) {
	l := newLab(t, 2)
	l.vnet("contoso")
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "b1", "b", "host2")
	l.serve("contoso", "a1", "tcp-serve", ":80")
	b1 := l.namespace("contoso", "b1")
	steady := l.inhabit(b1, "steady", "10.0.1.4:80")
	links, delivered, generation := l.links("host1"), l.delivered("contoso", "a1"), l.generation("host1")
	if len(links) < 2+2+3 {
		t.Fatalf("links of host1: %v", links)
	}
	for range 2 {
		config := l.end("server")
		if !l.inside(b1, "tcp", "10.0.1.4:80") {
			t.Error("no packets without the control plane")
		}
		cmd := exec.Command(binary, "server", "--config", config)
		cmd.Dir = "/"
		l.run(cmd, filepath.Join(l.State.RunDir, "server.log"))
		l.until("host1", "connected and up to date", func(connected bool, behind string) bool { return connected && behind == "" })
		l.until("host2", "connected and up to date", func(connected bool, behind string) bool { return connected && behind == "" })
		l.expect("contoso", probe{true, "b1", "tcp", "10.0.1.4:80"})
		l.rules("contoso", deny("Tcp", 80))
		l.expect("contoso", probe{false, "b1", "tcp", "10.0.1.4:80"})
		l.rules("contoso", "")
		l.expect("contoso", probe{true, "b1", "tcp", "10.0.1.4:80"})
		if now := l.links("host1"); !slices.Equal(now, links) {
			t.Errorf("links and programs %v, were %v", now, links)
		}
		if now := l.delivered("contoso", "a1"); now <= delivered {
			t.Errorf("%d packets were delivered, %d before: the counter began anew", now, delivered)
		}
		if now := l.generation("host1"); now <= generation {
			t.Errorf("generation %d, was %d", now, generation)
		}
		delivered, generation = l.delivered("contoso", "a1"), l.generation("host1")
	}
	if err := steady(); err != nil {
		t.Errorf("an established connection: %v", err)
	}
}

// delivered counts what a machine's port was given.
func (l *lab) delivered(tenant, vm string) uint64 {
	l.t.Helper()
	var found struct{ Value []struct{ Delivered uint64 } }
	out := l.must("rest", "GET", "/ringfence/v1/traffic?vm="+l.path(tenant, "/providers/Microsoft.Compute/virtualMachines/"+vm))
	if err := json.Unmarshal([]byte(out), &found); err != nil || len(found.Value) != 1 {
		l.t.Fatalf("traffic of %s: %s %v", vm, out, err)
	}
	return found.Value[0].Delivered
}

func (l *lab) generation(host string) uint64 {
	l.t.Helper()
	hosts, err := l.hosts()
	for _, h := range hosts {
		if h.Name == host {
			return h.Generation
		}
	}
	l.t.Fatalf("no host %s: %v", host, err)
	return 0
}

// kill ends an agent as a crash would, and waits until the server knows.
func (l *lab) kill(host string) (config string) {
	l.t.Helper()
	config = l.end(host)
	l.until(host, "disconnected", func(connected bool, _ string) bool { return !connected })
	return config
}

// end ends one of the lab's programs as a crash would.
func (l *lab) end(program string) (config string) {
	l.t.Helper()
	for i, p := range l.State.Processes {
		if p.Name != program {
			continue
		}
		if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil {
			l.t.Fatal(err)
		}
		for gone := time.Now().Add(10 * time.Second); running(p.PID); time.Sleep(time.Millisecond) {
			if time.Now().After(gone) {
				l.t.Fatalf("%s does not die", program)
			}
		}
		if p.started != nil {
			p.started.Wait()
			l.State.Processes[i].started = nil
		}
		return p.Config
	}
	l.t.Fatalf("no program %s", program)
	return ""
}

// running tells whether a process lives; a zombie does not.
func running(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// start starts an agent anew and waits until it enforces the newest goal.
func (l *lab) start(host, config string) {
	l.t.Helper()
	l.run(exec.Command(binary, "lab", "exec", host, "--", binary, "agent", "--config", config), filepath.Join(filepath.Dir(config), "agent.log"))
	l.until(host, "connected and up to date", func(connected bool, behind string) bool { return connected && behind == "" })
}

// run starts a program in the place of one that was ended.
func (l *lab) run(cmd *exec.Cmd, log string) {
	l.t.Helper()
	f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, append(os.Environ(), "RINGFENCE_LAB="+l.name)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	for i, p := range l.State.Processes {
		if p.Config == cmd.Args[len(cmd.Args)-1] {
			l.State.Processes[i].PID, l.State.Processes[i].started = cmd.Process.Pid, cmd
		}
	}
	l.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// until polls the list of hosts; ok is told whether the host is connected and what it has not acknowledged.
func (l *lab) until(host, what string, ok func(connected bool, behind string) bool) {
	l.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		hosts, err := l.hosts()
		for _, h := range hosts {
			behind := ""
			if h.Acked == 0 || h.Acked < h.Generation {
				behind = "behind"
			}
			if h.Name == host && ok(h.Connected, behind) {
				return
			}
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s was never %s: %+v %v", host, what, hosts, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
