package agent

import (
	"context"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/host/reconcile"
)

// guests configures the insides of sandboxes beside the loop: a DHCP exchange takes longer than a goal may wait.
type guests struct {
	sandboxes Sandboxes
	log       *slog.Logger
	table     *reconcile.Table[uint32, goal.Port]
	cancel    map[uint32]context.CancelFunc // attempts that run
	results   chan result
	running   sync.WaitGroup
}

type result struct {
	attempt reconcile.Attempt[uint32, goal.Port]
	err     error
}

func newGuests(s Sandboxes, log *slog.Logger) *guests {
	same := func(a, b goal.Port) bool { return reflect.DeepEqual(inside(a), inside(b)) }
	return &guests{sandboxes: s, log: log, table: reconcile.New[uint32](same), cancel: map[uint32]context.CancelFunc{},
		results: make(chan result)}
}

// inside is what a sandbox's configuration depends on: not the rules.
func inside(p goal.Port) goal.Port {
	p.NICGroup, p.SubnetGroup, p.SubnetID, p.Compute = "", "", "", goal.Compute{}
	return p
}

// want replaces the ports to configure; attempts for values that are not wanted any more end.
func (g *guests) want(ports map[uint32]goal.Port) {
	before := map[uint32]uint64{}
	for index := range g.cancel {
		if o, ok := g.table.Get(index); ok {
			before[index] = o.Version
		}
	}
	g.table.Want(ports)
	for index, stop := range g.cancel {
		if o, ok := g.table.Get(index); !ok || o.Version != before[index] {
			stop()
		}
	}
}

// start begins as many attempts as are due and as may run.
func (g *guests) start(ctx context.Context) {
	for _, attempt := range g.table.Due(time.Now(), configureAtOnce-len(g.cancel)) {
		within, stop := context.WithTimeout(ctx, configureTime)
		g.cancel[attempt.Key] = stop
		g.running.Go(func() {
			r := result{attempt, g.sandboxes.Configure(within, attempt.Value)}
			select {
			case g.results <- r:
			case <-ctx.Done():
			}
		})
	}
}

func (g *guests) done(r result) {
	g.cancel[r.attempt.Key]()
	delete(g.cancel, r.attempt.Key)
	if g.table.Done(r.attempt.Key, r.attempt.Version, r.err, time.Now()) && r.err != nil {
		g.log.Warn("configure sandbox", "port", r.attempt.Key, "nic", r.attempt.Value.ID, "error", r.err)
	}
}

// wait waits for the attempts after ctx has ended.
func (g *guests) wait() {
	for _, stop := range g.cancel {
		stop()
	}
	g.running.Wait()
}

// next is when a failed attempt is due, zero when none is.
func (g *guests) next() time.Time {
	at, _ := g.table.Next()
	return at
}

func (g *guests) state(index uint32) (ready bool, problem string) {
	o, _ := g.table.Get(index)
	return o.State == reconcile.Ready, o.Problem
}
