package resource

import (
	"fmt"
	"regexp"
	"strings"
)

// privateDNSZone is a zone of names that the virtual networks linked to it resolve, and nobody else.
var privateDNSZone = &Type{
	Name:   "Microsoft.Network/privateDnsZones",
	Words:  []string{"network", "private-dns", "zone"},
	Help:   "a zone of names that linked virtual networks resolve",
	Global: true,
	Style:  Bare,
	Noun:   "Zone",
	Kept:   everyVersion,
	naming: &naming{regexp.MustCompile(`^(` + dnsLabel + `\.)+` + dnsLabel + `$`), "BadRequest",
		"The zone name '%s' is not valid: it has 2 to 34 labels of up to 63 letters, digits, '-' and '_', separated by dots."},
}

// everyVersion is older than every api-version: a PUT without children always keeps them.
const everyVersion = "2000-01-01"

const dnsLabel = `[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?`

// Limits of a private zone.
const (
	maxRecordSets       = 25000
	maxRecords          = 20 // of a record set
	maxLinks            = 1000
	maxRegisteringLinks = 100
	maxDNSName          = 253
	maxZoneName         = 240 // so that names in it have room
	maxZoneLabels       = 34
)

func init() {
	t := privateDNSZone
	t.typed = typedZone
	t.check = checkZone
	t.complete = func(_ ID, body *node) {
		p := body.get("properties")
		if p == nil {
			p = &node{kind: kindObject}
			body.set("properties", p)
		}
		if p.get(soaRecord.List) == nil {
			p.set(soaRecord.List, &node{kind: kindArray, elems: []*node{named(firstSOA(), "@")}})
		}
	}
	soaRecord.complete = func(_ ID, body *node) {
		given := body.get("properties", "soaRecord")
		for _, m := range firstSOA().get("properties", "soaRecord").members {
			if given != nil && given.get(m.name) == nil {
				given.set(m.name, m.value)
			}
		}
	}
	t.refs = func(n *node) []Ref {
		var out []Ref
		for i, l := range n.get("properties", zoneLink.List).list() {
			out = append(out, refAt(l.get("properties", "virtualNetwork"), fmt.Sprintf("properties.virtualNetworkLinks[%d].properties.virtualNetwork", i), virtualNetwork.Name)...)
		}
		return out
	}
	t.inUse = func(u *use) {
		for _, key := range u.doc.ChildKeys() {
			if id, err := ParseID(key); err == nil && id.Type == zoneLink.Name {
				u.conflict("CannotDeleteResource", "Cannot delete resource while nested resources exist. Some existing nested resource IDs include: 'Microsoft.Network/privateDnsZones/%s/virtualNetworkLinks/%s'. Please delete all nested resources before deleting this resource.",
					u.doc.ID.Name(), id.Name())
				return
			}
		}
	}
	t.etag = func(d *Doc, _ ID, body *node) string {
		var tags []byte
		if n := body.get("tags"); n != nil {
			tags = n.append(nil)
		}
		return GUID(d.Key() + " " + d.System.GUID + " " + string(tags))
	}
	count := func(name string, of func(*render) int) *Field {
		return num(name).shown(func(r *render) []byte { return fmt.Append(nil, of(r)) })
	}
	t.Schema = object("", "PrivateZone",
		showID(), showName(), showType(), showETag(), locationField(), tagsField(),
		object("properties", "PrivateZoneProperties",
			count("maxNumberOfRecordSets", func(*render) int { return maxRecordSets }),
			count("maxNumberOfVirtualNetworkLinks", func(*render) int { return maxLinks }),
			count("maxNumberOfVirtualNetworkLinksWithRegistration", func(*render) int { return maxRegisteringLinks }),
			count("numberOfRecordSets", func(r *render) int {
				n := 0
				for _, t := range recordTypes {
					n += len(r.children(t))
				}
				return n
			}),
			count("numberOfVirtualNetworkLinks", func(r *render) int { return len(r.body.get("properties", zoneLink.List).list()) }),
			count("numberOfVirtualNetworkLinksWithRegistration", func(r *render) int { return len(registering(r.body)) }),
			showState(), str("internalId").readOnly(),
		).always(),
	)
}

// registering are the keys of the virtual networks whose machines are registered in the zone, in the order of their links.
func registering(zone *node) []string {
	var keys []string
	for _, l := range zone.get("properties", zoneLink.List).list() {
		if l.get("properties", "registrationEnabled").isTrue() {
			keys = append(keys, refKey(l.get("properties", "virtualNetwork")))
		}
	}
	return keys
}

// zoneLink lets a virtual network resolve a zone, and has its machines registered there.
var zoneLink = &Type{
	Name:   "Microsoft.Network/privateDnsZones/virtualNetworkLinks",
	Parent: privateDNSZone,
	List:   "virtualNetworkLinks",
	Words:  []string{"network", "private-dns", "link", "vnet"},
	Help:   "lets a virtual network resolve a private zone, and registers its machines there",
	Style:  Bare,
	Noun:   "Virtual network link",
}

func init() {
	zoneLink.etag = func(d *Doc, id ID, body *node) string { return `"` + ownTag(d, id, body) + `"` }
	zoneLink.Schema = object("", "VirtualNetworkLink",
		showID(), str("name"), showType(), showETag(), locationField(), tagsField(),
		object("properties", "VirtualNetworkLinkProperties",
			ref("virtualNetwork", virtualNetwork.Name), flag("registrationEnabled").or("false"),
			enum("resolutionPolicy", "ResolutionPolicy", "Default", "NxDomainRedirect").or(`"Default"`).since("2024-06-01"),
			str("virtualNetworkLinkState").shown(func(r *render) []byte {
				if r.State == "Succeeded" {
					return []byte(`"Completed"`)
				}
				return []byte(`"InProgress"`)
			}),
			showState(),
		).required(),
	)
}

// ownTag is the entity tag of a child that others of its document do not change.
func ownTag(d *Doc, id ID, body *node) string {
	return GUID(id.Key() + " " + d.System.GUID + " " + string(body.append(nil)))
}

func typedZone(d *Doc, root *node) any {
	z := &PrivateZone{ID: d.ID.String(), Name: strings.ToLower(d.ID.Name())}
	p := root.get("properties")
	for _, t := range recordTypes {
		for _, n := range p.get(t.List).list() {
			if r := typedRecord(t.List, n); len(r.Data) > 0 {
				z.Records = append(z.Records, r)
			}
		}
	}
	for _, l := range p.get(zoneLink.List).list() {
		q := l.get("properties")
		z.Links = append(z.Links, ZoneLink{VNet: refKey(q.get("virtualNetwork")), Registers: q.get("registrationEnabled").isTrue(),
			Fallback: strings.EqualFold(q.get("resolutionPolicy").text(), "NxDomainRedirect")})
	}
	return z
}

func checkZone(c *check) {
	switch where := c.doc.Location(); where {
	case "global":
	case "":
		c.bad("location", "LocationRequired", "The location property is required for this definition.")
	default:
		c.bad("location", "LocationNotAvailableForResourceType", "The provided location '%s' is not available for resource type '%s'. List of available regions for the resource type is 'global'.", where, c.doc.ID.Type)
	}
	if name := c.doc.ID.Name(); len(name) > maxZoneName || strings.Count(name, ".") >= maxZoneLabels {
		c.bad("name", privateDNSZone.naming.code, privateDNSZone.naming.text, name)
	}
	z := &zoneCheck{check: c, cnames: map[string]bool{}, others: map[string]string{}}
	z.records()
	z.links()
}

// links checks the links of a zone against each other and against other zones of the same networks.
func (z *zoneCheck) links() {
	links := z.body.get("properties", zoneLink.List).list()
	z.uniqueNames(zoneLink, links)
	if len(links) > maxLinks || len(registering(z.body)) > maxRegisteringLinks {
		z.bad("properties.virtualNetworkLinks", "BadRequest", "Zone %s has %d virtual network links, %d of them with registration; up to %d and %d are allowed.",
			z.doc.ID.Name(), len(links), len(registering(z.body)), maxLinks, maxRegisteringLinks)
		return
	}
	seen := map[string]bool{}
	for i, l := range links {
		path := fmt.Sprintf("properties.virtualNetworkLinks[%d].properties.virtualNetwork.id", i)
		key := refKey(l.get("properties", "virtualNetwork"))
		switch {
		case key == "":
			z.bad(path, "BadRequest", "Virtual network link %s names no virtual network.", l.get("name").text())
			continue
		case seen[key]:
			z.bad(path, "Conflict", "Virtual network %s is linked twice to zone %s.", key, z.doc.ID.Name())
		}
		seen[key] = true
		z.otherZones(path, key, l.get("properties", "registrationEnabled").isTrue())
	}
}

func (z *zoneCheck) otherZones(path, vnet string, registers bool) {
	for _, k := range z.lk.Referrers(vnet) {
		if k == z.doc.Key() {
			continue
		}
		d := z.lk.Get(k)
		if d == nil || d.Type != privateDNSZone {
			continue
		}
		if strings.EqualFold(d.ID.Name(), z.doc.ID.Name()) {
			z.bad(path, "BadRequest", "A virtual network cannot be linked to multiple zones with overlapping namespaces. You tried to link virtual network with '%s' and '%s' zones.", d.ID.Name(), z.doc.ID.Name())
		}
		for _, l := range d.typed().(*PrivateZone).Links {
			if registers && l.Registers && l.VNet == vnet {
				z.bad(path, "BadRequest", "A virtual network can only be linked to 1 Private DNS zone(s) with auto-registration enabled; conflicting Private DNS zone is '%s'.", d.ID.Name())
			}
		}
	}
}
