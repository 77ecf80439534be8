package datapath

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/perf"

	"ringfence/goal"
	"ringfence/observe"
)

// watchingMap says which port is looked at.
const watchingMap = ".data.watching"

type watchingRecord struct{ Slot, Snap uint32 }

// seenRecord comes before the bytes of a captured packet.
type seenRecord struct {
	Time, Rule              uint64
	From, At, Len, Kept     uint32
	Action, Reason, Dir, U1 uint8
	U2                      uint32
}

const (
	seenBytes   = 40
	captureRoom = 1 << 20 // bytes per CPU between the programs and their reader
	actAsk      = 6       // ACT_ASK in bpf/capture.h
)

// ErrCapturing is the answer while another capture runs on the host.
var ErrCapturing = errors.New("another capture runs on this host")

// Capture calls fn for every packet that a port sends or gets, dropped ones included, with at most snap of its bytes, and lost with the number of
// packets for which there was no room; until ctx ends. One capture runs at a time.
func (d *Datapath) Capture(ctx context.Context, port uint32, snap int, fn func(observe.Captured), lost func(uint64)) error {
	if !d.capturing.TryLock() {
		return fmt.Errorf("datapath: %w", ErrCapturing)
	}
	defer d.capturing.Unlock()
	d.mu.Lock()
	p := d.kernel.ports[port]
	d.mu.Unlock()
	if p == nil {
		return fmt.Errorf("datapath: capture: port %d is not on this host", port)
	}
	r, err := perf.NewReader(d.coll.Maps["captured"], captureRoom)
	if err != nil {
		return fmt.Errorf("datapath: capture: %w", err)
	}
	defer r.Close()
	watching := d.coll.Maps[watchingMap]
	if err := watching.Put(uint32(0), watchingRecord{Slot: p.slot, Snap: uint32(snap)}); err != nil {
		return fmt.Errorf("datapath: capture: %w", err)
	}
	defer watching.Put(uint32(0), watchingRecord{}) // else it would cost until the programs are replaced; nobody reads it any more
	return d.readCapture(ctx, r, p, port, fn, lost)
}

func (d *Datapath) readCapture(ctx context.Context, r *perf.Reader, p *portState, port uint32, fn func(observe.Captured), lost func(uint64)) error {
	for ctx.Err() == nil {
		r.SetDeadline(time.Now().Add(50 * time.Millisecond))
		rec, err := r.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return fmt.Errorf("datapath: capture: %w", err)
		}
		if rec.LostSamples > 0 {
			lost(rec.LostSamples)
			continue
		}
		var s seenRecord
		if err := decode(rec.RawSample, &s); err != nil || len(rec.RawSample) < seenBytes+int(s.Kept) {
			return fmt.Errorf("datapath: capture: a record of %d bytes: %w", len(rec.RawSample), err)
		}
		fn(d.captured(&s, rec.RawSample[seenBytes:seenBytes+int(s.Kept)], p.slot, p.record.MAC))
	}
	return nil
}

// captured is a record as the VM behind the slot sees it.
func (d *Datapath) captured(s *seenRecord, data []byte, slot uint32, mac goal.MAC) observe.Captured {
	c := observe.Captured{Time: wall(s.Time), Dir: observe.Out, Action: observe.Action(s.Action), Reason: observe.Reason(s.Reason), Len: s.Len, Data: data}
	name := d.names.of(s.Rule)
	if c.Action == observe.Dropped {
		c.Group, c.Rule, c.Revision = name.group, name.rule, name.revision
	}
	switch {
	case s.Action == actAsk:
		c.Action = observe.Answered
	case c.Action == observe.Answered: // the answer, which goes back
		c.Dir, c.Action = observe.In, observe.Delivered
	case s.At == slot && observe.Direction(s.Dir) == observe.In:
		c.Dir = observe.In
		if c.Action == observe.Delivered && len(data) >= 12 { // the addresses that it gets are written behind the programs' last word
			copy(data, mac[:])
			copy(data[6:], []byte{0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc})
		}
	}
	var at uint32
	if slots, err := d.slots(); err == nil && c.Action == observe.Dropped {
		at = slots[s.At]
	}
	c.At = at
	return c
}
