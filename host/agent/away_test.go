package agent

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The control plane is gone for an hour: the agent looks after what is in force, changes nothing of it, makes again what others remove, and
// acknowledges the same goal. When a newer one comes at last it is in force at once.
func TestControlPlaneGoneForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, s := newKernel(), newStream()
		a := New(Deps{Datapath: k, Sandboxes: k, Fabric: fakeFabric{k}, Stream: s})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan struct{})
		go func() { a.Loop(ctx); close(ended) }()
		s.goals <- host(5, port(1, "/a"), port(2, "/b"))
		synctest.Wait()
		k.taken()
		looks := 0
		for began := time.Now(); time.Since(began) < time.Hour; {
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, step := range k.taken() {
				if strings.HasPrefix(step, "detach") || strings.HasPrefix(step, "lose") || strings.HasPrefix(step, "apply") && step != "apply 5 [1 2]" {
					t.Errorf("after %v: %s", time.Since(began), step)
				}
				if step == "fabric" {
					looks++
				}
			}
			for len(s.acks) > 0 {
				if a := <-s.acks; a.Generation != 5 || a.Problem != "" {
					t.Errorf("acknowledged %+v", a)
				}
			}
		}
		if looks < 100 {
			t.Errorf("%d looks at the host in an hour", looks)
		}
		if k.open[1] != "/a" || k.open[2] != "/b" || k.served != 5 {
			t.Errorf("in force: %v, served: %d", k.open, k.served)
		}
		if f := lastGoal(5, a.pulse.came, a.pulse.acked, "", time.Now()); !strings.Contains(f.What, "goal 5 came 1h0m0s ago") {
			t.Errorf("the agent says %q", f.What)
		}
		s.goals <- host(6, port(2, "/b"))
		synctest.Wait()
		if steps := k.taken(); !slices.Contains(steps, "apply 6 [2]") || !slices.Contains(steps, "detach 1") {
			t.Errorf("the next goal: %q", steps)
		}
		cancel()
		<-ended
	})
}

// Who asks on the host hears since when the control plane is away, and what is in force.
func TestStatusWithoutControlPlane(t *testing.T) {
	var b board
	b.generation = 7
	away := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r := &reception{board: &b, connected: func() bool { return false }, since: func() time.Time { return away }}
	w := httptest.NewRecorder()
	r.routes().ServeHTTP(w, httptest.NewRequest("GET", "/v1/status", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "since 2026-01-02T03:04:05Z; goal 7 stays in force") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
