package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// nic makes a network interface in a subnet of the tenant's VNet.
func (l *lab) nic(tenant, name, subnet string) {
	l.t.Helper()
	l.put(tenant, network+"networkInterfaces/"+name, `{"location":"westeurope","properties":{"ipConfigurations":[{"name":"one","properties":{"subnet":{"id":"`+
		l.path(tenant, network+"virtualNetworks/v/subnets/"+subnet)+`"}}}]}}`)
}

// refused wants a command to fail and to say why.
func (l *lab) refused(why string, args ...string) {
	l.t.Helper()
	out, errs, err := l.try(args...)
	if err == nil || !strings.Contains(errs, why) {
		l.t.Errorf("ringfence %s: %v, %q expected\n%s%s", strings.Join(args, " "), err, why, out, errs)
	}
}

func run(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
	return string(out)
}

// serveIn answers TCP in a namespace until the test ends.
func (l *lab) serveIn(ns, address string) {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", ns, self)
	cmd.Env = append(os.Environ(), "E2E_ROLE=tcp-serve", "E2E_ADDRESS="+address)
	out, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if n, err := out.Read(make([]byte, 16)); n == 0 {
		l.t.Fatalf("tcp-serve in %s: %v", ns, err)
	}
}

// A namespace that somebody else made gets a device with the whole policy of a network interface, keeps it while the agent is away, and is
// left as it was.
func TestNamespaceIsAttached(t *testing.T) {
	const tenant = "contoso"
	l := newLab(t, 2)
	l.vnet(tenant)
	l.vm(tenant, "a1", "a", "host1")
	l.vm(tenant, "b1", "b", "host2")
	l.serve(tenant, "a1", "tcp-serve", ":80")
	l.serve(tenant, "a1", "tcp-serve", ":81")
	l.nic(tenant, "job", "a") // 10.0.1.5
	ns := "own-" + l.name
	run(t, "ip", "netns", "add", ns)
	t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
	id := l.path(tenant, network+"networkInterfaces/job")
	attach := []string{"port", "attach", id, "--host", "host1", "--netns", "/run/netns/" + ns, "--configure", "--hostname", "job"}
	l.must(attach...)
	l.must(attach...) // again: nothing changes
	l.refused("is attached to namespace", "port", "attach", id, "--host", "host2", "--netns", "/run/netns/"+ns)
	l.refused("detach it on that host", "port", "detach", id, "--host", "host2", "--force")
	l.refused("belongs to virtual machine", "port", "attach", l.path(tenant, network+"networkInterfaces/a1-nic"), "--host", "host1", "--netns", "/run/netns/"+ns, "--ifname", "eth1")
	l.refused("is attached to", "network", "nic", "delete", "-g", "g", "-n", "job", "--as", tenant)
	l.refused("is no network namespace", "port", "attach", id, "--host", "host1", "--netns", "/run/netns/none-"+l.name)
	l.refused("there is none on this host", "port", "attach", id, "--host", "host1", "--tap", "nosuch0")

	l.rules(tenant, deny("Tcp", 81)+","+deny("Tcp", 83))
	check := func() {
		t.Helper()
		for at, want := range map[string]bool{"10.0.1.4:80": true, "10.0.1.4:81": false} {
			if got := l.inside(ns, "tcp", at); got != want {
				t.Errorf("from the namespace to %s: %v, want %v", at, got, want)
			}
		}
	}
	check()
	l.serveIn(ns, ":82")
	l.serveIn(ns, ":83")
	l.expect(tenant, probe{true, "b1", "tcp", "10.0.1.5:82"}, probe{true, "a1", "tcp", "10.0.1.5:82"}, probe{false, "b1", "tcp", "10.0.1.5:83"})
	config := l.kill("host1")
	check()
	l.start("host1", config)
	check()
	var ports []struct {
		NIC   string
		Ready bool
	}
	if err := json.Unmarshal([]byte(l.must("port", "list", "--host", "host1", "-o", "json")), &ports); err != nil || len(ports) != 1 || !ports[0].Ready || ports[0].NIC != id {
		t.Errorf("ports: %+v, %v", ports, err)
	}
	l.must("port", "detach", id, "--host", "host1")
	l.must("port", "detach", id, "--host", "host1")
	if left := run(t, "ip", "-n", ns, "-o", "link"); strings.Count(left, "\n") != 1 {
		t.Errorf("devices in the namespace after detaching:\n%s", left)
	}
	l.must("network", "nic", "delete", "-g", "g", "-n", "job", "--as", tenant)
}
