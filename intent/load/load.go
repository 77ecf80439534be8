// Package load reads what describes Azure networks outside of a server, for questions that need none.
//
// In: the texts of files: ARM templates with their parameters, exported resources as `az … -o json`, the portal, Resource Graph and the API
// print them, and `terraform show -json`. Out: a Source: the typed view that compile reads, where every resource and rule stands, what
// could not be read (Faults), and by name what could be read but is not modelled or not known (Unknowns). Nothing is guessed: what is missing
// is never taken for what allows. One bad file does not hide the others. Pure: no clock, no I/O; the same files give the same Source.
// The command line owns its Sources.
package load

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// File is one file's name and text.
type File struct {
	Name string
	Text []byte
}

// Options say what the files themselves do not.
type Options struct {
	Parameters   map[string]json.RawMessage // values for every template that has a parameter of that name
	Subscription string                     // of what a template or a plan describes; "" takes the zero one
	Group        string                     // resource group of a template; "" takes "local"
	Location     string                     // of that group; "" takes "westeurope"
	PrefixLists  map[string][]netip.Prefix  // contents of service tags beside the built-in ones
	Machines     []Machine                  // machines that the files do not have and the question assumes
}

// Machine is a machine that is assumed: one interface in a subnet.
type Machine struct {
	Name      string
	Subnet    string   // id, or VNET/SUBNET, or SUBNET where that is unique
	Addresses []string // "" or none: the lowest that is free
	ASGs      []string // ids or names
	NSG       string   // of the interface
	At        Place
}

// Place is a line of a file. Line is 0 when only the file is known.
type Place struct {
	File string
	Line int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Fault is something that could not be read. What it concerns is also among the Unknowns, where that is known.
type Fault struct {
	At    Place
	ID    string // resource, "" when the whole file is meant
	Field string // path inside the resource
	Text  string
}

func (f Fault) Error() string {
	s := f.At.String() + ": "
	if f.ID != "" {
		s += resourceName(f.ID) + ": "
	}
	if f.Field != "" && !strings.Contains(f.Text, f.Field) {
		s += f.Field + ": "
	}
	return s + f.Text
}

// Kinds of what is not known.
const (
	KindRoute    = "route"    // packets may be sent elsewhere or dropped
	KindPeering  = "peering"  // more networks are reached, and VirtualNetwork holds more
	KindGateway  = "gateway"  // networks behind it are reached, and VirtualNetwork holds more
	KindPublic   = "public"   // a public address, load balancer or NAT stands in between
	KindMembers  = "members"  // more machines may be in a subnet or group
	KindFilter   = "filter"   // another filter stands in the way
	KindRule     = "rule"     // a rule's match is not known
	KindTag      = "tag"      // the contents of a service tag are not known
	KindMissing  = "missing"  // something is referred to and was not exported
	KindResource = "resource" // a resource could not be read, or its type is not modelled
)

// Unknown is a fact that is not modelled or not known, and what it concerns.
type Unknown struct {
	Kind    string
	ID      string   // what is unknown: a resource, or the rule
	What    string   // one sentence
	Touches []string // keys of virtual networks, subnets, interfaces, NSGs and ASGs it concerns; Everything for all
	At      Place
}

// Everything is the key in Touches that stands for every resource.
const Everything = "*"

func (u Unknown) String() string { return u.At.String() + ": " + resourceName(u.ID) + ": " + u.What }

// Source is what the files say.
type Source struct {
	View     *resource.View
	Unknowns []Unknown
	Faults   []Fault
	Assumed  map[string]string // keys of interfaces that stand in no file → why they are there
	Files    []string          // names, in the order given
	Ignored  []string          // ids of resources that change nothing between machines

	PrefixLists map[string][]netip.Prefix // contents of service tags; those that are not known are empty

	places map[string]Place
}

// Place says where a resource stands; a rule by NSG id + "/securityRules/" + name. The zero Place when it stands nowhere.
func (s *Source) Place(id string) Place { return s.places[strings.ToLower(id)] }

// Load reads files.
func Load(files []File, o Options) *Source {
	l := newLoader(o)
	for _, f := range files {
		l.source.Files = append(l.source.Files, f.Name)
		l.file(f)
	}
	l.templates()
	l.build()
	return l.source
}

// loader is one run of Load.
type loader struct {
	o        Options
	source   *Source
	raws     []*raw
	byKey    map[string]*raw
	pending  []templateFile
	values   map[string]map[string]json.RawMessage // parameter file → values
	inGroups map[string]string                     // resource groups by key → location
}

// raw is one resource on its way: its body has ARM's nested form.
type raw struct {
	id       resource.ID
	body     *node
	at       Place
	template bool // addresses may be absent: the fabric would give them
	line     func(path string) int
	notes    []Unknown
}

func newLoader(o Options) *loader {
	o.Subscription = cmp.Or(o.Subscription, "00000000-0000-0000-0000-000000000000")
	o.Group, o.Location = cmp.Or(o.Group, "local"), cmp.Or(o.Location, "westeurope")
	return &loader{o: o, byKey: map[string]*raw{}, values: map[string]map[string]json.RawMessage{}, inGroups: map[string]string{},
		source: &Source{Assumed: map[string]string{}, places: map[string]Place{}}}
}

func (l *loader) fault(at Place, id, field, format string, args ...any) {
	l.source.Faults = append(l.source.Faults, Fault{at, id, field, fmt.Sprintf(format, args...)})
}

func (l *loader) unknown(u Unknown) {
	for i := range u.Touches {
		u.Touches[i] = strings.ToLower(u.Touches[i])
	}
	slices.Sort(u.Touches)
	u.Touches = slices.Compact(u.Touches)
	l.source.Unknowns = append(l.source.Unknowns, u)
}

// file reads one file of whatever kind.
func (l *loader) file(f File) {
	f.Text = plain(f.Text)
	root, err := parseJSON(f.Text)
	if err != nil && l.looksLikeTemplate(f) { // templates may hold comments
		l.pending = append(l.pending, templateFile{f, nil})
		return
	}
	if err != nil {
		var at *errAt
		line := 0
		if errors.As(err, &at) {
			line = at.line
		}
		l.fault(Place{f.Name, line}, "", "", "%v", err)
		return
	}
	switch {
	case isTemplate(root):
		l.pending = append(l.pending, templateFile{f, root})
	case isParameters(root):
		l.parameterFile(f, root)
	case isTerraform(root):
		l.terraform(f, root)
	default:
		if l.exported(f, root, 0) == 0 {
			l.fault(Place{f.Name, root.line}, "", "", "it holds no Azure resource: expected an ARM template, resources as `az … show -o json` prints them, or `terraform show -json`")
		}
	}
}

// resourceName is the end of an id that people read: TYPE NAME, with the parents' names.
func resourceName(id string) string {
	parsed, err := resource.ParseID(id)
	if err != nil {
		return id
	}
	_, kind, _ := strings.Cut(parsed.Type, "/")
	return kind + " " + strings.Join(parsed.Names, "/")
}
