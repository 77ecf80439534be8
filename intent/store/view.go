package store

import (
	"maps"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// maxTouched bounds how many changed documents are brought into an older view: above it building anew is as cheap.
const maxTouched = 512

// typed is the typed view of c, built on the first call. Where an older content has its view already, only what changed
// since is built: a change of one document costs the same among ten thousand as among ten, nearly.
func (c *content) typed() (*resource.View, []resource.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.view == nil {
		c.view, c.faults = c.build()
		c.from, c.touched = nil, nil // neither is needed any more; from would keep old documents in memory
	}
	return c.view, c.faults
}

// descend makes c, a fresh copy of old, remember which view it can be built from.
func (c *content) descend(old *content) {
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.view != nil {
		c.from = old
		return
	}
	c.from, c.touched = old.from, slices.Clip(old.touched)
}

// touch notes that a document was put or dropped.
func (c *content) touch(key string) {
	if c.from == nil {
		return
	}
	if c.touched = append(c.touched, key); len(c.touched) > maxTouched {
		c.from, c.touched = nil, nil
	}
}

func (c *content) build() (*resource.View, []resource.Fault) {
	if c.from == nil || len(c.from.faults) > 0 {
		return resource.BuildView(c.rev, c.under(""))
	}
	set := map[string]bool{}
	for _, key := range c.touched {
		set[key] = true
		// Which machine an interface is in stands in the machine: with a machine its interfaces change, as they were and as
		// they are, and with an interface all machines that name it must be seen.
		for _, at := range []*content{c.from, c} {
			if e, ok := at.docs.get(key); ok {
				for _, to := range e.refs {
					if at.isNIC(to) {
						set[to] = true
					}
				}
			}
		}
	}
	for key := range maps.Clone(set) {
		if c.isNIC(key) {
			for k := range c.refs.prefix(key + "\x00") {
				set[k[len(key)+1:]] = true
			}
		}
	}
	part, faults := resource.BuildView(c.rev, func(yield func(*resource.Doc) bool) {
		for _, key := range slices.Sorted(maps.Keys(set)) {
			if e, ok := c.docs.get(key); ok && !yield(e.doc) {
				return
			}
		}
	})
	old := c.from.view
	return &resource.View{
		Revision: c.rev,
		VNets:    merged(old.VNets, part.VNets, set),
		NSGs:     merged(old.NSGs, part.NSGs, set),
		ASGs:     merged(old.ASGs, part.ASGs, set),
		NICs:     merged(old.NICs, part.NICs, set),
		VMs:      merged(old.VMs, part.VMs, set),
		Zones:    merged(old.Zones, part.Zones, set),
	}, faults
}

func (c *content) isNIC(key string) bool {
	e, ok := c.docs.get(key)
	return ok && strings.EqualFold(e.doc.ID.Type, "Microsoft.Network/networkInterfaces")
}

// merged is old with what set names taken from part. Views are immutable: an unchanged map is shared.
func merged[V any](old, part map[string]V, set map[string]bool) map[string]V {
	changed := len(part) > 0
	for key := range set {
		_, had := old[key]
		changed = changed || had
	}
	if !changed {
		return old
	}
	next := maps.Clone(old)
	for key := range set {
		delete(next, key)
		if v, ok := part[key]; ok {
			next[key] = v
		}
	}
	return next
}
