package compile

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// zonePart is one private zone as every host must know it that has a network which resolves it.
type zonePart struct {
	zone *resource.PrivateZone // what it was made from
	from []*vnetPart           // the networks whose machines are registered in it
	goal goal.Zone
}

// compileZones makes the zones that a network with a placed NIC resolves. Which zone answers a name is the longest match there.
func (c *compiler) compileZones() {
	c.links = map[*vnetPart][]goal.ZoneLink{}
	for _, key := range slices.Sorted(maps.Keys(c.view.Zones)) {
		z := c.view.Zones[key]
		var from []*vnetPart
		linked := false
		for _, l := range z.Links {
			n := c.new.vnets[l.VNet]
			if n == nil {
				continue // nobody there asks
			}
			linked = true
			c.links[n] = append(c.links[n], goal.ZoneLink{Zone: z.ID, Fallback: l.Fallback})
			if l.Registers {
				from = append(from, n)
			}
		}
		if !linked {
			continue
		}
		part := c.old.zones[key]
		if part == nil || !slices.Equal(part.from, from) || part.zone != z && !reflect.DeepEqual(part.zone, z) {
			part = &zonePart{zone: z, from: from, goal: goal.Zone{ID: z.ID, Name: z.Name, Records: zoneRecords(z, from)}}
		}
		c.new.zones[key] = part
		c.zones = append(c.zones, part)
	}
	slices.SortFunc(c.zones, func(a, b *zonePart) int { return compareText(a.goal.ID, b.goal.ID) })
	for _, links := range c.links {
		slices.SortFunc(links, func(a, b goal.ZoneLink) int { return compareText(a.Zone, b.Zone) })
	}
}

// zoneRecords are the records that people wrote, and those of registered machines where nobody wrote one. A name that machines of
// several networks have belongs to the first network by its link.
func zoneRecords(z *resource.PrivateZone, from []*vnetPart) []goal.Record {
	var out []goal.Record
	taken := map[[2]string]bool{}
	for _, r := range z.Records {
		out = append(out, goal.Record{Name: r.Name, Type: r.Kind, TTL: r.TTL, Data: r.Data})
		taken[[2]string{r.Name, r.Kind}] = true
	}
	for _, n := range from {
		for _, name := range n.names {
			for _, ip := range name.IPs {
				kind := "A"
				if ip.Is6() {
					kind = "AAAA"
				}
				if at := [2]string{name.Host, kind}; !taken[at] && !taken[[2]string{name.Host, "CNAME"}] {
					taken[at] = true
					out = append(out, goal.Record{Name: name.Host, Type: kind, TTL: resource.RegisteredTTL, Data: [][]string{{ip.String()}}})
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b goal.Record) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	return out
}
