package datapath

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/host/kernel/bpf"
)

// state is what the kernel has been told, kept so that only differences are programmed. A fresh process reads it back.
type state struct {
	ports   map[uint32]*portState // by index
	devices map[uint32]uint32     // ifindex → slot
	vnets   map[uint32]*vnetState // by VNI
	groups  map[groupKey]*groupState
	own     map[ownKey]bool
	blobs   map[string]map[uint32]bool // map of maps → slots in use
}

type portState struct {
	slot   uint32
	word   portWord
	record portRecord
}

type vnetState struct {
	slot      uint32
	word      blobWord
	blob      [16]byte
	classes   *classes
	endpoints map[netip.Addr]endpointValue

	source *goal.VNet // what plan was made from; nil in a fresh process
	plan   plan
}

type groupState struct {
	slot  uint32
	word  blobWord
	blob  [16]byte
	rules [16]byte

	source *goal.Group // what it was compiled from, with these class numbers; nil in a fresh process
	moves  int
}

func (s *state) read(c *ebpf.Collection) error {
	*s = state{map[uint32]*portState{}, map[uint32]uint32{}, map[uint32]*vnetState{}, map[groupKey]*groupState{}, map[ownKey]bool{}, map[string]map[uint32]bool{}}
	for _, step := range []func(*ebpf.Collection) error{s.readPorts, s.readVNets, s.readClasses, s.readEndpoints, s.readGroups, s.readOwn, s.readBlobs} {
		if err := step(c); err != nil {
			return fmt.Errorf("read back what is programmed: %w", err)
		}
	}
	return nil
}

func (s *state) readPorts(c *ebpf.Collection) error {
	var index, slot, ifindex uint32
	it := c.Maps["index_ports"].Iterate()
	for it.Next(&index, &slot) {
		p := &portState{slot: slot}
		if err := c.Maps["port_words"].Lookup(slot, &p.word); err != nil {
			return err
		}
		if err := c.Maps["port_records"].Lookup(slot*2+p.word.half(), &p.record); err != nil {
			return err
		}
		s.ports[index] = p
	}
	if err := it.Err(); err != nil {
		return err
	}
	it = c.Maps["device_ports"].Iterate()
	for it.Next(&ifindex, &slot) {
		s.devices[ifindex] = slot
	}
	if err := it.Err(); err != nil {
		return err
	}
	keys, slots := make([]uint32, devices), make([]uint32, devices)
	var cursor ebpf.MapBatchCursor
	n, err := c.Maps["device_slots"].BatchLookup(&cursor, keys, slots, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	for i := range n {
		if slots[i] != 0 {
			s.devices[keys[i]] = slots[i]
		}
	}
	return nil
}

func (s *state) readVNets(c *ebpf.Collection) error {
	var vni uint32
	var v slotValue
	it := c.Maps["vnet_slots"].Iterate()
	for it.Next(&vni, &v) {
		n := &vnetState{slot: v.Slot, blob: v.Blob, classes: newClasses(vni), endpoints: map[netip.Addr]endpointValue{}}
		if err := c.Maps["vnet_words"].Lookup(v.Slot, &n.word); err != nil {
			return err
		}
		n.word = n.word.among(tableClasses)
		s.vnets[vni] = n
	}
	return it.Err()
}

// readClasses also drops the numbers of virtual networks that are gone.
func (s *state) readClasses(c *ebpf.Collection) error {
	var k classKey
	var id uint32
	var gone []classKey
	it := c.Maps["class_ids"].Iterate()
	for it.Next(&k, &id) {
		if n := s.vnets[k.VNI]; n != nil {
			n.classes.ids[k.Sets] = uint16(id)
		} else {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		if err := c.Maps["class_ids"].Delete(k); err != nil {
			return err
		}
	}
	return it.Err()
}

func (s *state) readEndpoints(c *ebpf.Collection) error {
	var k endpointKey
	var v endpointValue
	var gone []endpointKey
	it := c.Maps["endpoints"].Iterate()
	for it.Next(&k, &v) {
		if n := s.vnets[k.VNI&0xffffff]; n != nil {
			n.endpoints[addrOf(k.IP, k.VNI>>24)] = v
		} else {
			gone = append(gone, k)
		}
	}
	for _, k := range gone {
		if err := c.Maps["endpoints"].Delete(k); err != nil {
			return err
		}
	}
	return it.Err()
}

func (s *state) readGroups(c *ebpf.Collection) error {
	var k groupKey
	var v slotValue
	it := c.Maps["group_slots"].Iterate()
	for it.Next(&k, &v) {
		g := &groupState{slot: v.Slot, blob: v.Blob, rules: v.Rules}
		if err := c.Maps["group_words"].Lookup(v.Slot, &g.word); err != nil {
			return err
		}
		g.word = g.word.among(groupClasses)
		s.groups[k] = g
	}
	return it.Err()
}

func (s *state) readOwn(c *ebpf.Collection) error {
	var k ownKey
	var v uint32
	it := c.Maps["own_addrs"].Iterate()
	for it.Next(&k, &v) {
		s.own[k] = true
	}
	return it.Err()
}

// readBlobs finds the blobs that words point to and drops the others: an earlier process died before it put them into force,
// or before it dropped what it had replaced.
func (s *state) readBlobs(c *ebpf.Collection) error {
	for _, k := range append(append([]sizeClass(nil), groupClasses...), tableClasses...) {
		s.blobs[k.name] = map[uint32]bool{}
	}
	for _, g := range s.groups {
		if n := g.word.class(); n > 0 {
			s.blobs[groupClasses[n-1].name][g.word.slot()] = true
		}
	}
	for _, v := range s.vnets {
		if n := v.word.class(); n > 0 {
			s.blobs[tableClasses[n-1].name][v.word.slot()] = true
		}
	}
	for name, used := range s.blobs {
		var unused []uint32
		for _, slot := range bpf.UsedSlots(c.Maps[name]) {
			if !used[slot] {
				unused = append(unused, slot)
			}
		}
		if err := bpf.ClearInner(c.Maps[name], unused); err != nil {
			return err
		}
	}
	return nil
}

// freeSlot is the lowest slot from first on that nobody has; slot 0 is never given away.
func freeSlot(used map[uint32]bool, limit uint32) (uint32, bool) {
	for s := uint32(1); s < limit; s++ {
		if !used[s] {
			return s, true
		}
	}
	return 0, false
}

func (s *state) portSlots() map[uint32]bool {
	used := map[uint32]bool{}
	for _, p := range s.ports {
		used[p.slot] = true
	}
	return used
}

func (s *state) vnetSlots() map[uint32]bool {
	used := map[uint32]bool{}
	for v := range maps.Values(s.vnets) {
		used[v.slot] = true
	}
	return used
}

func (s *state) groupSlots() map[uint32]bool {
	used := map[uint32]bool{}
	for g := range maps.Values(s.groups) {
		used[g.slot] = true
	}
	return used
}
