package store

import (
	"bytes"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// mine holds the documents that this store is writing until its own watch tells of them: it need not decode what it has
// just encoded, which for a full NSG is most of the time between a commit and its snapshot.
type mine struct {
	mu     sync.Mutex
	writes map[string][]written // by key
}

type written struct {
	value []byte
	entry *entry
}

func (m *mine) expect(docs map[string]*entry, values map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes == nil {
		m.writes = map[string][]written{}
	}
	for key, e := range docs {
		m.writes[key] = append(m.writes[key], written{values[key], e})
	}
}

// take returns the document if kv is one of these writes: the same bytes are the same document.
func (m *mine) take(key string, kv *mvccpb.KeyValue) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.writes[key] {
		if bytes.Equal(w.value, kv.Value) {
			m.drop(key, w.value)
			return &entry{doc: w.entry.doc.Stored(kv.ModRevision), refs: w.entry.refs, claims: w.entry.claims, created: kv.CreateRevision}
		}
	}
	return nil
}

// forget drops writes that were not made, or of which nobody knows.
func (m *mine) forget(values map[string][]byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, value := range values {
		m.drop(key, value)
	}
}

func (m *mine) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes = nil
}

// drop is called with the lock held.
func (m *mine) drop(key string, value []byte) {
	left := m.writes[key][:0]
	for _, w := range m.writes[key] {
		// Two writes of the same bytes are two buffers.
		if &w.value[0] != &value[0] {
			left = append(left, w)
		}
	}
	if len(left) == 0 {
		delete(m.writes, key)
		return
	}
	m.writes[key] = left
}
