package agent

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ringfence/observe"
)

// limping is a kernel whose services have a problem once.
type limping struct {
	*kernel
	problem error
}

func (l *limping) Counts() observe.Requests { return nil }

func (l *limping) Problem() error {
	defer l.lock()()
	err := l.problem
	l.problem = nil
	return err
}

func (l *limping) Ensure() (Services, error) { return l, nil }

// The problem of a service goes up with the acknowledgement; the policy is in force, the guests are configured, and it is tried again.
func TestServiceProblemIsAcknowledged(t *testing.T) {
	k := newKernel()
	s := newStream()
	a := New(Deps{Datapath: k, Sandboxes: k, Fabric: &limping{k, errors.New("dns: no such address")}, Stream: s})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Loop(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	s.goals <- host(5, port(1, "/a"))
	if ack := s.ack(t); ack.Generation != 5 || !strings.Contains(ack.Problem, "dns: no such address") {
		t.Errorf("ack %+v", ack)
	}
	s.ready(t, 1)
	if ack := s.ack(t); ack.Problem != "" {
		t.Errorf("the second attempt: %+v", ack)
	}
}
