package datapath

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"

	"ringfence/goal"
)

// layout is the number of what bpf/state.h lays out. Pins of different layouts never meet: it is part of the pin directory.
const layout = "6"

// Go's view of bpf/state.h: the same fields in the same order, padding written out.

type hostConfig struct {
	Underlay                [4]byte
	Overlay, Service, Frame uint32
	Relearn                 uint64 // tick
}

type meta struct {
	Generation uint64
	Pass       uint64 // frames carry it that the programs send on a device; not zero
	Unused     [6]uint64
}

// How a frame gets to the other end of a port's device.
const (
	kindVeth = 0 // it is handed to the veth's other end
	kindTap  = 1 // it is sent on the device
)

const addrs = 4 // addresses of each family that a port's record itself holds

type subnet4 struct{ Net, Mask [4]byte }

type portRecord struct {
	Index, VNI, VNet, Ifindex uint32
	NICGroup, SubnetGroup     uint32
	Quota, HalfOpen, Idle     uint32
	MAC                       goal.MAC
	Has4, Has6, More, Kind    uint8
	Unused                    [2]uint8
	IP4                       [addrs][4]byte
	Net4                      [addrs]subnet4
	IP6                       [addrs][16]byte
	Limits                    [goal.LimitKinds]rateRecord
}

// rateRecord is a token bucket: one packet every Gap nanoseconds, Burst at once.
type rateRecord struct{ Gap, Burst uint32 }

// bucketRecord is what a port has taken out of its buckets.
type bucketRecord struct{ Until [8]uint64 }

// portWord publishes one half of a port's record: half:1 up:1 unready:1 unused:5 incarnation:16 slot:16 acl_epoch:24.
type portWord uint64

func (w portWord) half() uint32        { return uint32(w & 1) }
func (w portWord) up() bool            { return w>>1&1 == 1 }
func (w portWord) unready() bool       { return w&4 != 0 }
func (w portWord) incarnation() uint16 { return uint16(w >> 8) }
func (w portWord) epoch() uint32       { return uint32(w >> 40) }

// key names the port in the flow table.
func (w portWord) key() uint32 { return uint32(w >> 8) }

func makePortWord(half uint32, up bool, incarnation uint16, slot, epoch uint32) portWord {
	w := portWord(half&1) | portWord(incarnation)<<8 | portWord(slot&0xffff)<<24 | portWord(epoch&0xffffff)<<40
	if up {
		w |= 2
	}
	return w
}

// readied is w with the device up at both ends, or not.
func (w portWord) readied(ready bool) portWord {
	if ready {
		return w &^ 4
	}
	return w | 4
}

// blobWord says where a blob is: class:8 slot:24 epoch:32.
type blobWord uint64

func (w blobWord) class() int    { return int(w & 0xff) }
func (w blobWord) slot() uint32  { return uint32(w) >> 8 }
func (w blobWord) epoch() uint32 { return uint32(w >> 32) }

// among is the word, or one that points nowhere when there is no such class: somebody else wrote it.
func (w blobWord) among(in []sizeClass) blobWord {
	if w.class() > len(in) {
		return makeBlobWord(0, 0, w.epoch())
	}
	return w
}

func makeBlobWord(class int, slot, epoch uint32) blobWord {
	return blobWord(class&0xff) | blobWord(slot&0xffffff)<<8 | blobWord(epoch)<<32
}

type endpointKey struct {
	IP          [16]byte
	VNI, Unused uint32 // family in the top byte of VNI
}

type endpointValue struct {
	IP          [16]byte
	VNI         uint32
	Host        [4]byte
	Port        uint32
	Slot, Class uint16
	MAC         goal.MAC
	Flags       uint8
	Unused      uint8
}

const (
	atEndpoint = 1
	atPrefix   = 2
	atLocal    = 4
)

type flowKey4 struct {
	Port          uint32
	Local, Remote [4]byte
	LPort, RPort  uint16
	Proto         uint8
	Unused        [3]uint8
}

type flowKey6 struct {
	Local, Remote [16]byte
	Port          uint32
	LPort, RPort  uint16
	Proto         uint8
	Unused        [7]uint8
}

type flowValue struct {
	Seen               uint64
	DestSlot           uint32
	DestHost           [4]byte
	PeerWord           uint64
	ACLEpoch, FwdEpoch uint32
	State, TCP, Other  uint32
	Idle               uint16
	Dir, Unused        uint8
}

const (
	flowLive = 1
	flowDead = 2
)

// shareValue is how many flow entries a port has.
type shareValue struct{ Flows, HalfOpen uint32 }

// States of a TCP connection; tcp_after in bpf/flow.h moves them.
const (
	tcpHalfOpen  = 1
	tcpAnswered  = 2
	tcpFinOpener = 4
	tcpFinOther  = 8
	tcpReset     = 16
)

type ownKey struct {
	Port, Family uint32
	IP           [16]byte
}

type ruleKey struct {
	Rule      uint64
	Port, Dir uint32
}

type slotValue struct {
	Slot, Unused uint32
	Blob, Rules  [16]byte
}

type groupKey struct {
	Group [16]byte
	VNI   uint32
}

type classKey struct {
	Sets [16]byte
	VNI  uint32
}

type eventRecord struct {
	Time, Rule                uint64
	Port, Len                 uint32
	Src, Dst                  [16]byte
	Reason, Ether             uint16
	SPort, DPort              uint16
	Dir, Family, Proto, Flags uint8
	SMAC, DMAC                [6]byte
}

type tellingRecord struct{ Since, Told, Untold uint64 }

type gcContext struct{ Todo, N, Done, Family uint32 }

// devices is how many ifindexes are looked up in an array, larger ones in a hash.
const devices = 16384

// Counters of a slot: direction × 64 + reason, and the outcomes behind the reasons.
const (
	counters  = 128
	cSent     = 56
	cDeliver  = 57 // direction In
	cLocal    = 58
	cEncap    = 59
	cService  = 60
	cAnswered = 61
	cServed   = 62 // direction In
)

// addr16 is an address as the programs keep it; the family is kept beside it.
func addr16(ip netip.Addr) (b [16]byte) {
	if ip.Is4() {
		a := ip.As4()
		copy(b[12:], a[:])
		return b
	}
	return ip.As16()
}

func family(ip netip.Addr) uint32 {
	if ip.Is4() {
		return 4
	}
	return 6
}

func addrOf(b [16]byte, fam uint32) netip.Addr {
	if fam == 4 {
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return netip.AddrFrom16(b)
}

func endpointKeyOf(vni uint32, ip netip.Addr) endpointKey {
	return endpointKey{IP: addr16(ip), VNI: vni | family(ip)<<24}
}

// hash16 names a thing with a long name in maps that outlive the process.
func hash16(b []byte) [16]byte {
	s := sha256.Sum256(b)
	return [16]byte(s[:16])
}

// decode reads a record that a program wrote.
func decode(b []byte, v any) error {
	if n := binary.Size(v); len(b) < n {
		return fmt.Errorf("record of %d bytes, %d expected", len(b), n)
	}
	_, err := binary.Decode(b, binary.LittleEndian, v)
	return err
}
