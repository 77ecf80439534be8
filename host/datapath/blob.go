package datapath

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
)

// sizeClass is a map of maps whose inner maps hold one value of one size.
type sizeClass struct {
	name string
	size int
}

// The number of a class in a blobWord is its index here plus one.
var (
	groupClasses = []sizeClass{
		{"group_2k", 2 << 10}, {"group_8k", 8 << 10}, {"group_32k", 32 << 10}, {"group_128k", 128 << 10},
		{"group_256k", 256 << 10}, {"group_1m", 1 << 20}, {"group_8m", 8 << 20},
	}
	tableClasses = []sizeClass{{"vnet_2k", 2 << 10}, {"vnet_32k", 32 << 10}, {"vnet_512k", 512 << 10}, {"vnet_8m", 8 << 20}}
)

// fit pads a blob to the smallest class that holds it.
func fit(b []byte, in []sizeClass) (class int, padded []byte, err error) {
	for i, c := range in {
		if len(b) <= c.size {
			n := len(b)
			b = slices.Grow(b, c.size-n)[:c.size]
			clear(b[n:])
			return i + 1, b, nil
		}
	}
	return 0, nil, fmt.Errorf("compiled form of %d bytes is larger than %d", len(b), in[len(in)-1].size)
}

// writer lays out a blob. Offsets that are not known yet are filled in later.
type writer struct{ b []byte }

func (w *writer) align(n int) {
	for len(w.b)%n != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }

func (w *writer) put32(at int, v uint32) { binary.LittleEndian.PutUint32(w.b[at:], v) }
func (w *writer) put16(at int, v uint16) { binary.LittleEndian.PutUint16(w.b[at:], v) }
func (w *writer) put64(at int, v uint64) { binary.LittleEndian.PutUint64(w.b[at:], v) }

// intervals is a searchable field: sorted starts, the first 0, with an index each.
type intervals struct {
	starts []num
	index  []uint32
}

func (f *intervals) add(start num, index uint32) {
	if n := len(f.index); n > 0 && f.index[n-1] == index {
		return
	}
	f.starts = append(f.starts, start)
	f.index = append(f.index, index)
}

// steps of a binary search; the arrays are filled up to 2^steps.
func (f *intervals) steps() int { return bits.Len(uint(len(f.starts) - 1)) }

// field writes the arrays and the struct field at. Boundaries are of width bytes, indices of indexWidth.
func (w *writer) field(at int, f *intervals, width, indexWidth int) error {
	if f.steps() > 18 || width == 2 && f.steps() > 16 {
		return fmt.Errorf("%d intervals are too many", len(f.starts))
	}
	n := 1 << f.steps()
	w.b = slices.Grow(w.b, n*(width+indexWidth)+32)
	w.align(16)
	w.put32(at, uint32(len(w.b)))
	for i := range n {
		s := num{^uint64(0), ^uint64(0)}
		if i < len(f.starts) {
			s = f.starts[i]
		}
		switch width {
		case 2:
			w.u16(uint16(s.lo))
		case 4:
			w.u32(uint32(s.lo))
		case 16:
			w.u64(s.hi)
			w.u64(s.lo)
		}
	}
	w.align(4)
	w.put32(at+4, uint32(len(w.b)))
	for i := range n {
		v := f.index[min(i, len(f.index)-1)]
		if indexWidth == 2 {
			w.u16(uint16(v))
		} else {
			w.u32(v)
		}
	}
	w.put64(at+8, uint64(n)/2)
	return nil
}
