package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A host's agent dies and the host is given up, another is drained, a third stays away: its machines answer elsewhere under the same
// addresses, nobody else notices, and who returns does not answer for what has left.
func TestHostsAreLeft(t *testing.T) {
	config := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(config, []byte("heal_after: 15s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, 3, "--config", config)
	l.vnet("contoso")
	l.vm("contoso", "a1", "a", "host1")
	l.vm("contoso", "a2", "a", "host1")
	l.vm("contoso", "b1", "b", "host2") // 10.0.2.4
	l.vm("contoso", "b2", "b", "host3") // 10.0.2.5
	l.serve("contoso", "b2", "tcp-serve", ":80")
	l.serve("contoso", "b1", "tcp-serve", ":81")
	l.ping(true, "contoso", "b1", "10.0.1.4")
	old, mac := l.namespace("contoso", "a1"), l.mac("contoso", "a1")
	steady := l.inhabit(l.namespace("contoso", "b1"), "steady", "10.0.2.5:80")

	t.Run("a failed host's machines are elsewhere", func(t *testing.T) {
		agent := l.kill("host1")
		began := time.Now()
		out := l.must("host", "fail", "host1")
		if !strings.Contains(out, "a1") || !strings.Contains(out, "a2") {
			t.Errorf("where they went: %s", out)
		}
		l.settledOff("contoso", "host1", "a1", "a2")
		t.Logf("from the operator's word to two machines configured elsewhere: %v", time.Since(began))
		l.ping(true, "contoso", "b1", "10.0.1.4")
		l.ping(true, "contoso", "b2", "fd00:1:0:1::5")
		if now := l.mac("contoso", "a1"); now != mac {
			t.Errorf("MAC %s became %s", mac, now)
		}
		// What runs on at the host that was given up is nobody's any more: the others refuse its packets.
		if l.inside(old, "tcp", "10.0.2.4:81") {
			t.Error("the old machine is still heard")
		}
		if drops := l.must("drops", "--host", "host2", "-o", "json"); !strings.Contains(drops, "overlay_sender") {
			t.Errorf("its packets were not refused as a wrong sender's: %s", drops)
		}
		l.start("host1", agent)
		l.gone(old)
		l.ping(true, "contoso", "b1", "10.0.1.4")
		l.state("host1", "failed", 0)
		l.must("host", "drain", "host1", "--undo")
		l.state("host1", "ready", 0)
	})
	if err := steady(); err != nil {
		t.Errorf("who had nothing to do with it: %v", err)
	}

	t.Run("a drained host is empty", func(t *testing.T) {
		l.must("host", "drain", "host2")
		l.state("host2", "drained", 0)
		l.settledOff("contoso", "host2", "a1", "a2", "b1")
		l.ping(true, "contoso", "b2", "10.0.2.4")
		l.ping(true, "contoso", "b2", "10.0.1.4")
		l.must("host", "drain", "host2", "--undo")
	})

	t.Run("a host that stays away is given up, and returns", func(t *testing.T) {
		old := l.namespace("contoso", "b2")
		agent := l.kill("host3")
		l.state("host3", "failed", 0)
		l.settledOff("contoso", "host3", "b2")
		l.ping(true, "contoso", "b1", "10.0.2.5")
		l.start("host3", agent)
		l.gone(old)
		l.state("host3", "ready", 0)
		l.ping(true, "contoso", "b1", "10.0.2.5")
	})
}

// mac is what a machine's interface has.
func (l *lab) mac(tenant, vm string) string {
	l.t.Helper()
	return strings.TrimSpace(l.must("vm", "exec", "-g", "g", "--as", tenant, vm, "--", "cat", "/sys/class/net/eth0/address"))
}

// settledOff waits until machines are configured, on another host.
func (l *lab) settledOff(tenant, host string, vms ...string) {
	l.t.Helper()
	for _, vm := range vms {
		id := l.path(tenant, "/providers/Microsoft.Compute/virtualMachines/"+vm)
		out := l.must("rest", "GET", "/ringfence/v1/sandboxes?wait=20s&id="+id)
		var found struct {
			Value []struct {
				Host  string
				Ready bool
			}
		}
		if err := json.Unmarshal([]byte(out), &found); err != nil || len(found.Value) != 1 || !found.Value[0].Ready || found.Value[0].Host == host {
			l.t.Fatalf("%s: %s %v", vm, out, err)
		}
	}
}

// state waits until a host's line says so.
func (l *lab) state(host, state string, vms int) {
	l.t.Helper()
	var out string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		out = l.must("host", "list", "-o", "json")
		var hosts []struct {
			Name, State string
			VMs         int
		}
		if err := json.Unmarshal([]byte(out), &hosts); err != nil {
			l.t.Fatal(err)
		}
		for _, h := range hosts {
			if h.Name == host && h.State == state && h.VMs == vms {
				return
			}
		}
	}
	l.t.Fatalf("%s is not %s with %d machines: %s", host, state, vms, out)
}

// gone waits until a namespace is no more.
func (l *lab) gone(namespace string) {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat("/run/netns/" + namespace); os.IsNotExist(err) {
			return
		}
	}
	l.t.Errorf("%s is still there", namespace)
}
