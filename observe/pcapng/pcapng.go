// Package pcapng writes captures in the format of the same name (draft-ietf-opsawg-pcapng), as tcpdump and Wireshark read it.
//
// In: Ethernet frames with their time, direction and a comment. Out: bytes of a file's header, of a packet, of a file's end. It
// belongs to observe; whoever captures writes the bytes where they shall go.
package pcapng

import (
	"encoding/binary"
	"time"
)

// Packet is one frame.
type Packet struct {
	Time    time.Time
	In      bool   // towards the interface
	Len     uint32 // of the whole frame
	Data    []byte // its beginning
	Comment string
}

// Blocks and options of the format.
const (
	sectionHeader  = 0x0a0d0d0a
	interfaceBlock = 1
	statistics     = 5
	packetBlock    = 6

	optionEnd     = 0
	optionComment = 1
	ifName        = 2
	ifResolution  = 9
	packetFlags   = 2
	ifDrop        = 5
	userApplied   = 4
	ethernet      = 1
)

// Header begins a file of one Ethernet interface; snap is how much of a frame is kept.
func Header(application, device string, snap uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0x1a2b3c4d)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0)) // length not told
	b = option(b, userApplied, []byte(application))
	out := block(nil, sectionHeader, end(b))
	b = binary.LittleEndian.AppendUint16(nil, ethernet)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, snap)
	b = option(b, ifName, []byte(device))
	b = option(b, ifResolution, []byte{9}) // nanoseconds
	return block(out, interfaceBlock, end(b))
}

// Append adds a packet to b.
func Append(b []byte, p Packet) []byte {
	body := binary.LittleEndian.AppendUint32(nil, 0)
	body = stamp(body, p.Time)
	body = binary.LittleEndian.AppendUint32(body, uint32(len(p.Data)))
	body = binary.LittleEndian.AppendUint32(body, p.Len)
	body = pad(append(body, p.Data...))
	flags := uint32(2) // outbound
	if p.In {
		flags = 1
	}
	body = option(body, packetFlags, binary.LittleEndian.AppendUint32(nil, flags))
	if p.Comment != "" {
		body = option(body, optionComment, []byte(p.Comment))
	}
	return block(b, packetBlock, end(body))
}

// Lost ends a file with the number of packets that are not in it.
func Lost(at time.Time, n uint64) []byte {
	body := stamp(binary.LittleEndian.AppendUint32(nil, 0), at)
	return block(nil, statistics, end(option(body, ifDrop, binary.LittleEndian.AppendUint64(nil, n))))
}

func stamp(b []byte, t time.Time) []byte {
	n := uint64(t.UnixNano())
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, uint32(n>>32)), uint32(n))
}

func block(b []byte, kind uint32, body []byte) []byte {
	total := uint32(12 + len(body))
	b = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, kind), total)
	return binary.LittleEndian.AppendUint32(append(b, body...), total)
}

// option adds one option; what is longer than the format holds is cut.
func option(b []byte, code uint16, value []byte) []byte {
	value = value[:min(len(value), 65000)]
	b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, code), uint16(len(value)))
	return pad(append(b, value...))
}

func end(b []byte) []byte { return append(b, optionEnd, 0, 0, 0) }

// pad fills up to 32 bits; what comes before is a whole number of words.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
