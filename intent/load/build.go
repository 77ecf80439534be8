package load

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// Host is the one host that all machines of a Source are placed on.
const Host = "offline"

func sorted(n *node) *node {
	slices.SortFunc(n.members, func(a, b member) int { return cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)) })
	return n
}

// modelled are the types that have a place in the view.
var modelled = map[string]bool{"Microsoft.Network/virtualNetworks": true, "Microsoft.Network/networkSecurityGroups": true,
	"Microsoft.Network/applicationSecurityGroups": true, "Microsoft.Network/networkInterfaces": true, "Microsoft.Compute/virtualMachines": true}

// build makes the view of what was read.
func (l *loader) build() {
	l.fold()
	world := &world{docs: map[string]*resource.Doc{}, lists: l.tagLists()}
	var kept []*raw
	for _, r := range l.raws {
		l.source.Unknowns = append(l.source.Unknowns, r.notes...)
		switch {
		case listOf(r.id.Type) != "" || strings.EqualFold(r.id.Type, "Microsoft.Network/networkSecurityGroups/defaultSecurityRules"):
		case modelled[r.id.Type]:
			kept = append(kept, r)
		default:
			l.foreign(r)
		}
	}
	for _, r := range kept {
		l.source.places[r.id.Key()] = r.at
		l.childPlaces(r)
		if d := l.decode(r); d != nil {
			world.put(d)
		}
	}
	l.machines(world)
	l.implicit(world)
	for _, r := range kept {
		l.validate(r, world)
	}
	l.allocate(world, kept)
	l.finish(world)
}

// childPlaces notes where the children stand that are written inside their parent.
func (l *loader) childPlaces(r *raw) {
	for _, list := range childLists[strings.ToLower(r.id.Type)] {
		for _, e := range r.body.get("properties", list).list() {
			key := strings.ToLower(r.id.String() + "/" + list + "/" + e.get("name").str())
			if _, known := l.source.places[key]; !known {
				l.source.places[key] = Place{r.at.File, e.line}
			}
		}
	}
}

// tagLists gives service tags that rules name and nobody has defined an empty list, so that the rules are understood; the tags are named
// as unknown where they stand.
func (l *loader) tagLists() map[string][]netip.Prefix {
	lists := maps.Clone(l.o.PrefixLists)
	if lists == nil {
		lists = map[string][]netip.Prefix{}
	}
	for _, r := range l.raws {
		if r.id.Type != "Microsoft.Network/networkSecurityGroups" {
			continue
		}
		for _, rule := range r.body.get("properties", "securityRules").list() {
			for _, side := range []string{"sourceAddressPrefix", "destinationAddressPrefix"} {
				n := rule.get("properties", side)
				name := n.str()
				if _, known := resource.KnownTag(name, lists); known || !tagName(name) {
					continue
				}
				lists[name] = nil
			}
		}
	}
	return lists
}

// tagName: letters, digits and dots, beginning with a letter, as all of Azure's tags.
func tagName(s string) bool {
	for i, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '.' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// tags names the rules whose service tags have no known contents.
func (l *loader) tags(r *raw) {
	for _, rule := range r.body.get("properties", "securityRules").list() {
		for _, side := range []string{"sourceAddressPrefix", "destinationAddressPrefix"} {
			n := rule.get("properties", side)
			if _, known := resource.KnownTag(n.str(), l.o.PrefixLists); known || !tagName(n.str()) {
				continue
			}
			l.unknown(Unknown{Kind: KindTag, ID: r.id.String() + "/securityRules/" + rule.get("name").str(), Touches: []string{r.id.Key()}, At: Place{r.at.File, n.line},
				What: fmt.Sprintf("the addresses of the service tag %s are not known: give them with --prefix-list %s=…", n.str(), n.str())})
		}
	}
}

// implicit makes the application security groups that are named but not exported: all that there is to one is its members.
func (l *loader) implicit(w *world) {
	for _, key := range w.keys() {
		for _, ref := range w.docs[key].Refs() {
			if ref.Kind != "Microsoft.Network/applicationSecurityGroups" || w.docs[ref.To] != nil {
				continue
			}
			if id, err := resource.ParseID(ref.ID); err == nil && id.Type == ref.Kind {
				w.put(resource.NewDoc(id, []byte(`{"location":"`+w.docs[key].Location()+`","properties":{}}`)))
			}
		}
	}
}

// finish makes the view.
func (l *loader) finish(w *world) {
	view, faults := resource.BuildView(1, func(yield func(*resource.Doc) bool) {
		for _, k := range w.keys() {
			if !yield(w.docs[k]) {
				return
			}
		}
	})
	for _, f := range faults {
		l.fault(Place{}, f.Target, "", "%s", f.Message)
	}
	l.source.View = view
	l.place()
	l.source.PrefixLists = w.lists
	slices.SortStableFunc(l.source.Unknowns, func(a, b Unknown) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line))
	})
	l.source.Unknowns = slices.CompactFunc(l.source.Unknowns, func(a, b Unknown) bool { return a.ID == b.ID && a.What == b.What && a.At == b.At })
	slices.SortStableFunc(l.source.Faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line))
	})
	slices.Sort(l.source.Ignored)
}

// place puts every machine on the one host, and every interface into a machine: what its rules let through is asked also of an
// interface that no machine has yet.
func (l *loader) place() {
	v := l.source.View
	for _, key := range slices.Sorted(maps.Keys(v.VMs)) {
		vm := v.VMs[key]
		vm.Host = Host
		vm.NICs = slices.DeleteFunc(vm.NICs, func(k string) bool { return v.NICs[k] == nil || v.NICs[k].VM != key })
		vm.Primary = 0
	}
	for _, key := range slices.Sorted(maps.Keys(v.NICs)) {
		nic := v.NICs[key]
		if nic.VM != "" {
			continue
		}
		nic.VM = key
		v.VMs[key] = &resource.VM{ID: nic.ID, HostName: key[strings.LastIndexByte(key, '/')+1:], NICs: []string{key}, Host: Host}
	}
}

// world is the documents while they are put together: resource.Lookup.
type world struct {
	docs  map[string]*resource.Doc
	refs  map[string][]string // made when asked for
	lists map[string][]netip.Prefix
}

func (w *world) put(d *resource.Doc) {
	w.docs[d.Key()], w.refs = d, nil
	if g := resource.GroupID(d.ID.Subscription, d.ID.Group); w.docs[g.Key()] == nil {
		w.docs[g.Key()] = resource.NewDoc(g, []byte(`{"location":"westeurope"}`))
	}
}

func (w *world) keys() []string { return slices.Sorted(maps.Keys(w.docs)) }

func (w *world) Get(key string) *resource.Doc { return w.docs[key] }

func (w *world) Referrers(key string) []string {
	if w.refs == nil {
		w.refs = map[string][]string{}
		for _, k := range w.keys() {
			for _, to := range w.docs[k].RefKeys() {
				w.refs[to] = append(w.refs[to], k)
			}
		}
	}
	return w.refs[key]
}

func (w *world) Each(typeName string, f func(*resource.Doc)) {
	for _, k := range w.keys() {
		if w.docs[k].ID.Type == typeName {
			f(w.docs[k])
		}
	}
}

func (w *world) PrefixLists() map[string][]netip.Prefix { return w.lists }
