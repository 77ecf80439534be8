package observe

import (
	"net/netip"
	"time"
)

// Direction is always the VM's: Out leaves it, In enters it.
type Direction uint8

// The two directions; the numbers are the kernel's.
const (
	Out Direction = iota
	In
)

func (d Direction) String() string {
	if d == In {
		return "in"
	}
	return "out"
}

// Drop is one counter of dropped packets. Port 0 is the host itself (uplink, overlay frames of no known port).
// Group and Rule are set when a security rule decided; such a count is part of the one of the same port, direction and
// reason without a rule, which is why Datapath.Drops reports the remainder without a rule separately.
type Drop struct {
	Port     uint32
	Dir      Direction
	Reason   Reason
	Group    string // ARM id of the NSG
	Rule     string // Rule.Name
	Revision uint64 // of the store, that brought the rule as it is now; 0: not known
	Packets  uint64
}

// Traffic counts what a port's packets became when they were not dropped. A port's Sent is the sum of all the others of
// the same sender and its drops.
type Traffic struct {
	Port      uint32
	Sent      uint64 // came from the VM
	Delivered uint64 // handed to the VM, from a VM of this host or from another host
	Local     uint64 // from this VM, accepted by a VM of this host
	Encap     uint64 // from this VM to another host
	Service   uint64 // from this VM to the host's services
	Answered  uint64 // answered in place: ARP, neighbour solicitations, packets too big for the tunnel
	Served    uint64 // frames of the host's services handed to the VM
}

// Tuple is what a packet is judged by.
type Tuple struct {
	Protocol         uint8
	Src, Dst         netip.Addr
	SrcPort, DstPort uint16 // for ICMP: the type, twice
}

// Event is one packet that was dropped. Events are limited at their source; counters are not.
type Event struct {
	Time           time.Time
	Port           uint32
	Dir            Direction
	Reason         Reason
	Group, Rule    string // the deciding NSG and rule, when there is one
	Revision       uint64 // of the store, that brought the rule; 0: not known
	EtherType      uint16
	SrcMAC, DstMAC [6]byte
	Tuple          Tuple
	TCPFlags       uint8
	Len            uint32
}

// Flow is one entry of the flow table: one direction pair as one port sees it.
type Flow struct {
	Port                  uint32
	Protocol              uint8
	Local, Remote         netip.Addr
	LocalPort, RemotePort uint16 // for ICMP echo: the identifier and 0
	State                 string // opening, established, closing, closed
	Idle, Timeout         time.Duration
	PeerPort              uint32     // the remote end when it is on this host
	PeerHost              netip.Addr // the host of the remote end otherwise
}
