package model

import "time"

// Idle times. A VNet may set another one for what is established.
const (
	idleDefault = 4 * time.Minute
	idleOpening = time.Minute
	idleClosed  = 10 * time.Second // after the last change of state: what is closed is not kept alive
	idleEcho    = time.Minute
	tick        = time.Second // clocks of flows move in such steps
)

// tcpState is what a flow knows of its TCP connection, by flags alone: sequence numbers are the ends' own matter.
type tcpState struct {
	halfOpen bool // until the opener has acknowledged the answer
	answered bool
	finOpener,
	finOther,
	reset bool
}

func (s tcpState) closed() bool { return s.reset || s.finOpener && s.finOther }

// flagsKnown: the combinations that TCP has; PSH, ECE and CWR stand beside any.
func flagsKnown(flags uint8) bool {
	switch flags & (FIN | SYN | RST | ACK | URG) {
	case SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | URG, ACK | URG, FIN | ACK | URG:
		return true
	}
	return false
}

// after is the state after a segment; back: from the end that did not open the connection. It is not ok when the state does not
// allow the segment:
//
//	while half open, from the opener: before the answer nothing but SYN and RST
//	while half open, from the other end: before its answer no FIN
//
// A bare ACK from the other end may be its word about an older connection, so that the opener resets it; a SYN may cross the
// opener's. On an established connection SYN and SYN ACK change nothing: their receiver answers them, or not.
func (s tcpState) after(flags uint8, back bool) (next tcpState, ok bool) {
	next = s
	fin := flags&FIN != 0
	switch {
	case flags&RST != 0:
		next.reset, next.halfOpen = true, false
		return next, true
	case s.closed(): // stragglers
		return s, true
	case flags&SYN != 0 && !s.halfOpen:
		return s, true
	case flags&SYN != 0 && back:
		next.answered = true
		return next, true
	case flags&SYN != 0 && flags&ACK == 0: // once more
		return s, true
	case s.halfOpen && back && fin && !s.answered:
		return s, false
	case s.halfOpen && !back && !s.answered:
		return s, false
	case s.halfOpen && !back:
		next.halfOpen = false
	}
	if fin {
		next.finOther, next.finOpener = next.finOther || back, next.finOpener || !back
	}
	return next, true
}
