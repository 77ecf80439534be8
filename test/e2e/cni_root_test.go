package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cnitool is the reference's own runtime.
const cnitool = "github.com/containernetworking/cni/cnitool@v1.3.1"

// runtime is cnitool with its networks.
type runtime struct {
	t   *testing.T
	dir string
}

func newRuntime(l *lab, networks map[string]map[string]any) *runtime {
	r := &runtime{l.t, l.t.TempDir()}
	install := exec.Command("go", "install", cnitool)
	install.Env, install.Dir = append(os.Environ(), "GOBIN="+r.dir, "GOFLAGS=", "CGO_ENABLED=0"), r.dir
	if out, err := install.CombinedOutput(); err != nil {
		l.t.Fatalf("%v: %s", err, out)
	}
	if err := os.Symlink(binary, filepath.Join(r.dir, "ringfence-cni")); err != nil {
		l.t.Fatal(err)
	}
	for name, plugin := range networks {
		plugin["type"], plugin["dataDir"] = "ringfence-cni", filepath.Join(r.dir, "data")
		b, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": name, "plugins": []any{plugin}})
		if err == nil {
			err = os.WriteFile(filepath.Join(r.dir, name+".conflist"), b, 0o600)
		}
		if err != nil {
			l.t.Fatal(err)
		}
	}
	return r
}

// call is one command of cnitool about a namespace.
func (r *runtime) call(args, command, network, ns string) (string, error) {
	cmd := exec.Command(filepath.Join(r.dir, "cnitool"), command, network, "/run/netns/"+ns)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CNI_PATH=" + r.dir, "NETCONFPATH=" + r.dir, "CNI_ARGS=IgnoreUnknown=1" + args, "CNI_CACHE_DIR=" + filepath.Join(r.dir, "cache")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r *runtime) must(args, command, network, ns string) string {
	r.t.Helper()
	out, err := r.call(args, command, network, ns)
	if err != nil {
		r.t.Fatalf("cnitool %s %s %s: %v: %s", command, network, ns, err, out)
	}
	return out
}

// The reference's runtime attaches containers: to an interface that is named, and to a subnet, where each gets one of its own.
func TestContainersAreAttached(t *testing.T) {
	const tenant = "contoso"
	l := newLab(t, 2)
	l.vnet(tenant)
	l.vm(tenant, "b1", "b", "host2")
	l.serve(tenant, "b1", "tcp-serve", ":80")
	l.nic(tenant, "job", "a")
	socket := filepath.Join(l.State.Hosts[0].RunDir, "agent.sock")
	r := newRuntime(l, map[string]map[string]any{
		"named": {"socket": socket},
		"pool": {"socket": socket, "subnet": l.path(tenant, network+"virtualNetworks/v/subnets/a"), "endpoint": "unix:" + filepath.Join(l.State.RunDir, "api.sock"),
			"networkSecurityGroup": l.path(tenant, network+"networkSecurityGroups/n")},
	})
	var spaces []string
	for _, name := range []string{"c1", "c2", "c3"} {
		ns := name + "-" + l.name
		run(t, "ip", "netns", "add", ns)
		t.Cleanup(func() { exec.Command("ip", "netns", "del", ns).Run() })
		spaces = append(spaces, ns)
	}
	job := ";RINGFENCE_NIC=" + l.path(tenant, network+"networkInterfaces/job")
	r.must("", "status", "named", spaces[0])
	var result struct {
		IPs        []struct{ Address, Gateway string }
		Interfaces []struct{ Name, Mac, Sandbox string }
		DNS        struct{ Nameservers []string }
	}
	out := r.must(job, "add", "named", spaces[0])
	if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.IPs) != 1 || len(result.Interfaces) != 1 || result.IPs[0].Gateway != "10.0.1.1" ||
		len(result.DNS.Nameservers) != 1 || result.DNS.Nameservers[0] != "168.63.129.16" {
		t.Fatalf("result %s: %v", out, err)
	}
	if have := run(t, "ip", "-n", spaces[0], "address", "show", "dev", "eth0"); !strings.Contains(have, result.IPs[0].Address) || !strings.Contains(have, result.Interfaces[0].Mac) {
		t.Errorf("told %s, there is %s", out, have)
	}
	if have := run(t, "ip", "-n", spaces[0], "route"); !strings.Contains(have, "default via 10.0.1.1") {
		t.Errorf("routes %s", have)
	}
	r.must(job, "check", "named", spaces[0])
	if !l.inside(spaces[0], "tcp", "10.0.2.4:80") {
		t.Error("the container does not reach the machine")
	}
	if out, err := r.call(job, "add", "named", spaces[1]); err == nil || !strings.Contains(out, "attached to") {
		t.Errorf("a second container took the interface: %v %s", err, out)
	}
	r.must(job, "del", "named", spaces[1])
	r.must(job, "check", "named", spaces[0])

	for _, ns := range spaces[1:] {
		r.must("", "add", "pool", ns)
		if !l.inside(ns, "tcp", "10.0.2.4:80") {
			t.Errorf("%s does not reach the machine", ns)
		}
	}
	r.must("", "del", "pool", spaces[1])
	r.must("", "del", "pool", spaces[1])
	run(t, "ip", "netns", "del", spaces[2]) // a container whose end nobody saw
	r.must("", "gc", "pool", spaces[0])
	run(t, "ip", "-n", spaces[0], "addr", "flush", "dev", "eth0")
	if out, err := r.call(job, "check", "named", spaces[0]); err == nil {
		t.Errorf("the container's address is gone, and that is right: %s", out)
	}
	r.must(job, "del", "named", spaces[0])
	if out := l.must("port", "list", "--host", "host1", "-o", "json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("still attached: %s", out)
	}
	nics := l.must("network", "nic", "list", "-g", "g", "--as", tenant, "-o", "json")
	if strings.Contains(nics, "cni-") {
		t.Errorf("interfaces that the plugin made are left: %s", nics)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "data", "*", "*")); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
	l.end("host1")
	if out, err := r.call("", "status", "named", spaces[0]); err == nil || !strings.Contains(out, "cannot attach") {
		t.Errorf("without an agent the plugin is ready: %v %s", err, out)
	}
}
