package goal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// A group in binary form is what travels between processes: full groups are large, and JSON costs ten times as much to write and to read.
// The form is exact: equal groups have equal bytes, and reading gives back what was written, but that an empty list may come back as none.
const groupForm = 1

var errBinary = errors.New("malformed group")

// AppendGroup appends g in binary form: a byte for the form, then its fields in their order. Numbers are uvarints, texts and lists have
// their length in front, a prefix is the length of its address (4 or 16), the address and its bits.
func AppendGroup(b []byte, g *Group) []byte {
	b = append(b, groupForm)
	b = appendText(b, g.ID)
	b = append(b, flags(g.Flush))
	for _, rules := range [][]Rule{g.In, g.Out} {
		b = binary.AppendUvarint(b, uint64(len(rules)))
		for i := range rules {
			b = appendRule(b, &rules[i])
		}
	}
	return b
}

func appendRule(b []byte, r *Rule) []byte {
	b = appendText(b, r.Name)
	b = binary.AppendUvarint(b, uint64(r.Priority))
	b = append(b, flags(r.Allow, r.Src.Any, r.Dst.Any), r.Protocol)
	b = binary.AppendUvarint(b, r.Revision)
	for _, m := range []*Match{&r.Src, &r.Dst} {
		b = binary.AppendUvarint(b, uint64(len(m.Prefixes)))
		for _, p := range m.Prefixes {
			a := p.Addr().AsSlice()
			b = append(append(append(b, byte(len(a))), a...), byte(p.Bits()))
		}
		b = binary.AppendUvarint(b, uint64(len(m.Sets)))
		for _, s := range m.Sets {
			b = appendText(b, s)
		}
	}
	for _, ports := range [][]PortRange{r.SrcPorts, r.DstPorts} {
		b = binary.AppendUvarint(b, uint64(len(ports)))
		for _, p := range ports {
			b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, p.Lo), p.Hi)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func flags(bits ...bool) byte {
	var f byte
	for i, on := range bits {
		if on {
			f |= 1 << i
		}
	}
	return f
}

// ReadGroup reads what AppendGroup wrote: all of b, or nothing. It allocates no more than a small multiple of b.
func ReadGroup(b []byte) (Group, error) {
	r := &reader{rest: b}
	var g Group
	if r.byte() != groupForm {
		r.fail("its form is not known")
	}
	g.ID = r.text()
	g.Flush = r.flags(1)&1 != 0
	for _, rules := range []*[]Rule{&g.In, &g.Out} {
		n := r.length(12) // no rule is shorter
		if n > 0 {
			*rules = make([]Rule, n)
		}
		for i := range *rules {
			r.rule(&(*rules)[i])
		}
	}
	if len(r.rest) > 0 {
		r.fail("%d bytes are left", len(r.rest))
	}
	if r.err != nil {
		return Group{}, r.err
	}
	return g, nil
}

// reader takes values from the front; after a fault it gives zeros.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errBinary, fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail("it ends early")
		return make([]byte, min(n, 16))
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte { return r.take(1)[0] }

func (r *reader) flags(n int) byte {
	f := r.byte()
	if f>>n != 0 {
		r.fail("flags %#x", f)
	}
	return f
}

func (r *reader) number(most uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || v > most || n > 1 && r.rest[n-1] == 0 { // the shortest form only
		r.fail("a number")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// length is that of a list whose elements take at least size bytes each.
func (r *reader) length(size int) int { return int(r.number(uint64(len(r.rest) / size))) }

func (r *reader) text() string {
	n := r.length(1)
	if r.err != nil {
		return ""
	}
	return string(r.take(n))
}

func (r *reader) rule(out *Rule) {
	out.Name = r.text()
	out.Priority = uint16(r.number(65535))
	f := r.flags(3)
	out.Allow, out.Src.Any, out.Dst.Any = f&1 != 0, f&2 != 0, f&4 != 0
	out.Protocol = r.byte()
	out.Revision = r.number(1<<64 - 1)
	for _, m := range []*Match{&out.Src, &out.Dst} {
		if n := r.length(6); n > 0 {
			m.Prefixes = make([]netip.Prefix, n)
		}
		for i := range m.Prefixes {
			m.Prefixes[i] = r.prefix()
		}
		if n := r.length(1); n > 0 {
			m.Sets = make([]string, n)
		}
		for i := range m.Sets {
			m.Sets[i] = r.text()
		}
	}
	for _, ports := range []*[]PortRange{&out.SrcPorts, &out.DstPorts} {
		if n := r.length(4); n > 0 {
			*ports = make([]PortRange, n)
		}
		for i := range *ports {
			(*ports)[i] = PortRange{binary.BigEndian.Uint16(r.take(2)), binary.BigEndian.Uint16(r.take(2))}
		}
	}
}

func (r *reader) prefix() netip.Prefix {
	n := r.byte()
	if n != 4 && n != 16 {
		r.fail("an address of %d bytes", n)
		return netip.Prefix{}
	}
	a, _ := netip.AddrFromSlice(r.take(int(n)))
	p := netip.PrefixFrom(a, int(r.byte()))
	if !p.IsValid() {
		r.fail("prefix %s", p)
	}
	return p
}
