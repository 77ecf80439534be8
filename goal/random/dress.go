package random

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"ringfence/goal/model"
)

// dress puts IPv4 options or IPv6 extension headers into a frame that has none: of any kind, in any order, well formed or not.
func dress(r *rand.Rand, f []byte) []byte {
	ether := uint16(0)
	if len(f) >= 14 {
		ether = binary.BigEndian.Uint16(f[12:])
	}
	switch {
	case ether == model.EtherIPv4 && len(f) >= 34 && f[14] == 0x45:
		o := options(r)
		f[14] += byte(len(o) / 4)
		binary.BigEndian.PutUint16(f[16:], binary.BigEndian.Uint16(f[16:])+uint16(len(o)))
		return slices.Insert(f, 34, o...)
	case ether == model.EtherIPv6 && len(f) >= 54:
		first, h := chain(r, f[20])
		f[20] = first
		binary.BigEndian.PutUint16(f[18:], binary.BigEndian.Uint16(f[18:])+uint16(len(h)))
		return slices.Insert(f, 54, h...)
	}
	return f
}

// options are up to 40 bytes.
func options(r *rand.Rand) []byte {
	room := 4 * (1 + r.IntN(10))
	var o []byte
	for len(o) < room {
		kind := []byte{1, 1, 7, 68, 130, 148, 131, 137, 0, byte(r.Uint32())}[r.IntN(10)]
		if kind < 2 {
			o = append(o, kind)
			continue
		}
		n := 2 + r.IntN(10)
		o = append(o, kind, byte(n))
		if r.IntN(12) == 0 {
			o[len(o)-1] = byte(r.Uint32())
		}
		for range n - 2 {
			o = append(o, byte(r.Uint32()))
		}
	}
	return o[:room]
}

// chain is up to eight headers before what has the number last.
func chain(r *rand.Rand, last byte) (first byte, b []byte) {
	kinds := []byte{60, 60, 60, 43, 44, 0, 51, byte(r.Uint32())}
	n := 1 + r.IntN(3)
	if r.IntN(4) == 0 {
		n = 5 + r.IntN(4)
	}
	next := last
	for range n {
		kind := kinds[r.IntN(len(kinds))]
		h := make([]byte, 8)
		if r.IntN(4) == 0 && kind != 44 {
			h = make([]byte, 8*(1+r.IntN(20)))
		}
		h[0], h[1] = next, byte(len(h)/8-1)
		switch kind {
		case 43:
			h[2], h[3] = byte(r.IntN(5)), byte(r.IntN(2)*r.IntN(3))
		case 44:
			h[3] = byte(r.IntN(2) * r.IntN(32))
			h[7] = byte(r.IntN(4))
		}
		if r.IntN(24) == 0 {
			h[1] = byte(r.Uint32())
		}
		next, b = kind, append(h, b...)
	}
	return next, b
}
