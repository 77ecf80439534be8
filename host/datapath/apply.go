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
	rules    map[string][16]byte   // of groups that are to be
	staged   map[string][]bpf.Inner
	flips    []flip
	retired  []retired        // blobs out of force
	unused   map[retired]bool // blobs staged and not in force yet
	orphans  bool             // flows of ports or addresses that are gone
	lost     []lostAddress
	left     map[remoteEnd]bool // addresses that no NIC of a virtual network has any more
	flush    map[uint32]uint32  // portWord.key of ports whose flows are judged anew → epoch
	checks   map[check]uint64   // words that must read back as they were written
	moved    map[uint32]bool    // virtual networks whose forwarding state changed
	tables   map[uint32]bool    // virtual networks that cannot be compiled
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

// remoteEnd is an address as a flow's other end.
type remoteEnd struct {
	vni, family uint32
	ip          [16]byte
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
	if d.proofs.broken && d.older == nil {
		if err := d.doubt(); err != nil {
			return fmt.Errorf("datapath: what was loaded differs: %w", err)
		}
	}
	u := d.begin(h, devices)
	if d.older != nil {
		u.before = d.older.rulesBefore()
	}
	err := u.run(ctx)
	if err == nil && d.older != nil {
		err = d.switchOver()
	}
	for b := range u.unused {
		u.retired = append(u.retired, b)
	}
	d.release(u.retired)
	if err == nil {
		err = errors.Join(u.faults...)
	}
	if err == nil {
		err = d.changeMeta(func(m *meta) { m.Generation = h.Generation })
	}
	if err != nil {
		return fmt.Errorf("datapath: %w", err)
	}
	return nil
}

func (d *Datapath) begin(h *goal.Host, devices func(uint32) (int, bool)) *update {
	return &update{d: d, h: h, k: &d.kernel, devices: devices,
		plans: map[uint32]plan{}, groups: map[string]*goal.Group{}, before: map[[16]byte][16]byte{}, rules: map[string][16]byte{}, staged: map[string][]bpf.Inner{},
		unused: map[retired]bool{}, checks: map[check]uint64{}, moved: map[uint32]bool{},
		flush: map[uint32]uint32{}, left: map[remoteEnd]bool{}, tables: map[uint32]bool{}, combined: map[uint32][]combo{}}
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
