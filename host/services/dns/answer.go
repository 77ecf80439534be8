package dns

import (
	"context"
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	longest   = 4096 // of a question that is read at all
	safeUDP   = 1232 // no datagram is longer: it passes every path unfragmented
	plainUDP  = 512  // without EDNS
	headerLen = 12
)

// result is an answer, or the way to one, or neither: then there is none.
type result struct {
	what  outcome
	reply []byte
	later func(context.Context) ([]byte, outcome)
}

// serve is one message's whole way: asker, rate, form, name. The reply may use the memory of buf.
func (s *Server) serve(message []byte, from netip.Addr, stream bool, buf []byte) (r result) {
	defer func() {
		if e := recover(); e != nil { // a guest must not be able to end the agent
			s.log.Error("dns: question is not answered", "error", e, "from", from)
			r = result{what: failed}
		}
	}()
	t := s.table.Load()
	p := t.asker(from)
	switch {
	case p == nil:
		return result{what: stranger}
	case !p.rate.allow(time.Now()):
		return result{what: limited}
	case len(message) < headerLen || message[2]&0x80 != 0:
		return result{what: malformed} // nobody would understand an answer; an answer is never answered
	}
	q := new(dns.Msg)
	if err := q.Unpack(message); err != nil || len(message) > longest {
		return result{what: malformed, reply: fault(message, dns.RcodeFormatError)}
	}
	return s.answer(t, p, &query{msg: q, stream: stream, recursion: len(t.forwarders) > 0}, buf)
}

// fault answers what could not be read: a header that says why.
func fault(message []byte, code int) []byte {
	b := make([]byte, headerLen)
	copy(b, message[:2])
	b[2] = 0x80 | message[2]&0x79 // opcode and recursion desired stay
	b[3] = byte(code)
	return b
}

// query is a question that could be read.
type query struct {
	msg       *dns.Msg
	edns      *dns.OPT
	stream    bool
	recursion bool // there are forwarders
}

// check refuses what is no question that this server answers.
func (q *query) check() (code int, ok bool) {
	m := q.msg
	if m.Opcode != dns.OpcodeQuery {
		return dns.RcodeNotImplemented, false
	}
	for _, rr := range m.Extra {
		o, is := rr.(*dns.OPT)
		switch {
		case !is:
		case q.edns != nil || o.Hdr.Name != ".":
			return dns.RcodeFormatError, false
		default:
			q.edns = o
		}
	}
	switch {
	case len(m.Question) != 1 || len(m.Answer) > 0:
		return dns.RcodeFormatError, false
	case q.edns != nil && q.edns.Version() != 0:
		return dns.RcodeBadVers, false
	}
	kind := m.Question[0].Qtype
	if m.Question[0].Qclass != dns.ClassINET || kind == dns.TypeAXFR || kind == dns.TypeIXFR || kind == dns.TypeMAILA || kind == dns.TypeMAILB {
		return dns.RcodeRefused, false
	}
	return 0, true
}

// answer decides: from a private zone, from the network's own, by a forwarder, or not at all.
func (s *Server) answer(t *table, p *port, q *query, buf []byte) result {
	if code, ok := q.check(); !ok {
		what := refused
		if code == dns.RcodeFormatError {
			what = malformed
		}
		return result{what: what, reply: q.pack(q.reply(code), buf)}
	}
	question := q.msg.Question[0]
	if r, ours := s.private(t, p, q, buf); ours {
		return r
	}
	f := p.zone.find(strings.ToLower(question.Name))
	if !f.outside {
		return result{what: answered, reply: q.pack(f.reply(p.zone, q), buf)}
	}
	if len(t.forwarders) == 0 {
		if strings.IndexByte(question.Name, '.') == len(question.Name)-1 && question.Name != "." {
			// A bare name that is no VM's: resolvers that tried the suffix before take REFUSED for a passing fault.
			return result{what: answered, reply: q.pack(q.reply(dns.RcodeNameError), buf)}
		}
		return result{what: refused, reply: q.pack(q.reply(dns.RcodeRefused), buf)}
	}
	if !q.msg.RecursionDesired {
		return result{what: refused, reply: q.pack(q.reply(dns.RcodeRefused), buf)}
	}
	return result{later: func(ctx context.Context) ([]byte, outcome) { return s.ahead.ask(ctx, t.forwarders, p, q) }}
}

// reply is the zone's answer.
func (f *finding) reply(z *zone, q *query) *dns.Msg {
	code := dns.RcodeSuccess
	if !f.exists {
		code = dns.RcodeNameError
	}
	r := q.reply(code)
	r.Authoritative = true
	r.Answer = f.records(z, q.msg.Question[0])
	if len(r.Answer) == 0 && f.apex != "" {
		r.Ns = []dns.RR{z.soa(f.apex)}
	}
	return r
}

// reply begins an answer.
func (q *query) reply(code int) *dns.Msg {
	r := &dns.Msg{MsgHdr: dns.MsgHdr{
		Id: q.msg.Id, Response: true, Opcode: q.msg.Opcode, RecursionDesired: q.msg.RecursionDesired,
		CheckingDisabled: q.msg.CheckingDisabled, RecursionAvailable: q.recursion, Rcode: code,
	}}
	if len(q.msg.Question) == 1 {
		r.Question = q.msg.Question
	}
	return r
}

// size is the longest answer that the asker can take.
func (q *query) size() int {
	switch {
	case q.stream:
		return dns.MaxMsgSize
	case q.edns == nil:
		return plainUDP
	}
	return min(max(int(q.edns.UDPSize()), plainUDP), safeUDP)
}

// pack adds EDNS when the asker spoke it, and cuts the answer to what the asker can take.
func (q *query) pack(r *dns.Msg, buf []byte) []byte {
	if q.edns != nil {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetUDPSize(safeUDP)
		if q.edns.Do() {
			o.SetDo()
		}
		r.Extra = append(r.Extra, o)
	}
	r.Compress = len(r.Answer)+len(r.Ns) > 0
	b, err := r.PackBuffer(buf[:cap(buf)])
	if limit := q.size(); err == nil && len(b) > limit {
		r.Truncate(limit)
		b, err = r.PackBuffer(buf[:cap(buf)])
	}
	if err != nil {
		var header [headerLen]byte
		binary.BigEndian.PutUint16(header[:], q.msg.Id)
		return fault(header[:], dns.RcodeServerFailure)
	}
	return b
}
