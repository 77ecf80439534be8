package agent

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/observe"
)

func (k *kernel) FlowUse() (used, limit uint64, err error) { return 3, 40, nil }

// Missing is what is attached less than the goal has.
func (k *kernel) Missing(ports []uint32) (out []string) {
	defer k.lock()()
	for _, p := range ports {
		if !k.attached[p] {
			out = append(out, "link of a port")
		}
	}
	return out
}

func asked[T any](t *testing.T, a *Agent, kind string) (v T) {
	t.Helper()
	b, err := a.Answer(kind)
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func finding(t *testing.T, c observe.Checkup, topic string) observe.Finding {
	t.Helper()
	for _, f := range c.Findings {
		if f.Topic == topic {
			return f
		}
	}
	t.Fatalf("no finding about %s in %+v", topic, c)
	return observe.Finding{}
}

func TestSampleOfAnAgent(t *testing.T) {
	k := newKernel()
	k.relearning = 7 * time.Second
	k.fail["apply 1 [1]"] = errors.New("no luck")
	s, a, _ := run(t, k)
	s.goals <- host(1, port(1, "/a"))
	s.ack(t)
	s.ack(t)
	s.ready(t, 1)
	got := asked[observe.Sample](t, a, "metrics")
	if got.Ports != 1 || got.Ready != 1 || got.Flows != 3 || got.FlowLimit != 40 || got.Apply.Count != 2 || got.Failures != 1 || got.Packets["sent"] != 9 || got.Relearning != 7 {
		t.Errorf("%+v", got)
	}
	if f := finding(t, asked[observe.Checkup](t, a, "checkup"), "flows"); f.State != observe.Warn || !strings.Contains(f.What, "7s more") {
		t.Errorf("%+v", f)
	}
	slices.SortFunc(got.Drops, func(a, b observe.DropSum) int { return strings.Compare(a.Reason, b.Reason) })
	if len(got.Drops) != 2 || got.Drops[0] != (observe.DropSum{Direction: "in", Reason: "acl_rule", Packets: 3}) ||
		got.Drops[1] != (observe.DropSum{Direction: "in", Reason: "kernel_transmit", Packets: 3}) {
		t.Errorf("%+v", got.Drops)
	}
	if again := asked[observe.Sample](t, a, "metrics"); again.Drops[0].Packets != 3 || again.Packets["sent"] != 9 {
		t.Errorf("a second look counts twice: %+v", again)
	}
}

// A port that goes takes its counters with it; the sum of all ports keeps them.
func TestSumsNeverFall(t *testing.T) {
	var r rising[string, string]
	all := func(string) string { return "all" }
	for i, step := range []struct {
		now  map[string]uint64
		want uint64
	}{{map[string]uint64{"a": 5, "b": 1}, 6}, {map[string]uint64{"b": 2}, 7}, {map[string]uint64{"a": 1, "b": 2}, 8}, {map[string]uint64{"a": 1, "b": 1}, 9}} {
		if got := r.take(step.now, all)["all"]; got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
	}
}

func TestCheckupOfAnAgent(t *testing.T) {
	k := newKernel()
	s, a, _ := run(t, k)
	if f := finding(t, asked[observe.Checkup](t, a, "checkup"), "goal"); f.State != observe.Warn || f.Cure == "" {
		t.Errorf("before the first goal: %+v", f)
	}
	s.goals <- host(1, port(1, "/a"))
	s.ack(t)
	eventually(t, "all is well", func() bool {
		c := asked[observe.Checkup](t, a, "checkup")
		return finding(t, c, "goal").State == observe.OK && finding(t, c, "pins").State == observe.OK && time.Since(c.Now) < time.Minute
	})
	unlock := k.lock()
	delete(k.attached, 1)
	unlock()
	if f := finding(t, asked[observe.Checkup](t, a, "checkup"), "pins"); f.State != observe.Fail || !strings.Contains(f.What, "link of a port") || f.Cure == "" {
		t.Errorf("a link is gone: %+v", f)
	}
}

func TestLastGoal(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		came, acked time.Duration
		problem     string
		want        observe.Grade
	}{{time.Hour, time.Minute, "", observe.OK}, {time.Second, time.Hour, "", observe.OK}, {2 * time.Minute, time.Hour, "", observe.Fail},
		{time.Hour, time.Minute, "no luck", observe.Fail}} {
		f := lastGoal(7, now.Add(-c.came), now.Add(-c.acked), c.problem, now)
		if f.State != c.want || !strings.Contains(f.What, "goal 7") || !strings.Contains(f.What, c.problem) || (f.Cure == "") != (c.want == observe.OK) {
			t.Errorf("%+v: %+v", c, f)
		}
	}
}

// Every fault has its sentence and its cure.
func TestMachine(t *testing.T) {
	if f := kernelFit(errors.New("too old")); f.State != observe.Fail || f.What != "too old" || f.Cure == "" {
		t.Errorf("%+v", f)
	}
	if f := kernelFit(nil); f.State != observe.OK || !strings.Contains(f.What, "Linux ") {
		t.Errorf("%+v", f)
	}
	if f := underlayFit(Underlay{Device: "rf-none"}); f.State != observe.Fail || !strings.Contains(f.What, "rf-none") || f.Cure == "" {
		t.Errorf("%+v", f)
	}
	if f := room("run directory", t.TempDir()); f.Topic != "disk" || f.What == "" {
		t.Errorf("%+v", f)
	}
	if f := room("run directory", "/nonexistent"); f.State != observe.Fail || f.Cure == "" || !strings.Contains(f.What, os.ErrNotExist.Error()[:4]) {
		t.Errorf("%+v", f)
	}
}

func TestServicesFit(t *testing.T) {
	good := servicesFit(nil, observe.Requests{"dns": {"answered": 3, "forwarded": 2, "failed": 1}, "dhcp": {"answered": 4, "limited": 7}})
	if good.State != observe.OK || good.Cure != "" || good.What != "dhcp answered 4, dhcp limited 7, dns answered 5, dns failed 1, metadata answered 0" {
		t.Errorf("%+v", good)
	}
	if f := servicesFit(nil, observe.Requests{"dns": {"answered": 3, "failed": 1}}); f.State != observe.Warn || f.Cure == "" {
		t.Errorf("%+v", f)
	}
	if f := servicesFit(errors.New("gone"), nil); f.State != observe.Fail || f.What != "gone" {
		t.Errorf("%+v", f)
	}
}
