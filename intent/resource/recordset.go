package resource

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Record sets of a private zone: one type per kind of record. What differs is one field.
var (
	soaRecord   = recordSet("SOA", object("soaRecord", "SoaRecord", str("host"), str("email"), num("serialNumber"), num("refreshTime"), num("retryTime"), num("expireTime"), num("minimumTtl")))
	recordTypes = []*Type{
		recordSet("A", list("aRecords", object("", "ARecord", str("ipv4Address").required()))),
		recordSet("AAAA", list("aaaaRecords", object("", "AaaaRecord", str("ipv6Address").required()))),
		recordSet("CNAME", object("cnameRecord", "CnameRecord", str("cname").required())),
		recordSet("MX", list("mxRecords", object("", "MxRecord", num("preference").required(), str("exchange").required()))),
		recordSet("PTR", list("ptrRecords", object("", "PtrRecord", str("ptrdname").required()))),
		soaRecord,
		recordSet("SRV", list("srvRecords", object("", "SrvRecord", num("priority").required(), num("weight").required(), num("port").required(), str("target").required()))),
		recordSet("TXT", list("txtRecords", object("", "TxtRecord", strs("value").required()))),
	}
)

var recordNaming = &naming{regexp.MustCompile(`^(@|\*|(\*\.)?` + dnsLabel + `(\.` + dnsLabel + `)*)$`), "BadRequest",
	"The record set name '%s' is not valid: '@', or labels of up to 63 letters, digits, '-' and '_' separated by dots, the first of which may be '*'."}

func recordSet(kind string, data *Field) *Type {
	t := &Type{
		Name: "Microsoft.Network/privateDnsZones/" + kind, Parent: privateDNSZone, List: kind,
		Words: []string{"network", "private-dns", "record-set", strings.ToLower(kind)}, Help: kind + " records of a private zone under one name",
		Style: Bare, Noun: "Record set", Patient: true, naming: recordNaming, etag: ownTag,
	}
	t.Schema = object("", "RecordSet",
		showID(), str("name"), showType(), showETag(),
		object("properties", "RecordSetProperties",
			&Field{Name: "metadata", Kind: Map},
			str("fqdn").shown(func(r *render) []byte { return appendString(nil, recordFQDN(r.id)) }),
			num("ttl").required(), data,
			flag("isAutoRegistered").shown(func(r *render) []byte {
				return fmt.Appendf(nil, "%t", r.body.get("properties", "isAutoRegistered").isTrue())
			}),
		).required(),
	)
	if kind == "A" || kind == "AAAA" {
		t.computed = registeredSets
	}
	return t
}

func recordFQDN(id ID) string {
	zone := id.Names[0] + "."
	if id.Name() == "@" {
		return zone
	}
	return id.Name() + "." + zone
}

// firstSOA is the record that every zone begins with.
func firstSOA() *node {
	n, err := parseJSON([]byte(`{"properties":{"ttl":3600,"soaRecord":{"host":"azureprivatedns.net","email":"azureprivatedns-host.microsoft.com",` +
		`"serialNumber":1,"refreshTime":3600,"retryTime":300,"expireTime":2419200,"minimumTtl":10}}}`))
	if err != nil {
		panic(err) // a constant
	}
	return n
}

// recordFields are the parts of one record of a kind, in the order of its text form.
var recordFields = map[string][]string{"A": {"ipv4Address"}, "AAAA": {"ipv6Address"}, "CNAME": {"cname"}, "MX": {"preference", "exchange"}, "PTR": {"ptrdname"},
	"SRV": {"priority", "weight", "port", "target"}, "SOA": {"host", "email", "serialNumber", "refreshTime", "retryTime", "expireTime", "minimumTtl"}}

// recordsOf are the records of a set.
func recordsOf(kind string, set *node) []*node {
	p := set.get("properties")
	switch kind {
	case "CNAME", "SOA":
		if one := p.get(strings.ToLower(kind) + "Record"); one != nil {
			return []*node{one}
		}
		return nil
	}
	return p.get(strings.ToLower(kind) + "Records").list()
}

func typedRecord(kind string, set *node) ZoneRecord {
	ttl, _ := set.get("properties", "ttl").int()
	r := ZoneRecord{Name: strings.ToLower(set.get("name").text()), Kind: kind, TTL: uint32(ttl)}
	for _, n := range recordsOf(kind, set) {
		var data []string
		if kind == "TXT" {
			data = n.get("value").texts()
		}
		for _, field := range recordFields[kind] {
			data = append(data, recordField(n.get(field)))
		}
		r.Data = append(r.Data, data)
	}
	return r
}

// recordField is an address in its one form, a number, or a name in lower case without the dot at its end.
func recordField(n *node) string {
	if v, ok := n.int(); ok {
		return strconv.FormatInt(v, 10)
	}
	text := n.text()
	if a, err := netip.ParseAddr(text); err == nil {
		return a.String()
	}
	return strings.ToLower(strings.TrimSuffix(text, "."))
}

type zoneCheck struct {
	*check
	cnames map[string]bool   // by name in lower case
	others map[string]string // by name in lower case: a kind beside CNAME
}

// records checks every record set by itself and against those of the same name.
func (z *zoneCheck) records() {
	sets := 0
	for _, t := range recordTypes {
		list := z.body.get("properties", t.List).list()
		z.uniqueNames(t, list)
		if sets += len(list); sets > maxRecordSets {
			z.bad("properties", "BadRequest", "Zone %s has more than %d record sets.", z.doc.ID.Name(), maxRecordSets)
			return
		}
		for i, set := range list {
			z.record(t.List, set, fmt.Sprintf("properties.%s[%d].properties", t.List, i))
		}
	}
	if soa := z.body.get("properties", soaRecord.List).list(); len(soa) != 1 || soa[0].get("name").text() != "@" || len(recordsOf("SOA", soa[0])) != 1 {
		z.bad("properties.SOA", "BadRequest", "Zone %s must have exactly one SOA record set, named '@': it can be changed, but not deleted.", z.doc.ID.Name())
	}
	for name := range z.cnames {
		if kind := z.others[name]; kind != "" || name == "@" {
			z.bad("properties.CNAME", "BadRequest", "A CNAME record set '%s' cannot stand beside other record sets of that name (%s) in zone %s.", name, kind, z.doc.ID.Name())
		}
	}
}

func (z *zoneCheck) record(kind string, set *node, path string) {
	name := strings.ToLower(set.get("name").text())
	if kind == "CNAME" {
		z.cnames[name] = true
	} else {
		z.others[name] = kind
	}
	if !recordNaming.rule.MatchString(name) || len(name)+1+len(z.doc.ID.Name()) > maxDNSName {
		z.bad(path, "BadRequest", recordNaming.text, name)
	}
	if ttl, _ := set.get("properties", "ttl").int(); ttl < 1 {
		z.bad(path+".ttl", "BadRequest", "The record set '%s' has the TTL %d; it must be between 1 and 2147483647.", name, ttl)
	}
	records := recordsOf(kind, set)
	if len(records) > maxRecords {
		z.bad(path, "BadRequest", "The record set '%s' has %d records; up to %d are allowed.", name, len(records), maxRecords)
		return
	}
	for _, n := range records {
		if why := badRecord(kind, n); why != "" {
			z.bad(path, "BadRequest", "The record set '%s' of type %s is not valid: %s.", name, kind, why)
		}
	}
}

var targetRule = regexp.MustCompile(`^` + dnsLabel + `(\.` + dnsLabel + `)*\.?$`)

// badRecord says what is wrong with one record, "" for nothing.
func badRecord(kind string, n *node) string {
	if kind == "TXT" {
		return badText(n.get("value").texts())
	}
	for _, field := range recordFields[kind] {
		v := n.get(field)
		text := v.text()
		switch number, isNumber := v.int(); {
		case field == "ipv4Address" || field == "ipv6Address":
			if a, err := netip.ParseAddr(text); err != nil || a.Is4() != (kind == "A") || a.Is4In6() || a.Zone() != "" {
				return fmt.Sprintf("'%s' is no %s", text, map[string]string{"A": "IPv4 address", "AAAA": "IPv6 address"}[kind])
			}
		case isNumber && kind != "SOA" && (number < 0 || number > 65535):
			return fmt.Sprintf("%s %d is not between 0 and 65535", field, number)
		case isNumber && number < 0:
			return fmt.Sprintf("%s %d is negative", field, number)
		case isNumber:
		case !targetRule.MatchString(text) || len(text) > maxDNSName:
			return fmt.Sprintf("%s '%s' is no domain name", field, text)
		}
	}
	return ""
}

// Limits of a TXT record.
const (
	maxString = 255
	maxText   = 1024
)

func badText(values []string) string {
	all := 0
	for _, v := range values {
		if all += len(v); len(v) > maxString {
			return fmt.Sprintf("a string of %d bytes; up to %d are allowed", len(v), maxString)
		}
	}
	if len(values) == 0 || all > maxText {
		return fmt.Sprintf("%d strings of %d bytes together; up to %d bytes are allowed", len(values), all, maxText)
	}
	return ""
}
