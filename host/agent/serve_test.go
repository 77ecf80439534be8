package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"ringfence/goal"
)

// fakeService remembers the goal that it serves.
type fakeService struct {
	generation uint64
	closed     bool
}

func (f *fakeService) Set(h *goal.Host) { f.generation = h.Generation }
func (f *fakeService) Close() error     { f.closed = true; return nil }

// A service that does not start is said and tried again; the others serve meanwhile.
func TestServicesStartOneByOne(t *testing.T) {
	dhcp, names, facts := &fakeService{}, &fakeService{}, &fakeService{}
	broken := errors.New("address already in use")
	s := &served{log: slog.New(slog.DiscardHandler), dhcp: dhcp, others: []*starting{
		{name: "dns", open: func() (service, error) { return names, broken }},
		{name: "metadata", open: func() (service, error) { return facts, nil }},
	}}
	s.Set(host(1))
	if err := s.Problem(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the problem is %v", err)
	}
	if dhcp.generation != 1 || facts.generation != 1 || names.generation != 0 {
		t.Errorf("served %d, %d, %d", dhcp.generation, facts.generation, names.generation)
	}
	broken = nil
	s.Set(host(2))
	if err := s.Problem(); err != nil {
		t.Errorf("the problem stays: %v", err)
	}
	if dhcp.generation != 2 || facts.generation != 2 || names.generation != 2 {
		t.Errorf("served %d, %d, %d", dhcp.generation, facts.generation, names.generation)
	}
	if err := s.Close(); err != nil || !dhcp.closed || !names.closed || !facts.closed {
		t.Errorf("closed: %v %v %v, %v", dhcp.closed, names.closed, facts.closed, err)
	}
}

// limping is a kernel whose services have a problem once.
type limping struct {
	*kernel
	problem error
}

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
