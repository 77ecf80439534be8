package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/host/sandbox"
	"ringfence/observe"
	"ringfence/publish"
)

// kernel is what outlives an agent: it takes part in every fake and writes down what is done, in order.
type kernel struct {
	mu sync.Mutex

	relearning time.Duration

	steps    []string
	fail     map[string]error // by step, once
	crash    func(step string) bool
	ports    map[uint32]goal.Port // devices that exist
	attached map[uint32]bool
	stopped  map[uint32]bool
	open     map[uint32]string // ports that the tables carry → NIC
	served   uint64
	ready    map[uint32]goal.Port
	next     int
	differs  []observe.Difference
	early    int // guests that asked before their port was open
}

// crashed is what a fake panics with when the agent is to die there.
type crashed struct{ step string }

func newKernel() *kernel {
	return &kernel{fail: map[string]error{}, ports: map[uint32]goal.Port{}, attached: map[uint32]bool{}, stopped: map[uint32]bool{}, open: map[uint32]string{}, ready: map[uint32]goal.Port{}}
}

// do writes a step down; it fails or kills the agent when the test asked for it. k.mu is held by the caller.
func (k *kernel) do(format string, args ...any) error {
	step := fmt.Sprintf(format, args...)
	k.steps = append(k.steps, step)
	if k.crash != nil && k.crash(step) {
		k.crash = nil
		panic(crashed{step})
	}
	err := k.fail[step]
	delete(k.fail, step)
	return err
}

func (k *kernel) lock() func() { k.mu.Lock(); return k.mu.Unlock }

func (k *kernel) taken() []string {
	defer k.lock()()
	s := k.steps
	k.steps = nil
	return s
}

// The kernel as datapath, sandboxes, fabric and services.

func (k *kernel) DetachPort(index uint32) error {
	defer k.lock()()
	if nic, ok := k.open[index]; ok {
		panic("port " + nic + " is detached while the tables carry it")
	}
	delete(k.attached, index)
	return k.do("detach %d", index)
}

func (k *kernel) Attached() ([]uint32, error) {
	defer k.lock()()
	return slices.Collect(maps.Keys(k.attached)), nil
}

func (k *kernel) Generation() uint64 { return 0 }

func (k *kernel) Apply(_ context.Context, h *goal.Host, devices func(uint32) (int, bool)) error {
	defer k.lock()()
	var names []string
	open := map[uint32]string{}
	for _, p := range h.Ports {
		if _, ok := devices(p.Index); !ok {
			names = append(names, fmt.Sprintf("-%d", p.Index))
			continue
		}
		if !k.attached[p.Index] || k.ports[p.Index].ID != p.ID {
			panic(fmt.Sprintf("port %d is opened on a device that is not attached or not its own", p.Index))
		}
		names = append(names, fmt.Sprint(p.Index))
		open[p.Index] = p.ID
	}
	if err := k.do("apply %d [%s]", h.Generation, strings.Join(names, " ")); err != nil {
		return err
	}
	k.open = open
	return nil
}

func (k *kernel) Trace(port uint32, frame []byte) (observe.Trace, error) {
	return observe.Trace{Action: observe.Dropped, Reason: observe.ACLRule, Frame: frame, Steps: []observe.Step{{Port: port, Layer: "acl", Word: "deny", Reason: observe.ACLRule, Rule: "securityRules/x", Revision: 9}}}, nil
}

func (k *kernel) TraceArrival(vni uint32, from netip.Addr, frame []byte) (observe.Trace, error) {
	return observe.Trace{Action: observe.Delivered, VNI: vni, Host: from, Frame: frame}, nil
}

func (k *kernel) Capture(ctx context.Context, port uint32, snap int, fn func(observe.Captured), lost func(uint64)) error {
	fn(observe.Captured{Dir: observe.In, Action: observe.Dropped, Reason: observe.ACLRule, Rule: "securityRules/x", Revision: 9, At: port, Len: 100, Data: make([]byte, snap)})
	lost(3)
	<-ctx.Done()
	return nil
}

func (k *kernel) Prove(*goal.Host, func(uint32) (int, bool), bool) ([]observe.Proof, error) {
	defer k.lock()()
	return []observe.Proof{{Part: "ports", Differences: k.differs}}, nil
}

func (k *kernel) ProveNext(h *goal.Host) ([]observe.Proof, error) { return k.Prove(h, nil, false) }

func (k *kernel) Untold() (map[observe.Reason]uint64, error) {
	return map[observe.Reason]uint64{observe.GuardMAC: 7}, nil
}

func (k *kernel) Drops() ([]observe.Drop, error) {
	return []observe.Drop{{Port: 1, Dir: observe.In, Reason: observe.ACLRule, Group: "/nsg", Rule: "securityRules/x", Packets: 3}}, nil
}
func (k *kernel) Losses() ([]observe.Drop, error) {
	return []observe.Drop{{Port: 1, Dir: observe.In, Reason: observe.KernelTransmit, Packets: 3}}, nil
}
func (k *kernel) Traffic() ([]observe.Traffic, error) {
	return []observe.Traffic{{Port: 1, Sent: 9}}, nil
}
func (k *kernel) Relearning() (time.Duration, error) { return k.relearning, nil }
func (k *kernel) Flows() ([]observe.Flow, error) {
	return []observe.Flow{{Port: 1, Protocol: goal.TCP, Local: netip.MustParseAddr("10.0.0.4"), Idle: time.Second}}, nil
}

func (k *kernel) Ensure(p goal.Port) (int, error) {
	defer k.lock()()
	if old, ok := k.ports[p.Index]; ok && old.ID != p.ID && k.open[p.Index] != "" {
		panic("the device of " + old.ID + " is replaced while the tables carry its port")
	}
	if err := k.do("ensure %d", p.Index); err != nil {
		return 0, err
	}
	k.ports[p.Index] = p
	if err := k.do("attach %d", p.Index); err != nil {
		return 0, err
	}
	k.attached[p.Index] = true
	k.next++
	return k.next, nil
}

func (k *kernel) SetReady(index uint32, ready bool) error {
	defer k.lock()()
	if k.stopped[index] == !ready {
		return nil
	}
	k.stopped[index] = !ready
	return k.do("ready %d %v", index, ready)
}

func (k *kernel) LosePort(index uint32) error {
	defer k.lock()()
	delete(k.attached, index)
	delete(k.open, index)
	return k.do("lose %d", index)
}

func (k *kernel) CheckAttachment(goal.Attachment) error { return nil }

func (k *kernel) Release(uint32) error { return nil }

func (k *kernel) Foreign(p goal.Port) (bool, error) {
	defer k.lock()()
	old, ok := k.ports[p.Index]
	return ok && old.ID != p.ID, nil
}

func (k *kernel) Configure(ctx context.Context, p goal.Port) error {
	defer k.lock()()
	if k.open[p.Index] == "" {
		k.early++
		return errors.New("no answer")
	}
	err := k.fail[fmt.Sprintf("configure %d", p.Index)]
	delete(k.fail, fmt.Sprintf("configure %d", p.Index))
	if err == nil {
		k.ready[p.Index] = p
	}
	return err
}

func (k *kernel) Prune(keep []goal.Port) error {
	defer k.lock()()
	if err := k.do("prune"); err != nil {
		return err
	}
	for index := range k.ports {
		if !slices.ContainsFunc(keep, func(p goal.Port) bool { return p.Index == index }) {
			if k.open[index] != "" {
				panic("a device is removed while the tables carry its port")
			}
			delete(k.ports, index)
		}
	}
	return nil
}

func (k *kernel) Spec(p goal.Port) sandbox.Spec {
	return sandbox.Spec{Namespace: "ns-" + p.Sandbox.Name}
}

func (k *kernel) Set(h *goal.Host) {
	defer k.lock()()
	k.do("dhcp %d", h.Generation)
	k.served = h.Generation
}

func (k *kernel) Problem() error { return nil }

func (k *kernel) Counts() observe.Requests {
	return observe.Requests{"dns": {"answered": 3, "failed": 1}}
}

type fakeFabric struct{ k *kernel }

func (f fakeFabric) Ensure() (Services, error) {
	defer f.k.lock()()
	return f.k, f.k.do("fabric")
}

// stream is the control plane.
type stream struct {
	goals   chan *goal.Host
	acks    chan publish.Ack
	mu      sync.Mutex
	report  publish.Report
	reports int
}

func newStream() *stream {
	return &stream{goals: make(chan *goal.Host, 1), acks: make(chan publish.Ack, 100)}
}

func (s *stream) Goals() <-chan *goal.Host { return s.goals }
func (s *stream) Ack(g uint64, problem string) {
	s.acks <- publish.Ack{Generation: g, Problem: problem}
}
func (s *stream) Report(r publish.Report) { s.mu.Lock(); s.report = r; s.reports++; s.mu.Unlock() }
func (s *stream) ready(t *testing.T, ports ...uint32) {
	t.Helper()
	eventually(t, fmt.Sprintf("ports %v are reported ready", ports), func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		var have []uint32
		for _, b := range s.report.Sandboxes {
			if b.Ready {
				have = append(have, b.Port)
			}
		}
		return slices.Equal(have, ports)
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (s *stream) ack(t *testing.T) publish.Ack {
	t.Helper()
	select {
	case a := <-s.acks:
		return a
	case <-time.After(10 * time.Second):
		t.Fatal("no acknowledgement")
		return publish.Ack{}
	}
}

func port(index uint32, nic string) goal.Port {
	return goal.Port{Index: index, ID: nic, VM: "/vm" + nic, Sandbox: goal.Sandbox{Name: nic[1:], HostName: nic[1:], Device: "eth0"},
		MAC: goal.MAC{2, 0x52, 0x46, 0, 0, byte(index)}, Addresses: []goal.Address{{IP: netip.AddrFrom4([4]byte{10, 0, 0, byte(index)})}}}
}

func host(generation uint64, ports ...goal.Port) *goal.Host {
	return &goal.Host{Name: "host1", Generation: generation, Ports: ports}
}

// run starts an agent on k; stop ends it. died gets the step at which a crash was asked for.
func run(t *testing.T, k *kernel) (s *stream, a *Agent, stop func()) {
	t.Helper()
	s = newStream()
	a = New(Deps{Datapath: k, Sandboxes: k, Fabric: fakeFabric{k}, Stream: s})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				if _, ok := r.(crashed); !ok {
					panic(r)
				}
			}
		}()
		a.Loop(ctx)
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return s, a, stop
}

func expect(t *testing.T, k *kernel, want ...string) {
	t.Helper()
	if got := k.taken(); !slices.Equal(got, want) {
		t.Errorf("steps\n got %q\nwant %q", got, want)
	}
}

func TestOrderOfSteps(t *testing.T) {
	k := newKernel()
	s, _, _ := run(t, k)
	time.Sleep(20 * time.Millisecond)
	expect(t, k) // nothing before the first goal

	s.goals <- host(5, port(1, "/a"), port(2, "/b"))
	if a := s.ack(t); a != (publish.Ack{Generation: 5}) {
		t.Errorf("ack %+v", a)
	}
	s.ready(t, 1, 2)
	expect(t, k, "fabric", "ensure 1", "attach 1", "ensure 2", "attach 2", "apply 5 [1 2]", "dhcp 5", "prune")

	if k.early > 0 {
		t.Error("a guest asked for its address before its port was open")
	}

	// A change of rules touches the tables only.
	ruled := port(1, "/a")
	ruled.NICGroup = "/nsg"
	s.goals <- host(6, ruled, port(2, "/b"))
	s.ack(t)
	expect(t, k, "apply 6 [1 2]", "dhcp 6")

	// What goes leaves the tables first, then its device goes.
	s.goals <- host(7, port(2, "/b"))
	s.ack(t)
	s.ready(t, 2)
	expect(t, k, "apply 7 [2]", "dhcp 7", "detach 1", "prune")
}

// A port index that names another NIC is closed before anything is done for the new one.
func TestReusedPortIsClosedFirst(t *testing.T) {
	k := newKernel()
	s, _, _ := run(t, k)
	s.goals <- host(1, port(1, "/a"), port(2, "/b"))
	s.ack(t)
	s.ready(t, 1, 2)
	k.taken()
	s.goals <- host(2, port(1, "/c"), port(2, "/b"))
	s.ack(t)
	expect(t, k, "apply 2 [2]", "detach 1", "ensure 1", "attach 1", "apply 2 [1 2]", "dhcp 2")
	eventually(t, "the new NIC is configured", func() bool {
		defer k.lock()()
		return k.ready[1].ID == "/c"
	})
}

// What fails is said, tried again, and does not hold up the rest.
func TestFailures(t *testing.T) {
	for _, step := range []string{"fabric", "ensure 1", "attach 1", "apply 1 [1 2]"} {
		k := newKernel()
		k.fail[step] = errors.New("no luck")
		s, _, _ := run(t, k)
		s.goals <- host(1, port(1, "/a"), port(2, "/b"))
		if a := s.ack(t); a.Generation != 1 || !strings.Contains(a.Problem, "no luck") {
			t.Errorf("%s: ack %+v", step, a)
		}
		if a := s.ack(t); a.Problem != "" {
			t.Errorf("%s: the second attempt: %+v", step, a)
		}
		s.ready(t, 1, 2)
		steps := k.taken()
		if step == "ensure 1" && !slices.Contains(steps, "apply 1 [-1 2]") {
			t.Errorf("a port without a device holds up the others: %q", steps)
		}
	}
}

func TestGuestsAreConfiguredAgain(t *testing.T) {
	k := newKernel()
	k.fail["configure 1"] = errors.New("nobody answers")
	s, _, _ := run(t, k)
	s.goals <- host(1, port(1, "/a"))
	s.ack(t)
	eventually(t, "the problem is reported", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.report.Sandboxes) == 1 && s.report.Sandboxes[0].Problem == "nobody answers"
	})
	s.ready(t, 1)
	moved := port(1, "/a")
	moved.Addresses[0].IP = netip.MustParseAddr("10.0.0.9")
	s.goals <- host(2, moved)
	s.ack(t)
	eventually(t, "the new address is configured", func() bool {
		defer k.lock()()
		return k.ready[1].Addresses[0].IP == moved.Addresses[0].IP
	})
}

// The agent dies at every step of a way from one goal to another; a fresh one with the last goal brings the kernel to where an
// agent that never died would have brought it. The fakes panic when an order is broken.
func TestDeathAtAnyStep(t *testing.T) {
	first := host(1, port(1, "/a"), port(2, "/b"), port(3, "/c"))
	last := host(2, port(2, "/b"), port(3, "/d"), port(4, "/e"))
	for n := 1; ; n++ {
		k := newKernel()
		s, _, stop := run(t, k)
		s.goals <- first
		s.ack(t)
		s.ready(t, 1, 2, 3)
		died := k.dieAt(n)
		s.goals <- last
		eventually(t, "death or end", func() bool {
			steps := k.snapshot()
			return len(died) == 1 || slices.Contains(steps, "dhcp 2") && steps[len(steps)-1] == "prune"
		})
		stop()
		k.crash = nil
		s, _, stop = run(t, k)
		s.goals <- last
		if a := s.ack(t); a.Problem != "" {
			t.Fatalf("death at step %d: %+v", n, a)
		}
		s.ready(t, 2, 3, 4)
		stop()
		for index, p := range k.ports {
			if k.open[index] != p.ID {
				t.Errorf("death at step %d: device %d is %s's, the tables say %q", n, index, p.ID, k.open[index])
			}
		}
		if len(k.attached) != 3 {
			t.Errorf("death at step %d: attached %v", n, k.attached)
		}
		if len(k.ports) != 3 || k.ports[3].ID != "/d" || k.served != 2 {
			t.Errorf("death at step %d: devices %v, served %d", n, k.ports, k.served)
		}
		if len(died) == 0 {
			if n < 8 {
				t.Errorf("only %d steps", n-1)
			}
			return
		}
	}
}

// dieAt makes the agent die at the n-th step from now.
func (k *kernel) dieAt(n int) <-chan string {
	defer k.lock()()
	died, count := make(chan string, 1), 0
	k.crash = func(step string) bool {
		if count++; count < n {
			return false
		}
		died <- step
		return true
	}
	k.steps = nil
	return died
}

func (k *kernel) snapshot() []string {
	defer k.lock()()
	return slices.Clone(k.steps)
}

func TestAnswers(t *testing.T) {
	k := newKernel()
	s, a, _ := run(t, k)
	s.goals <- host(1, port(1, "/a"))
	s.ack(t)
	for kind, want := range map[string]string{
		"drops":                     `"vm":"/vm/a","direction":"in","reason":"acl_rule","layer":"acl","text":"a security rule denies it","group":"/nsg","rule":"securityRules/x","packets":3`,
		"traffic":                   `"sent":9`,
		"flows":                     `"idleMillis":1000`,
		"events":                    `[`,
		"follow?after=x.5&wait=1ms": `"untold":{"guard_mac":7}`,
		"trace?port=1&to=10.0.0.9&sport=1&dport=2":      `"word":"deny","reason":"acl_rule"`,
		"trace?vni=7&from=198.18.0.12&frame=abc":        `"action":"deliver"`,
		"capture?id=a&port=1&snap=16&wait=5s":           `"in":true,"action":"drop","reason":"acl_rule"`,
		"capture?id=a&port=1&snap=16&wait=1ms&end=true": `"packets":[]`,
	} {
		if b, err := a.Answer(kind); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %s, %v", kind, b, err)
		}
	}
	if _, err := a.Answer("secrets"); err == nil {
		t.Error("an unknown question was answered")
	}
	for i := range keptEvents + 5 {
		a.answers.record(observe.Event{Port: 1, Len: uint32(i)})
	}
	if e := a.answers.recent(); len(e) != keptEvents || e[0].Length != 5 || e[len(e)-1].Length != keptEvents+4 {
		t.Errorf("%d events from %d to %d", len(e), e[0].Length, e[len(e)-1].Length)
	}
}
