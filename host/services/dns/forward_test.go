package dns

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"ringfence/goal"
)

// upstream is somebody else's DNS server on the loopback, answering with what the test says.
func upstream(t *testing.T, handle dns.HandlerFunc) netip.AddrPort {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(conn.LocalAddr().String())
	l, err := net.Listen("tcp4", at.String())
	if err != nil {
		t.Fatal(err)
	}
	var up sync.WaitGroup
	for _, s := range []*dns.Server{{PacketConn: conn, Handler: handle}, {Listener: l, Handler: handle}} {
		up.Add(1)
		s.NotifyStartedFunc = up.Done
		go s.ActivateAndServe()
		t.Cleanup(func() { s.Shutdown() })
	}
	up.Wait()
	return at
}

// tells answers with one A record.
func tells(ip string) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 300 IN A " + ip)
		r.Answer = []dns.RR{rr}
		r.SetEdns0(4096, false)
		w.WriteMsg(r)
	}
}

func code(rcode int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, q *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(q, rcode)) }
}

func TestForwarding(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	nobody := netip.MustParseAddrPort(silent.LocalAddr().String())
	var asked atomic.Pointer[dns.Msg]
	good := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { asked.Store(q); tells("192.0.2.7")(w, q) })
	for name, c := range map[string]struct {
		servers []netip.AddrPort
		want    string
		what    outcome
	}{
		"the first":         {[]netip.AddrPort{good, nobody}, "NOERROR A 192.0.2.7", forwarded},
		"the next":          {[]netip.AddrPort{nobody, good}, "NOERROR A 192.0.2.7", forwarded},
		"after a failure":   {[]netip.AddrPort{upstream(t, code(dns.RcodeServerFailure)), good}, "NOERROR A 192.0.2.7", forwarded},
		"after a refusal":   {[]netip.AddrPort{upstream(t, code(dns.RcodeRefused)), good}, "NOERROR A 192.0.2.7", forwarded},
		"it does not exist": {[]netip.AddrPort{upstream(t, code(dns.RcodeNameError)), good}, "NXDOMAIN", forwarded},
		"all refuse":        {[]netip.AddrPort{upstream(t, code(dns.RcodeRefused))}, "REFUSED", forwarded},
		"nobody":            {[]netip.AddrPort{nobody}, "SERVFAIL", failed},
		"closed":            {[]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1")}, "SERVFAIL", failed},
	} {
		t.Run(name, func(t *testing.T) {
			s := testServer(c.servers...)
			q := question("Example.com.", dns.TypeA)
			q.CheckingDisabled = true
			m, what := ask(t, s, 1, pack(t, q), false)
			if brief(m) != c.want || what != c.what || !m.RecursionAvailable || m.Id != q.Id || m.IsEdns0() != nil || m.Authoritative {
				t.Errorf("outcome %d: %v", what, m)
			}
		})
	}
	if q := asked.Load(); q == nil || !q.CheckingDisabled || !q.RecursionDesired || q.IsEdns0() == nil || q.IsEdns0().UDPSize() != safeUDP {
		t.Errorf("the forwarder was asked %v", q)
	}

	// What is private never leaves, whatever it is; and who does not want recursion gets none.
	s := testServer(good)
	asked.Store(nil)
	for _, name := range []string{"web.", "x.one.rx.internal.cloudapp.net.", "web.two.rx.internal.cloudapp.net.", "9.9.9.10.in-addr.arpa.", "1.0.0.127.in-addr.arpa."} {
		if m, _ := ask(t, s, 1, pack(t, question(name, dns.TypePTR)), false); asked.Load() != nil || m.Rcode == dns.RcodeRefused {
			t.Errorf("%s left the host: %v", name, m)
		}
	}
	q := question("example.com.", dns.TypeA)
	q.RecursionDesired = false
	if m, _ := ask(t, s, 1, pack(t, q), false); m.Rcode != dns.RcodeRefused || asked.Load() != nil {
		t.Errorf("recursion unasked: %v", m)
	}
	if m, _ := ask(t, s, 1, pack(t, question("nobody.", dns.TypeA)), false); brief(m) != "NOERROR A 192.0.2.7" {
		t.Errorf("a bare name that is nobody's is not asked outside: %v", m)
	}
}

// A forwarder that did not answer is asked last for a while: the next question does not wait for it.
func TestSilentForwardersAreAvoided(t *testing.T) {
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := testServer(netip.MustParseAddrPort(silent.LocalAddr().String()), upstream(t, tells("192.0.2.7")))
	m := pack(t, question("example.com.", dns.TypeA))
	ask(t, s, 1, m, false)
	began := time.Now()
	if _, what := ask(t, s, 1, m, false); what != forwarded || time.Since(began) > patience/2 {
		t.Errorf("outcome %d after %s", what, time.Since(began))
	}
}

// Answers to other questions, with other numbers or in no form are not taken.
func TestFalseAnswersAreNotTaken(t *testing.T) {
	at := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		for _, spoil := range []func(*dns.Msg){
			func(m *dns.Msg) { m.Id++ }, func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question[0].Name = "evil." }, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA }, func(m *dns.Msg) { m.Question = nil },
		} {
			r := new(dns.Msg).SetReply(q)
			rr, _ := dns.NewRR("example.com. 300 IN A 6.6.6.6")
			r.Answer = []dns.RR{rr}
			spoil(r)
			w.WriteMsg(r)
		}
		w.Write([]byte{1, 2, 3})
		w.Write(bytes.Repeat([]byte{0xff}, 40))
		tells("192.0.2.7")(w, q)
	})
	if m, _ := ask(t, testServer(at), 1, pack(t, question("example.com.", dns.TypeA)), false); brief(m) != "NOERROR A 192.0.2.7" {
		t.Errorf("taken: %v", m)
	}
}

// A long answer is cut to what the asker can take over UDP and comes whole over TCP.
func TestTruncation(t *testing.T) {
	at := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		for range 30 {
			rr, _ := dns.NewRR(q.Question[0].Name + ` 300 IN TXT "` + strings.Repeat("x", 100) + `"`)
			r.Answer = append(r.Answer, rr)
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			r.Truncate(int(q.IsEdns0().UDPSize()))
		}
		w.WriteMsg(r)
	})
	s := testServer(at)
	for size, longest := range map[uint16]int{0: plainUDP, 100: plainUDP, 700: 700, 4096: safeUDP} {
		q := question("long.example.", dns.TypeTXT)
		if size > 0 {
			q.SetEdns0(size, false)
		}
		r := s.serve(pack(t, q), goal.Alias(1), false, nil)
		b, _ := r.later(context.Background())
		m := new(dns.Msg)
		if err := m.Unpack(b); err != nil || !m.Truncated || len(b) > longest {
			t.Errorf("size %d: %d bytes, %v, %v", size, len(b), err, m)
		}
	}
	if m, _ := ask(t, s, 1, pack(t, question("long.example.", dns.TypeTXT)), true); m.Truncated || len(m.Answer) != 30 {
		t.Errorf("over TCP: %v", m)
	}
}

// A port that has many questions open gets no more; others do.
func TestOpenQuestionsAreBounded(t *testing.T) {
	release := make(chan struct{})
	at := upstream(t, func(w dns.ResponseWriter, q *dns.Msg) { <-release; tells("192.0.2.7")(w, q) })
	s := testServer(at)
	m := pack(t, question("slow.example.", dns.TypeA))
	p := s.table.Load().ports[1]
	var done sync.WaitGroup
	for range waitingPerPort {
		done.Go(func() { ask(t, s, 1, m, false) })
	}
	for end := time.Now().Add(5 * time.Second); p.ahead.Load() < waitingPerPort && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if r, what := ask(t, s, 1, m, false); what != failed || r.Rcode != dns.RcodeServerFailure {
		t.Errorf("one more: outcome %d", what)
	}
	close(release)
	done.Wait()
	if n := p.ahead.Load(); n != 0 {
		t.Errorf("%d are still counted", n)
	}
	if _, what := ask(t, s, 2, m, false); what != forwarded {
		t.Errorf("another port: outcome %d", what)
	}
}
