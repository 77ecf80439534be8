package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"ringfence/observe"
)

// A trace is a test run of the real programs on a packet that nobody sent. They are loaded once more, told to write down their steps;
// of the maps they share those that say what the goal says, and of everything that packets change (flows, shares, buckets, counters,
// events) they have their own, filled with what the packet at hand would find. So a trace can change nothing, whatever the programs do.

// goalMaps are what the goal says; packets change none of them.
var goalMaps = []string{"host_config", "device_slots", "device_ports", "index_ports", "port_words", "port_records", "own_addrs",
	"vnet_slots", "vnet_words", "endpoints", "group_words"}

// shared says whether a map is pinned: all of them but what belongs to one set of programs; for a trace the goal's only.
func (o *Options) shared(name string) bool {
	if name[0] == '.' || slices.Contains(ownMaps, name) {
		return false
	}
	blob := func(c sizeClass) bool { return c.name == name }
	return !o.tracing || slices.Contains(goalMaps, name) || slices.ContainsFunc(groupClasses, blob) || slices.ContainsFunc(tableClasses, blob)
}

// tracer is the set of programs for traces, loaded when it is needed first.
type tracer struct {
	mu    sync.Mutex
	coll  *ebpf.Collection
	clock func() uint64 // of a test; nil: the programs' own
}

// now is the clock of buckets.
func (t *tracer) now() (uint64, error) {
	if t.clock != nil {
		return t.clock(), nil
	}
	var mono unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono)
	return uint64(mono.Nano()), err
}

func (t *tracer) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.coll != nil {
		t.coll.Close()
		t.coll = nil
	}
}

const tracedFlows = 64 // entries of a trace's own flow tables

func (t *tracer) load(d *Datapath) error {
	if t.coll != nil {
		return nil
	}
	o := d.opts
	o.testing, o.tracing, o.Flows = true, true, tracedFlows
	coll, err := load(o, d.clock.Hz)
	if err != nil {
		return err
	}
	t.coll = coll
	return nil
}

// Names of the programs' steps, as goal/model calls them.
var stepWords = map[uint8][2]string{1: {"guard", "pass"}, 2: {"flow", "hit"}, 3: {"flow", "miss"}, 4: {"acl", "allow"},
	5: {"route", "local"}, 6: {"route", "remote"}}

// Trace says what the programs do with a packet that the VM behind a port sends.
func (d *Datapath) Trace(port uint32, frame []byte) (observe.Trace, error) {
	d.mu.Lock()
	p := d.kernel.ports[port]
	d.mu.Unlock()
	if p == nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: port %d is not on this host", port)
	}
	return d.trace("port_out", port, skb{Ifindex: p.record.Ifindex}, frame)
}

// TraceArrival says what they do with an inner frame that arrives in VXLAN from another host.
func (d *Datapath) TraceArrival(vni uint32, from netip.Addr, frame []byte) (observe.Trace, error) {
	c := skb{Ifindex: 1}
	a := from.As4()
	c.CB[0], c.CB[1] = vni, binary.LittleEndian.Uint32(a[:])
	return d.trace("overlay_in", 0, c, frame)
}

// skb is the part of a test run's context that matters, in the layout of struct __sk_buff.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTci, VlanProto, Priority uint32
	IngressIfindex, Ifindex, TCIndex                                                      uint32
	CB                                                                                    [5]uint32
	Rest                                                                                  [21]uint32
	TStamp                                                                                uint64
	More                                                                                  [8]uint32
}

func (d *Datapath) trace(program string, sender uint32, c skb, frame []byte) (observe.Trace, error) {
	t := &d.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.load(d); err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	err := d.lend(t.coll, frame)
	if err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	if c.TStamp, err = t.now(); err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	if err := t.coll.Maps[stepsMap].Put(uint32(0), stepsRecord{}); err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	var after skb
	opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+256), Context: &c, ContextOut: &after}
	runtime.LockOSThread() // a run is in the network namespace of its thread
	_, err = t.coll.Programs[program].Run(&opts)
	runtime.UnlockOSThread()
	if err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	return d.readTrace(t.coll, sender, after, opts.DataOut)
}

const stepsMap = ".data.steps"

// stepsRecord is what the programs wrote down.
type stepsRecord struct {
	N, Unused uint32
	At        [32]struct {
		Rule              uint64
		Port              uint32
		Word, Dir, U1, U2 uint8
	}
}

// readTrace puts the steps together with the last one, which is the verdict's own.
func (d *Datapath) readTrace(coll *ebpf.Collection, sender uint32, after skb, frame []byte) (observe.Trace, error) {
	var s stepsRecord
	if err := coll.Maps[stepsMap].Lookup(uint32(0), &s); err != nil {
		return observe.Trace{}, fmt.Errorf("datapath: trace: %w", err)
	}
	out := observe.Trace{Action: observe.Action(after.CB[0] & 0xff), Reason: observe.Reason(after.CB[0] >> 8 & 0xffff), Port: after.CB[1], Frame: frame}
	dir := observe.Direction(after.CB[0] >> 24)
	remote, miss, in := false, false, sender == 0
	switch {
	case in && (s.N > 0 || out.Reason == observe.PortDown):
		out.Steps = append(out.Steps, observe.Step{Dir: observe.In, Layer: "overlay", Word: "pass"})
	case !in && out.Reason != observe.PortUnknown && !(out.Reason == observe.PortDown && dir == observe.Out):
		out.Steps = append(out.Steps, observe.Step{Port: sender, Layer: "port", Word: "pass"})
	}
	for _, at := range s.At[:min(s.N, uint32(len(s.At)))] {
		word := stepWords[at.Word]
		step := observe.Step{Port: at.Port, Dir: observe.Direction(at.Dir), Layer: word[0], Word: word[1]}
		if word[0] == "acl" {
			name := d.names.of(at.Rule)
			if name.group != "" && name.rule == "" {
				continue // no rule of the platform's group spoke
			}
			step.Group, step.Rule, step.Revision = name.group, name.rule, name.revision
		}
		if word[0] == "flow" && step.Dir == observe.In {
			out.Steps = append(out.Steps, observe.Step{Port: step.Port, Dir: observe.In, Layer: "port", Word: "pass"})
		}
		miss = miss || word == [2]string{"flow", "miss"}
		remote = word == [2]string{"route", "remote"}
		out.Steps = append(out.Steps, step)
	}
	last := observe.Step{Port: out.Port, Dir: dir, Word: out.Action.String(), Reason: out.Reason}
	switch out.Action {
	case observe.Dropped:
		last.Layer = out.Reason.Info().Layer
		name := d.names.of(uint64(after.CB[4])<<32 | uint64(after.CB[3]))
		last.Group, last.Rule, last.Revision = name.group, name.rule, name.revision
		if name != (ruleName{}) {
			last.Word = "deny"
		}
	case observe.Delivered:
		last.Layer = "port"
	case observe.Encapsulated:
		last.Layer, last.Word = "overlay", "pass"
		out.VNI = after.Mark
		out.Host = netip.AddrFrom4([4]byte(binary.LittleEndian.AppendUint32(nil, after.CB[2])))
	default:
		last.Layer = "guard"
		if remote {
			last.Layer = "overlay"
		}
	}
	if miss && (out.Action == observe.Delivered || out.Action == observe.Encapsulated) {
		out.Steps = append(out.Steps, observe.Step{Port: last.Port, Dir: last.Dir, Layer: "flow", Word: "open"})
	}
	out.Steps = append(out.Steps, last)
	return out, nil
}
