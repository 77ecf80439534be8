package dns

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"ringfence/host/kernel/netns"
)

const (
	waitingPerPort = 64 // questions of a port that wait for forwarders
	waitingInAll   = 2048
	patience       = 1500 * time.Millisecond // with one forwarder
	avoided        = 5 * time.Second         // how long one that did not answer is asked last
)

// forwarder asks other servers, each question from a socket of its own, so that nobody can guess where an answer would be taken.
type forwarder struct {
	namespace string
	slots     chan struct{}
	mu        sync.Mutex
	silent    map[netip.AddrPort]time.Time // when it did not answer
}

func newForwarder(namespace string) *forwarder {
	return &forwarder{namespace: namespace, slots: make(chan struct{}, waitingInAll), silent: map[netip.AddrPort]time.Time{}}
}

// ask takes the first usable answer of the servers in their order; without one the asker is told to try again.
func (f *forwarder) ask(ctx context.Context, servers []netip.AddrPort, p *port, q *query) ([]byte, outcome) {
	if p.ahead.Add(1) > waitingPerPort {
		p.ahead.Add(-1)
		return q.pack(q.reply(dns.RcodeServerFailure), nil), failed
	}
	defer p.ahead.Add(-1)
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return q.pack(q.reply(dns.RcodeServerFailure), nil), failed
	}
	var last *dns.Msg
	for _, server := range f.order(servers) {
		r, err := f.exchange(ctx, server, q)
		f.note(server, err == nil)
		if err != nil {
			continue
		}
		if last = r; r.Rcode != dns.RcodeServerFailure && r.Rcode != dns.RcodeRefused {
			break
		}
	}
	if last == nil {
		return q.pack(q.reply(dns.RcodeServerFailure), nil), failed
	}
	r := q.reply(last.Rcode)
	r.Truncated, r.AuthenticatedData = last.Truncated, last.AuthenticatedData
	r.Answer, r.Ns = last.Answer, last.Ns
	r.Extra = slices.DeleteFunc(last.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	if q.edns == nil && r.Rcode > 15 {
		r.Rcode = dns.RcodeServerFailure // only EDNS can say the rest
	}
	return q.pack(r, nil), forwarded
}

// exchange asks one server over the asker's own transport.
func (f *forwarder) exchange(ctx context.Context, server netip.AddrPort, q *query) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	network := "udp"
	if q.stream {
		network = "tcp"
	}
	var conn net.Conn
	err := netns.Do(f.namespace, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, server.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	c := &dns.Conn{Conn: conn, UDPSize: safeUDP}
	m := q.onward()
	if err := c.WriteMsg(m); err != nil {
		return nil, err
	}
	for {
		r, err := c.ReadMsg()
		var broken net.Error
		switch {
		case err != nil && (q.stream || errors.As(err, &broken) || ctx.Err() != nil):
			return nil, err
		case err != nil:
			continue // rubbish; the answer may still come
		}
		if r.Id == m.Id && r.Response && r.Opcode == dns.OpcodeQuery && len(r.Question) == 1 && sameQuestion(r.Question[0], m.Question[0]) {
			return r, nil
		}
	}
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// onward is the question as it is passed on: nothing of the asker but what was asked.
func (q *query) onward() *dns.Msg {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: uint16(rand.Uint32()), RecursionDesired: true,
		CheckingDisabled: q.msg.CheckingDisabled, AuthenticatedData: q.msg.AuthenticatedData}, Question: q.msg.Question}
	m.SetEdns0(safeUDP, q.edns != nil && q.edns.Do())
	return m
}

// order puts those that did not answer lately last.
func (f *forwarder) order(servers []netip.AddrPort) []netip.AddrPort {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.silent) == 0 {
		return servers
	}
	var good, bad []netip.AddrPort
	for _, s := range servers {
		if at, ok := f.silent[s]; ok && time.Since(at) < avoided {
			bad = append(bad, s)
		} else {
			good = append(good, s)
		}
	}
	return append(good, bad...)
}

func (f *forwarder) note(server netip.AddrPort, spoke bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if spoke {
		delete(f.silent, server)
	} else {
		f.silent[server] = time.Now()
	}
}
