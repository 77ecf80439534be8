package isolation

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"testing"

	"ringfence/goal"
	"ringfence/goal/model"
)

// A trace goes from host to host as the specification says, names rules and revisions, and sends and changes nothing: no counter moves, and nobody
// sees a packet.
func TestTraceGoesFromHostToHost(t *testing.T) {
	l := theLab(t)
	l.rules(t, rule("deny-7005", 105, "Deny", "Tcp", "7005"))
	t.Cleanup(func() { l.rules(t) })
	var ready struct{ Revision uint64 }
	if err := l.ask("ready", &ready); err != nil {
		t.Fatal(err)
	}
	from := l.vms["contoso/b1"]
	w := l.begin(t)
	before := l.traffic(t)
	for _, c := range []struct {
		to       *vm
		port     string
		six      bool
		protocol string
		action   string
	}{
		{l.vms["contoso/a1"], "7005", false, "tcp", "drop"}, {l.vms["contoso/a2"], "7005", false, "tcp", "drop"}, {l.vms["contoso/a2"], "7005", true, "tcp", "drop"},
		{l.vms["contoso/a2"], "7006", false, "tcp", "deliver"}, {l.vms["contoso/a1"], "7006", true, "udp", "deliver"}, {l.vms["contoso/a2"], "0", false, "icmp", "deliver"},
	} {
		args := []string{"trace", from.port.VM, "--to", c.to.port.VM, "--port", c.port, "--protocol", c.protocol, "-o", "json"}
		dst := c.to.ip
		if c.six {
			args, dst = append(args, "-6"), c.to.v6
		}
		cmd := exec.Command(program, args...)
		cmd.Env = append(os.Environ(), "RINGFENCE_LAB="+l.name)
		b, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v %s", args, err, b)
		}
		var got struct {
			Action, Reason string
			Steps          []struct {
				Host, Layer, Word, Rule string
				Port                    uint32
				Revision                uint64
			}
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		protocol, dport := map[string]uint8{"tcp": goal.TCP, "udp": goal.UDP, "icmp": goal.ICMP}[c.protocol], uint16(7005)
		if c.port == "7006" {
			dport++
		}
		v, steps := model.Send(w.models, from.host, from.port.Index, model.Open(&from.port, protocol, dst, 50000, dport))
		if got.Action != c.action || v.Action.String() != c.action || len(got.Steps) != len(steps) {
			t.Fatalf("%v: %+v\nmodel: %v\n%v", args, got, v, steps)
		}
		for i, s := range steps {
			if g := got.Steps[i]; g.Host != s.Host || g.Layer != s.Layer || g.Word != s.Word || g.Port != s.Port || g.Rule != s.Rule {
				t.Errorf("%v: step %d: %+v, model: %v", args, i, g, s)
			}
			if got.Steps[i].Rule == "securityRules/deny-7005" && got.Steps[i].Revision != ready.Revision {
				t.Errorf("the rule is said to be of revision %d, want %d", got.Steps[i].Revision, ready.Revision)
			}
		}
		for _, m := range w.models {
			m.Forget()
		}
	}
	w.settle()
	w.checkCounters()
	w.checkPlaces()
	after := l.traffic(t)
	for _, m := range []map[string]traffic{before, after} {
		for k, n := range m {
			n.Sent = 0 // what a guest says unasked is dropped
			m[k] = n
		}
	}
	if !maps.Equal(before, after) {
		t.Errorf("a trace was counted: %+v, before %+v", after, before)
	}
}
