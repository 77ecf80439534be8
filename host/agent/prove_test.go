package agent

import (
	"strings"
	"testing"

	"ringfence/observe"
	"ringfence/publish"
)

// TestDifferenceIsAnAlarm: a goal whose loaded tables say something else is not acknowledged as enforced, and both sides are told.
func TestDifferenceIsAnAlarm(t *testing.T) {
	k := newKernel()
	k.differs = []observe.Difference{{At: "port 1 up", Loaded: "false", Goal: "true"}}
	s, a, _ := run(t, k)
	s.goals <- host(5, port(1, "/a"))
	if got := s.ack(t).Problem; !strings.Contains(got, "ports: port 1 up: loaded: false; goal: true") {
		t.Errorf("acknowledged with %q", got)
	}
	answer, err := a.Answer("check")
	if err != nil || !strings.Contains(string(answer), `{"part":"ports","equal":false,"at":"port 1 up","loaded":"false","goal":"true"}`) {
		t.Errorf("check: %s, %v", answer, err)
	}
	unlock := k.lock()
	k.differs = nil
	unlock()
	eventually(t, "acknowledged", func() bool { return s.ack(t) == publish.Ack{Generation: 5} })
	if answer, err = a.Answer("check"); err != nil || string(answer) != `[{"part":"ports","equal":true}]` {
		t.Errorf("check: %s, %v", answer, err)
	}
	if answer, err = a.Answer("checkup"); err != nil || !strings.Contains(string(answer), "made anew") {
		t.Errorf("checkup: %s, %v", answer, err)
	}
	if answer, err = a.Answer("metrics"); err != nil || strings.Contains(string(answer), `"differences":0`) {
		t.Errorf("metrics: %s, %v", answer, err)
	}
}
