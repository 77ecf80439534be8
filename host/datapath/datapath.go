// Package datapath programs the kernel's packet path from a host's goal and reads back what happened there.
//
// In: goal.Host values through Apply and device numbers through the Attach calls. Out: verdicts on packets, made by the eBPF
// programs in bpf/, and counters, events and flows as observe's records. Programs, maps and links are pinned: they outlive
// the process, which may die at any instruction. Owned by host/agent, which is its only caller.
package datapath

import (
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"ringfence/host/kernel/bpf"
)

//go:generate ./bpf/build.sh
//go:embed bpf/datapath.o
var object []byte

// Options says where the data plane lives and how large it may get. Zero numbers mean the defaults.
type Options struct {
	Pin         string       // directory on a BPF file system, owned by this host alone
	Instance    string       // lab or installation name
	Underlay    netip.Addr   // this host's tunnel endpoint, IPv4
	UnderlayMTU int          // 0: 1600
	Log         *slog.Logger // nil: discarded
	Flows       int          // entries of the IPv4 flow table (the IPv6 table has a quarter): default 262,144
	Ports       int          // ports: default 1,024
	Quota       int          // flow entries of one port: default a quarter of Flows
	HalfOpen    int          // TCP connections of one port that are not established: default a 16th of Flows
	Groups      int          // rule groups bound to virtual networks: default 1,024

	// For how long after a loss of all state (a reboot, another layout) segments of established TCP connections are judged like
	// first packets instead of being dropped. Default: not at all.
	Relearn time.Duration

	Layout string // of the maps; "": this program's own. Tests set another one
	Object []byte // the programs; nil: this program's own. Tests set others

	dies    func(step string) error // tests: the process dies there
	testing bool                    // programs report verdicts to test runs
	tracing bool                    // programs write down their steps, and share nothing but what the goal says
}

func (o *Options) complete() error {
	if !o.Underlay.Is4() {
		return fmt.Errorf("underlay %v: an IPv4 address is needed", o.Underlay)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Layout == "" {
		o.Layout = layout
	}
	if o.Object == nil {
		o.Object = object
	}
	for _, n := range []struct {
		at  *int
		def int
	}{{&o.UnderlayMTU, 1600}, {&o.Flows, 1 << 18}, {&o.Ports, 1024}, {&o.Groups, 1024}} {
		if *n.at == 0 {
			*n.at = n.def
		}
	}
	if o.Quota == 0 {
		o.Quota = max(1, o.Flows/4)
	}
	if o.HalfOpen == 0 {
		o.HalfOpen = max(1, o.Flows/16)
	}
	if o.Ports > 1<<16-1 {
		return fmt.Errorf("ports %d: at most 65,535", o.Ports)
	}
	return nil
}

func (o *Options) die(step string) error {
	if o.dies == nil {
		return nil
	}
	return o.dies(step)
}

// Datapath is the handle of one host's data plane.
type Datapath struct {
	opts  Options
	coll  *ebpf.Collection
	clock *bpf.Clock
	stop  chan struct{}
	done  sync.WaitGroup

	closing sync.Once

	mu        sync.Mutex       // Apply and the Attach calls
	kernel    state            // what is programmed
	held      bpf.Hold         // every link that is pinned
	releasing map[retired]bool // slots that are about to be emptied
	older     *migration       // a set with another layout that is in force until the first goal is in ours; nil: none

	collecting sync.Mutex // the collector's key maps
	names      ruleNames
	proofs     proofs // of what is loaded
	tracer     tracer
	capturing  sync.Mutex // one capture at a time
}

// Probe says in one sentence what the running kernel lacks, or nil.
func Probe() error { return bpf.Probe() }

// Open loads the programs and makes the maps, or takes over the pinned ones with everything that is in them. Links that are
// pinned get the new programs at once.
func Open(o Options) (*Datapath, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("datapath: %w", err)
	}
	if err := bpf.Probe(); err != nil {
		return nil, fmt.Errorf("datapath: %w", err)
	}
	older, middle, err := o.prepare()
	if err != nil {
		return nil, fmt.Errorf("datapath: %w", err)
	}
	for _, dir := range []string{o.maps(), o.links()} {
		if err := bpf.EnsureFS(dir); err != nil {
			return nil, fmt.Errorf("datapath: %w", err)
		}
	}
	clock, err := bpf.NewClock()
	if err != nil {
		return nil, fmt.Errorf("datapath: %w", err)
	}
	_, err = os.Stat(filepath.Join(o.maps(), "flows4"))
	lost := errors.Is(err, fs.ErrNotExist)
	coll, err := load(o, clock.Hz)
	if err != nil {
		clock.Close()
		return nil, fmt.Errorf("datapath: %w", err)
	}
	d := &Datapath{opts: o, coll: coll, clock: clock, stop: make(chan struct{}), older: older}
	if err := d.start(lost && older == nil, middle); err != nil {
		d.held.Close()
		coll.Close()
		clock.Close()
		return nil, fmt.Errorf("datapath: %w", err)
	}
	d.done.Go(d.collectForever)
	return d, nil
}

func (d *Datapath) start(lost, middle bool) error {
	now, err := d.clock.Now()
	if err != nil {
		return err
	}
	if err := d.configure(func(c *hostConfig) {
		switch {
		case d.opts.Relearn == 0:
			c.Relearn = 0
		case lost:
			c.Relearn = now + uint64(d.opts.Relearn.Seconds()*float64(d.clock.Hz))
		}
		c.Underlay = d.opts.Underlay.As4()
		c.Frame = uint32(d.opts.UnderlayMTU - encapsulation)
	}); err != nil {
		return err
	}
	if d.older != nil && !middle {
		if err := d.seed(); err != nil {
			d.opts.Log.Warn("ports and flows of the programs in force are not taken over", "error", err)
		}
	}
	if err := d.changeMeta(func(m *meta) {
		if m.Pass == 0 {
			var b [8]byte
			rand.Read(b[:])
			m.Pass = binary.LittleEndian.Uint64(b[:]) | 1
		}
	}); err != nil {
		return err
	}
	if err := d.kernel.read(d.coll); err != nil {
		return err
	}
	switch {
	case d.older != nil && middle:
		return d.finishSwitch()
	case d.older != nil:
		return nil // the old set stays in force until the first goal is in the new maps
	}
	if err := d.relink(); err != nil {
		return err
	}
	return d.dropOldLayouts()
}

// dropOldLayouts lets go of maps that programs of another layout used.
func (d *Datapath) dropOldLayouts() error {
	old, err := filepath.Glob(filepath.Join(d.opts.Pin, "maps-*"))
	if err != nil {
		return err
	}
	marks, err := filepath.Glob(filepath.Join(d.opts.Pin, "switching-*"))
	if err != nil {
		return err
	}
	for _, dir := range append(old, marks...) { // the marks last: as long as there are two sets of maps, it is known which counts
		if dir == d.opts.maps() {
			continue
		}
		if err := dropMaps(dir); err != nil {
			return fmt.Errorf("drop pins of another layout: %w", err)
		}
	}
	return nil
}

// encapsulation is what VXLAN over IPv4 adds to an inner packet: Ethernet, VXLAN, UDP and IP headers.
const encapsulation = 14 + 8 + 8 + 20

func (o *Options) maps() string  { return filepath.Join(o.Pin, "maps-"+o.Layout) }
func (o *Options) links() string { return filepath.Join(o.Pin, "links") }

// Maps that belong to one set of programs; all others are the state that outlives it.
var ownMaps = []string{"scratch", "tellings", "gc_keys4", "gc_keys6", "gc_packet", "captured"}

func load(o Options, hz uint64) (*ebpf.Collection, error) {
	spec, err := bpf.Spec(o.Object)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{
		"device_ports": o.Ports * 2, "index_ports": o.Ports, "port_words": o.Ports, "port_records": o.Ports * 2, "port_flows": o.Ports, "fragments": o.Ports * 2, "port_buckets": o.Ports,
		"counters": o.Ports * counters, "vnet_slots": o.Ports, "vnet_words": o.Ports, "group_words": o.Groups, "group_slots": o.Groups,
		"flows4": o.Flows, "flows6": max(o.Flows/4, 1),
	}
	for _, c := range groupClasses {
		sizes[c.name] = 2 * o.Groups // the old and the new blob of every group
	}
	for _, c := range tableClasses {
		sizes[c.name] = 2 * o.Ports
	}
	for name, m := range spec.Maps {
		if n, ok := sizes[name]; ok {
			m.MaxEntries = uint32(n)
		}
		if o.shared(name) {
			m.Pinning = ebpf.PinByName
		}
	}
	if err := spec.Variables["hz"].Set(hz); err != nil {
		return nil, fmt.Errorf("set the clock: %w", err)
	}
	if o.testing {
		if err := spec.Variables["testing"].Set(uint32(1)); err != nil {
			return nil, fmt.Errorf("test mode: %w", err)
		}
	}
	delete(spec.Variables, "steps") // or the loader would map them into this process, where they outlive what is closed
	delete(spec.Variables, "watching")
	if o.tracing {
		if err := spec.Variables["tracing"].Set(uint32(1)); err != nil {
			return nil, fmt.Errorf("trace mode: %w", err)
		}
	}
	coll, err := bpf.Load(spec, o.maps())
	if err != nil {
		return nil, err
	}
	coll.Maps[".rodata"].Close() // the programs hold it; this process's mapping of it need not outlive them
	delete(coll.Maps, ".rodata")
	coll.Variables = nil
	return coll, nil
}

// configure changes the host's record.
func (d *Datapath) configure(change func(*hostConfig)) error {
	var c hostConfig
	m := d.coll.Maps["host_config"]
	if err := m.Lookup(uint32(0), &c); err != nil {
		return fmt.Errorf("read host configuration: %w", err)
	}
	change(&c)
	if err := m.Put(uint32(0), c); err != nil {
		return fmt.Errorf("write host configuration: %w", err)
	}
	return nil
}

// changeMeta changes what the agent keeps for its successors.
func (d *Datapath) changeMeta(change func(*meta)) error {
	var m meta
	if err := d.coll.Maps["host_meta"].Lookup(uint32(0), &m); err != nil {
		return fmt.Errorf("read host's own: %w", err)
	}
	change(&m)
	if err := d.coll.Maps["host_meta"].Put(uint32(0), m); err != nil {
		return fmt.Errorf("write host's own: %w", err)
	}
	return nil
}

// Generation is that of the last goal that is enforced, also after a restart.
func (d *Datapath) Generation() uint64 {
	var m meta
	if err := d.coll.Maps["host_meta"].Lookup(uint32(0), &m); err != nil {
		return 0
	}
	return m.Generation
}

// Close releases the process's handles; everything pinned stays in force.
func (d *Datapath) Close() error {
	d.closing.Do(func() {
		close(d.stop)
		d.done.Wait()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.older != nil {
			d.older.close()
		}
		d.held.Close()
		d.coll.Close()
		d.clock.Close()
		d.tracer.close()
	})
	return nil
}

// Remove takes the data plane off the host: links, programs, maps and pins.
func Remove(pin string) error {
	links := filepath.Join(pin, "links")
	entries, err := os.ReadDir(links)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("datapath: remove: %w", err)
	}
	for _, e := range entries {
		if err := bpf.Detach(filepath.Join(links, e.Name())); err != nil {
			return fmt.Errorf("datapath: remove: %w", err)
		}
	}
	if err := os.RemoveAll(pin); err != nil {
		return fmt.Errorf("datapath: remove: %w", err)
	}
	return nil
}
