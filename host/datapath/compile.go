package datapath

import (
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/host/kernel/bpf"
)

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
	sum, rules, moves := hash16(blob), u.rulesOf(g), v.classes.moves
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

// rulesOf names the content of a group that judges existing flows anew when it changes. Of others nobody asks.
func (u *update) rulesOf(g *goal.Group) [16]byte {
	if !g.Flush {
		return [16]byte{}
	}
	h, ok := u.rules[g.ID]
	if !ok {
		full := g.Hash()
		h = [16]byte(full[:16])
		u.rules[g.ID] = h
	}
	return h
}
