// Package alloc completes documents with what the system decides: addresses, MACs, port numbers, VNIs, names of domains,
// and the host of a virtual machine.
//
// In: a new or changed document and the snapshot it is judged on. Out: its System, and the claims that the transaction must
// make with it: etcd, not this package, decides races, and a lost one is allocated again on a newer snapshot. What a
// document has once it keeps for as long as it can. The server owns the Allocator.
package alloc

import (
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"time"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// Draft is a document on its way into the store.
type Draft struct {
	Base   *store.Snapshot
	Doc    *resource.Doc // its System is completed
	Claims []store.Claim // out: all that the document will hold
	Hosts  []string      // out: names of hosts that the placement relies on to take machines
}

// Allocator allocates. The zero value uses the system's clock and randomness.
type Allocator struct {
	Now  func() time.Time
	Rand io.Reader

	// FirstVNI and LastVNI are the pool for virtual networks; zero stands for the ends of what there is. What was given before stays.
	FirstVNI, LastVNI uint32
}

// Names of the types that get something allocated.
const (
	vnetType = "Microsoft.Network/virtualNetworks"
	nicType  = "Microsoft.Network/networkInterfaces"
	vmType   = "Microsoft.Compute/virtualMachines"
)

// Limits of the numbers that the data plane knows.
const (
	maxVNI  = 1<<24 - 1
	maxPort = 1<<22 - 2
)

// Allocate completes d.Doc.System and lists d.Claims. The error is resource.Faults; the draft is of no use then.
func (a *Allocator) Allocate(d *Draft) error {
	d.Claims, d.Hosts = nil, nil
	d.Doc.System = resource.System{}
	if old := d.Base.Get(d.Doc.Key()); old != nil {
		d.Doc.System = old.System
		d.Doc.System.Addresses = maps.Clone(old.System.Addresses)
		d.Doc.System.First, d.Doc.System.Rules = resource.Provenance(old, d.Doc)
	}
	sys := &d.Doc.System
	if sys.GUID == "" {
		sys.GUID = a.guid()
	}
	if sys.Created == "" {
		sys.Created = a.now().UTC().Format(time.RFC3339Nano)
	}
	switch d.Doc.ID.Type {
	case vnetType:
		return a.vnet(d).Err()
	case nicType:
		return a.nic(d).Err()
	case vmType:
		return a.vm(d).Err()
	}
	return nil
}

// claim adds to what the document will hold.
func (d *Draft) claim(key, owner string) {
	d.Claims = append(d.Claims, store.Claim{Key: key, Owner: owner})
}

// number keeps old or takes the lowest free number of a space.
func (d *Draft) number(space string, old uint32, lo, hi uint64, what string) (uint32, resource.Faults) {
	n := uint64(old)
	if n == 0 {
		var ok bool
		if n, ok = d.Base.LowestFree(space, lo, hi); !ok {
			return 0, refuse(409, "AllocationFailed", "", "Allocation failed. All %d %s are in use.", hi-lo+1, what)
		}
	}
	d.claim(store.Numbered(space, n), d.Doc.ID.String())
	return uint32(n), nil
}

func (a *Allocator) vnet(d *Draft) (faults resource.Faults) {
	sys := &d.Doc.System
	first, last := uint64(max(a.FirstVNI, 1)), uint64(maxVNI)
	if a.LastVNI != 0 {
		last = uint64(a.LastVNI)
	}
	if sys.VNI, faults = d.number("vni/", sys.VNI, first, last, "virtual network identifiers"); faults != nil {
		return faults
	}
	if sys.Domain == "" {
		sys.Domain = a.label(26) + ".rx.internal.cloudapp.net"
	}
	return nil
}

func (a *Allocator) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

func (a *Allocator) random(n int) []byte {
	from := a.Rand
	if from == nil {
		from = rand.Reader
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		panic(fmt.Sprintf("randomness: %v", err)) // names that repeat would be worse
	}
	return b
}

// guid is a random version 4 GUID.
func (a *Allocator) guid() string {
	b := a.random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// label is a DNS label of n characters of base 36.
func (a *Allocator) label(n int) string {
	const digits = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := a.random(n)
	for i := range b {
		b[i] = digits[int(b[i])%len(digits)]
	}
	return string(b)
}

func refuse(status int, code, target, format string, args ...any) resource.Faults {
	return resource.Faults{{Status: status, Code: code, Target: target, Message: fmt.Sprintf(format, args...)}}
}
