package arm

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// overlay is a snapshot with documents that are not written yet on top.
type overlay struct {
	Snapshot
	docs map[string]*resource.Doc
}

func newOverlay(s Snapshot) *overlay { return &overlay{s, map[string]*resource.Doc{}} }

func (o *overlay) put(d *resource.Doc) { o.docs[d.Key()] = d }

func (o *overlay) Get(key string) *resource.Doc {
	if d := o.docs[key]; d != nil {
		return d
	}
	return o.Snapshot.Get(key)
}

func (o *overlay) Referrers(key string) []string {
	var out []string
	for _, k := range o.Snapshot.Referrers(key) {
		if o.docs[k] == nil {
			out = append(out, k)
		}
	}
	for k, d := range o.docs {
		if _, refers := slices.BinarySearch(d.RefKeys(), key); refers {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

func (o *overlay) Each(typeName string, f func(*resource.Doc)) {
	all := map[string]*resource.Doc{}
	o.Snapshot.Each(typeName, func(d *resource.Doc) { all[d.Key()] = d })
	for k, d := range o.docs {
		if strings.EqualFold(d.ID.Type, typeName) {
			all[k] = d
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		f(all[k])
	}
}

func (o *overlay) PrefixLists() map[string][]netip.Prefix { return o.Snapshot.PrefixLists() }

func (o *overlay) Inside(key string) iter.Seq[*resource.Doc] { return o.Snapshot.Inside(key) }
