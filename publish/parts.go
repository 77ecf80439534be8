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

// lacking is the frame for a host that has some parts already. A later revision with the same content is a generation of its own.
func (m *manifest) lacking(has map[Hash]bool, generation uint64) *goalFrame {
	f := m.frame
	f.Host.Generation = generation
	f.Parts = nil
	sent := map[Hash]bool{}
	for _, list := range [][]Hash{f.Ports, f.VNets, f.Groups, f.Zones} {
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
	now, last map[string]part
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
	e.last, e.now = e.now, map[string]part{}
}

// identity is a value's memory without what its pointers lead to. Goals are immutable and the encoder keeps what it has seen, so that
// equal identities mean equal contents; the reverse need not hold.
func identity[T any](v *T) string {
	return fmt.Sprintf("%T", v) + string(unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)))
}

// encode makes a part, or takes the one that was made of the same memory before.
func encode[T any](e *encoder, value *T) (part, error) {
	key := identity(value)
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
	body, err := write(value)
	if err != nil {
		return part{}, err
	}
	p = part{hash: hashOf(body), body: body, value: *value}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now[key] = p
	return p, nil
}

// write gives a part's bytes: a group is large and has a form of its own, which does not begin as JSON does.
func write(value any) ([]byte, error) {
	if g, ok := value.(*goal.Group); ok {
		return goal.AppendGroup(nil, g), nil
	}
	return json.Marshal(value)
}

// read is the reverse; a group may also be JSON, from a server of another age.
func read(body []byte, value any) error {
	g, ok := value.(*goal.Group)
	if !ok || len(body) > 0 && body[0] == '{' {
		return json.Unmarshal(body, value)
	}
	var err error
	*g, err = goal.ReadGroup(body)
	return err
}

// take makes a goal's manifest.
func (e *encoder) take(h *goal.Host) (*manifest, error) {
	rest := *h
	rest.Ports, rest.VNets, rest.Groups, rest.Zones = nil, nil, nil, nil
	m := &manifest{parts: map[Hash]json.RawMessage{}, frame: goalFrame{Host: rest}}
	var err error
	if m.frame.Ports, err = takeAll(e, m, h.Ports); err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	if m.frame.VNets, err = takeAll(e, m, h.VNets); err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	if m.frame.Groups, err = takeAll(e, m, h.Groups); err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	if m.frame.Zones, err = takeAll(e, m, h.Zones); err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	bare := m.frame
	bare.Host.Generation = 0
	text, err := json.Marshal(bare)
	if err != nil {
		return nil, fmt.Errorf("encode goal of %s: %w", h.Name, err)
	}
	m.content = hashOf(text)
	return m, nil
}

func takeAll[T any](e *encoder, m *manifest, values []T) ([]Hash, error) {
	var names []Hash
	for i := range values {
		p, err := encode(e, &values[i])
		if err != nil {
			return nil, err
		}
		names = append(names, p.hash)
		m.parts[p.hash] = p.body
	}
	return names, nil
}

// assembler puts goals together at the host. It holds the parts of the newest goal and nothing else; goals share the memory of parts
// that stay.
type assembler struct {
	parts map[Hash]any // *goal.Port, *goal.VNet, *goal.Group, *goal.Zone
}

// put returns the complete goal of a frame. A frame that names a part that is neither held nor sent is an error.
func (a *assembler) put(f *goalFrame) (*goal.Host, error) {
	b := builder{held: a.parts, sent: make(map[Hash]json.RawMessage, len(f.Parts)), keep: map[Hash]any{}}
	for _, body := range f.Parts {
		b.sent[hashOf(body)] = body
	}
	out := f.Host
	var err error
	if out.Ports, err = gather[goal.Port](&b, f.Ports); err == nil {
		if out.VNets, err = gather[goal.VNet](&b, f.VNets); err == nil {
			out.Groups, err = gather[goal.Group](&b, f.Groups)
		}
		if err == nil {
			out.Zones, err = gather[goal.Zone](&b, f.Zones)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("goal %d: %w", f.Host.Generation, err)
	}
	a.parts = b.keep
	return &out, nil
}

// builder is one goal being put together.
type builder struct {
	held map[Hash]any
	sent map[Hash]json.RawMessage
	keep map[Hash]any
}

func gather[T any](b *builder, names []Hash) ([]T, error) {
	var out []T
	for _, h := range names {
		v, ok := b.held[h].(*T)
		if !ok {
			body, sent := b.sent[h]
			if !sent {
				return nil, fmt.Errorf("part %q was never sent", h)
			}
			v = new(T)
			if err := read(body, v); err != nil {
				return nil, fmt.Errorf("part %q: %w", h, err)
			}
		}
		b.keep[h] = v
		out = append(out, *v)
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
