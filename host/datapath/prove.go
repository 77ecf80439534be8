package datapath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"ringfence/goal"
	"ringfence/observe"
)

// Translation validation: what is loaded is read back, decoded by code of its own, and compared with the goal for all packets. The parts are
// the ports, the endpoints, every virtual network's table, and every group as a virtual network resolves it. A part is compared at every
// point of every field: a proof, not a sample.

// proofs is what is remembered of the last proofs, so that only what was touched is proved again, and of what differed.
type proofs struct {
	tables map[uint32]*provenTable
	groups map[boundGroup]provenGroup
	turn   int
	broken bool // something differed: the next Apply does not trust what this process remembers
}

type provenTable struct {
	*tableProof
	word blobWord // without its epoch
	sets string   // what every class stands for
}

type provenGroup struct {
	word  blobWord
	group *goal.Group
	sets  string
}

// boundGroup is a group as ports of a virtual network meet it.
type boundGroup struct {
	id        string
	vni, slot uint32
}

// prover is one Prove under way.
type prover struct {
	d     *Datapath
	h     *goal.Host
	slots map[uint32]uint32 // slot → index
	fresh bool              // nothing that was proved before counts
	seen  map[uint32]*provenTable
	out   []observe.Proof
}

// Prove reads back what is loaded and compares it with h, whose Apply it follows: with all set everything, else ports, endpoints and what is
// not as it was when it was proved last. What differs is made anew by the next Apply.
func (d *Datapath) Prove(h *goal.Host, devices func(port uint32) (ifindex int, ok bool), all bool) ([]observe.Proof, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.older != nil {
		return nil, errors.New("datapath: prove: programs of another layout are in force until the first goal is")
	}
	slots, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("datapath: prove: %w", err)
	}
	p := &prover{d: d, h: h, slots: slots, fresh: all, seen: map[uint32]*provenTable{}}
	ports := &portsProof{d: d, h: h, devices: devices, slots: slots}
	if err = ports.run(); err == nil {
		p.add("ports", ports.out)
		err = p.rest()
	}
	if err != nil {
		return nil, fmt.Errorf("datapath: prove: %w", err)
	}
	return p.out, nil
}

// ProveNext proves one group or table whose turn it is, whatever was proved before: what others wrote into the maps is found in time.
func (d *Datapath) ProveNext(h *goal.Host) ([]observe.Proof, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.older != nil {
		return nil, nil
	}
	slots, err := d.slots()
	if err != nil {
		return nil, fmt.Errorf("datapath: prove: %w", err)
	}
	p := &prover{d: d, h: h, slots: slots, seen: map[uint32]*provenTable{}}
	bound, err := p.bound()
	if err != nil {
		return nil, fmt.Errorf("datapath: prove: %w", err)
	}
	if n := len(bound) + len(h.VNets); n > 0 {
		d.proofs.turn = (d.proofs.turn + 1) % n
		if i := d.proofs.turn - len(bound); i >= 0 {
			delete(d.proofs.tables, h.VNets[i].VNI)
			_, err = p.table(&h.VNets[i])
		} else {
			g := bound[d.proofs.turn]
			delete(d.proofs.groups, g)
			err = p.group(g)
		}
	}
	return p.out, err
}

func (p *prover) add(part string, found []observe.Difference) {
	p.out = append(p.out, observe.Proof{Part: part, Differences: found})
	p.d.proofs.broken = p.d.proofs.broken || found != nil
}

func (p *prover) rest() error {
	if p.fresh || p.d.proofs.tables == nil {
		p.d.proofs.tables, p.d.proofs.groups = map[uint32]*provenTable{}, map[boundGroup]provenGroup{}
	}
	tables := map[uint32]*tableProof{}
	for i := range p.h.VNets {
		t, err := p.table(&p.h.VNets[i])
		if err != nil {
			return err
		}
		if t != nil {
			tables[p.h.VNets[i].VNI] = t.tableProof
		}
	}
	maps.DeleteFunc(p.d.proofs.tables, func(vni uint32, _ *provenTable) bool { return tables[vni] == nil })
	found, err := p.d.proveEndpoints(p.h, p.slots, tables)
	if err != nil {
		return err
	}
	p.add("endpoints", found)
	bound, err := p.bound()
	if err != nil {
		return err
	}
	maps.DeleteFunc(p.d.proofs.groups, func(k boundGroup, _ provenGroup) bool { return !slices.Contains(bound, k) })
	for _, b := range bound {
		if err := p.group(b); err != nil {
			return err
		}
	}
	return nil
}

// table is what is loaded for a virtual network, proved once, nil where nothing can be read.
func (p *prover) table(n *goal.VNet) (*provenTable, error) {
	if t, ok := p.seen[n.VNI]; ok {
		return t, nil
	}
	t, err := p.proveTable(n)
	p.seen[n.VNI] = t
	return t, err
}

func (p *prover) proveTable(n *goal.VNet) (*provenTable, error) {
	name := fmt.Sprintf("table of %s", n.ID)
	slot, err := p.tableSlot(n.VNI)
	if err != nil {
		return nil, err
	}
	var w blobWord
	if err := p.d.coll.Maps["vnet_words"].Lookup(slot, &w); err != nil {
		return nil, err
	}
	w = makeBlobWord(w.class(), w.slot(), 0)
	was := p.d.proofs.tables[n.VNI]
	if was != nil && was.word == w && sameSpaces(was.n, n) {
		return was, nil
	}
	b, err := p.d.blob(w, tableClasses)
	if err != nil {
		p.add(name, []observe.Difference{{At: "everywhere", Loaded: err.Error(), Goal: "a table of addresses"}})
		return nil, nil
	}
	t := &provenTable{tableProof: proveTable(b, n), word: w}
	p.add(name, t.out)
	var sets strings.Builder
	for _, class := range slices.Sorted(maps.Keys(t.classes)) {
		fmt.Fprintf(&sets, "%d %q\n", class, t.classes[class].names())
	}
	t.sets = sets.String()
	if t.out == nil && p.d.proofs.tables != nil {
		p.d.proofs.tables[n.VNI] = t
	}
	return t, nil
}

// tableSlot is the slot that a virtual network's ports name, or where there is none the one that is noted for it.
func (p *prover) tableSlot(vni uint32) (uint32, error) {
	for slot := range p.slots {
		r, err := p.record(slot)
		if err != nil {
			return 0, err
		}
		if slot != 0 && r.VNI == vni {
			return r.VNet, nil
		}
	}
	var v slotValue
	err := p.d.coll.Maps["vnet_slots"].Lookup(vni, &v)
	return v.Slot, absentIsNothing(err)
}

func (p *prover) record(slot uint32) (r portRecord, err error) {
	var w portWord
	if err := p.d.coll.Maps["port_words"].Lookup(slot, &w); err != nil {
		return r, err
	}
	return r, p.d.coll.Maps["port_records"].Lookup(2*slot+w.half(), &r)
}

// bound lists every group as the loaded ports refer to it.
func (p *prover) bound() (out []boundGroup, err error) {
	at := map[uint32]uint32{}
	for slot, index := range p.slots {
		at[index] = slot
	}
	for i := range p.h.Ports {
		g := &p.h.Ports[i]
		slot, ok := at[g.Index]
		if !ok {
			continue // the proof of the ports says so
		}
		r, err := p.record(slot)
		if err != nil {
			return nil, err
		}
		for _, b := range []boundGroup{{g.NICGroup, g.VNI, r.NICGroup}, {g.SubnetGroup, g.VNI, r.SubnetGroup}} {
			if b.id != "" && b.slot != 0 && !slices.Contains(out, b) {
				out = append(out, b)
			}
		}
	}
	return out, nil
}

func (p *prover) group(k boundGroup) error {
	i := slices.IndexFunc(p.h.Groups, func(g goal.Group) bool { return g.ID == k.id })
	v := slices.IndexFunc(p.h.VNets, func(n goal.VNet) bool { return n.VNI == k.vni })
	if i < 0 || v < 0 {
		return fmt.Errorf("group %s of virtual network %d: not in the goal", k.id, k.vni)
	}
	g := &p.h.Groups[i]
	t, err := p.table(&p.h.VNets[v])
	if err != nil || t == nil {
		return err
	}
	var w blobWord
	if err := p.d.coll.Maps["group_words"].Lookup(k.slot, &w); err != nil {
		return err
	}
	if was, ok := p.d.proofs.groups[k]; ok && was.word == w && was.sets == t.sets && sameGroup(was.group, g) {
		return nil
	}
	name := fmt.Sprintf("group %s in %s", k.id, p.h.VNets[v].ID)
	b, err := p.d.blob(w, groupClasses)
	if err != nil {
		p.add(name, []observe.Difference{{At: "everywhere", Loaded: err.Error(), Goal: "the rules of the group"}})
		return nil
	}
	found := p.d.proveGroup(b, g, t.classes)
	p.add(name, found)
	if found == nil && p.d.proofs.groups != nil {
		p.d.proofs.groups[k] = provenGroup{w, g, t.sets}
	}
	return nil
}

// doubt makes what this process remembers of the kernel be what is there, and nothing that is there count as right.
func (d *Datapath) doubt() error {
	words := d.coll.Maps["port_words"]
	slots, err := d.slots()
	if err != nil {
		return err
	}
	for slot := range words.MaxEntries() {
		var w portWord
		if err := words.Lookup(slot, &w); err != nil {
			return err
		}
		if _, known := slots[slot]; !known && w.up() {
			if err := words.Put(slot, w&^2); err != nil {
				return err
			}
		}
	}
	if err := d.kernel.read(d.coll); err != nil {
		return err
	}
	for b := range d.releasing {
		d.kernel.blobs[b.m][b.slot] = true
	}
	for _, g := range d.kernel.groups {
		g.blob = [16]byte{}
	}
	for _, v := range d.kernel.vnets {
		v.blob = [16]byte{}
	}
	d.proofs.tables, d.proofs.broken = nil, false
	return nil
}

func absentIsNothing(err error) error {
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil
	}
	return err
}
