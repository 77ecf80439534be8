package datapath

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"ringfence/observe"
)

// slots lists every slot with the index of its port; slot 0 is the host itself.
func (d *Datapath) slots() (map[uint32]uint32, error) {
	out := map[uint32]uint32{0: 0}
	var index, slot uint32
	it := d.coll.Maps["index_ports"].Iterate()
	for it.Next(&index, &slot) {
		out[slot] = index
	}
	return out, it.Err()
}

// counts sums the counters of a slot over the CPUs.
func (d *Datapath) counts(slot uint32) (out [counters]uint64, err error) {
	for i := range out {
		var perCPU []uint64
		if err := d.coll.Maps["counters"].Lookup(slot*counters+uint32(i), &perCPU); err != nil {
			return out, fmt.Errorf("counters: %w", err)
		}
		for _, n := range perCPU {
			out[i] += n
		}
	}
	return out, nil
}

// Drops reports every drop counter that is not zero, by port, direction, reason and rule. Where rules decided, a record names
// each of them; a record without a rule has the rest of its reason.
func (d *Datapath) Drops() ([]observe.Drop, error) {
	slots, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("datapath: drops: %w", err)
	}
	rules, err := d.ruleDrops()
	if err != nil {
		return nil, fmt.Errorf("datapath: drops: %w", err)
	}
	var out []observe.Drop
	for slot, index := range slots {
		c, err := d.counts(slot)
		if err != nil {
			return nil, fmt.Errorf("datapath: drops: %w", err)
		}
		for i, n := range c {
			if dir, reason := observe.Direction(i/64), observe.Reason(i%64); n > 0 && i%64 < cSent {
				out = append(out, observe.Drop{Port: index, Dir: dir, Reason: reason, Packets: n})
			}
		}
	}
	out = append(subtract(out, rules), rules...)
	slices.SortFunc(out, func(a, b observe.Drop) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Dir, b.Dir), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Group, b.Group), cmp.Compare(a.Rule, b.Rule))
	})
	return out, nil
}

// subtract takes the packets that rules account for out of the counters of the reasons.
func subtract(total, rules []observe.Drop) []observe.Drop {
	for _, r := range rules {
		for i := range total {
			if t := &total[i]; t.Port == r.Port && t.Dir == r.Dir && t.Reason == r.Reason {
				t.Packets -= min(t.Packets, r.Packets)
			}
		}
	}
	return slices.DeleteFunc(total, func(t observe.Drop) bool { return t.Packets == 0 })
}

func (d *Datapath) ruleDrops() ([]observe.Drop, error) {
	var out []observe.Drop
	var k ruleKey
	var perCPU []uint64
	it := d.coll.Maps["rule_drops"].Iterate()
	for it.Next(&k, &perCPU) {
		r := observe.Drop{Port: k.Port, Dir: observe.Direction(k.Dir & 1), Reason: observe.Reason(k.Dir >> 1)}
		name := d.names.of(k.Rule)
		r.Group, r.Rule, r.Revision = name.group, name.rule, name.revision
		for _, n := range perCPU {
			r.Packets += n
		}
		out = append(out, r)
	}
	return out, it.Err()
}

// Traffic reports what every port's packets became.
func (d *Datapath) Traffic() ([]observe.Traffic, error) {
	slots, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("datapath: traffic: %w", err)
	}
	var out []observe.Traffic
	for slot, index := range slots {
		if slot == 0 {
			continue
		}
		c, err := d.counts(slot)
		if err != nil {
			return nil, fmt.Errorf("datapath: traffic: %w", err)
		}
		out = append(out, observe.Traffic{Port: index, Sent: c[cSent], Delivered: c[64+cDeliver], Local: c[cLocal], Encap: c[cEncap],
			Service: c[cService], Answered: c[cAnswered], Served: c[64+cServed]})
	}
	slices.SortFunc(out, func(a, b observe.Traffic) int { return cmp.Compare(a.Port, b.Port) })
	return out, nil
}

// Events calls fn for dropped packets until ctx ends. One reader at a time sees each.
func (d *Datapath) Events(ctx context.Context, fn func(observe.Event)) error {
	r, err := ringbuf.NewReader(d.coll.Maps["events"])
	if err != nil {
		return fmt.Errorf("datapath: events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { r.Close() })
	defer stop()
	defer r.Close()
	for {
		rec, err := r.Read()
		if errors.Is(err, ringbuf.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("datapath: events: %w", err)
		}
		var e eventRecord
		if err := decode(rec.RawSample, &e); err != nil {
			return fmt.Errorf("datapath: events: %w", err)
		}
		fn(d.event(&e))
	}
}

// Untold counts, by reason, the dropped packets that there was no event for: beyond what is told in a second, or while nobody read. It
// begins with this process.
func (d *Datapath) Untold() (map[observe.Reason]uint64, error) {
	out := map[observe.Reason]uint64{}
	for _, i := range observe.Reasons() {
		var perCPU []tellingRecord
		if err := d.coll.Maps["tellings"].Lookup(uint32(i.Reason), &perCPU); err != nil {
			return nil, fmt.Errorf("datapath: events: %w", err)
		}
		for _, t := range perCPU {
			if t.Untold > 0 {
				out[i.Reason] += t.Untold
			}
		}
	}
	return out, nil
}

func (d *Datapath) event(e *eventRecord) observe.Event {
	out := observe.Event{Time: wall(e.Time), Port: e.Port, Dir: observe.Direction(e.Dir), Reason: observe.Reason(e.Reason),
		EtherType: e.Ether, SrcMAC: e.SMAC, DstMAC: e.DMAC, TCPFlags: e.Flags, Len: e.Len}
	name := d.names.of(e.Rule)
	out.Group, out.Rule, out.Revision = name.group, name.rule, name.revision
	if e.Family != 0 {
		f := uint32(e.Family)
		out.Tuple = observe.Tuple{Protocol: e.Proto, Src: addrOf(e.Src, f), Dst: addrOf(e.Dst, f), SrcPort: e.SPort, DstPort: e.DPort}
	}
	return out
}

// wall is the time of day of a reading of the programs' clock.
func wall(t uint64) time.Time {
	var mono unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono) != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(uint64(mono.Nano()) - t))
}

// Flows lists the flow table.
func (d *Datapath) Flows() ([]observe.Flow, error) {
	slots, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("datapath: flows: %w", err)
	}
	words := map[uint32]uint32{} // portWord.key → index
	for slot, index := range slots {
		var w portWord
		if err := d.coll.Maps["port_words"].Lookup(slot, &w); err != nil {
			return nil, fmt.Errorf("datapath: flows: %w", err)
		}
		if slot != 0 {
			words[w.key()] = index
		}
	}
	var out []observe.Flow
	t, err := d.clock.Now()
	if err != nil {
		return nil, fmt.Errorf("datapath: flows: %w", err)
	}
	add := func(port uint32, proto uint8, local, remote netip.Addr, lport, rport uint16, v flowValue) {
		index, ok := words[port]
		if !ok || v.State != flowLive {
			return
		}
		f := observe.Flow{Port: index, Protocol: proto, Local: local, Remote: remote, LocalPort: lport, RemotePort: rport,
			State: v.state(proto), Idle: time.Duration((t - min(v.Seen, t)) * uint64(time.Second) / d.clock.Hz), Timeout: time.Duration(v.Idle) * time.Second}
		if v.DestHost != [4]byte{} {
			f.PeerHost = netip.AddrFrom4(v.DestHost)
		}
		f.PeerPort = slots[v.DestSlot]
		out = append(out, f)
	}
	var k4 flowKey4
	var k6 flowKey6
	var v flowValue
	it := d.coll.Maps["flows4"].Iterate()
	for it.Next(&k4, &v) {
		add(k4.Port, k4.Proto, netip.AddrFrom4(k4.Local), netip.AddrFrom4(k4.Remote), k4.LPort, k4.RPort, v)
	}
	err = it.Err()
	it = d.coll.Maps["flows6"].Iterate()
	for it.Next(&k6, &v) {
		add(k6.Port, k6.Proto, netip.AddrFrom16(k6.Local), netip.AddrFrom16(k6.Remote), k6.LPort, k6.RPort, v)
	}
	if err = errors.Join(err, it.Err()); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return out, fmt.Errorf("datapath: flows: %w", err)
	}
	return out, nil
}

func (v *flowValue) state(proto uint8) string {
	switch {
	case proto != 6:
		return "established"
	case v.TCP&tcpReset != 0, v.TCP&tcpFinOpener != 0 && v.TCP&tcpFinOther != 0:
		return "closed"
	case v.TCP&tcpHalfOpen != 0:
		return "opening"
	case v.TCP&(tcpFinOpener|tcpFinOther) != 0:
		return "closing"
	}
	return "established"
}
