package datapath

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"

	"ringfence/host/kernel/bpf"
)

// How often idle flows are looked for, and how many entries are looked at in one go.
const (
	collectEvery = 5 * time.Second
	collectBatch = 1024 // GC_BATCH in bpf/gc.h
	gcMark       = 1
	gcSweep      = 2
	gcForce      = 4
	gcJudge      = 8
)

func (d *Datapath) collectForever() {
	t := time.NewTicker(collectEvery)
	defer t.Stop()
	for {
		select {
		case <-d.stop:
			return
		case <-t.C:
		}
		if _, err := d.collect(); err != nil {
			d.opts.Log.Error("collect flows", "error", err)
		}
	}
}

// collect deletes the entries that have been idle for too long, that are marked dead, or whose port is gone.
func (d *Datapath) collect() (int, error) {
	return d.sweepAll(func(e flowEntry) verdict {
		switch {
		case e.orphan:
			return force
		case e.State != flowLive, e.now-min(e.Seen, e.now) >= uint64(e.Idle)*d.clock.Hz:
			return idle
		}
		return keep
	})
}

// forget deletes the entries of ports and addresses that are gone, at either end of them. The caller holds mu.
func (d *Datapath) forget(lost []lostAddress, left map[remoteEnd]bool) error {
	type end struct {
		port, family uint32
		ip           [16]byte
	}
	gone := map[end]bool{}
	for _, l := range lost {
		gone[end{l.port, family(l.ip), addr16(l.ip)}] = true
	}
	networks := map[uint32]uint32{} // portWord.key → VNI
	for _, p := range d.kernel.ports {
		networks[p.word.key()] = p.record.VNI
	}
	_, err := d.sweepAll(func(e flowEntry) verdict {
		if left[remoteEnd{networks[e.port], e.family, e.remote}] {
			return force
		}
		if e.orphan || gone[end{e.port, e.family, e.local}] {
			return force
		}
		return keep
	})
	return err
}

// judgeAnew asks the rules about the flows of ports on which a flush came into force, so that what is denied now stays
// ended, whatever the next goal allows.
func (d *Datapath) judgeAnew(ports map[uint32]uint32) error {
	_, err := d.sweepAll(func(e flowEntry) verdict {
		if epoch, ok := ports[e.port]; ok && e.ACLEpoch != epoch {
			return anew
		}
		return keep
	})
	return err
}

type verdict int

const (
	keep  verdict = iota
	idle          // the program decides once more
	force         // whatever its clock says
	anew          // judged by the rules
)

// flowEntry is one entry as the collector sees it.
type flowEntry struct {
	flowValue
	port, family uint32
	local        [16]byte
	remote       [16]byte
	orphan       bool
	now          uint64
}

func (d *Datapath) sweepAll(decide func(flowEntry) verdict) (int, error) {
	now, err := d.clock.Now()
	if err != nil {
		return 0, err
	}
	keys := map[uint32]bool{}
	for slot := range d.coll.Maps["port_words"].MaxEntries() {
		var w portWord
		if err := d.coll.Maps["port_words"].Lookup(slot, &w); err != nil {
			return 0, fmt.Errorf("collect flows: %w", err)
		}
		keys[w.key()] = true
	}
	n4, err4 := sweep(d, "4", func(k flowKey4, v flowValue) verdict {
		var l, r [16]byte
		copy(l[12:], k.Local[:])
		copy(r[12:], k.Remote[:])
		return decide(flowEntry{v, k.Port, 4, l, r, !keys[k.Port], now})
	})
	n6, err6 := sweep(d, "6", func(k flowKey6, v flowValue) verdict {
		return decide(flowEntry{v, k.Port, 6, k.Local, k.Remote, !keys[k.Port], now})
	})
	return n4 + n6, errors.Join(err4, err6)
}

// sweep walks one table in pieces; of every piece the condemned entries are marked, every CPU is let finish, and those that no
// packet has revived are deleted.
func sweep[K flowKey4 | flowKey6](d *Datapath, fam string, decide func(K, flowValue) verdict) (int, error) {
	keys, values := make([]K, collectBatch), make([]flowValue, collectBatch)
	var cursor ebpf.MapBatchCursor
	total := 0
	var condemned, forced, judged []K
	flush := func() error {
		for _, part := range []struct {
			keys []K
			todo uint32
		}{{condemned, gcMark}, {forced, gcMark | gcForce}, {judged, gcJudge}} {
			n, err := collectKeys(d, fam, part.keys, part.todo)
			if err != nil {
				return err
			}
			total += n
		}
		condemned, forced, judged = condemned[:0], forced[:0], judged[:0]
		return nil
	}
	for {
		n, err := d.coll.Maps["flows"+fam].BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return total, fmt.Errorf("walk flows: %w", err)
		}
		for i := range n {
			switch decide(keys[i], values[i]) {
			case idle:
				condemned = append(condemned, keys[i])
			case force:
				forced = append(forced, keys[i])
			case anew:
				judged = append(judged, keys[i])
			}
		}
		last := errors.Is(err, ebpf.ErrKeyNotExist)
		if last || max(len(condemned), len(forced), len(judged)) > collectBatch*8 {
			if err := flush(); err != nil {
				return total, err
			}
		}
		if last {
			return total, nil
		}
	}
}

// collectKeys marks all keys, waits, and sweeps them.
func collectKeys[K flowKey4 | flowKey6](d *Datapath, fam string, keys []K, mark uint32) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	if _, err := runCollector(d, fam, keys, mark); err != nil {
		return 0, err
	}
	if err := bpf.Quiesce(); err != nil {
		return 0, err
	}
	return runCollector(d, fam, keys, gcSweep)
}

func runCollector[K flowKey4 | flowKey6](d *Datapath, fam string, keys []K, todo uint32) (int, error) {
	d.collecting.Lock()
	defer d.collecting.Unlock()
	index := make([]uint32, collectBatch)
	for i := range index {
		index[i] = uint32(i)
	}
	done := 0
	for len(keys) > 0 {
		n := min(len(keys), collectBatch)
		if _, err := d.coll.Maps["gc_keys"+fam].BatchUpdate(index[:n], keys[:n], nil); err != nil {
			return done, fmt.Errorf("collect flows: %w", err)
		}
		ctx := gcContext{Todo: todo, N: uint32(n), Family: uint32(fam[0] - '0')}
		var out gcContext
		if _, err := d.coll.Programs["collect_flows"].Run(&ebpf.RunOptions{Context: ctx, ContextOut: &out}); err != nil {
			return done, fmt.Errorf("collect flows: %w", err)
		}
		done += int(out.Done)
		keys = keys[n:]
	}
	return done, nil
}
