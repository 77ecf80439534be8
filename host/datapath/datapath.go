// Package datapath programs the kernel's packet path from a host's goal and reads back what happened there.
//
// In: goal.Host values through Apply and device numbers through the Attach calls. Out: verdicts on packets, made by the eBPF
// programs in bpf/, and counters, events and flows as observe's records. Programs, maps and links are pinned: they outlive
// the process, which may die at any instruction. Owned by host/agent, which is its only caller.
package datapath

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"

	"ringfence/goal"
	"ringfence/observe"
)

// Options says where the data plane lives and how large it may get. Zero numbers mean the defaults.
type Options struct {
	Pin         string       // directory on a BPF file system, owned by this host alone
	Instance    string       // lab or installation name
	Underlay    netip.Addr   // this host's tunnel endpoint
	UnderlayMTU int          // 0: 1600
	Log         *slog.Logger // nil: discarded
	Flows       int          // entries of the IPv4 flow table (the IPv6 table has a quarter): default 262,144
	Ports       int          // ports: default 1,024
	Groups      int          // rule groups bound to virtual networks: default 1,024
}

// Datapath is the handle of one host's data plane.
type Datapath struct{}

var errNotOpen = errors.New("datapath: not open")

// Probe says in one sentence what the running kernel lacks, or nil.
func Probe() error { return errNotOpen }

// Open loads the programs or takes over the pinned ones.
func Open(o Options) (*Datapath, error) { return nil, errNotOpen }

// AttachPort puts the programs on the host side of a port's device.
func (d *Datapath) AttachPort(ifindex int, index uint32) error { return errNotOpen }

// DetachPort removes them.
func (d *Datapath) DetachPort(index uint32) error { return errNotOpen }

// AttachOverlay puts the programs on the collect-metadata VXLAN device.
func (d *Datapath) AttachOverlay(ifindex int) error { return errNotOpen }

// AttachUplink closes the uplink device.
func (d *Datapath) AttachUplink(ifindex int) error { return errNotOpen }

// AttachService puts the programs on the host side of the service device.
func (d *Datapath) AttachService(ifindex int) error { return errNotOpen }

// Apply makes the kernel enforce h and returns when it does.
func (d *Datapath) Apply(ctx context.Context, h *goal.Host, devices func(port uint32) (ifindex int, ok bool)) error {
	return errNotOpen
}

// Drops reports every drop counter that is not zero.
func (d *Datapath) Drops() ([]observe.Drop, error) { return nil, errNotOpen }

// Traffic reports what every port's packets became.
func (d *Datapath) Traffic() ([]observe.Traffic, error) { return nil, errNotOpen }

// Events calls fn for dropped packets until ctx ends.
func (d *Datapath) Events(ctx context.Context, fn func(observe.Event)) error { return errNotOpen }

// Flows lists the flow table.
func (d *Datapath) Flows() ([]observe.Flow, error) { return nil, errNotOpen }

// Generation is that of the last goal that is enforced, also after a restart.
func (d *Datapath) Generation() uint64 { return 0 }

// Close releases the process's handles; everything pinned stays in force.
func (d *Datapath) Close() error { return nil }

// Remove takes the data plane off the host: links, programs, maps and pins.
func Remove(pin string) error { return errNotOpen }
