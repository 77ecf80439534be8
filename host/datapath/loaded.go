package datapath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"sort"

	"github.com/cilium/ebpf"
)

// What is read back from blobs, the way the programs read them (bpf/search.h, bpf/acl.h, bpf/route.h). Nothing here is shared with what
// writes them: a fault in the one is found by the other.

var errCut = errors.New("it points outside of itself")

// loadedBlob is the value that a word points to.
type loadedBlob []byte

func (b loadedBlob) u16(at uint32) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func (b loadedBlob) u32(at uint32) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func (b loadedBlob) u64(at uint32) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// holds says whether n values of size bytes are there and where the programs would read them.
func (b loadedBlob) holds(at uint32, n, size int) bool {
	return int(at)%size == 0 && int(at)+n*size <= len(b)
}

// blob reads what a word points to.
func (d *Datapath) blob(w blobWord, in []sizeClass) (loadedBlob, error) {
	if w.class() == 0 || w.class() > len(in) {
		return nil, fmt.Errorf("its word %#x names no table", uint64(w))
	}
	var inner *ebpf.Map
	class := in[w.class()-1]
	if err := d.coll.Maps[class.name].Lookup(w.slot(), &inner); err != nil {
		return nil, fmt.Errorf("%s slot %d: %w", class.name, w.slot(), err)
	}
	defer inner.Close()
	var b []byte
	if err := inner.Lookup(uint32(0), &b); err != nil {
		return nil, fmt.Errorf("%s slot %d: %w", class.name, w.slot(), err)
	}
	if len(b) != class.size {
		return nil, fmt.Errorf("%s slot %d: %d bytes", class.name, w.slot(), len(b))
	}
	return b, nil
}

// loadedField is a searchable array: the value of a key is that of the last boundary which is not above it.
type loadedField struct {
	starts []num
	values []uint32
}

func (b loadedBlob) field(at uint32, width, valueWidth int) (f loadedField, err error) {
	bounds, index, half := b.u32(at), b.u32(at+4), b.u64(at+8)
	if half > 1<<17 || bits.OnesCount64(half) > 1 {
		return f, fmt.Errorf("a search over %d boundaries", half)
	}
	n := max(1, 2*int(half))
	if !b.holds(bounds, n, width) || !b.holds(index, n, valueWidth) {
		return f, errCut
	}
	for i := range uint32(n) {
		f.starts = append(f.starts, b.boundary(bounds+i*uint32(width), width))
		if valueWidth == 2 {
			f.values = append(f.values, uint32(b.u16(index+2*i)))
		} else {
			f.values = append(f.values, b.u32(index+4*i))
		}
	}
	f.starts[0] = num{} // the search never looks at it
	if !slices.IsSortedFunc(f.starts, num.compare) {
		return f, errors.New("its boundaries are out of order")
	}
	return f, nil
}

func (b loadedBlob) boundary(at uint32, width int) num {
	switch width {
	case 2:
		return num{lo: uint64(b.u16(at))}
	case 4:
		return num{lo: uint64(b.u32(at))}
	}
	return num{b.u64(at), b.u64(at + 8)}
}

func (f *loadedField) at(key num) uint32 {
	i := sort.Search(len(f.starts), func(i int) bool { return f.starts[i].compare(key) > 0 })
	return f.values[i-1]
}

// canvas is a number line on which is painted what shall hold where: one bit per thing and interval.
type canvas struct {
	top   num // the highest number
	cuts  []num
	spans []paint
	words int
	bits  []uint64
}

type paint struct {
	lo, hi num
	bit    int
}

var (
	topOf4     = num{lo: 1<<32 - 1}
	topOf6     = num{^uint64(0), ^uint64(0)}
	topOfPorts = num{lo: 1<<16 - 1}
)

func newCanvas(top num, things int) *canvas {
	return &canvas{top: top, cuts: []num{{}}, words: max(1, (things+63)/64)}
}

func (c *canvas) span(lo, hi num, bit int) {
	c.spans = append(c.spans, paint{lo, hi, bit})
	c.cuts = append(c.cuts, lo)
	if hi != c.top {
		c.cuts = append(c.cuts, hi.next())
	}
}

func (c *canvas) prefixes(ps []netip.Prefix, bit int) {
	for _, p := range ps {
		if p.Addr().Is4() == (c.top == topOf4) {
			hi, _ := last(p)
			c.span(numOf(p.Masked().Addr()), hi, bit)
		}
	}
}

// done cuts the line at these boundaries too and paints.
func (c *canvas) done(also []num) {
	c.cuts = append(c.cuts, also...)
	slices.SortFunc(c.cuts, num.compare)
	c.cuts = slices.Compact(c.cuts)
	c.bits = make([]uint64, len(c.cuts)*c.words)
	for _, s := range c.spans {
		i, _ := slices.BinarySearchFunc(c.cuts, s.lo, num.compare)
		for ; i < len(c.cuts) && c.cuts[i].compare(s.hi) <= 0; i++ {
			c.bits[i*c.words+s.bit/64] |= 1 << (s.bit % 64)
		}
	}
}

func (c *canvas) vector(i int) []uint64 { return c.bits[i*c.words:][:c.words] }

// interval shows the numbers from one cut to the next.
func (c *canvas) interval(i int) string {
	end := c.top
	if i+1 < len(c.cuts) {
		end = c.cuts[i+1]
		if end.lo == 0 {
			end.hi--
		}
		end.lo--
	}
	if c.top == topOfPorts {
		return fmt.Sprintf("%d-%d", c.cuts[i].lo, end.lo)
	}
	return c.address(c.cuts[i]) + "-" + c.address(end)
}

func (c *canvas) address(n num) string {
	if c.top == topOf4 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(n.lo))
		return netip.AddrFrom4(b).String()
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], n.hi)
	binary.BigEndian.PutUint64(b[8:], n.lo)
	return netip.AddrFrom16(b).String()
}
