package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"ringfence/observe"
)

type (
	// PacketRecord is one captured packet.
	PacketRecord struct {
		Where            // the port where it was decided, of a drop
		Time   time.Time `json:"time"`
		In     bool      `json:"in"`
		Action string    `json:"action"`
		*Why             // of a drop
		Length uint32    `json:"length"`
		Data   []byte    `json:"data"`
	}
	// Capturing is the answer to the question "capture": what came since the question before.
	Capturing struct {
		Packets []PacketRecord `json:"packets"`
		Lost    uint64         `json:"lost,omitempty"` // packets that found no room, since the capture began
	}
)

// Bounds of a capture.
const (
	keptPackets    = 8192    // between two questions
	keptBytes      = 8 << 20 //
	captureForsake = 15 * time.Second
	largestSnap    = 65535
)

// capture is a capture under way: it lives while its questions come.
type capture struct {
	id   string
	stop context.CancelFunc

	mu    sync.Mutex
	kept  []PacketRecord
	bytes int
	lost  uint64
	fault error
	asked time.Time
	more  chan struct{} // holds one token: there is something
}

// captures is the one capture of a host.
type captures struct {
	mu  sync.Mutex
	now *capture
}

// capture answers with the packets of a port since the last question of the same id; the first question begins the capture, end=true
// ends it, and so does silence.
func (a *Agent) capture(q url.Values) (Capturing, error) {
	id := q.Get("id")
	port, err1 := strconv.ParseUint(q.Get("port"), 10, 32)
	snap, err2 := strconv.ParseUint(q.Get("snap"), 10, 32)
	wait, err3 := time.ParseDuration(q.Get("wait"))
	if err := errors.Join(err1, err2, err3); err != nil || id == "" || snap == 0 || snap > largestSnap || wait > longestWait {
		return Capturing{}, fmt.Errorf("capture: id, port, snap of 1 to %d and wait of at most %v expected", largestSnap, longestWait)
	}
	a.captures.mu.Lock()
	c := a.captures.now
	if q.Get("end") == "true" {
		if c != nil && c.id == id {
			c.stop()
		}
		a.captures.mu.Unlock()
		return Capturing{Packets: []PacketRecord{}}, nil
	}
	if c == nil || c.id != id {
		c = a.beginCapture(id, uint32(port), int(snap))
	}
	a.captures.mu.Unlock()
	return c.take(wait)
}

// beginCapture starts one in the place of the last. a.captures.mu is held.
func (a *Agent) beginCapture(id string, port uint32, snap int) *capture {
	ctx, stop := context.WithCancel(context.Background())
	c := &capture{id: id, stop: stop, asked: time.Now(), more: make(chan struct{}, 1)}
	a.captures.now = c
	go c.watchdog(ctx)
	go func() {
		defer stop()
		err := a.Datapath.Capture(ctx, port, snap, func(p observe.Captured) { c.keep(a.packet(p)) }, c.lose)
		c.mu.Lock()
		c.fault = err
		c.mu.Unlock()
		c.kick()
	}()
	return c
}

// watchdog ends a capture that nobody asks about.
func (c *capture) watchdog(ctx context.Context) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		c.mu.Lock()
		forsaken := time.Since(c.asked) > captureForsake
		c.mu.Unlock()
		if forsaken {
			c.stop()
		}
	}
}

func (a *Agent) packet(p observe.Captured) PacketRecord {
	r := PacketRecord{Time: p.Time, In: p.Dir == observe.In, Action: p.Action.String(), Length: p.Len, Data: bytes.Clone(p.Data)}
	if p.Action == observe.Dropped {
		w := why(p.Reason, p.Group, p.Rule, p.Revision)
		r.Why, r.Where = &w, a.answers.where(p.At)
	}
	return r
}

func (c *capture) keep(r PacketRecord) {
	c.mu.Lock()
	if len(c.kept) >= keptPackets || c.bytes+len(r.Data) > keptBytes {
		c.lost++
	} else {
		c.kept = append(c.kept, r)
		c.bytes += len(r.Data)
	}
	c.mu.Unlock()
	c.kick()
}

func (c *capture) lose(n uint64) {
	c.mu.Lock()
	c.lost += n
	c.mu.Unlock()
	c.kick()
}

func (c *capture) kick() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// take gives what has come, or waits for it.
func (c *capture) take(wait time.Duration) (Capturing, error) {
	c.mu.Lock()
	idle := len(c.kept) == 0 && c.fault == nil
	c.asked = time.Now()
	c.mu.Unlock()
	if idle {
		select {
		case <-c.more:
			time.Sleep(gatherTime)
		case <-time.After(wait):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Capturing{Packets: c.kept, Lost: c.lost}
	if out.Packets == nil {
		out.Packets = []PacketRecord{}
	}
	c.kept, c.bytes = nil, 0
	if len(out.Packets) == 0 && c.fault != nil {
		return out, c.fault
	}
	return out, nil
}
