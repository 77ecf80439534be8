package datapath

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/host/kernel/bpf"
)

// takeDown makes a port drop everything, for PortDown.
func (d *Datapath) takeDown(index uint32) error {
	s := d.kernel.ports[index]
	if s == nil || !s.word.up() {
		return nil
	}
	w := s.word &^ 2
	if err := d.coll.Maps["port_words"].Put(s.slot, w); err != nil {
		return fmt.Errorf("take down: %w", err)
	}
	s.word = w
	return nil
}

// removePorts takes down the ports that are not in the goal and forgets them. Their flows are found by nobody: the next user
// of the slot has another incarnation.
func (u *update) removePorts() error {
	gone := map[uint32]bool{}
	for index, s := range u.k.ports {
		if slices.ContainsFunc(u.h.Ports, func(p goal.Port) bool { return p.Index == index }) {
			continue
		}
		if err := u.d.takeDown(index); err != nil {
			return fmt.Errorf("port %d: %w", index, err)
		}
		if err := u.bindDevice(s.slot, 0); err != nil {
			return fmt.Errorf("port %d: %w", index, err)
		}
		if _, err := u.own(&goal.Port{}, s, false); err != nil {
			return fmt.Errorf("port %d: %w", index, err)
		}
		if err := u.maps("index_ports").Delete(index); err != nil {
			return fmt.Errorf("port %d: %w", index, err)
		}
		if err := u.rename(s); err != nil {
			return fmt.Errorf("port %d: %w", index, err)
		}
		delete(u.k.ports, index)
		u.orphans, gone[index] = true, true
	}
	return u.d.dropRuleCounters(gone)
}

// zeroCounters makes a slot's new user start from nothing.
func (d *Datapath) zeroCounters(slot uint32) error {
	m := d.coll.Maps["counters"]
	var perCPU []uint64
	for i := range uint32(counters) {
		if err := m.Lookup(slot*counters+i, &perCPU); err != nil {
			return fmt.Errorf("counters: %w", err)
		}
		if !slices.ContainsFunc(perCPU, func(n uint64) bool { return n > 0 }) {
			continue
		}
		clear(perCPU)
		if err := m.Put(slot*counters+i, perCPU); err != nil {
			return fmt.Errorf("counters: %w", err)
		}
	}
	return nil
}

// dropRuleCounters forgets what rules dropped at ports that are gone.
func (d *Datapath) dropRuleCounters(ports map[uint32]bool) error {
	if len(ports) == 0 {
		return nil
	}
	var k ruleKey
	var perCPU []uint64
	var gone []ruleKey
	it := d.coll.Maps["rule_drops"].Iterate()
	for it.Next(&k, &perCPU) {
		if ports[k.Port] {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		if err := d.coll.Maps["rule_drops"].Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("counters: %w", err)
		}
	}
	return it.Err()
}

// rename ends the incarnation of a slot.
func (u *update) rename(s *portState) error {
	w := makePortWord(s.word.half(), false, s.word.incarnation()+1, s.slot, s.word.epoch())
	s.word = w
	return u.maps("port_words").Put(s.slot, w)
}

// removeEndpoints deletes the addresses that are gone, and those of virtual networks that are.
func (u *update) removeEndpoints() error {
	for vni, v := range u.k.vnets {
		want := map[netip.Addr]bool{}
		for i := range u.h.VNets {
			if n := &u.h.VNets[i]; n.VNI == vni {
				for _, e := range n.Endpoints {
					want[e.IP] = true
				}
			}
		}
		for ip := range v.endpoints {
			if want[ip] {
				continue
			}
			if err := u.maps("endpoints").Delete(endpointKeyOf(vni, ip)); err != nil {
				return fmt.Errorf("endpoint %v of virtual network %d: %w", ip, vni, err)
			}
			delete(v.endpoints, ip)
			u.left[remoteEnd{vni, family(ip), addr16(ip)}] = true
			u.moved[vni] = true
		}
	}
	return nil
}

// moveEpochs makes the flows of every virtual network whose endpoints changed ask for their way again. It comes behind every
// change of an endpoint: what a flow finds from now on is new.
func (u *update) moveEpochs() error {
	for vni := range u.moved {
		v := u.k.vnets[vni]
		w := makeBlobWord(v.word.class(), v.word.slot(), v.word.epoch()+1)
		if err := u.maps("vnet_words").Put(v.slot, w); err != nil {
			return fmt.Errorf("virtual network %d: %w", vni, err)
		}
		v.word = w
		u.checks[check{u.maps("vnet_words"), v.slot}] = uint64(w)
	}
	return nil
}

// finish drops what nothing in force refers to any more: groups, virtual networks, class numbers, flows.
func (u *update) finish() error {
	for _, f := range []func() error{u.dropGroups, u.dropVNets, u.dropClasses} {
		if err := f(); err != nil {
			return err
		}
	}
	if len(u.flush) > 0 {
		if err := u.d.judgeAnew(u.flush); err != nil {
			return fmt.Errorf("flows of changed groups: %w", err)
		}
	}
	if u.orphans || len(u.lost) > 0 || len(u.left) > 0 {
		if err := u.d.forget(u.lost, u.left); err != nil {
			return fmt.Errorf("flows of what is gone: %w", err)
		}
	}
	return nil
}

func (u *update) dropGroups() error {
	used := map[groupKey]bool{}
	for i := range u.h.Ports {
		p := &u.h.Ports[i]
		used[groupKey{hash16([]byte(p.NICGroup)), p.VNI}] = true
		used[groupKey{hash16([]byte(p.SubnetGroup)), p.VNI}] = true
	}
	for k, g := range u.k.groups {
		if used[k] {
			continue
		}
		if err := u.maps("group_words").Put(g.slot, blobWord(0)); err != nil {
			return fmt.Errorf("drop group: %w", err)
		}
		_ = u.maps("group_slots").Delete(k) // absent when it never came into force
		u.retire(groupClasses, g.word)
		delete(u.k.groups, k)
	}
	return nil
}

func (u *update) dropVNets() error {
	for vni, v := range u.k.vnets {
		if slices.ContainsFunc(u.h.VNets, func(n goal.VNet) bool { return n.VNI == vni }) {
			continue
		}
		w := makeBlobWord(0, 0, v.word.epoch())
		_ = u.maps("vnet_slots").Delete(vni) // absent when it never came into force
		if err := u.maps("vnet_words").Put(v.slot, w); err != nil {
			return fmt.Errorf("drop virtual network %d: %w", vni, err)
		}
		for h := range v.classes.ids {
			if err := u.maps("class_ids").Delete(classKey{h, vni}); err != nil {
				return fmt.Errorf("drop virtual network %d: %w", vni, err)
			}
		}
		u.retire(tableClasses, v.word)
		delete(u.k.vnets, vni)
	}
	return nil
}

// dropClasses frees the numbers of combinations that no address has. Groups in force may still hold vectors for them, which
// nothing asks for; a group that is compiled after such a number got another meaning is in force before any address has it.
func (u *update) dropClasses() error {
	for vni, combos := range u.combined {
		if u.tables[vni] || u.k.vnets[vni] == nil {
			continue
		}
		for _, h := range u.k.vnets[vni].classes.keep(combos) {
			if err := u.maps("class_ids").Delete(classKey{h, vni}); err != nil {
				return fmt.Errorf("drop address class: %w", err)
			}
		}
	}
	return nil
}

// release empties the slots of blobs that are out of force, beside the caller: the kernel makes the writer wait. Until then nobody gets
// these slots.
func (d *Datapath) release(blobs []retired) {
	if len(blobs) == 0 {
		return
	}
	if d.releasing == nil {
		d.releasing = map[retired]bool{}
	}
	for _, b := range blobs {
		d.releasing[b] = true
	}
	d.done.Go(func() {
		for _, b := range blobs {
			if err := bpf.ClearInner(d.coll.Maps[b.m], []uint32{b.slot}); err != nil {
				d.opts.Log.Error("release table", "map", b.m, "slot", b.slot, "error", err)
				continue
			}
			d.mu.Lock()
			delete(d.kernel.blobs[b.m], b.slot)
			delete(d.releasing, b)
			d.mu.Unlock()
		}
	})
}
