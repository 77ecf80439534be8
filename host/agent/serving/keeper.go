package serving

import (
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

const (
	// patience is how long the agent's loop waits for a goal to be served.
	patience = time.Second
	// lookEvery is how often the namespace and the device are looked at.
	lookEvery   = time.Second
	deafAfter   = 5 * time.Second // an answer that is awaited for so long does not come
	steady      = 5 * time.Second // a process that lived as long is started again at once
	firstPause  = 50 * time.Millisecond
	lastPause   = 5 * time.Second
	helloWithin = 5 * time.Second
)

// Keeper is the agent's end: it starts the process, or takes over the one that runs, and starts it again when it dies.
type Keeper struct {
	o     Options
	log   *slog.Logger
	start func(ctx context.Context, o Options) error
	whole func() error // nil while the service namespace is as it was made
	lost  func()       // called once when it is not

	cancel context.CancelFunc
	over   chan struct{}

	mu     sync.Mutex
	want   *goal.Host       // newest part of a goal, nil before the first
	number uint64           // of the order that carries want
	asked  time.Time        // since when an answer is awaited, zero when none is
	taken  done             // the newest answer
	counts observe.Requests // of the newest answer, of a ping too
	conn   *connection
	fault  error         // why there is no connection
	moved  chan struct{} // closed and renewed when taken, conn or fault changes
}

type connection struct {
	net.Conn
	enc *gob.Encoder
	dec *gob.Decoder
	id  hello
}

// Keep begins to keep the process running; it returns at once. whole looks whether the namespace is as it should be; when it is not,
// lost is called once and the Keeper waits to be closed.
func Keep(o Options, whole func() error, lost func()) *Keeper {
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{o: o, log: o.Log, start: start, whole: whole, lost: lost, cancel: cancel, over: make(chan struct{}), moved: make(chan struct{})}
	k.begin(ctx)
	return k
}

func (k *Keeper) begin(ctx context.Context) {
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
		k.o.Log = k.log
	}
	go func() {
		defer close(k.over)
		k.run(ctx)
	}()
	go k.watch(ctx)
}

// Set gives a goal to the process and waits until it is served, for a short time only: Problem then says that it is not.
func (k *Keeper) Set(h *goal.Host) {
	part := about(h)
	k.mu.Lock()
	if k.want == nil || !same(k.want, part) {
		k.want = part
		k.number++
		k.send()
	}
	number := k.number
	k.mu.Unlock()
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		k.mu.Lock()
		ready, moved := k.taken.Number >= number, k.moved
		k.mu.Unlock()
		if ready {
			return
		}
		select {
		case <-moved:
		case <-k.over:
			return
		case <-end.C:
			return
		}
	}
}

// send writes the newest order; a connection that does not take it is given up.
func (k *Keeper) send() {
	if k.want != nil {
		k.write(order{Number: k.number, Goal: k.want})
	}
}

func (k *Keeper) write(o order) {
	if k.conn == nil {
		return
	}
	now := time.Now()
	if k.asked.IsZero() {
		k.asked = now
	}
	k.conn.SetWriteDeadline(now.Add(patience))
	if err := k.conn.enc.Encode(o); err != nil {
		k.conn.Close()
	}
}

// Problem says what of the newest goal is not served, nil when all is.
func (k *Keeper) Problem() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.conn == nil && k.fault != nil:
		return fmt.Errorf("the services' process does not run: %w", k.fault)
	case k.conn == nil:
		return errors.New("the services' process is being started")
	case k.taken.Number < k.number:
		return errors.New("the services' process has not taken the goal yet")
	case k.taken.Problem != "":
		return errors.New(k.taken.Problem)
	}
	return nil
}

// Counts are the requests of VMs by service and outcome, not older than a second while the process answers.
func (k *Keeper) Counts() observe.Requests {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.counts // replaced whole, never changed
}

// Close lets go of the process, which goes on serving.
func (k *Keeper) Close() {
	k.cancel()
	<-k.over
}

func (k *Keeper) run(ctx context.Context) {
	pause := time.Duration(0)
	for ctx.Err() == nil {
		began := time.Now()
		c, err := k.attach(ctx)
		if err == nil {
			err = k.converse(ctx, c)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= steady {
			pause = 0
		}
		k.log.Warn("services: the process is gone", "error", err, "again in", pause)
		k.state(nil, err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(max(2*pause, firstPause), lastPause)
	}
}

// converse gives the process the newest goal and hears its answers until the connection ends.
func (k *Keeper) converse(ctx context.Context, c *connection) error {
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	k.state(c, nil)
	for {
		var d done
		if err := c.dec.Decode(&d); err != nil {
			return err
		}
		k.mu.Lock()
		k.asked, k.counts = time.Time{}, d.Counts
		if d.Number > 0 {
			k.taken = d
			k.signal()
		}
		k.mu.Unlock()
	}
}

// state changes the connection; a new one is sent the newest goal.
func (k *Keeper) state(c *connection, fault error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.conn, k.fault, k.taken, k.asked = c, fault, done{}, time.Time{}
	k.send()
	k.signal()
}

func (k *Keeper) signal() {
	close(k.moved)
	k.moved = make(chan struct{})
}

// watch looks whether others have removed what the process serves in, and whether it still hears.
func (k *Keeper) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if k.deaf() {
			k.log.Error("services: the process does not answer, and is ended")
			if err := k.clear(); err != nil {
				k.log.Error("services: end the process", "error", err)
			}
		}
		if err := k.whole(); err != nil {
			k.log.Error("services: the namespace is not what was made", "error", err)
			k.lost()
			return
		}
	}
}

// deaf says whether an answer is overdue, and asks for one when none is awaited.
func (k *Keeper) deaf() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil && !k.asked.IsZero() {
		return time.Since(k.asked) > deafAfter
	}
	k.write(order{Ping: true})
	return false
}
