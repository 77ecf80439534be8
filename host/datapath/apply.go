package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/host/kernel/bpf"
)

// update is one Apply on its way from a goal to the kernel.
type update struct {
	d       *Datapath
	h       *goal.Host
	k       *state
	devices func(uint32) (int, bool)
	faults  []error // of single ports and groups: they stay closed, the rest is put into force

	plans    map[uint32]plan
	groups   map[string]*goal.Group
	before   map[[16]byte][16]byte // rules of every group that was in force
	staged   map[string][]bpf.Inner
	flips    []flip
	retired  []retired        // blobs out of force
	unused   map[retired]bool // blobs staged and not in force yet
	orphans  bool             // flows of ports or addresses that are gone
	lost     []lostAddress
	flush    map[uint32]uint32 // portWord.key of ports whose flows are judged anew → epoch
	checks   map[check]uint64  // words that must read back as they were written
	moved    map[uint32]bool   // virtual networks whose forwarding state changed
	tables   map[uint32]bool   // virtual networks that cannot be compiled
	combined map[uint32][]combo
}

// flip puts one staged blob into force.
type flip struct {
	m      *ebpf.Map
	slot   uint32
	staged retired
	word   func() blobWord
	done   func(blobWord)
}

type retired struct {
	m    string
	slot uint32
}

type lostAddress struct {
	port uint32 // portWord.key
	ip   netip.Addr
}

// check names a word.
type check struct {
	m    *ebpf.Map
	slot uint32
}

// Apply makes the kernel enforce h and returns when it does. Referents go before what refers to them: rule groups and address
// classes, then endpoints, then ports; what is gone goes last. A group is replaced whole by one store; a port that lacks a part
// of its policy or its device is down. The old state stays in force where something fails, and the error says what.
func (d *Datapath) Apply(ctx context.Context, h *goal.Host, devices func(port uint32) (ifindex int, ok bool)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if g := d.Generation(); h.Generation < g {
		return fmt.Errorf("datapath: generation %d is older than %d, which is in force", h.Generation, g)
	}
	if h.Underlay != d.opts.Underlay {
		return fmt.Errorf("datapath: the goal is for the host at %v, this is %v", h.Underlay, d.opts.Underlay)
	}
	u := d.begin(h, devices)
	err := u.run(ctx)
	for b := range u.unused {
		u.retired = append(u.retired, b)
	}
	d.release(u.retired)
	if err == nil {
		err = errors.Join(u.faults...)
	}
	if err == nil {
		err = d.coll.Maps["host_meta"].Put(uint32(0), meta{Generation: h.Generation})
	}
	if err != nil {
		return fmt.Errorf("datapath: %w", err)
	}
	return nil
}

func (d *Datapath) begin(h *goal.Host, devices func(uint32) (int, bool)) *update {
	return &update{d: d, h: h, k: &d.kernel, devices: devices,
		plans: map[uint32]plan{}, groups: map[string]*goal.Group{}, before: map[[16]byte][16]byte{}, staged: map[string][]bpf.Inner{},
		unused: map[retired]bool{}, checks: map[check]uint64{}, moved: map[uint32]bool{},
		flush: map[uint32]uint32{}, tables: map[uint32]bool{}, combined: map[uint32][]combo{}}
}

// steps are in the order of the laws; a process may die between any two of them.
func (u *update) steps() []func() error {
	return []func() error{
		u.compileVNets, u.compileGroups, u.stage, u.flip, u.addEndpoints, u.publishPorts, u.removePorts, u.removeEndpoints, u.moveEpochs,
		u.verify, bpf.Quiesce, u.finish,
	}
}

func (u *update) run(ctx context.Context) error {
	for _, step := range u.steps() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) maps(name string) *ebpf.Map { return u.d.coll.Maps[name] }

// compileVNets numbers the address classes of every virtual network and stages its table when it changed.
func (u *update) compileVNets() error {
	for i := range u.h.VNets {
		n := &u.h.VNets[i]
		v := u.k.vnets[n.VNI]
		if v == nil {
			slot, ok := freeSlot(u.k.vnetSlots(), u.maps("vnet_words").MaxEntries())
			if !ok {
				return fmt.Errorf("virtual network %d: no more than %d virtual networks", n.VNI, u.maps("vnet_words").MaxEntries()-1)
			}
			v = &vnetState{slot: slot, classes: newClasses(n.VNI), endpoints: map[netip.Addr]endpointValue{}}
			if err := u.maps("vnet_words").Lookup(slot, &v.word); err != nil {
				return fmt.Errorf("virtual network %d: %w", n.VNI, err)
			}
			v.word = makeBlobWord(0, 0, v.word.epoch()+1)
			u.k.vnets[n.VNI] = v
		}
		if err := u.compileVNet(n, v); err != nil {
			u.tables[n.VNI] = true
			u.faults = append(u.faults, fmt.Errorf("virtual network %d: %w", n.VNI, err))
		}
	}
	return nil
}

func (u *update) compileVNet(n *goal.VNet, v *vnetState) error {
	if v.source == nil || !sameSpaces(v.source, n) {
		v.plan = planOf(n)
	}
	v.source = n
	p := v.plan
	u.plans[n.VNI] = p
	u.combined[n.VNI] = p.combos()
	fresh, err := v.classes.need(u.combined[n.VNI])
	if err != nil {
		return err
	}
	for _, k := range fresh {
		key := classKey{hash16([]byte(k)), n.VNI}
		if err := u.maps("class_ids").Put(key, uint32(v.classes.id(k))); err != nil {
			return fmt.Errorf("address class: %w", err)
		}
	}
	class, blob, err := tableBlob(p, v.classes)
	if err != nil {
		return err
	}
	sum := hash16(blob)
	if v.word.class() != 0 && sum == v.blob {
		return nil
	}
	slot, err := u.put(tableClasses[class-1].name, blob)
	if err != nil {
		return err
	}
	u.flips = append(u.flips, flip{u.maps("vnet_words"), v.slot, retired{tableClasses[class-1].name, slot},
		func() blobWord { return makeBlobWord(class, slot, v.word.epoch()+1) },
		func(w blobWord) {
			u.retire(tableClasses, v.word)
			v.word, v.blob = w, sum
			u.faultIf(u.maps("vnet_slots").Put(n.VNI, slotValue{Slot: v.slot, Blob: sum}))
		}})
	return nil
}

// compileGroups stages every rule group that a port uses in its virtual network and that is not in force as it is.
func (u *update) compileGroups() error {
	for k, g := range u.k.groups {
		u.before[k.Group] = g.rules
	}
	for i := range u.h.Groups {
		u.groups[u.h.Groups[i].ID] = &u.h.Groups[i]
	}
	seen := map[groupKey]bool{}
	for i := range u.h.Ports {
		p := &u.h.Ports[i]
		for _, id := range []string{p.NICGroup, p.SubnetGroup} {
			k := groupKey{hash16([]byte(id)), p.VNI}
			if id == "" || seen[k] {
				continue
			}
			seen[k] = true
			if err := u.compileGroup(k, id); err != nil {
				u.faults = append(u.faults, err)
			}
		}
	}
	return nil
}

func (u *update) compileGroup(k groupKey, id string) error {
	g, v := u.groups[id], u.k.vnets[k.VNI]
	if g == nil || v == nil {
		return fmt.Errorf("group %s: not in the goal for virtual network %d", id, k.VNI)
	}
	s := u.k.groups[k]
	if s != nil && s.source != nil && s.moves == v.classes.moves && sameGroup(s.source, g) {
		return nil
	}
	u.d.names.add(g)
	class, blob, err := groupBlob(g, v.classes)
	if err != nil {
		return err
	}
	full := g.Hash()
	sum, rules, moves := hash16(blob), [16]byte(full[:16]), v.classes.moves
	if s != nil && s.word.class() != 0 && s.blob == sum {
		s.source, s.moves = g, moves
		if s.rules != rules {
			s.rules = rules
			return u.maps("group_slots").Put(k, slotValue{Slot: s.slot, Blob: sum, Rules: rules})
		}
		return nil
	}
	if s == nil {
		slot, ok := freeSlot(u.k.groupSlots(), u.maps("group_words").MaxEntries())
		if !ok {
			return fmt.Errorf("group %s: no more than %d groups", id, u.maps("group_words").MaxEntries()-1)
		}
		s = &groupState{slot: slot}
		u.k.groups[k] = s
	}
	slot, err := u.put(groupClasses[class-1].name, blob)
	if err != nil {
		return fmt.Errorf("group %s: %w", id, err)
	}
	u.flips = append(u.flips, flip{u.maps("group_words"), s.slot, retired{groupClasses[class-1].name, slot},
		func() blobWord { return makeBlobWord(class, slot, 0) },
		func(w blobWord) {
			u.retire(groupClasses, s.word)
			s.word, s.blob, s.rules, s.source, s.moves = w, sum, rules, g, moves
			u.faultIf(u.maps("group_slots").Put(k, slotValue{Slot: s.slot, Blob: sum, Rules: rules}))
		}})
	return nil
}

func (u *update) faultIf(err error) {
	if err != nil {
		u.faults = append(u.faults, err)
	}
}

// put makes the inner map of a blob and takes a slot for it; nothing refers to it yet.
func (u *update) put(outer string, blob []byte) (uint32, error) {
	used := u.k.blobs[outer]
	slot, ok := freeSlot(used, u.maps(outer).MaxEntries())
	if !ok {
		return 0, fmt.Errorf("%s: no free slot", outer)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(len(blob)), MaxEntries: 1})
	if err != nil {
		return 0, fmt.Errorf("make table: %w", err)
	}
	if err := m.Put(uint32(0), blob); err != nil {
		m.Close()
		return 0, fmt.Errorf("fill table: %w", err)
	}
	used[slot] = true
	u.unused[retired{outer, slot}] = true
	u.staged[outer] = append(u.staged[outer], bpf.Inner{Slot: slot, Map: m})
	return slot, nil
}

func (u *update) retire(in []sizeClass, w blobWord) {
	if n := w.class(); n > 0 {
		u.retired = append(u.retired, retired{in[n-1].name, w.slot()})
	}
}

// stage puts the new blobs where words can point to.
func (u *update) stage() error {
	for name, in := range u.staged {
		if err := bpf.PutInner(&u.d.done, u.maps(name), in); err != nil {
			return err
		}
	}
	return nil
}

func (u *update) flip() error {
	for _, f := range u.flips {
		w := f.word()
		if err := f.m.Put(f.slot, w); err != nil {
			return fmt.Errorf("put into force: %w", err)
		}
		f.done(w)
		u.checks[check{f.m, f.slot}] = uint64(w)
		delete(u.unused, f.staged)
	}
	return nil
}

// verify reads back every word that was written.
func (u *update) verify() error {
	for c, want := range u.checks {
		var got uint64
		if err := c.m.Lookup(c.slot, &got); err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		if got != want {
			return fmt.Errorf("read back: slot %d of %v is %#x, not %#x", c.slot, c.m, got, want)
		}
	}
	return nil
}
