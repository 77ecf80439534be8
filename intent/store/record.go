package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"ringfence/intent/resource"
)

// record is a document as stored: this header in JSON, a line end, and the body byte for byte as the client sent it; all
// of it compressed. References and claims stand in it so that snapshots need no second look at etcd, and so that whoever
// replaces or deletes the document knows what to give back.
type record struct {
	ID     string          `json:"id"`
	System resource.System `json:"system"`
	Refs   []string        `json:"refs,omitempty"` // keys of the targets
	Claims []Claim         `json:"claims,omitempty"`
}

// entry is a stored document with what the store itself needs to know. It is never changed.
type entry struct {
	doc     *resource.Doc
	refs    []string // keys of the targets, sorted, without repetition
	claims  []Claim
	created int64 // revision of the creation: another value means deleted and created anew
}

// One encoder and one decoder serve all stores: EncodeAll and DecodeAll keep no state between calls.
var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(2), zstd.WithLowerEncoderMem(true))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxMemory(64<<20))
)

// references are the keys of the resources outside the document itself that it refers to, sorted, each once.
func references(d *resource.Doc) []string {
	own := d.ID.Key()
	return slices.DeleteFunc(d.RefKeys(), func(to string) bool { return to == own || strings.HasPrefix(to, own+"/") })
}

// references is kept for the two times that it is asked: of the tentative snapshot and of the transaction.
func (w *Write) references(d *resource.Doc) []string {
	if refs, known := w.refs[d]; known {
		return refs
	}
	if w.refs == nil {
		w.refs = map[*resource.Doc][]string{}
	}
	w.refs[d] = references(d)
	return w.refs[d]
}

func encode(p Put, refs []string) ([]byte, error) {
	head, err := json.Marshal(record{p.Doc.ID.String(), p.Doc.System, refs, p.Claims})
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", p.Doc.ID, err)
	}
	return encoder.EncodeAll(slices.Concat(head, []byte("\n"), p.Doc.Body), nil), nil
}

func decode(value []byte, created, revision int64) (*entry, error) {
	text, err := decoder.DecodeAll(value, nil)
	if err != nil {
		return nil, fmt.Errorf("decompress document: %w", err)
	}
	head, body, found := bytes.Cut(text, []byte("\n"))
	if !found {
		return nil, errors.New("decode document: no header")
	}
	var r record
	if err := json.Unmarshal(head, &r); err != nil {
		return nil, fmt.Errorf("decode document: %w", err)
	}
	id, err := resource.ParseID(r.ID)
	if err != nil {
		return nil, fmt.Errorf("decode document: %w", err)
	}
	doc := resource.NewDoc(id, body)
	if doc.Type == nil {
		return nil, fmt.Errorf("decode document: unknown type %s", id.Type)
	}
	doc.System = r.System
	return &entry{doc: doc.Stored(revision), refs: r.Refs, claims: r.Claims, created: created}, nil
}
