package goal

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Zone is a private DNS zone with the names that machines have in it.
type Zone struct {
	ID      string   // ARM id
	Name    string   // in lower case, without a dot at its end
	Records []Record // by Name and Type; exactly one SOA, at "@"
}

// Record is a record set of a zone: what one name has of one type.
type Record struct {
	Name string // relative: www, *.dev, @
	Type string // A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT
	TTL  uint32
	Data [][]string // of each record its parts in the order of its text form; names absolute, without a dot at their end
}

// ZoneLink says that a VNet resolves a zone.
type ZoneLink struct {
	Zone     string // Zone.ID
	Fallback bool   // what the zone does not have is asked elsewhere
}

// recordParts is how many parts a record of a type has; 0: one or more strings.
var recordParts = map[string]int{"A": 1, "AAAA": 1, "CNAME": 1, "MX": 2, "PTR": 1, "SOA": 7, "SRV": 4, "TXT": 0}

func (z *Zone) text(b *strings.Builder) {
	fmt.Fprintf(b, "\nzone %s\n  name %s\n", word(z.ID), word(z.Name))
	for _, r := range z.Records {
		for _, data := range r.Data {
			fmt.Fprintf(b, "  record %s %s %d", word(r.Name), word(r.Type), r.TTL)
			for _, part := range data {
				if r.Type == "TXT" {
					b.WriteString(" " + strconv.Quote(part))
				} else {
					b.WriteString(" " + word(part))
				}
			}
			b.WriteByte('\n')
		}
	}
}

func compareRecords(a, b Record) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
}

// checkZones wants zones in order, records in order, links to zones that are there, and no zone without a link.
func (c *checker) checkZones() error {
	names, linked := map[string]string{}, map[string]bool{}
	for i := range c.h.Zones {
		z := &c.h.Zones[i]
		if z.ID == "" || i > 0 && c.h.Zones[i-1].ID >= z.ID {
			return fmt.Errorf("zone %q: expected ids in ascending order, none empty", z.ID)
		}
		if err := z.check(); err != nil {
			return fmt.Errorf("zone %q: %w", z.ID, err)
		}
		names[z.ID] = z.Name
	}
	for _, n := range c.h.VNets {
		if !ascending(n.Zones, func(a, b ZoneLink) int { return strings.Compare(a.Zone, b.Zone) }) {
			return fmt.Errorf("vnet %d: expected links to zones in ascending order", n.VNI)
		}
		seen := map[string]bool{}
		for _, l := range n.Zones {
			name, ok := names[l.Zone]
			if !ok || seen[name] {
				return fmt.Errorf("vnet %d: zone %q: expected a zone of the goal, and no other of its name", n.VNI, l.Zone)
			}
			seen[name], linked[l.Zone] = true, true
		}
	}
	for id := range names {
		if !linked[id] {
			return fmt.Errorf("zone %q: no vnet here resolves it", id)
		}
	}
	return nil
}

func (z *Zone) check() error {
	if !domainName(z.Name) || !strings.Contains(z.Name, ".") {
		return fmt.Errorf("name %q: expected a domain name of at least two labels", z.Name)
	}
	if !ascending(z.Records, compareRecords) {
		return fmt.Errorf("expected records in ascending order of name and type")
	}
	heads := 0
	aliases := map[string]bool{}
	for _, r := range z.Records {
		if err := r.check(z.Name); err != nil {
			return fmt.Errorf("record %q %s: %w", r.Name, r.Type, err)
		}
		if r.Type == "SOA" {
			heads++
		}
		aliases[r.Name] = aliases[r.Name] || r.Type == "CNAME"
	}
	if heads != 1 {
		return fmt.Errorf("%d SOA records: expected one", heads)
	}
	for _, r := range z.Records {
		if aliases[r.Name] && r.Type != "CNAME" {
			return fmt.Errorf("record %q %s: expected nothing beside a CNAME", r.Name, r.Type)
		}
	}
	return nil
}

func (r *Record) check(zone string) error {
	parts, known := recordParts[r.Type]
	switch {
	case !known:
		return fmt.Errorf("type: expected one of A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT")
	case r.Name != "@" && !domainName(strings.TrimPrefix(strings.TrimPrefix("."+r.Name, ".*"), ".")+"."+zone) && r.Name != "*":
		return fmt.Errorf("expected a relative name")
	case r.Type == "SOA" && r.Name != "@", r.Type == "CNAME" && r.Name == "@":
		return fmt.Errorf("a SOA record is at the zone's own name, a CNAME is not")
	case len(r.Data) == 0 || len(r.Data) > 1 && (r.Type == "CNAME" || r.Type == "SOA"):
		return fmt.Errorf("%d records", len(r.Data))
	}
	for _, data := range r.Data {
		if len(data) != parts && (parts != 0 || len(data) == 0) {
			return fmt.Errorf("%d parts: expected %d", len(data), parts)
		}
		for i, part := range data {
			if err := r.part(i, part); err != nil {
				return fmt.Errorf("part %d %q: %w", i, part, err)
			}
		}
	}
	return nil
}

// part checks one part of a record: addresses, numbers, names.
func (r *Record) part(i int, part string) error {
	switch {
	case r.Type == "A" || r.Type == "AAAA":
		if a, err := netip.ParseAddr(part); err != nil || a.Is4() != (r.Type == "A") || !plain(a) {
			return fmt.Errorf("expected an address of the type's family")
		}
	case r.Type == "TXT":
		if len(part) > 255 {
			return fmt.Errorf("longer than 255 bytes")
		}
	case r.Type == "MX" && i == 0, r.Type == "SRV" && i < 3:
		if _, err := strconv.ParseUint(part, 10, 16); err != nil {
			return fmt.Errorf("expected a number up to 65535")
		}
	case r.Type == "SOA" && i > 1:
		if _, err := strconv.ParseUint(part, 10, 32); err != nil {
			return fmt.Errorf("expected a number")
		}
	case !domainName(part):
		return fmt.Errorf("expected a domain name in lower case")
	}
	return nil
}

// domainName says whether s is a name in lower case without a dot at its end; labels may have underscores.
func domainName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	return !slices.ContainsFunc(strings.Split(s, "."), func(label string) bool { return !Label(strings.ReplaceAll(label, "_", "x")) })
}
