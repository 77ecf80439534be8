package resource

import (
	"slices"
	"strings"
)

// Type is one row of the table: everything that router, store, command line and conformance tests know of a resource type.
type Type struct {
	Name     string   // "Microsoft.Network/virtualNetworks/subnets"
	Parent   *Type    // nil for a type that has documents of its own
	List     string   // a child's place in its parent: the array properties.List
	Words    []string // command line: network vnet subnet
	Help     string   // what it is, one sentence
	ReadOnly bool     // read and listed, never written by itself
	Located  bool     // has a location, and must
	Global   bool     // its location is "global", whatever it refers to lies anywhere
	Patient  bool     // its answers show no state: a PUT answers when hosts enforce it, and not before
	Style    Style    // how its provider writes errors and states
	Noun     string   // what its provider calls one in its texts; "": Resource
	Emptied  bool     // DELETE that is done answers 204: its clients know no 200
	Kept     string   // first api-version in which a PUT without children keeps them; "": never
	Schema   *Field   // the vocabulary, in the order in which a GET answers

	Lists map[string][]*Type // words below one of it that list several types of children together

	naming *naming                // what a name looks like; nil: as the network provider has it
	answer *Field                 // what a GET answers, where that is not the vocabulary
	check  func(*check)           // rules beyond vocabulary and references
	refs   func(*node) []Ref      // what the body refers to
	inUse  func(*use)             // why a document cannot be deleted
	items  func(*render) []string // names of read-only children that no body lists
	typed  func(*Doc, *node) any  // the document's part of the View, System aside

	complete func(id ID, body *node)                // what a write leaves out and the stored document must hold
	keeps    func(old, body *node)                  // what a PUT takes over from the document that it replaces
	brings   func(*Doc, *node) []*Doc               // documents that come into being with it, unless they are there
	takes    func(*Doc, *node) []string             // keys of documents that go with it
	computed func(*render, *Type) []*render         // children that no body lists and that follow from other documents
	etag     func(d *Doc, id ID, body *node) string // its own entity tag; nil: its document's
}

// Style is a provider's habit on the wire.
type Style uint8

const (
	Network Style = iota // {"error":{…,"details":[]}}; operations answer a bare status
	Gateway              // {"error":{"code","message"}}
	Compute              // {"error":{…,"target"?}}; operations answer startTime, status, name
	Bare                 // {"code","message"}
)

// Provider is the namespace: "Microsoft.Network".
func (t *Type) Provider() string { return t.Name[:strings.IndexByte(t.Name, '/')] }

// Segments are the type segments after the provider: virtualNetworks, subnets.
func (t *Type) Segments() []string { return strings.Split(t.Name, "/")[1:] }

// Segment is the last of them.
func (t *Type) Segment() string { return t.Name[strings.LastIndexByte(t.Name, '/')+1:] }

// Top is the type of the document that resources of this type are stored in.
func (t *Type) Top() *Type {
	for t.Parent != nil {
		t = t.Parent
	}
	return t
}

// Children are the types stored inside documents of this type, in table order.
func (t *Type) Children() []*Type {
	var out []*Type
	for _, c := range table {
		if c.Parent == t {
			out = append(out, c)
		}
	}
	return out
}

// table has one row per type; parents before children, what is referred to before what refers.
var table []*Type

func init() {
	table = []*Type{
		resourceGroup,
		applicationSecurityGroup,
		networkSecurityGroup, securityRule, defaultSecurityRule,
		virtualNetwork, subnet,
		networkInterface, ipConfiguration,
		networkWatcher,
		privateDNSZone,
		availabilitySet, disk, sshPublicKey,
		virtualMachine,
		deployment,
	}
	i := slices.Index(table, privateDNSZone) + 1
	table = slices.Insert(table, i, append(slices.Clone(recordTypes), zoneLink)...)
	privateDNSZone.Lists = map[string][]*Type{"all": recordTypes, "recordsets": recordTypes}
	for _, t := range table {
		byName[strings.ToLower(t.Name)] = t
	}
}

var byName = map[string]*Type{}

// Types lists the table.
func Types() []*Type { return slices.Clone(table) }

// Find looks a type up by its full name in any casing; nil when the table does not have it.
func Find(name string) *Type { return byName[strings.ToLower(name)] }

// Providers are the namespaces of the table, sorted.
func Providers() []string {
	var out []string
	for _, t := range table {
		if !slices.Contains(out, t.Provider()) {
			out = append(out, t.Provider())
		}
	}
	slices.Sort(out)
	return out
}
