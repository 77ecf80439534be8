package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/publish"
)

func (p *plane) healAfter(d time.Duration) {
	p.healer.mu.Lock()
	defer p.healer.mu.Unlock()
	p.healer.after = d
}

// hostOf is one host as the operator sees it.
func (p *plane) hostOf(name string) (h HostMoves) {
	p.t.Helper()
	r := p.do(http.MethodGet, "/ringfence/v1/hosts/"+name, "")
	if err := json.Unmarshal(r.body, &h); err != nil || r.status != 200 {
		p.t.Fatalf("host %s: %d %s", name, r.status, r.body)
	}
	return h
}

func (p *plane) decide(name, action string) (h HostMoves) {
	p.t.Helper()
	r := p.do(http.MethodPost, "/ringfence/v1/hosts/"+name+"/"+action, "")
	if err := json.Unmarshal(r.body, &h); err != nil || r.status != 200 {
		p.t.Fatalf("%s %s: %d %s", action, name, r.status, r.body)
	}
	return h
}

// machinesOn makes n more machines beside m, on a host.
func (p *plane) machinesOn(host string, n int) {
	p.t.Helper()
	for i := range n {
		name := fmt.Sprint("x", i)
		p.must(network+"networkInterfaces/"+name, nic("a"))
		p.must(compute+"virtualMachines/"+name, vm(name, name, host))
	}
}

func portsOf(g *goal.Host) string {
	var all []string
	for _, p := range g.Ports {
		all = append(all, fmt.Sprintf("%d %s %s", p.Index, p.MAC, p.Addresses[0].IP))
	}
	return strings.Join(all, ", ")
}

// A failed host's machines have the same ports, MACs and addresses elsewhere, and its own goal is without them.
func TestFailedHostIsLeft(t *testing.T) {
	p := newPlane(t)
	p.twoHosts()
	p.network()
	p.machinesOn("host1", 3)
	g, _ := p.Goal("host1")
	before := portsOf(g)
	h := p.decide("host1", "fail")
	if h.State != "failed" || h.VMs != 0 || len(h.Moves) != 4 || !h.Moves[0].Pinned || h.Moves[0].To != "host2" || h.Problem != "" {
		t.Fatalf("%+v", h)
	}
	eventually(t, "the goals follow", func() bool {
		g1, _ := p.Goal("host1")
		g2, _ := p.Goal("host2")
		return len(g1.Ports) == 0 && portsOf(g2) == before
	})
	// New machines avoid it, also one that is to be there; one that was there can be written as it was.
	p.must(network+"networkInterfaces/new", nic("a"))
	if r := p.do(http.MethodPut, compute+"virtualMachines/new", vm("new", "new", "host1")); r.status != 409 || !strings.Contains(string(r.body), "Host host1 takes no virtual machines: it is failed.") {
		t.Errorf("%d %s", r.status, r.body)
	}
	p.must(compute+"virtualMachines/m", vm("m", "i", "host1"))
	if h := p.hostOf("host1"); h.VMs != 0 {
		t.Errorf("written again it is back: %+v", h)
	}
	if h := p.decide("host1", "undrain"); h.State != "ready" {
		t.Errorf("%+v", h)
	}
	p.must(compute+"virtualMachines/m", vm("m", "i", "host1"))
	if h := p.hostOf("host1"); h.VMs != 1 {
		t.Errorf("ready again, the tag does not count: %+v", h)
	}
}

func TestDrain(t *testing.T) {
	p := newPlane(t)
	_, h2 := p.twoHosts()
	p.network()
	p.machinesOn("host1", 5)
	if r := p.do(http.MethodPost, "/ringfence/v1/hosts/nobody/drain", ""); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	if r := p.do(http.MethodPost, "/ringfence/v1/hosts/host1/burn", ""); r.status != 404 {
		t.Errorf("%d %s", r.status, r.body)
	}
	report(p, h2)
	p.decide("host1", "drain")
	eventually(t, "drained", func() bool { return p.hostOf("host1").State == "drained" })
	if h := p.hostOf("host1"); len(h.Moves) != 6 || h.Problem != "" {
		t.Errorf("%+v", h)
	}
	p.decide("host1", "drain")
	if h := p.decide("host1", "undrain"); h.State != "ready" || h.VMs != 0 {
		t.Errorf("%+v", h)
	}
}

// report makes a host say that all its machines are configured.
func report(p *plane, h *fakeHost) {
	done := make(chan struct{})
	p.t.Cleanup(func() { close(done) })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
				g, _ := p.Goal("host2")
				h.Report(ready(g))
			}
		}
	}()
}

func ready(g *goal.Host) (r publish.Report) {
	for _, port := range g.Ports {
		r.Sandboxes = append(r.Sandboxes, publish.Sandbox{VM: port.VM, NIC: port.ID, Port: port.Index, Ready: true})
	}
	return r
}

// A host without room takes nothing, what cannot move stays, and moves as soon as there is room.
func TestNoRoom(t *testing.T) {
	p := newPlane(t)
	h1 := p.host("host1", "198.18.0.11")
	h1.obey()
	eventually(t, "connected", func() bool { return len(p.publisher.Hosts()) == 1 })
	p.network()
	h := p.decide("host1", "fail")
	if h.VMs != 1 || h.State != "failed" || !strings.Contains(h.Problem, "Virtual machine m stays on host host1, no other can take it: there is no other host.") {
		t.Fatalf("%+v", h)
	}
	if g, _ := p.Goal("host1"); len(g.Ports) != 1 {
		t.Error("its machine is lost")
	}
	p.host("host2", "198.18.0.12").obey()
	eventually(t, "moved to the new host", func() bool { h := p.hostOf("host1"); return h.VMs == 0 && h.Problem == "" })
}

// A host that stays away is left by one of two servers, once; back again it gets its goal without the machines and is ready.
func TestHostDies(t *testing.T) {
	p := newPlane(t)
	q := p.beside()
	h1, _ := p.twoHosts()
	p.network()
	p.machinesOn("host1", 2)
	var old *goal.Host
	eventually(t, "the goal has them", func() bool { old, _ = p.Goal("host1"); return len(old.Ports) == 3 })
	p.healAfter(300 * time.Millisecond)
	q.healAfter(300 * time.Millisecond)
	time.Sleep(time.Second)
	if h := p.hostOf("host1"); h.State != "ready" {
		t.Fatalf("a living host: %+v", h)
	}
	h1.leave()
	eventually(t, "healed", func() bool {
		h := q.hostOf("host1")
		return h.State == "failed" && h.VMs == 0 && p.hostOf("host1").VMs == 0
	})
	if n := len(p.hostOf("host1").Moves) + len(q.hostOf("host1").Moves); n != 3 {
		t.Errorf("%d moves of 3 machines", n)
	}
	if h := p.hostOf("host2"); h.VMs != 3 || h.State != "ready" {
		t.Errorf("%+v", h)
	}
	back := p.host("host1", "198.18.0.11")
	g := back.next()
	if len(g.Ports) != 0 || g.Generation <= old.Generation {
		t.Errorf("its first goal, of generation %d after %d, has %d ports", g.Generation, old.Generation, len(g.Ports))
	}
	back.Ack(g.Generation, "")
	back.obey()
	eventually(t, "ready", func() bool { return p.hostOf("host1").State == "ready" && q.hostOf("host1").State == "ready" })
}

// Whoever sees no other host is cut off himself: nothing is decided, and it is said.
func TestAllHostsDie(t *testing.T) {
	p := newPlane(t)
	h1, h2 := p.twoHosts()
	p.network()
	p.healAfter(200 * time.Millisecond)
	h2.leave()
	h1.leave()
	eventually(t, "it is said", func() bool {
		return strings.Contains(p.hostOf("host1").Problem, "Virtual machine m stays on host host1, no other can take it: host2 is not connected.")
	})
	if h := p.hostOf("host1"); h.State != "ready" || h.VMs != 1 {
		t.Errorf("%+v", h)
	}
}

func TestHealAfter(t *testing.T) {
	for text, want := range map[string]string{"": "30s", "0": "0s", "2m": "2m0s", "15s": "15s", "3s": "", "-1s": "", "soon": ""} {
		c := Config{HealAfter: text}
		if d, err := c.healAfter(); (err == nil) != (want != "") || err == nil && d.String() != want {
			t.Errorf("%q: %s %v", text, d, err)
		}
	}
}
