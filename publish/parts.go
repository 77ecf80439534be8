package publish

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"unsafe"

	"ringfence/goal"
)

// Hash names a part by its content.
type Hash string

func hashOf(body []byte) Hash {
	sum := sha256.Sum256(body)
	return Hash(base64.RawStdEncoding.EncodeToString(sum[:]))
}

// manifest is a goal taken apart: what is sent of it depends on what the host has.
type manifest struct {
	frame   goalFrame // without parts
	parts   map[Hash]json.RawMessage
	content Hash // of everything but the generation
}

// lacking is the frame for a host that has some parts already.
func (m *manifest) lacking(has map[Hash]bool) *goalFrame {
	f := m.frame
	f.Parts = nil
	sent := map[Hash]bool{}
	for _, list := range [][]Hash{f.Ports, f.VNets, f.Groups} {
		for _, h := range list {
			if !has[h] && !sent[h] {
				sent[h] = true
				f.Parts = append(f.Parts, m.parts[h])
			}
		}
	}
	return &f
}

// names is the set of parts the host has after it got the manifest.
func (m *manifest) names() map[Hash]bool {
	out := make(map[Hash]bool, len(m.parts))
	for h := range m.parts {
		out[h] = true
	}
	return out
}

// encoder takes goals apart. Goals of one revision and of the next share memory, so a group or virtual network that is the same
// memory as before is not encoded again. Entries that a whole round did not use are forgotten.
type encoder struct {
	mu        sync.Mutex
	now, last map[any]part
}

type part struct {
	hash  Hash
	body  json.RawMessage
	value any // keeps the memory that the key points to
}

// next begins a round.
func (e *encoder) next() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last, e.now = e.now, map[any]part{}
}

// groupKey and vnetKey are identities of immutable values: the same pointers mean the same content.
type groupKey struct {
	id      string
	flush   bool
	in, out *goal.Rule
	ni, no  int
}

type vnetKey struct {
	vni        uint32
	id         string
	idle       uint16
	prefixes   unsafe.Pointer
	sets       *goal.Set
	endpoints  *goal.Endpoint
	np, ns, ne int
}

func keyOfGroup(g *goal.Group) any {
	return groupKey{g.ID, g.Flush, unsafe.SliceData(g.In), unsafe.SliceData(g.Out), len(g.In), len(g.Out)}
}

func keyOfVNet(v *goal.VNet) any {
	return vnetKey{v.VNI, v.ID, v.IdleMinutes, unsafe.Pointer(unsafe.SliceData(v.Prefixes)), unsafe.SliceData(v.Sets),
		unsafe.SliceData(v.Endpoints), len(v.Prefixes), len(v.Sets), len(v.Endpoints)}
}

func (e *encoder) encode(key, value any) (part, error) {
	if key != nil {
		e.mu.Lock()
		p, ok := e.now[key]
		if !ok {
			if p, ok = e.last[key]; ok {
				e.now[key] = p
			}
		}
		e.mu.Unlock()
		if ok {
			return p, nil
		}
	}
	body, err := json.Marshal(value)
	if err != nil {
		return part{}, err
	}
	p := part{hash: hashOf(body), body: body, value: value}
	if key != nil {
		e.mu.Lock()
		e.now[key] = p
		e.mu.Unlock()
	}
	return p, nil
}

// take makes a goal's manifest.
func (e *encoder) take(h *goal.Host) (*manifest, error) {
	m := &manifest{parts: map[Hash]json.RawMessage{},
		frame: goalFrame{Name: h.Name, Generation: h.Generation, Underlay: h.Underlay}}
	add := func(list *[]Hash, key, value any) error {
		p, err := e.encode(key, value)
		if err != nil {
			return fmt.Errorf("encode goal of %s: %w", h.Name, err)
		}
		*list = append(*list, p.hash)
		m.parts[p.hash] = p.body
		return nil
	}
	for i := range h.Ports {
		if err := add(&m.frame.Ports, nil, &h.Ports[i]); err != nil {
			return nil, err
		}
	}
	for i := range h.VNets {
		if err := add(&m.frame.VNets, keyOfVNet(&h.VNets[i]), &h.VNets[i]); err != nil {
			return nil, err
		}
	}
	for i := range h.Groups {
		if err := add(&m.frame.Groups, keyOfGroup(&h.Groups[i]), &h.Groups[i]); err != nil {
			return nil, err
		}
	}
	bare := m.frame
	bare.Generation = 0
	text, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	m.content = hashOf(text)
	return m, nil
}

// assembler puts goals together at the host. It holds the parts of the newest goal and nothing else.
type assembler struct {
	parts map[Hash]json.RawMessage
}

// put returns the complete goal of a frame. A frame that names a part that is neither held nor sent is an error.
func (a *assembler) put(f *goalFrame) (*goal.Host, error) {
	sent := make(map[Hash]json.RawMessage, len(f.Parts))
	for _, body := range f.Parts {
		sent[hashOf(body)] = body
	}
	keep := map[Hash]json.RawMessage{}
	find := func(h Hash) (json.RawMessage, error) {
		body, ok := sent[h]
		if !ok {
			body, ok = a.parts[h]
		}
		if !ok {
			return nil, fmt.Errorf("goal %d names part %q, which was never sent", f.Generation, h)
		}
		keep[h] = body
		return body, nil
	}
	out := &goal.Host{Name: f.Name, Generation: f.Generation, Underlay: f.Underlay}
	var err error
	if out.Ports, err = gather[goal.Port](f.Ports, find); err != nil {
		return nil, err
	}
	if out.VNets, err = gather[goal.VNet](f.VNets, find); err != nil {
		return nil, err
	}
	if out.Groups, err = gather[goal.Group](f.Groups, find); err != nil {
		return nil, err
	}
	a.parts = keep
	return out, nil
}

func gather[T any](names []Hash, find func(Hash) (json.RawMessage, error)) ([]T, error) {
	var out []T
	for _, h := range names {
		body, err := find(h)
		if err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, fmt.Errorf("part %q: %w", h, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// have lists the held parts.
func (a *assembler) have() []Hash {
	out := make([]Hash, 0, len(a.parts))
	for h := range a.parts {
		out = append(out, h)
	}
	return out
}
