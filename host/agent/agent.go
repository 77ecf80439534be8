// Package agent is the one event loop of a host: it receives goals, makes the kernel and the host's services be as they say, and
// reports.
//
// In: the configuration file, goals from the control plane. Out: sandboxes, programs' tables and DHCP answers that are as the newest
// goal says, in the one order that never opens a hole; acknowledgements, once the kernel enforces; the state of every sandbox. The
// agent persists nothing: a fresh one reads from the kernel what is in force. It changes nothing there before its first complete goal,
// and nothing when it ends.
package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
	"ringfence/host/sandbox"
	"ringfence/observe"
	"ringfence/publish"
)

// Datapath is what the agent needs of host/datapath.
type Datapath interface {
	DetachPort(index uint32) error
	LosePort(index uint32) error
	SetReady(index uint32, ready bool) error
	Attached() ([]uint32, error)
	Apply(ctx context.Context, h *goal.Host, devices func(port uint32) (ifindex int, ok bool)) error
	Generation() uint64
	Drops() ([]observe.Drop, error)
	Losses() ([]observe.Drop, error)
	Untold() (map[observe.Reason]uint64, error)
	Traffic() ([]observe.Traffic, error)
	Flows() ([]observe.Flow, error)
	FlowUse() (used, limit uint64, err error)
	Relearning() (time.Duration, error)
	Missing(ports []uint32) []string
	Prove(h *goal.Host, devices func(port uint32) (ifindex int, ok bool), all bool) ([]observe.Proof, error)
	ProveNext(h *goal.Host) ([]observe.Proof, error)
	Trace(port uint32, frame []byte) (observe.Trace, error)
	Capture(ctx context.Context, port uint32, snap int, fn func(observe.Captured), lost func(uint64)) error
	TraceArrival(vni uint32, from netip.Addr, frame []byte) (observe.Trace, error)
}

// Sandboxes is what it needs of host/sandbox. Ensure attaches the programs to the device before it brings that up.
type Sandboxes interface {
	Foreign(p goal.Port) (bool, error)
	Ensure(p goal.Port) (ifindex int, err error)
	Configure(ctx context.Context, p goal.Port) error
	Prune(keep []goal.Port) error
	Spec(p goal.Port) sandbox.Spec
	CheckAttachment(at goal.Attachment) error
	Release(index uint32) error // takes the tap down that was this port, before the programs leave it
}

// Services are the host's services for VMs: DHCP, DNS, metadata.
type Services interface {
	Set(h *goal.Host)
	Problem() error           // which of them do not run, nil when all do
	Counts() observe.Requests // what they answered; asked by others than the loop
}

// Fabric makes the host's own devices: tunnel, service pair, uplink's guard. It is called before the first goal is applied and with
// every resync; it does nothing when all is there.
type Fabric interface {
	Ensure() (Services, error)
}

// Stream is the agent's end of publish.
type Stream interface {
	Goals() <-chan *goal.Host
	Ack(generation uint64, problem string)
	Report(publish.Report)
}

// Deps are the rooms that an Agent drives.
type Deps struct {
	Datapath  Datapath
	Sandboxes Sandboxes
	Fabric    Fabric
	Stream    Stream
	Log       *slog.Logger
	Machine   func() []observe.Finding // looks at the host itself; may be nil
	Lost      <-chan struct{}          // tells that something of the host's own was removed by others; may be nil
}

const (
	configureAtOnce = 16 // DHCP clients at a time
	configureTime   = 20 * time.Second
	reportPause     = 10 * time.Millisecond
	resyncEvery     = 30 * time.Second
	firstRetry      = 200 * time.Millisecond
	lastRetry       = 10 * time.Second
)

// Agent is the loop's state. Everything in it but the answers belongs to the loop's goroutine.
type Agent struct {
	Deps
	serving Services
	current *goal.Host        // the newest goal, nil before the first
	devices map[uint32]device // ports whose device is made and attached
	absent  map[uint32]string // attached ports whose other end is not there: no fault of the goal
	inForce bool              // the tables are the newest goal's
	pruned  bool              // what an earlier process left was removed
	failed  time.Duration     // the last wait before a retry, 0 when current is enforced

	guests   *guests
	answers  answers
	captures captures
	pulse    pulse
	board    board
	seen     chan netdev.Event // of devices
	stopped  map[int]bool      // devices that are down at one of their ends
	told     publish.Report    // reported last
	looked   time.Time         // at the machine
	amiss    []string          // seen then

	checks chan check // what is loaded shall be proved

	retryAt, resyncAt, reportAt, proveAt time.Time // zero: not due
}

// device is the host side of a port.
type device struct {
	index int
	owner owner
	six   bool // has an IPv6 address
}

// owner is whose device a port index names: while it stays the same, the device stays.
type owner struct {
	nic        string
	mac        goal.MAC
	sandbox    goal.Sandbox
	attachment goal.Attachment
}

func ownerOf(p *goal.Port) owner {
	o := owner{nic: p.ID, mac: p.MAC, sandbox: p.Sandbox, attachment: p.Attachment}
	o.attachment.Configure = false
	return o
}

func hasSix(p *goal.Port) bool {
	return slices.ContainsFunc(p.Addresses, func(a goal.Address) bool { return a.IP.Is6() })
}

// New returns an agent that has done nothing yet.
func New(d Deps) *Agent {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	a := &Agent{Deps: d, devices: map[uint32]device{}, absent: map[uint32]string{}, seen: make(chan netdev.Event, 64), stopped: map[int]bool{}, checks: make(chan check), guests: newGuests(d.Sandboxes, d.Log)}
	a.answers.events.epoch = rand.Text()
	return a
}

// Loop runs until ctx ends; then it leaves the kernel as it is.
func (a *Agent) Loop(ctx context.Context) {
	timer := time.NewTimer(resyncEvery)
	defer timer.Stop()
	for {
		timer.Reset(time.Until(a.next()))
		select {
		case <-ctx.Done():
			a.guests.wait()
			return
		case g := <-a.Stream.Goals():
			a.Log.Debug("goal", "generation", g.Generation, "ports", len(g.Ports), "groups", len(g.Groups))
			a.current, a.failed = g, 0
			a.apply(ctx)
		case e := <-a.seen:
			a.see(ctx, e)
		case r := <-a.guests.results:
			a.guests.done(r)
			a.show()
			a.changed()
		case <-timer.C:
			a.due(ctx, time.Now())
		case c := <-a.checks:
			a.check(ctx, c)
		case <-a.Lost:
			a.resync(ctx)
		}
		a.guests.start(ctx)
	}
}

// see takes note of what has become of a device.
func (a *Agent) see(ctx context.Context, e netdev.Event) {
	before := a.stopped[e.Index]
	if e.Gone {
		delete(a.stopped, e.Index)
		a.lose(ctx, e.Index)
		return
	}
	if e.Running {
		delete(a.stopped, e.Index)
	} else {
		a.stopped[e.Index] = true
	}
	if before == !e.Running {
		return
	}
	for port, d := range a.devices {
		if d.index == e.Index {
			a.setReady(port, d)
		}
	}
}

// setReady tells the data plane whether a port's device is up at both ends.
func (a *Agent) setReady(port uint32, d device) {
	if err := a.Datapath.SetReady(port, !a.stopped[d.index]); err != nil {
		a.Log.Error("tell whether a port's device is up", "port", port, "error", err)
	}
}

// lose closes the port whose device has gone, and makes it anew where that is ours to do.
func (a *Agent) lose(ctx context.Context, index int) {
	for port, d := range a.devices {
		if d.index != index {
			continue
		}
		a.Log.Warn("the device of a port is gone", "port", port, "device", index)
		if err := a.Datapath.LosePort(port); err != nil {
			a.Log.Error("close a port whose device is gone", "port", port, "error", err)
		}
		delete(a.devices, port)
		a.guests.table.Resync()
		a.apply(ctx)
		return
	}
}

// next is when something is to be done unasked.
func (a *Agent) next() time.Time {
	at := time.Now().Add(resyncEvery)
	for _, t := range []time.Time{a.retryAt, a.resyncAt, a.reportAt, a.proveAt, a.guests.next()} {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	return at
}

func (a *Agent) due(ctx context.Context, now time.Time) {
	passed := func(t *time.Time) bool {
		if t.IsZero() || now.Before(*t) {
			return false
		}
		*t = time.Time{}
		return true
	}
	if passed(&a.reportAt) {
		if r := a.report(); !reflect.DeepEqual(r, a.told) {
			a.Stream.Report(r)
			a.told = r
		}
	}
	if passed(&a.proveAt) {
		a.proveNext(ctx)
	}
	if passed(&a.retryAt) {
		a.apply(ctx)
	} else if passed(&a.resyncAt) {
		a.resync(ctx)
	}
}

// resync looks at everything again: others may have removed what was made.
func (a *Agent) resync(ctx context.Context) {
	clear(a.devices)
	a.serving = nil
	a.looked = time.Time{}
	a.guests.table.Resync()
	a.apply(ctx)
}

// changed makes a report due soon: many changes together make one.
func (a *Agent) changed() {
	if a.reportAt.IsZero() {
		a.reportAt = time.Now().Add(reportPause)
	}
}

// degraded is what is not as it should be on this machine, looked at as often as everything else is.
func (a *Agent) degraded(now time.Time) []string {
	if a.Machine == nil || !a.looked.IsZero() && now.Sub(a.looked) < resyncEvery-time.Second && now.After(a.looked) {
		return a.amiss
	}
	a.looked, a.amiss = now, nil
	for _, f := range a.Machine() {
		if f.State != observe.OK {
			a.amiss = append(a.amiss, f.Topic+": "+f.What)
		}
	}
	return a.amiss
}

func (a *Agent) report() publish.Report {
	var r publish.Report
	if a.current == nil {
		return r
	}
	r.Degraded = a.degraded(time.Now())
	ready := 0
	for _, p := range a.current.Ports {
		spec := a.Sandboxes.Spec(p)
		s := publish.Sandbox{VM: p.VM, NIC: p.ID, Port: p.Index, Netns: spec.Namespace, HostName: spec.Hostname, Dir: spec.Dir,
			Device: p.Sandbox.Device}
		s.Ready, s.Problem = a.guests.state(p.Index)
		if p.Attachment.Kind != goal.KindSandbox {
			s.Device = p.Attachment.Device
			s.Ready, s.Problem = a.ready(p.Index)
		}
		r.Sandboxes = append(r.Sandboxes, s)
		if s.Ready {
			ready++
		}
	}
	a.pulse.configured(ready)
	return r
}
