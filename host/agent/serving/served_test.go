package serving

import (
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
	s := &served{log: slog.New(slog.DiscardHandler), all: []*starting{
		{name: "dhcp", open: func() (service, error) { return dhcp, nil }},
		{name: "dns", open: func() (service, error) { return names, broken }},
		{name: "metadata", open: func() (service, error) { return facts, nil }},
	}}
	s.set(&goal.Host{Generation: 1})
	if err := s.problem(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("the problem is %v", err)
	}
	if dhcp.generation != 1 || facts.generation != 1 || names.generation != 0 {
		t.Errorf("served %d, %d, %d", dhcp.generation, facts.generation, names.generation)
	}
	broken = nil
	s.set(&goal.Host{Generation: 2})
	if err := s.problem(); err != nil {
		t.Errorf("the problem stays: %v", err)
	}
	if dhcp.generation != 2 || facts.generation != 2 || names.generation != 2 {
		t.Errorf("served %d, %d, %d", dhcp.generation, facts.generation, names.generation)
	}
	if s.close(); !dhcp.closed || !names.closed || !facts.closed {
		t.Errorf("closed: %v %v %v", dhcp.closed, names.closed, facts.closed)
	}
}

// Rules and other hosts' addresses do not cross to the process, and a goal that differs in them only is no new order.
func TestOnlyWhatIsServedCrosses(t *testing.T) {
	h := goal.Host{Name: "h", Generation: 1, Ports: []goal.Port{{Index: 1, Domain: "a"}}, Groups: []goal.Group{{ID: "/g"}},
		VNets: []goal.VNet{{VNI: 7, Domain: "a", Names: []goal.Name{{Host: "x"}}, Endpoints: []goal.Endpoint{{Port: 1}}, Sets: []goal.Set{{Name: "tag:Internet"}}}}}
	part := about(&h)
	if part.Groups != nil || part.VNets[0].Endpoints != nil || part.VNets[0].Sets != nil {
		t.Errorf("too much crosses: %+v", part)
	}
	rules := h
	rules.Generation, rules.Groups = 2, nil
	if !same(part, about(&rules)) {
		t.Error("a goal with other rules is another order")
	}
	names := h
	names.VNets = []goal.VNet{{VNI: 7, Domain: "a", Names: []goal.Name{{Host: "y"}}}}
	if same(part, about(&names)) || same(nil, part) || !same(nil, nil) {
		t.Error("a goal with other names is no new order")
	}
}
