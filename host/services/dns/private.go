package dns

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"ringfence/goal"
)

// privateZone is a private zone as it is answered: immutable, shared by the networks that resolve it.
type privateZone struct {
	from goal.Zone
	apex string                         // in lower case with its dot
	sets map[string]map[uint16][]dns.RR // by name and type
	some map[string]bool                // names that exist: with records, or above such
	soa  *dns.SOA
}

// privateLink is a zone that a network resolves.
type privateLink struct {
	zone     *privateZone
	fallback bool // what it does not have is asked elsewhere
}

func (z *privateZone) madeFrom(g *goal.Zone) bool { return z != nil && reflect.DeepEqual(z.from, *g) }

// newPrivate keeps a copy of the goal's zone: its owner may not change what is compared later.
func newPrivate(g *goal.Zone) *privateZone {
	z := &privateZone{from: *g, apex: g.Name + ".", sets: map[string]map[uint16][]dns.RR{}, some: map[string]bool{}}
	z.from.Records = make([]goal.Record, 0, len(g.Records))
	for _, r := range g.Records {
		data := make([][]string, 0, len(r.Data))
		for _, d := range r.Data {
			data = append(data, slices.Clone(d))
		}
		z.from.Records = append(z.from.Records, goal.Record{Name: r.Name, Type: r.Type, TTL: r.TTL, Data: data})
		z.add(&r)
	}
	if z.soa == nil { // a goal that was checked has one
		z.soa = &dns.SOA{Hdr: dns.RR_Header{Name: z.apex, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negative}, Ns: z.apex, Mbox: "nobody.invalid.", Minttl: negative}
	}
	return z
}

func (z *privateZone) add(r *goal.Record) {
	name := z.apex
	if r.Name != "@" {
		name = r.Name + "." + z.apex
	}
	for _, data := range r.Data {
		rr := record(name, r, data)
		if rr == nil {
			continue
		}
		kind := rr.Header().Rrtype
		if z.sets[name] == nil {
			z.sets[name] = map[uint16][]dns.RR{}
		}
		z.sets[name][kind] = append(z.sets[name][kind], rr)
		if soa, ok := rr.(*dns.SOA); ok {
			z.soa = soa
		}
	}
	for at := name; strings.HasSuffix("."+at, "."+z.apex); at = parent(at) {
		z.some[at] = true
	}
}

func parent(name string) string { return name[strings.IndexByte(name, '.')+1:] }

// record makes a record; nil for what no goal has that was checked.
func record(name string, r *goal.Record, data []string) dns.RR {
	head := dns.RR_Header{Name: name, Rrtype: dns.StringToType[r.Type], Class: dns.ClassINET, Ttl: r.TTL}
	n := func(i int) uint16 { v, _ := strconv.ParseUint(data[i], 10, 16); return uint16(v) }
	long := func(i int) uint32 { v, _ := strconv.ParseUint(data[i], 10, 32); return uint32(v) }
	switch want := map[string]int{"A": 1, "AAAA": 1, "CNAME": 1, "PTR": 1, "MX": 2, "SRV": 4, "SOA": 7}[r.Type]; {
	case r.Type == "TXT":
		t := &dns.TXT{Hdr: head}
		for _, s := range data {
			t.Txt = append(t.Txt, strings.ReplaceAll(s, `\`, `\\`))
		}
		return t
	case len(data) != want:
		return nil
	}
	switch r.Type {
	case "A", "AAAA":
		a, err := netip.ParseAddr(data[0])
		switch {
		case err != nil:
			return nil
		case r.Type == "A":
			return &dns.A{Hdr: head, A: a.AsSlice()}
		}
		return &dns.AAAA{Hdr: head, AAAA: a.AsSlice()}
	case "CNAME":
		return &dns.CNAME{Hdr: head, Target: data[0] + "."}
	case "PTR":
		return &dns.PTR{Hdr: head, Ptr: data[0] + "."}
	case "MX":
		return &dns.MX{Hdr: head, Preference: n(0), Mx: data[1] + "."}
	case "SRV":
		return &dns.SRV{Hdr: head, Priority: n(0), Weight: n(1), Port: n(2), Target: data[3] + "."}
	case "SOA":
		return &dns.SOA{Hdr: head, Ns: data[0] + ".", Mbox: data[1] + ".", Serial: long(2), Refresh: long(3), Retry: long(4), Expire: long(5), Minttl: long(6)}
	}
	return nil
}

// linksOf are the private zones of a network, the longest names first: the longest match answers.
func (t *table) linksOf(n *goal.VNet) []privateLink {
	var out []privateLink
	for _, l := range n.Zones {
		if z := t.private[l.Zone]; z != nil {
			out = append(out, privateLink{z, l.Fallback})
		}
	}
	slices.SortStableFunc(out, func(a, b privateLink) int { return len(b.zone.apex) - len(a.zone.apex) })
	return out
}

// privately finds the private zone that answers for a name. A network's own suffix is never anybody else's.
func (z *zone) privately(name string) *privateLink {
	dotted := "." + name
	if z.domain != "" && strings.HasSuffix(dotted, z.domain) {
		return nil
	}
	for i := range z.private {
		if strings.HasSuffix(dotted, "."+z.private[i].zone.apex) {
			return &z.private[i]
		}
	}
	return nil
}

// look finds the records of a name and type (ANY: all), the name that it stands for, or whether there is such a name at all. What is
// not there is answered by the wildcard of the closest name above it that is (RFC 4592).
func (z *privateZone) look(name string, kind uint16) (rrs []dns.RR, alias string, exists bool) {
	sets := z.sets[name]
	if sets == nil && !z.some[name] {
		above := parent(name)
		for !z.some[above] && above != z.apex && above != "" {
			above = parent(above)
		}
		if sets = z.sets["*."+above]; sets == nil {
			return nil, "", false
		}
	}
	if c := sets[dns.TypeCNAME]; c != nil && kind != dns.TypeCNAME && kind != dns.TypeANY {
		return c, strings.ToLower(c[0].(*dns.CNAME).Target), true
	}
	if kind != dns.TypeANY {
		return sets[kind], "", true
	}
	for _, k := range slices.Sorted(maps.Keys(sets)) {
		rrs = append(rrs, sets[k]...)
	}
	return rrs, "", true
}

// longestChain is how many aliases are followed.
const longestChain = 16

// private answers a question that a private zone of the asker's network is responsible for; ours is false for all others. Aliases are
// followed through all that the network knows, and where it ends, by a forwarder.
func (s *Server) private(t *table, p *port, q *query, buf []byte) (r result, ours bool) {
	question := q.msg.Question[0]
	name, owner := strings.ToLower(question.Name), question.Name
	var answer []dns.RR
	for steps := 0; ; steps++ {
		if steps == longestChain { // aliases in a circle
			return result{what: failed, reply: q.pack(q.reply(dns.RcodeServerFailure), buf)}, true
		}
		link := p.zone.privately(name)
		if link == nil {
			break
		}
		rrs, alias, exists := link.zone.look(name, question.Qtype)
		if !exists && link.fallback && len(t.forwarders) > 0 {
			break
		}
		for _, rr := range rrs {
			c := dns.Copy(rr)
			c.Header().Name = owner
			answer = append(answer, c)
		}
		if alias == "" {
			return result{what: answered, reply: q.pack(link.reply(q, answer, len(rrs) > 0, exists), buf)}, true
		}
		name, owner = alias, alias
	}
	if answer == nil && p.zone.privately(name) == nil {
		return result{}, false
	}
	return s.beyond(t, p, q, name, answer, buf), true
}

// reply ends a chain inside a private zone.
func (l *privateLink) reply(q *query, answer []dns.RR, found, exists bool) *dns.Msg {
	code := dns.RcodeSuccess
	if !exists {
		code = dns.RcodeNameError
	}
	r := q.reply(code)
	r.Authoritative, r.Answer = true, answer
	if !found {
		soa := *l.zone.soa
		soa.Hdr.Ttl = min(soa.Hdr.Ttl, soa.Minttl)
		r.Ns = []dns.RR{&soa}
	}
	return r
}

// beyond goes on with a name that no private zone answers: what the network knows itself, else a forwarder.
func (s *Server) beyond(t *table, p *port, q *query, name string, answer []dns.RR, buf []byte) result {
	question := q.msg.Question[0]
	question.Name = name
	on := &query{msg: &dns.Msg{MsgHdr: q.msg.MsgHdr, Question: []dns.Question{question}}, edns: q.edns, stream: true, recursion: q.recursion}
	if f := p.zone.find(name); !f.outside {
		m := f.reply(p.zone, on)
		return result{what: answered, reply: q.pack(q.joined(answer, m), buf)}
	}
	if len(t.forwarders) == 0 || !q.msg.RecursionDesired {
		if answer == nil {
			return result{what: refused, reply: q.pack(q.reply(dns.RcodeRefused), buf)}
		}
		return result{what: answered, reply: q.pack(q.joined(answer, q.reply(dns.RcodeSuccess)), buf)}
	}
	on.stream = q.stream
	return result{later: func(ctx context.Context) ([]byte, outcome) {
		reply, what := s.ahead.ask(ctx, t.forwarders, p, on)
		m := new(dns.Msg)
		if what != forwarded || m.Unpack(reply) != nil {
			return q.pack(q.reply(dns.RcodeServerFailure), nil), failed
		}
		return q.pack(q.joined(answer, m), nil), what
	}}
}

// joined is an answer that begins with a chain of aliases and ends with what m says of its last name.
func (q *query) joined(chain []dns.RR, m *dns.Msg) *dns.Msg {
	r := q.reply(m.Rcode)
	r.Truncated = m.Truncated
	r.Answer, r.Ns = append(slices.Clip(chain), m.Answer...), m.Ns
	return r
}
