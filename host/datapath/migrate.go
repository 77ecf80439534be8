package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"

	"ringfence/host/kernel/bpf"
)

// A set of programs whose maps have another layout is replaced without a moment in which nothing, or half of something, judges:
//
//  1. The old set stays on every device. The new one's maps are made beside its own; ports keep their slots and incarnations, so
//     that flows keep their keys.
//  2. The first goal is put into the new maps, whole.
//  3. Flows and counters are copied, field by field as both sets' own types name them.
//  4. "switching" is marked; link by link the new programs replace the old ones, each in one step.
//  5. What the old programs still made meanwhile is copied, and they are let go of with their maps.
//
// From 1 to 4 "making" is marked: a process that dies there leaves the old set in force, and its successor, whichever layout that has, throws
// away what was made. One that dies behind 4 leaves two whole sets that share the devices: its successor goes on at 4, with its own
// programs, be they the new or the old ones. A set of maps without host_meta is none. It does not matter which layout has the larger number.
type migration struct {
	dir     string
	maps    map[string]*ebpf.Map
	counted map[uint32][]uint64 // counters as they were copied
}

func (o *Options) switching() string { return filepath.Join(o.Pin, "switching-"+o.Layout) }
func (o *Options) making() string    { return filepath.Join(o.Pin, "making-"+o.Layout) }

// present says whether there is a set of maps, or a mark.
func present(path ...string) bool {
	_, err := os.Stat(filepath.Join(path...))
	return err == nil
}

// throwAway lets go of the maps that processes were making when they died.
func (o *Options) throwAway() error {
	marks, err := filepath.Glob(filepath.Join(o.Pin, "making-*"))
	if err != nil {
		return err
	}
	for _, mark := range marks {
		made := strings.TrimPrefix(filepath.Base(mark), "making-")
		if !present(o.Pin, "switching-"+made) {
			if err := dropMaps(filepath.Join(o.Pin, "maps-"+made)); err != nil {
				return err
			}
		}
		if err := os.Remove(mark); err != nil {
			return err
		}
	}
	return nil
}

// dropMaps lets go of a set of maps; from its first moment on it is none.
func dropMaps(dir string) error {
	if err := os.Remove(filepath.Join(dir, "host_meta")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// older finds the maps of a set with another layout, "" when there are none.
func (o *Options) older() (string, error) {
	all, err := filepath.Glob(filepath.Join(o.Pin, "maps-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range all {
		if dir != o.maps() && present(dir, "host_meta") {
			return dir, nil
		}
	}
	return "", nil
}

// prepare decides what Open is about: nothing to take over, a migration that begins, or one that is in its middle.
func (o *Options) prepare() (m *migration, middle bool, err error) {
	if err := o.throwAway(); err != nil {
		return nil, false, fmt.Errorf("maps half made by one that died: %w", err)
	}
	dir, err := o.older()
	if err != nil || dir == "" {
		return nil, false, err
	}
	theirs := filepath.Join(o.Pin, "switching-"+strings.TrimPrefix(filepath.Base(dir), "maps-"))
	if middle = present(o.maps(), "host_meta") && (present(o.switching()) || present(theirs)); !middle {
		if err := o.begin(theirs); err != nil {
			return nil, false, fmt.Errorf("begin migration: %w", err)
		}
	}
	m = &migration{dir: dir, maps: map[string]*ebpf.Map{}}
	for _, name := range []string{"host_meta", "host_config", "group_slots", "index_ports", "port_words", "port_records", "port_flows", "flows4", "flows6", "counters"} {
		if m.maps[name], err = ebpf.LoadPinnedMap(filepath.Join(dir, name), nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.close()
			return nil, false, fmt.Errorf("maps of another layout: %s: %w", name, err)
		}
	}
	return m, middle, nil
}

// begin marks that maps are being made, beside those of a set that has been switched to completely.
func (o *Options) begin(theirs string) error {
	for _, stale := range []string{theirs, o.switching()} {
		if err := os.Remove(stale); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := dropMaps(o.maps()); err != nil {
		return err
	}
	return bpf.EnsureFS(o.making())
}

func (m *migration) close() {
	for _, one := range m.maps {
		if one != nil {
			one.Close()
		}
	}
}

// twoShapes is a structure as both sets have it.
type twoShapes struct{ from, to bpf.Shape }

func (d *Datapath) shapes(name, structure string) (p twoShapes, err error) {
	old := d.older.maps[name]
	if old == nil {
		return p, fmt.Errorf("the other set has no map %s", name)
	}
	if p.from, err = bpf.ShapeOf(old, structure); err != nil {
		return p, err
	}
	p.to, err = bpf.ShapeOf(d.coll.Maps[name], structure)
	return p, err
}

// seed gives ports the slots and incarnations that they have in the old set, all of them down, and the generation below which no goal is
// taken.
func (d *Datapath) seed() error {
	p, err := d.shapes("port_records", "port")
	if err == nil && !(p.from.Has("index", "vni") && p.to.Has("index", "vni")) {
		err = errors.New("ports have neither number nor network there")
	}
	if err != nil {
		return err
	}
	if err := d.seedDevices(); err != nil {
		return err
	}
	var index, slot uint32
	it := d.older.maps["index_ports"].Iterate()
	for it.Next(&index, &slot) {
		var w portWord
		if err := d.older.maps["port_words"].Lookup(slot, &w); err != nil {
			return err
		}
		old, err := d.older.maps["port_records"].LookupBytes(slot*2 + w.half())
		if err != nil || len(old) < p.from.Size {
			return fmt.Errorf("port %d: record of %d bytes: %w", index, len(old), err)
		}
		value := make([]byte, p.to.Size)
		copy(p.to.Field(value, "index"), p.from.Field(old, "index"))
		copy(p.to.Field(value, "vni"), p.from.Field(old, "vni"))
		for _, step := range []error{
			d.coll.Maps["port_records"].Put(slot*2+w.half(), value),
			d.coll.Maps["port_words"].Put(slot, w&^2),
			d.coll.Maps["index_ports"].Put(index, slot),
		} {
			if step != nil {
				return fmt.Errorf("port %d: %w", index, step)
			}
		}
	}
	if err := it.Err(); err != nil {
		return err
	}
	var g meta
	if err := d.older.maps["host_meta"].Lookup(uint32(0), &g); err != nil {
		return err
	}
	return d.coll.Maps["host_meta"].Put(uint32(0), g)
}

// seedDevices takes over which devices are the tunnel and the services'.
func (d *Datapath) seedDevices() error {
	p, err := d.shapes("host_config", "config")
	if err != nil {
		return err
	}
	if !p.from.Has("overlay", "service") || !p.to.Has("overlay", "service") {
		return errors.New("the host's devices are not described alike")
	}
	old, err := d.older.maps["host_config"].LookupBytes(uint32(0))
	if err != nil {
		return err
	}
	now, err := d.coll.Maps["host_config"].LookupBytes(uint32(0))
	if err != nil {
		return err
	}
	for _, name := range []string{"overlay", "service"} {
		copy(p.to.Field(now, name), p.from.Field(old, name))
	}
	return d.coll.Maps["host_config"].Put(uint32(0), now)
}

// rulesBefore is what the groups in force were made from, for those that judge existing flows anew when they change.
func (m *migration) rulesBefore() map[[16]byte][16]byte {
	out := map[[16]byte][16]byte{}
	groups := m.maps["group_slots"]
	if groups == nil || int(groups.KeySize()) != binary.Size(groupKey{}) || int(groups.ValueSize()) != binary.Size(slotValue{}) {
		return out // then they are judged anew
	}
	var k groupKey
	var v slotValue
	it := groups.Iterate()
	for it.Next(&k, &v) {
		out[k.Group] = v.Rules
	}
	return out
}

// switchOver is steps 3 to 5: the goal is in force in the new maps.
func (d *Datapath) switchOver() error {
	if err := d.copyState(); err != nil { // without it only flows begin anew: no reason to keep the old rules in force
		d.opts.Log.Warn("flows of the replaced programs are not taken over", "error", err)
	}
	if err := d.opts.die("copied"); err != nil {
		return err
	}
	if err := os.MkdirAll(d.opts.switching(), 0o700); err != nil {
		return fmt.Errorf("mark the switch of programs: %w", err)
	}
	if err := os.Remove(d.opts.making()); err != nil {
		return fmt.Errorf("mark the switch of programs: %w", err)
	}
	return d.finishSwitch()
}

func (d *Datapath) finishSwitch() error {
	for _, step := range []func() error{func() error { return d.opts.die("marked") }, d.relink, func() error { return d.opts.die("relinked") }} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := bpf.Quiesce(); err != nil {
		return err
	}
	if err := errors.Join(d.copyFlows("flows4", "flow_key4"), d.copyFlows("flows6", "flow_key6"), d.copyLateCounters()); err != nil {
		d.opts.Log.Warn("the last flows of the replaced programs are not taken over", "error", err)
	}
	if err := d.opts.die("late"); err != nil {
		return err
	}
	from := d.older.dir
	d.older.close()
	d.older = nil
	if err := d.dropOldLayouts(); err != nil {
		return err
	}
	d.opts.Log.Info("programs replaced, with another layout of their maps", "from", filepath.Base(from), "to", filepath.Base(d.opts.maps()))
	return nil
}

func (d *Datapath) copyState() error {
	return errors.Join(d.copyCounters(), d.copyShares(), d.copyFlows("flows4", "flow_key4"), d.copyFlows("flows6", "flow_key6"), d.copyFlows("flows4", "flow_key4"))
}

// copyFlows takes over the entries that the new table has not. A flow's way is asked for anew: networks number their epochs from the
// start.
func (d *Datapath) copyFlows(name, key string) error {
	k, err := d.shapes(name, key)
	if err != nil {
		return err
	}
	v, err := d.shapes(name, "flow")
	if err != nil {
		return err
	}
	needed := []string{"seen", "state", "acl_epoch", "fwd_epoch", "peer_word"}
	if !v.from.Has(needed...) || !v.to.Has(needed...) || !k.from.Has("port", "proto", "local", "remote", "lport", "rport") {
		return fmt.Errorf("%s: flows are not described alike", name)
	}
	var oldKey, oldValue []byte
	it := d.older.maps[name].Iterate()
	for it.Next(&oldKey, &oldValue) {
		if binary.LittleEndian.Uint32(v.from.Field(oldValue, "state")) != flowLive {
			continue
		}
		value := v.from.Reshape(oldValue, v.to)
		clear(v.to.Field(value, "peer_word"))
		copy(v.to.Field(value, "fwd_epoch"), []byte{0xff, 0xff, 0xff, 0xff})
		err := d.coll.Maps[name].Update(k.from.Reshape(oldKey, k.to), value, ebpf.UpdateNoExist)
		if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// copyShares takes over how many entries every port has.
func (d *Datapath) copyShares() error {
	s, err := d.shapes("port_flows", "share")
	if err != nil {
		return err
	}
	for _, p := range d.kernel.ports {
		old, err := d.older.maps["port_flows"].LookupBytes(p.slot)
		if err != nil || old == nil {
			continue
		}
		if err := d.coll.Maps["port_flows"].Put(p.slot, s.from.Reshape(old, s.to)); err != nil {
			return err
		}
	}
	return nil
}

// copyCounters goes on counting where the old set is. Outcomes and reasons keep their numbers.
func (d *Datapath) copyCounters() error {
	old := d.older.maps["counters"]
	if old == nil || old.MaxEntries() != d.coll.Maps["counters"].MaxEntries() {
		return errors.New("counters are laid out otherwise")
	}
	d.older.counted = map[uint32][]uint64{}
	return d.eachCounter(func(i uint32) error {
		var n []uint64
		if err := old.Lookup(i, &n); err != nil || empty(n) {
			return err
		}
		d.older.counted[i] = n
		return d.coll.Maps["counters"].Put(i, n)
	})
}

// copyLateCounters adds what the old programs counted between the copy and their last packet.
func (d *Datapath) copyLateCounters() error {
	if d.older.counted == nil {
		return nil // of a process that died: it cannot be told apart any more
	}
	return d.eachCounter(func(i uint32) error {
		var now, at []uint64
		if err := d.older.maps["counters"].Lookup(i, &now); err != nil {
			return err
		}
		for cpu, n := range d.older.counted[i] {
			now[cpu] -= n
		}
		if empty(now) {
			return nil
		}
		if err := d.coll.Maps["counters"].Lookup(i, &at); err != nil {
			return err
		}
		for cpu := range at {
			at[cpu] += now[cpu]
		}
		return d.coll.Maps["counters"].Put(i, at)
	})
}

func (d *Datapath) eachCounter(f func(i uint32) error) error {
	slots := map[uint32]bool{0: true}
	for _, p := range d.kernel.ports {
		slots[p.slot] = true
	}
	for s := range slots {
		for i := range uint32(counters) {
			if err := f(s*counters + i); err != nil {
				return fmt.Errorf("counters: %w", err)
			}
		}
	}
	return nil
}

func empty(n []uint64) bool {
	for _, x := range n {
		if x != 0 {
			return false
		}
	}
	return true
}
