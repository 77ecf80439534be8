package dns

import (
	"strings"

	"github.com/miekg/dns"
)

// platform is the parent of every virtual network's suffix, and where reverse names point to. It is private as a whole: what is
// not known in it is never asked elsewhere.
const platform = ".internal.cloudapp.net."

// Lifetimes in seconds. Azure does not document its own; 10 is what captures show. What does not exist is forgotten faster,
// because the usual reason to ask for it is that it is being made.
const (
	lifetime = 10
	negative = 1
)

// finding is what a zone knows of a name: outside it, nothing, or a place with or without records.
type finding struct {
	outside bool
	exists  bool
	host    *host  // addresses
	pointer *host  // a PTR record
	apex    string // of the zone the name lies in; "" for a bare name
}

// find looks a name up; it is in lower case and ends with a dot.
func (z *zone) find(name string) finding {
	dotted := "." + name
	if z.domain != "" && strings.HasSuffix(dotted, z.domain) {
		rel := strings.TrimPrefix(strings.TrimSuffix(dotted, z.domain), ".")
		h := z.hosts[rel]
		return finding{exists: rel == "" || h != nil, host: h, apex: z.domain[1:]}
	}
	if strings.HasSuffix(dotted, platform) {
		rel := strings.TrimPrefix(strings.TrimSuffix(dotted, platform), ".")
		h := z.hosts[rel]
		above := strings.HasSuffix(z.domain, dotted) // the suffix lies below: a place without records
		return finding{exists: rel == "" || h != nil || above, host: h, apex: platform[1:]}
	}
	if h := z.hosts[strings.TrimSuffix(name, ".")]; h != nil {
		return finding{exists: true, host: h}
	}
	if r, ok := parseReverse(name); ok {
		return z.findReverse(name, &r)
	}
	return finding{outside: true}
}

func (z *zone) findReverse(name string, r *reversed) finding {
	around, ok := z.around(r.prefix)
	if !ok {
		return finding{outside: true}
	}
	f := finding{apex: r.apex(around)}
	if r.more {
		return f
	}
	if r.prefix.IsSingleIP() {
		f.pointer = z.byIP[r.prefix.Addr()]
	}
	f.exists = z.anyIn(r.prefix) || f.apex == name
	return f
}

// records are those of the asked type.
func (f *finding) records(z *zone, q dns.Question) []dns.RR {
	var out []dns.RR
	head := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: lifetime}
	}
	want := func(kind uint16) bool { return q.Qtype == kind || q.Qtype == dns.TypeANY }
	if f.host != nil {
		if want(dns.TypeA) {
			for _, ip := range f.host.v4 {
				out = append(out, &dns.A{Hdr: head(dns.TypeA), A: ip.AsSlice()})
			}
		}
		if want(dns.TypeAAAA) {
			for _, ip := range f.host.v6 {
				out = append(out, &dns.AAAA{Hdr: head(dns.TypeAAAA), AAAA: ip.AsSlice()})
			}
		}
	}
	if f.pointer != nil && want(dns.TypePTR) {
		out = append(out, &dns.PTR{Hdr: head(dns.TypePTR), Ptr: f.pointer.name + platform})
	}
	if f.apex != "" && strings.EqualFold(f.apex, q.Name) && want(dns.TypeSOA) {
		out = append(out, z.soa(q.Name))
	}
	return out
}

// soa is the head of a zone in the form of RFC 6303: nobody serves it to others.
func (z *zone) soa(apex string) dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: apex, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negative},
		Ns:  apex, Mbox: "nobody.invalid.", Serial: z.serial, Refresh: 3600, Retry: 1200, Expire: 604800, Minttl: negative,
	}
}
