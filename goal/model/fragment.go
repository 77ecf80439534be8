package model

import (
	"slices"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// What the fabric remembers of datagrams that come in fragments, for every port and direction.
const (
	Datagrams    = 32 // the newest take the places of the oldest
	Ranges       = 24 // of bytes of one datagram, between which something is missing
	FragmentTime = 30 * time.Second
)

// Fragment is which part of a datagram a packet carries; that of a whole packet is zero.
type Fragment struct {
	ID            uint32
	First, Behind int  // bytes of the datagram: the first one here, and the one behind the last here
	Last          bool // nothing of the datagram lies behind
}

func (f Fragment) later() bool { return f.First > 0 }
func (f Fragment) first() bool { return f.First == 0 && f.Behind > 0 }

// datagram is what a first fragment has told, and what has come.
type datagram struct {
	packet  Packet
	made    time.Duration
	total   int        // bytes, once the last fragment has come
	came    []Fragment // ranges that neither overlap nor touch
	refused bool       // fragments of it overlap
	done    bool
}

// follow gives a later fragment what its first one has told: it is judged as that was. A first one must not come twice.
func (w *walk) follow(at end) Verdict {
	f := w.p.Fragment
	if f.Behind == 0 {
		return Verdict{}
	}
	i := slices.IndexFunc(w.m.datagrams[at], func(d *datagram) bool { return d.has(w.p) && !d.done && w.m.now-d.made < FragmentTime })
	switch {
	case i < 0 && f.first():
		return Verdict{}
	case i < 0:
		return w.drop(observe.FlowNoFirst)
	}
	d := w.m.datagrams[at][i]
	if r := d.claim(f); r != observe.None {
		return w.drop(r)
	}
	told := d.packet
	w.p.Protocol, w.p.SrcPort, w.p.DstPort, w.p.TCPFlags = told.Protocol, told.SrcPort, told.DstPort, told.TCPFlags
	w.p.ICMPType, w.p.ICMPID = told.ICMPType, told.ICMPID
	return Verdict{}
}

// has says whether p is a fragment of d. Of IPv6, only the first fragment tells the protocol.
func (d *datagram) has(p Packet) bool {
	q := d.packet
	return q.Src == p.Src && q.Dst == p.Dst && q.Fragment.ID == p.Fragment.ID && (!q.Src.Is4() || q.Protocol == p.Protocol)
}

// claim takes a fragment into what has come. What has come already is not taken again; what overlaps otherwise, or tells another
// length, ends the datagram.
func (d *datagram) claim(f Fragment) observe.Reason {
	overlaps := d.total > 0 && (f.Last && f.Behind != d.total || f.Behind > d.total)
	covered := false
	for _, c := range d.came {
		switch {
		case f.Last && c.Behind > f.Behind:
			overlaps = true
		case f.First >= c.First && f.Behind <= c.Behind:
			covered = true
		case f.First < c.Behind && f.Behind > c.First:
			overlaps = true
		}
	}
	d.refused = d.refused || overlaps
	if covered || d.refused {
		return observe.FlowOverlap
	}
	if f.Last {
		d.total = f.Behind
	}
	return d.join(f)
}

// join adds a range and makes one of those that touch.
func (d *datagram) join(f Fragment) observe.Reason {
	rest := slices.DeleteFunc(slices.Clone(d.came), func(c Fragment) bool {
		switch {
		case c.Behind == f.First:
			f.First = c.First
		case c.First == f.Behind:
			f.Behind = c.Behind
		default:
			return false
		}
		return true
	})
	if len(rest) == Ranges {
		return observe.FlowFragments
	}
	d.came = append(rest, Fragment{First: f.First, Behind: f.Behind})
	d.done = f.First == 0 && f.Behind == d.total
	return observe.None
}

// remember keeps what a first fragment tells, once it has passed.
func (w *walk) remember(at end) {
	f := w.p.Fragment
	if !f.first() {
		return
	}
	d := &datagram{packet: w.p, made: w.m.now, came: []Fragment{{First: 0, Behind: f.Behind}}}
	all := append(w.m.datagrams[at], d)
	w.m.datagrams[at] = all[max(0, len(all)-Datagrams):]
}

// place reads where a fragment of n bytes lies. One that is the whole packet is none.
func (p *Packet) place(id uint32, first, n int, more bool) {
	switch {
	case n == 0, more && n%8 != 0, first+n > 65535:
		p.BadFragment = true
	case first > 0 || more:
		p.Fragment = Fragment{ID: id, First: first, Behind: first + n, Last: !more}
	}
}

// endedBy says whether a later fragment may be read no further: it tells only what IP says of it.
func (p *Packet) endedBy() bool { return p.BadFragment || p.Fragment.later() }

// whole: what ends at the host itself comes in one piece and without options.
func whole(p Packet) observe.Reason {
	switch {
	case p.Fragment.Behind > 0:
		return observe.GuardFragment
	case p.OptionBytes > 0:
		return observe.GuardOptions
	}
	return observe.None
}

// ownLater: the source and the destination of a later fragment, which are all that it tells.
func ownLater(port *goal.Port, p Packet) observe.Reason {
	if !p.Fragment.later() {
		return observe.None
	}
	return addressed(port, p)
}

// extension says whether an IPv6 header is followed by another.
func extension(next uint8) bool {
	return next == hopByHop || next == routing || next == fragment || next == destination
}

const (
	hopByHop    uint8 = 0
	routing     uint8 = 43
	fragment    uint8 = 44
	destination uint8 = 60

	looseRoute  uint8 = 131 // IPv4 options
	strictRoute uint8 = 137

	extensions     = 6 // headers
	extensionBytes = 256
)

// parseOptions wants well-formed IPv4 options, and no source route among them.
func (p *Packet) parseOptions(b []byte) {
	p.OptionBytes = len(b)
	for len(b) > 0 && b[0] != 0 {
		switch {
		case b[0] == 1:
			b = b[1:]
			continue
		case len(b) < 2 || b[1] < 2 || int(b[1]) > len(b):
			p.Malformed = true
			return
		case b[0] == looseRoute || b[0] == strictRoute:
			p.Options = true
			return
		}
		b = b[b[1]:]
	}
}

// parseExtensions walks the headers behind an IPv6 header: at most six of 256 bytes in all, options of every router first, no way to
// go, one fragment header.
func (p *Packet) parseExtensions(b []byte) {
	pieces := 0
	for n := range extensions + 1 {
		if !extension(p.Protocol) {
			p.parseL4(b)
			return
		}
		if n == extensions {
			break
		}
		size := 8
		if len(b) >= 8 && p.Protocol != fragment {
			size = (int(b[1]) + 1) * 8
		}
		if len(b) < size {
			p.Malformed = true
			return
		}
		if p.Protocol == fragment {
			pieces++
		}
		if p.OptionBytes+size > extensionBytes || p.Protocol == hopByHop && n > 0 || p.Protocol == routing && (b[2] == 0 || b[3] > 0) || pieces > 1 {
			break
		}
		p.OptionBytes += size
		h, was := b[:size], p.Protocol
		b, p.Protocol = b[size:], h[0]
		if was == fragment {
			at := int(h[2])<<8 | int(h[3])
			id := uint32(h[4])<<24 | uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7])
			if p.place(id, at&0xfff8, len(b), at&1 != 0); p.endedBy() {
				return
			}
			pieces = 1
		}
	}
	p.Options = true
}

// quoted6 finds what an IPv6 packet carries that an error quotes: its protocol and where the quote goes on with that.
func quoted6(b []byte) (protocol uint8, l4 []byte, ok bool) {
	protocol, l4 = b[6], b[ipv6Len:]
	for range extensions {
		if len(l4) < 8 {
			return 0, nil, false
		}
		size := 8
		switch protocol {
		case hopByHop, routing, destination:
			size = (int(l4[1]) + 1) * 8
		case fragment:
			if l4[2] != 0 || l4[3]&0xf8 != 0 {
				return 0, nil, false
			}
		default:
			return protocol, l4, true
		}
		if len(l4) < size {
			return 0, nil, false
		}
		protocol, l4 = l4[0], l4[size:]
	}
	return protocol, l4, len(l4) >= 8
}
