package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ringfence/goal"
)

// twoVNets is a host with ports 1 and 2 in one virtual network and 7 in another with the same addresses.
func twoVNets() *goal.Host {
	ip := netip.MustParseAddr
	ips := func(s ...string) (out []netip.Addr) {
		for _, a := range s {
			out = append(out, ip(a))
		}
		return out
	}
	return &goal.Host{
		Generation: 42,
		Ports:      []goal.Port{{Index: 1, VNI: 100}, {Index: 2, VNI: 100}, {Index: 7, VNI: 101}},
		VNets: []goal.VNet{
			{VNI: 100, Domain: "one.rx.internal.cloudapp.net", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("203.0.113.0/25"), netip.MustParsePrefix("fd00:db8::/48")},
				Names: []goal.Name{{Host: "both", IPs: ips("10.0.0.5", "fd00:db8::5")}, {Host: "six", IPs: ips("fd00:db8::6")}, {Host: "web", IPs: ips("10.0.0.4")}}},
			{VNI: 101, Domain: "two.rx.internal.cloudapp.net", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
				Names: []goal.Name{{Host: "db", IPs: ips("10.0.0.4")}, {Host: "web", IPs: ips("10.0.0.9")}}},
		},
	}
}

func testServer(forwarders ...netip.AddrPort) *Server {
	s := newServer(Options{})
	h := twoVNets()
	h.Forwarders = forwarders
	s.Set(h)
	return s
}

func question(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, kind)
}

func pack(t testing.TB, m *dns.Msg) []byte {
	t.Helper()
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask sends a message as a port and reads the answer, nil when there is none.
func ask(t testing.TB, s *Server, port uint32, message []byte, stream bool) (*dns.Msg, outcome) {
	t.Helper()
	r := s.serve(message, goal.Alias(port), stream, nil)
	if r.later != nil {
		r.reply, r.what = r.later(context.Background())
	}
	if r.reply == nil {
		return nil, r.what
	}
	m := new(dns.Msg)
	if err := m.Unpack(r.reply); err != nil {
		t.Fatalf("the answer % x: %v", r.reply, err)
	}
	return m, r.what
}

// brief writes an answer in a line: code, records, then / and the owner of the SOA that a negative answer carries.
func brief(m *dns.Msg) string {
	w := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		w = append(w, dns.TypeToString[rr.Header().Rrtype], strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	for _, rr := range m.Ns {
		w = append(w, "/", rr.Header().Name)
	}
	return strings.Join(w, " ")
}

func TestNames(t *testing.T) {
	s := testServer()
	const one, two = "one.rx.internal.cloudapp.net.", "two.rx.internal.cloudapp.net."
	for _, c := range []struct {
		port uint32
		kind uint16
		name string
		want string
	}{
		{1, dns.TypeA, "web." + one, "NOERROR A 10.0.0.4"},
		{2, dns.TypeA, "WEB.One.rx.Internal.cloudapp.NET.", "NOERROR A 10.0.0.4"},
		{7, dns.TypeA, "web." + two, "NOERROR A 10.0.0.9"},
		{7, dns.TypeA, "web." + one, "NXDOMAIN / internal.cloudapp.net."},
		{1, dns.TypeA, "web.", "NOERROR A 10.0.0.4"},
		{7, dns.TypeA, "web.", "NOERROR A 10.0.0.9"},
		{1, dns.TypeA, "web.internal.cloudapp.net.", "NOERROR A 10.0.0.4"},
		{1, dns.TypeAAAA, "web." + one, "NOERROR / " + one},
		{1, dns.TypeAAAA, "both." + one, "NOERROR AAAA fd00:db8::5"},
		{1, dns.TypeANY, "both." + one, "NOERROR A 10.0.0.5 AAAA fd00:db8::5"},
		{1, dns.TypeA, "six." + one, "NOERROR / " + one},
		{1, dns.TypeMX, "web." + one, "NOERROR / " + one},
		{1, dns.TypeA, "db." + one, "NXDOMAIN / " + one},
		{1, dns.TypeA, "a.web." + one, "NXDOMAIN / " + one},
		{1, dns.TypeA, one, "NOERROR / " + one},
		{1, dns.TypeSOA, one, "NOERROR SOA " + one + " nobody.invalid. 42 3600 1200 604800 1"},
		{1, dns.TypeA, "rx.internal.cloudapp.net.", "NOERROR / internal.cloudapp.net."},
		{1, dns.TypeA, "internal.cloudapp.net.", "NOERROR / internal.cloudapp.net."},
		{1, dns.TypeA, "qx.internal.cloudapp.net.", "NXDOMAIN / internal.cloudapp.net."},
		{1, dns.TypeA, "nobody.", "NXDOMAIN"},
		{1, dns.TypeA, "web", "NOERROR A 10.0.0.4"},
		{1, dns.TypeA, "example.com.", "REFUSED"},
		{1, dns.TypeNS, ".", "REFUSED"},
		{1, dns.TypeA, "xinternal.cloudapp.net.", "REFUSED"},
		{1, dns.TypeAXFR, one, "REFUSED"},
		// reverse
		{1, dns.TypePTR, "4.0.0.10.in-addr.arpa.", "NOERROR PTR web.internal.cloudapp.net."},
		{7, dns.TypePTR, "4.0.0.10.IN-ADDR.arpa.", "NOERROR PTR db.internal.cloudapp.net."},
		{1, dns.TypeA, "4.0.0.10.in-addr.arpa.", "NOERROR / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "9.0.0.10.in-addr.arpa.", "NXDOMAIN / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "1.4.0.0.10.in-addr.arpa.", "NXDOMAIN / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "0.0.10.in-addr.arpa.", "NOERROR / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "1.0.10.in-addr.arpa.", "NXDOMAIN / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "0.10.in-addr.arpa.", "NOERROR / 0.10.in-addr.arpa."},
		{1, dns.TypePTR, "10.in-addr.arpa.", "NOERROR / 10.in-addr.arpa."},
		{1, dns.TypePTR, "1.0.9.10.in-addr.arpa.", "NXDOMAIN / 10.in-addr.arpa."},
		{1, dns.TypePTR, "1.0.168.192.in-addr.arpa.", "NXDOMAIN / 168.192.in-addr.arpa."},
		{1, dns.TypePTR, "254.169.254.169.in-addr.arpa.", "NXDOMAIN / 254.169.in-addr.arpa."},
		{1, dns.TypePTR, "7.113.0.203.in-addr.arpa.", "NXDOMAIN / 113.0.203.in-addr.arpa."},
		{7, dns.TypePTR, "7.113.0.203.in-addr.arpa.", "REFUSED"},
		{1, dns.TypePTR, "in-addr.arpa.", "REFUSED"},
		{1, dns.TypePTR, "04.0.0.10.in-addr.arpa.", "REFUSED"},
		{1, dns.TypePTR, "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.0.0.d.f.ip6.arpa.", "NOERROR PTR both.internal.cloudapp.net."},
		{1, dns.TypePTR, "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.0.0.d.f.ip6.arpa.", "NXDOMAIN / 0.0.0.0.8.b.d.0.0.0.d.f.ip6.arpa."},
		{1, dns.TypePTR, "8.b.d.0.1.0.0.2.ip6.arpa.", "REFUSED"},
	} {
		q := question(dns.Fqdn(c.name), c.kind)
		m, _ := ask(t, s, c.port, pack(t, q), false)
		if m == nil || brief(m) != c.want {
			t.Errorf("port %d asks %s %s: %v, want %s", c.port, dns.TypeToString[c.kind], c.name, m, c.want)
			continue
		}
		if m.Id != q.Id || !m.Response || m.RecursionAvailable || m.Question[0] != q.Question[0] || m.Authoritative != (c.want != "REFUSED" && c.want != "NXDOMAIN") {
			t.Errorf("%s: header %+v", c.name, m.MsgHdr)
		}
	}
}

func TestWhoIsAnswered(t *testing.T) {
	s := testServer()
	m := pack(t, question("web.", dns.TypeA))
	for _, from := range []string{"10.0.0.4", "100.64.0.3", "100.64.0.0", "127.0.0.1", "168.63.129.16", "fd00::1"} {
		if r := s.serve(m, netip.MustParseAddr(from), false, nil); r.reply != nil || r.what != stranger {
			t.Errorf("%s is answered: %+v", from, r)
		}
	}
	h := twoVNets()
	h.Ports = h.Ports[1:]
	s.Set(h)
	if _, what := ask(t, s, 1, m, false); what != stranger {
		t.Error("a port that is gone is answered")
	}
	h.VNets[0].Names = nil
	s.Set(h)
	if m, _ := ask(t, s, 2, m, false); m.Rcode != dns.RcodeNameError {
		t.Error("a name that is gone is answered")
	}
}

// A goal that changes rules only costs a comparison; every change of names is seen.
func TestZonesAreKept(t *testing.T) {
	s := testServer()
	first := s.table.Load()
	s.Set(twoVNets())
	if again := s.table.Load(); again.zones[100] != first.zones[100] || again.zones[101] != first.zones[101] {
		t.Error("a zone in which nothing changed is made anew")
	}
	for what, change := range map[string]func(n *goal.VNet){
		"domain":  func(n *goal.VNet) { n.Domain = "x.internal" },
		"prefix":  func(n *goal.VNet) { n.Prefixes = n.Prefixes[1:] },
		"host":    func(n *goal.VNet) { n.Names[0].Host = "other" },
		"address": func(n *goal.VNet) { n.Names[0].IPs[0] = n.Names[0].IPs[0].Next() },
		"fewer":   func(n *goal.VNet) { n.Names = n.Names[1:] },
	} {
		h := twoVNets()
		change(&h.VNets[0])
		s.Set(h)
		if next := s.table.Load(); next.zones[100] == first.zones[100] || next.zones[101] != first.zones[101] {
			t.Errorf("%s: the wrong zones are kept", what)
		}
		s.Set(twoVNets())
		first = s.table.Load()
	}
}

func BenchmarkSet(b *testing.B) {
	h := twoVNets()
	for i := range 10_000 {
		h.VNets[0].Names = append(h.VNets[0].Names, goal.Name{Host: fmt.Sprintf("vm%d", i), IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}})
	}
	s := newServer(Options{})
	for b.Loop() {
		s.Set(h)
	}
}

func TestForm(t *testing.T) {
	s := testServer()
	good := pack(t, question("web.", dns.TypeA))
	with := func(change func(*dns.Msg)) []byte {
		m := question("web.", dns.TypeA)
		change(m)
		return pack(t, m)
	}
	opt := func(version uint8) *dns.OPT {
		o := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		o.SetVersion(version)
		o.SetUDPSize(4096)
		return o
	}
	for name, c := range map[string]struct {
		message []byte
		want    int // -1: no answer
	}{
		"nothing":         {nil, -1},
		"short":           {good[:11], -1},
		"an answer":       {with(func(m *dns.Msg) { m.Response = true }), -1},
		"header only":     {append(slices.Clone(good[:4]), 0, 0, 0, 0, 0, 0, 0, 0), dns.RcodeFormatError},
		"cut":             {good[:len(good)-1], dns.RcodeFormatError},
		"two questions":   {with(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"records asked":   {with(func(m *dns.Msg) { m.Answer = []dns.RR{(&zone{}).soa("a.")} }), dns.RcodeFormatError},
		"notify":          {with(func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), dns.RcodeNotImplemented},
		"update":          {with(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"chaos":           {with(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		"two OPT":         {with(func(m *dns.Msg) { m.Extra = []dns.RR{opt(0), opt(0)} }), dns.RcodeFormatError},
		"another version": {with(func(m *dns.Msg) { m.Extra = []dns.RR{opt(1)} }), dns.RcodeBadVers},
		"endless pointer": {append(slices.Clone(good[:12]), 0xc0, 12, 0, 1, 0, 1), dns.RcodeFormatError},
		"oversized":       {append(slices.Clone(good), make([]byte, longest)...), dns.RcodeFormatError},
		"good":            {good, dns.RcodeSuccess},
	} {
		m, _ := ask(t, s, 1, c.message, false)
		if (m == nil) != (c.want < 0) || m != nil && m.Rcode != c.want {
			t.Errorf("%s: %v", name, m)
		}
	}
	m, _ := ask(t, s, 1, with(func(m *dns.Msg) { m.SetEdns0(4096, true) }), false)
	if o := m.IsEdns0(); o == nil || o.UDPSize() != safeUDP || !o.Do() || brief(m) != "NOERROR A 10.0.0.4" {
		t.Errorf("EDNS is not answered: %v", m)
	}
	if m, _ := ask(t, s, 1, good, false); m.IsEdns0() != nil || m.Answer[0].Header().Ttl != lifetime {
		t.Errorf("EDNS unasked, or a wrong lifetime: %v", m)
	}
}

func TestRate(t *testing.T) {
	r, now := newRate(100), time.Unix(1000, 0)
	allowed := func(n int) (got int) {
		for range n {
			if r.allow(now) {
				got++
			}
		}
		return got
	}
	if got := allowed(500); got != 100 {
		t.Errorf("%d at once", got)
	}
	now = now.Add(100 * time.Millisecond)
	if got := allowed(500); got != 10 {
		t.Errorf("%d after a tenth of a second", got)
	}
	now = now.Add(-time.Hour)
	if got := allowed(500); got != 100 {
		t.Errorf("%d after the clock went back", got)
	}
	s := testServer()
	m := pack(t, question("web.", dns.TypeA))
	counts, began := map[outcome]int{}, time.Now()
	for i := range 2 * DefaultRate {
		if i == DefaultRate {
			s.Set(twoVNets()) // a new goal is no new purse
		}
		counts[s.serve(m, goal.Alias(1), false, nil).what]++
	}
	if most := DefaultRate * (1 + time.Since(began).Seconds()); counts[answered] < DefaultRate || float64(counts[answered]) > most+1 {
		t.Errorf("outcomes %v", counts)
	}
	if r := s.serve(m, goal.Alias(2), false, nil); r.what != answered {
		t.Error("one port's rate is another's")
	}
}

func FuzzServe(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(pack(f, question("web.one.rx.internal.cloudapp.net.", dns.TypeA)), true)
	f.Add(pack(f, question("4.0.0.10.in-addr.arpa.", dns.TypePTR)), false)
	f.Add(pack(f, question("5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.0.0.d.f.ip6.arpa.", dns.TypePTR).SetEdns0(512, true)), false)
	s := newServer(Options{Rate: 1e9})
	s.Set(twoVNets())
	var last string
	s.log = logTo(func(line string) { last = line })
	f.Fuzz(func(t *testing.T, b []byte, stream bool) {
		r := s.serve(b, goal.Alias(1), stream, nil)
		if last != "" {
			t.Fatal(last)
		}
		if r.reply == nil {
			return
		}
		if len(b) < headerLen || len(r.reply) < headerLen || string(r.reply[:2]) != string(b[:2]) || r.reply[2]&0x80 == 0 || b[2]&0x80 != 0 {
			t.Fatalf("% x is answered with % x", b, r.reply)
		}
		m := new(dns.Msg)
		if err := m.Unpack(r.reply); err != nil || !stream && len(r.reply) > safeUDP {
			t.Fatalf("the answer % x: %v", r.reply, err)
		}
		if r.what == refused && len(m.Answer)+len(m.Ns) > 0 {
			t.Fatalf("refused with records: %v", m)
		}
	})
}

func BenchmarkServe(b *testing.B) {
	s := newServer(Options{Rate: 1e9})
	h := twoVNets()
	for i := range 1000 {
		h.VNets[0].Names = append(h.VNets[0].Names, goal.Name{Host: fmt.Sprintf("vm%d", i), IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(4 + i>>8), byte(i)})}})
	}
	s.Set(h)
	for name, q := range map[string]*dns.Msg{
		"a": question("vm77.one.rx.internal.cloudapp.net.", dns.TypeA), "edns": question("vm77.one.rx.internal.cloudapp.net.", dns.TypeA).SetEdns0(1232, false),
		"nxdomain": question("none.one.rx.internal.cloudapp.net.", dns.TypeA), "ptr": question("4.0.0.10.in-addr.arpa.", dns.TypePTR),
	} {
		m := pack(b, q)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			buf := make([]byte, 0, longest)
			for b.Loop() {
				if r := s.serve(m, goal.Alias(1), false, buf); r.what != answered {
					b.Fatal(r.what)
				}
			}
		})
	}
}
