package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"ringfence/goal"
)

func soaOf(ttl uint32) goal.Record {
	return goal.Record{Name: "@", Type: "SOA", TTL: ttl, Data: [][]string{{"ns.example", "host.example", "7", "3600", "300", "2419200", "10"}}}
}

// withZones gives the first network two zones, one below the other, and the second network one of them.
func withZones(forwarders ...netip.AddrPort) *goal.Host {
	h := twoVNets()
	h.Forwarders = forwarders
	one := func(name, kind string, data ...string) goal.Record {
		return goal.Record{Name: name, Type: kind, TTL: 300, Data: [][]string{data}}
	}
	h.Zones = []goal.Zone{
		{ID: "/z/contoso", Name: "contoso.test", Records: []goal.Record{
			one("*.wild", "A", "10.9.9.9"), soaOf(3600), one("@", "MX", "10", "mail.contoso.test"), {Name: "a", Type: "A", TTL: 60, Data: [][]string{{"10.1.0.1"}, {"10.1.0.2"}}},
			one("alias", "CNAME", "a.contoso.test"), one("circle", "CNAME", "elcric.contoso.test"), one("deep.down", "TXT", "one", `two \ "three"`), one("elcric", "CNAME", "circle.contoso.test"),
			one("far", "CNAME", "www.example.org"), one("internal", "CNAME", "web.one.rx.internal.cloudapp.net"), one("real.wild", "AAAA", "fd00::1"),
			one("sip", "SRV", "1", "2", "5060", "a.contoso.test"), one("to-sub", "CNAME", "x.sub.contoso.test"),
		}},
		{ID: "/z/rev", Name: "10.in-addr.arpa", Records: []goal.Record{one("4.0.0", "PTR", "a.contoso.test"), soaOf(5)}},
		{ID: "/z/sub", Name: "sub.contoso.test", Records: []goal.Record{soaOf(5), one("x", "A", "10.2.0.1")}},
	}
	h.VNets[0].Zones = []goal.ZoneLink{{Zone: "/z/contoso"}, {Zone: "/z/rev"}, {Zone: "/z/sub", Fallback: true}}
	h.VNets[1].Zones = []goal.ZoneLink{{Zone: "/z/sub"}}
	return h
}

func TestPrivateZones(t *testing.T) {
	s := newServer(Options{})
	s.Set(withZones())
	for _, c := range []struct {
		port uint32
		kind uint16
		name string
		want string
	}{
		{1, dns.TypeA, "A.Contoso.Test.", "NOERROR A 10.1.0.1 A 10.1.0.2"},
		{1, dns.TypeAAAA, "a.contoso.test.", "NOERROR / contoso.test."},
		{1, dns.TypeA, "none.contoso.test.", "NXDOMAIN / contoso.test."},
		{1, dns.TypeA, "down.contoso.test.", "NOERROR / contoso.test."},
		{1, dns.TypeTXT, "deep.down.contoso.test.", `NOERROR TXT "one" "two \\ \"three\""`},
		{1, dns.TypeMX, "contoso.test.", "NOERROR MX 10 mail.contoso.test."},
		{1, dns.TypeSRV, "sip.contoso.test.", "NOERROR SRV 1 2 5060 a.contoso.test."},
		{1, dns.TypeSOA, "contoso.test.", "NOERROR SOA ns.example. host.example. 7 3600 300 2419200 10"},
		{1, dns.TypeA, "any.thing.wild.contoso.test.", "NOERROR A 10.9.9.9"},
		{1, dns.TypeAAAA, "thing.wild.contoso.test.", "NOERROR / contoso.test."},
		{1, dns.TypeA, "real.wild.contoso.test.", "NOERROR / contoso.test."},
		{1, dns.TypeA, "below.real.wild.contoso.test.", "NXDOMAIN / contoso.test."},
		{1, dns.TypeA, "wild.contoso.test.", "NOERROR / contoso.test."},
		{1, dns.TypeA, "alias.contoso.test.", "NOERROR CNAME a.contoso.test. A 10.1.0.1 A 10.1.0.2"},
		{1, dns.TypeCNAME, "alias.contoso.test.", "NOERROR CNAME a.contoso.test."},
		{1, dns.TypeANY, "alias.contoso.test.", "NOERROR CNAME a.contoso.test."},
		{1, dns.TypeMX, "alias.contoso.test.", "NOERROR CNAME a.contoso.test. / contoso.test."},
		{1, dns.TypeA, "to-sub.contoso.test.", "NOERROR CNAME x.sub.contoso.test. A 10.2.0.1"},
		{1, dns.TypeA, "internal.contoso.test.", "NOERROR CNAME web.one.rx.internal.cloudapp.net. A 10.0.0.4"},
		{1, dns.TypeA, "far.contoso.test.", "NOERROR CNAME www.example.org."},
		{1, dns.TypeA, "circle.contoso.test.", "SERVFAIL"},
		{1, dns.TypeA, "x.sub.contoso.test.", "NOERROR A 10.2.0.1"},
		{1, dns.TypeA, "a.sub.contoso.test.", "NXDOMAIN / sub.contoso.test."},
		{7, dns.TypeA, "x.sub.contoso.test.", "NOERROR A 10.2.0.1"},
		{7, dns.TypeA, "a.contoso.test.", "REFUSED"},
		{1, dns.TypePTR, "4.0.0.10.in-addr.arpa.", "NOERROR PTR a.contoso.test."},
		{1, dns.TypePTR, "5.0.0.10.in-addr.arpa.", "NXDOMAIN / 10.in-addr.arpa."},
		{1, dns.TypeA, "xcontoso.test.", "REFUSED"},
		{1, dns.TypeA, "web.", "NOERROR A 10.0.0.4"},
		{1, dns.TypeA, "web.one.rx.internal.cloudapp.net.", "NOERROR A 10.0.0.4"},
	} {
		m, _ := ask(t, s, c.port, pack(t, question(c.name, c.kind)), false)
		if got := brief(m); got != c.want {
			t.Errorf("port %d, %s %s:\n got %s\nwant %s", c.port, dns.TypeToString[c.kind], c.name, got, c.want)
		}
	}
	m, _ := ask(t, s, 1, pack(t, question("A.contoso.TEST.", dns.TypeA)), false)
	if h := m.Answer[0].Header(); h.Name != "A.contoso.TEST." || h.Ttl != 60 || !m.Authoritative {
		t.Errorf("the answer's name, lifetime, authority: %+v", m)
	}
	if m, _ = ask(t, s, 1, pack(t, question("none.contoso.test.", dns.TypeA)), false); m.Ns[0].Header().Ttl != 10 {
		t.Errorf("a negative answer lives %d s", m.Ns[0].Header().Ttl)
	}
}

// What ends outside is asked of a forwarder: the end of a chain of aliases, and what a zone with fallback does not have.
func TestPrivateZonesAndForwarders(t *testing.T) {
	f := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		rr, err := dns.NewRR(q.Question[0].Name + " 30 IN A 192.0.2.1")
		if err != nil {
			t.Error(err)
		}
		r.Answer = []dns.RR{rr}
		if err := w.WriteMsg(r); err != nil {
			t.Error(err)
		}
	})
	s := newServer(Options{})
	s.Set(withZones(f))
	for name, want := range map[string]string{
		"far.contoso.test.":      "NOERROR CNAME www.example.org. A 192.0.2.1",
		"gone.sub.contoso.test.": "NOERROR A 192.0.2.1",
		"none.contoso.test.":     "NXDOMAIN / contoso.test.",
		"x.sub.contoso.test.":    "NOERROR A 10.2.0.1",
	} {
		m, _ := ask(t, s, 1, pack(t, question(name, dns.TypeA)), false)
		if got := brief(m); got != want || !strings.EqualFold(m.Question[0].Name, name) {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// A zone that did not change is not made again; one that did is, at once.
func TestPrivateZonesChange(t *testing.T) {
	s := newServer(Options{})
	h := withZones()
	s.Set(h)
	before := s.table.Load()
	next := withZones()
	next.Generation++
	next.Zones[0].Records[3].Data = [][]string{{"10.1.0.7"}}
	s.Set(next)
	after := s.table.Load()
	if after.private["/z/sub"] != before.private["/z/sub"] || after.private["/z/contoso"] == before.private["/z/contoso"] {
		t.Error("the wrong zones were made anew")
	}
	if m, _ := ask(t, s, 1, pack(t, question("alias.contoso.test.", dns.TypeA)), false); brief(m) != "NOERROR CNAME a.contoso.test. A 10.1.0.7" {
		t.Error(brief(m))
	}
}
