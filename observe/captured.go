package observe

import "time"

// Captured is one packet at the port that is looked at: as it came, or for packets that the VM gets, as it gets them.
type Captured struct {
	Time        time.Time
	Dir         Direction // the VM's
	Action      Action
	Reason      Reason // of a drop
	At          uint32 // the port where it was decided
	Group, Rule string // of a drop by a rule
	Revision    uint64 // of the store, that brought the rule
	Len         uint32 // of the whole frame
	Data        []byte // its beginning
}
