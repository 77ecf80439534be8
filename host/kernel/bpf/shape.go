package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Shape is where the fields of a structure lie, as the programs that use it were compiled.
type Shape struct {
	Size   int
	fields map[string][2]int // name → offset and size
}

// ShapeOf reads the structure name from the types that a map was made with.
func ShapeOf(m *ebpf.Map, name string) (Shape, error) {
	h, err := m.Handle()
	if err != nil {
		return Shape{}, fmt.Errorf("types of %s: %w", m, err)
	}
	defer h.Close()
	spec, err := h.Spec(nil)
	if err != nil {
		return Shape{}, fmt.Errorf("types of %s: %w", m, err)
	}
	var t *btf.Struct
	if err := spec.TypeByName(name, &t); err != nil {
		return Shape{}, fmt.Errorf("types of %s: structure %s: %w", m, name, err)
	}
	s := Shape{Size: int(t.Size), fields: map[string][2]int{}}
	for _, f := range t.Members {
		size, err := btf.Sizeof(f.Type)
		if err != nil || f.BitfieldSize != 0 {
			return Shape{}, fmt.Errorf("structure %s: field %s has no size of whole bytes", name, f.Name)
		}
		s.fields[f.Name] = [2]int{int(f.Offset.Bytes()), size}
	}
	return s, nil
}

// Has says whether the structure has all these fields.
func (s Shape) Has(names ...string) bool {
	for _, n := range names {
		if _, ok := s.fields[n]; !ok {
			return false
		}
	}
	return true
}

// Reshape makes a value of shape to from one of shape s: fields of one name are taken over, little-endian numbers grow or shrink at
// their end, what is new is zero.
func (s Shape) Reshape(value []byte, to Shape) []byte {
	out := make([]byte, to.Size)
	for name, f := range to.fields {
		if old, ok := s.fields[name]; ok && name != "unused" {
			n := min(old[1], f[1])
			copy(out[f[0]:f[0]+n], value[old[0]:old[0]+n])
		}
	}
	return out
}

// Field is one field of a value; changing it changes the value.
func (s Shape) Field(value []byte, name string) []byte {
	f := s.fields[name]
	return value[f[0] : f[0]+f[1]]
}
