// Package resource is the type table of the control plane: one file per resource type, and what all of them share.
//
// In: ARM documents as clients send them, and a Lookup of the other documents. Out: normalised documents, every fault of a
// document in Azure's codes and texts, references, the JSON a GET answers, and the typed view that compile reads. The table
// drives the router, the store, the command line and the conformance tests: a new type is one file and one row of table.go.
// Pure: no clock, no I/O; every answer depends on the arguments only, to the byte.
package resource

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// Doc is one stored top-level document: what the client sent, with children inside, and what was allocated for it. A Doc that
// others can see is never changed.
type Doc struct {
	ID       ID
	Type     *Type
	Body     json.RawMessage // normalised by Decode: known fields, canonical names, values as sent
	System   System          // allocated and read-only facts
	Revision int64           // store revision of the last write, 0 when not stored yet: the ETag

	was      *Doc  // of a tentative document: what it replaces
	parsed   any   // the typed form of Body, without System: made once, shared by every view
	parsedAt *byte // the Body that parsed, where and root were made from
	where    *string
	settled  bool  // parsed knows System and Revision
	root     *node // of a tentative document: Body as a tree; nobody changes it
}

// System is what the system knows of a document beside what the client said. It is stored with it.
type System struct {
	GUID      string            `json:"guid,omitempty"`      // properties.resourceGuid
	Created   string            `json:"created,omitempty"`   // RFC 3339
	VNI       uint32            `json:"vni,omitempty"`       // virtual network
	Domain    string            `json:"domain,omitempty"`    // virtual network: DNS suffix of its machines
	MAC       string            `json:"mac,omitempty"`       // network interface: 02:52:46:00:00:01
	Port      uint32            `json:"port,omitempty"`      // network interface: Port.Index
	Addresses map[string]string `json:"addresses,omitempty"` // network interface: IP configuration name in lower case → address
	Host      string            `json:"host,omitempty"`      // virtual machine: where it is placed
	VMID      string            `json:"vmId,omitempty"`      // virtual machine
	First     int64             `json:"first,omitempty"`     // network security group: revision that brought it, 0: the document's own
	Rules     map[string]int64  `json:"rules,omitempty"`     // rule name in lower case → revision that brought it as it is; not there: the document's own

	Attachment *Attachment `json:"attachment,omitempty"` // network interface that no machine has: where it is attached; never changed in place
}

// Attachment is where a network interface is when it is not a machine's: a tap or a namespace of something else on one host.
type Attachment struct {
	Host      string `json:"host"`
	Kind      string `json:"kind"`                // tap or netns
	Device    string `json:"device"`              // tap: on the host; netns: the name inside
	Namespace string `json:"namespace,omitempty"` // netns: its path
	HostName  string `json:"hostName,omitempty"`  // in the internal DNS
	Configure bool   `json:"configure,omitempty"`
}

// String says what it is attached to.
func (a *Attachment) String() string {
	if a.Namespace == "" {
		return a.Kind + " " + a.Device + " on host " + a.Host
	}
	return "namespace " + a.Namespace + " (" + a.Device + ") on host " + a.Host
}

// Lookup finds other documents: a snapshot of the store, or one with a tentative change on top.
type Lookup interface {
	Get(key string) *Doc                // nil when there is none
	Referrers(key string) []string      // keys of the documents whose Refs name key, sorted
	Each(typeName string, f func(*Doc)) // documents of a type, by key
	PrefixLists() map[string][]netip.Prefix
}

// NewDoc makes a document of a top-level id; the type comes from the table.
func NewDoc(id ID, body json.RawMessage) *Doc {
	d := &Doc{ID: id, Type: Find(id.Type), Body: body}
	if d.Type == nil || d.Type.typed == nil || len(body) == 0 {
		return d
	}
	if root := d.fresh(); root != nil {
		d.parsed, d.parsedAt = d.Type.typed(d, root), &body[0]
		d.note(root)
	}
	return d
}

// tentative makes a document of a tree; it keeps the tree, since it is about to be validated.
func tentative(id ID, root *node) *Doc {
	d := &Doc{ID: id, Type: Find(id.Type), Body: root.append(nil), root: root}
	d.parsedAt = &d.Body[0]
	d.note(root)
	if d.Type.typed != nil {
		d.parsed = d.Type.typed(d, root)
	}
	return d
}

func (d *Doc) current() bool { return d.parsedAt != nil && len(d.Body) > 0 && d.parsedAt == &d.Body[0] }

// typed is the typed form of the body as NewDoc made it, or made now for a document that was put together otherwise.
func (d *Doc) typed() any {
	if d.current() {
		return d.parsed
	}
	root := d.tree()
	if root == nil {
		root = &node{kind: kindObject}
	}
	return d.Type.typed(d, root)
}

// Key is the lower-case id.
func (d *Doc) Key() string { return d.ID.Key() }

// Location is the location in Azure's short form: lower case, without blanks. Empty for types that have none.
func (d *Doc) Location() string {
	if d.where != nil && d.current() {
		return *d.where
	}
	return ShortLocation(d.tree().get("location").text())
}

// note keeps what is asked of a document again and again.
func (d *Doc) note(root *node) {
	where := ShortLocation(root.get("location").text())
	d.where = &where
}

// Tags are the document's tags.
func (d *Doc) Tags() map[string]string {
	t := d.tree().get("tags")
	if t == nil {
		return nil
	}
	m := make(map[string]string, len(t.members))
	for _, f := range t.members {
		m[f.name] = f.value.text()
	}
	return m
}

// ShortLocation turns "West Europe" into "westeurope".
func ShortLocation(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

// tree is the body as a tree, to be read only; a stored body always parses.
func (d *Doc) tree() *node {
	if d.root != nil && d.current() {
		return d.root
	}
	return d.fresh()
}

// fresh is the body as a tree of the caller's own.
func (d *Doc) fresh() *node {
	n, err := parseJSON(d.Body)
	if err != nil {
		return nil
	}
	return n
}
