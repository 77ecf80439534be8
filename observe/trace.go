package observe

import "net/netip"

// Action is what becomes of a packet; the numbers are the kernel's.
type Action uint8

// The actions.
const (
	Undecided    Action = iota
	Dropped             // for a reason
	Delivered           // to a VM of this host
	Encapsulated        // to another host
	Served              // to the host's services
	Answered            // in the VM's place
)

func (a Action) String() string {
	if int(a) >= 6 {
		return "undecided"
	}
	return [...]string{"undecided", "drop", "deliver", "encap", "service", "answer"}[a]
}

// Step is one layer's word on the way of a traced packet.
type Step struct {
	Port        uint32
	Dir         Direction
	Layer, Word string
	Group, Rule string // of acl: which rule spoke
	Revision    uint64 // of the store, that brought the rule
	Reason      Reason // of a drop
}

// Trace is what one host does with a packet, step by step.
type Trace struct {
	Steps  []Step
	Action Action
	Reason Reason     // of a drop
	Port   uint32     // where it was decided
	Host   netip.Addr // Encapsulated: tunnel endpoint of the next host
	VNI    uint32     // Encapsulated
	Frame  []byte     // as it leaves this host
}
