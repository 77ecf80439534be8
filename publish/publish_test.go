package publish

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"ringfence/goal"
)

// authority is a CA in memory.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{key, cert, pool}
}

func (a *authority) issue(t testing.TB, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// fabric is a publisher that listens, and what its hosts need to call it.
type fabric struct {
	*Publisher
	ca      *authority
	address string
}

func newFabric(t testing.TB, o Options) *fabric {
	t.Helper()
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fabric{Publisher: New(o), ca: ca, address: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	tc := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue(t, "server")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool}
	go func() { done <- f.Serve(ctx, l, tc) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return f
}

func (f *fabric) tls(t testing.TB, ca *authority, name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: f.ca.pool, ServerName: "server", Certificates: []tls.Certificate{ca.issue(t, name)}}
}

// join starts a client; the returned function ends it.
func (f *fabric) join(t testing.TB, name string, change func(*ClientOptions)) (*Client, func()) {
	t.Helper()
	return f.joinWith(t, name, f.tls(t, f.ca, name), change)
}

func (f *fabric) joinWith(t testing.TB, name string, tc *tls.Config, change func(*ClientOptions)) (*Client, func()) {
	t.Helper()
	o := ClientOptions{Server: f.address, TLS: tc,
		Hello: func() Hello { return Hello{Host: name, Underlay: netip.MustParseAddr("198.18.0.11"), Version: "test"} }}
	if change != nil {
		change(&o)
	}
	c := NewClient(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		c.Run(ctx)
		close(done)
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return c, stop
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func next(t testing.TB, c *Client) *goal.Host {
	t.Helper()
	select {
	case g := <-c.Goals():
		return g
	case <-within(t).Done():
		t.Fatal("no goal came")
		return nil
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func aGroup(id string, rules int) goal.Group {
	g := goal.Group{ID: id}
	for i := range rules {
		g.In = append(g.In, goal.Rule{Name: fmt.Sprintf("securityRules/r%d", i), Priority: uint16(100 + i), Allow: i%2 == 0, Protocol: goal.TCP,
			Src: goal.Match{Any: true}, Dst: goal.Match{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}},
			SrcPorts: []goal.PortRange{goal.AnyPort}, DstPorts: []goal.PortRange{{Lo: 80, Hi: 443}}})
	}
	return g
}

func aGoal(generation uint64, groups ...goal.Group) *goal.Host {
	return &goal.Host{Name: "host1", Generation: generation, Underlay: netip.MustParseAddr("198.18.0.11"), Groups: groups,
		Forwarders: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")},
		Ports: []goal.Port{{Index: 1, ID: "/nic", VM: "/vm", Sandbox: goal.Sandbox{Name: "a", HostName: "a", Device: "eth0"}, Primary: true,
			MAC: goal.MAC{2, 0x52, 0x46, 0, 0, 1}, VNI: 7, Domain: "<x>&y",
			Addresses: []goal.Address{{IP: netip.MustParseAddr("10.0.0.4"), Subnet: netip.MustParsePrefix("10.0.0.0/24"), Primary: true}},
			DNS:       []netip.Addr{netip.MustParseAddr("168.63.129.16")}}},
		VNets: []goal.VNet{{VNI: 7, ID: "/vnet", Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("fd00::/48")},
			Sets: []goal.Set{{Name: goal.SetInternet, Prefixes: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/1")}}},
			Endpoints: []goal.Endpoint{{IP: netip.MustParseAddr("10.0.0.4"), Host: netip.MustParseAddr("198.18.0.11"), Port: 1,
				MAC: goal.MAC{2, 0x52, 0x46, 0, 0, 1}}},
			Domain: "v1.internal", Names: []goal.Name{{Host: "a", IPs: []netip.Addr{netip.MustParseAddr("10.0.0.4")}}}}}}
}

func publishOne(t testing.TB, f *fabric, g *goal.Host) {
	t.Helper()
	if err := f.Publish(g.Generation, map[string]*goal.Host{g.Name: g}); err != nil {
		t.Fatal(err)
	}
}

func TestGoalArrivesAsItWas(t *testing.T) {
	f := newFabric(t, Options{})
	c, _ := f.join(t, "host1", nil)
	want := aGoal(5, aGroup("/nsg1", 30))
	publishOne(t, f, want)
	got := next(t, c)
	if goal.Text(got) != goal.Text(want) {
		t.Errorf("got %s\nwant %s", goal.Text(got), goal.Text(want))
	}
	c.Ack(5, "")
	if err := f.Wait(within(t), map[string]uint64{"host1": 5, "never-seen": 5}); err != nil {
		t.Error(err)
	}
	s := f.Hosts()[0]
	if !s.Connected || s.Generation != 5 || s.Acked != 5 || s.Version != "test" {
		t.Errorf("status %+v", s)
	}
}

// Only what the host lacks travels, also after it has come back with what it had.
func TestOnlyWhatIsNewIsSent(t *testing.T) {
	var e encoder
	take := func(h *goal.Host) *manifest {
		e.next()
		m, err := e.take(h)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	big, small := aGroup("/big", 200), aGroup("/small", 2)
	one := take(aGoal(1, big, small))
	if n := len(one.lacking(nil, 1).Parts); n != 4 {
		t.Fatalf("%d parts at first, want port, vnet and two groups", n)
	}
	changed := aGroup("/small", 3)
	two := take(aGoal(2, big, changed))
	if n := len(two.lacking(one.names(), 2).Parts); n != 1 {
		t.Errorf("%d parts for one changed group", n)
	}
	if one.content == two.content {
		t.Error("different contents with one name")
	}
	if again := take(aGoal(9, big, small)); again.content != one.content {
		t.Error("the generation is part of the content's name")
	}
}

// A goal that shares memory with the one before differs from it in whatever field differs, also in those that are no pointers.
func TestSharedMemoryIsNotTakenForTheSame(t *testing.T) {
	var e encoder
	e.next()
	h := aGoal(1, aGroup("/nsg", 3))
	seen := map[Hash]bool{}
	for i := range 4 {
		c := *h
		c.VNets, c.Groups = slices.Clone(h.VNets), slices.Clone(h.Groups)
		switch i {
		case 1:
			c.VNets[0].IdleMinutes = 9
		case 2:
			c.Groups[0].Flush = true
		case 3:
			c.VNets[0].Endpoints = c.VNets[0].Endpoints[:0]
		}
		m, err := e.take(&c)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.content] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d of 4 goals differ", len(seen))
	}
}

func TestBackAfterAnInterruption(t *testing.T) {
	f := newFabric(t, Options{})
	publishOne(t, f, aGoal(1, aGroup("/nsg", 100)))
	c, _ := f.join(t, "host1", nil)
	next(t, c)
	c.Ack(1, "")
	eventually(t, "acknowledged", func() bool { return f.Hosts()[0].Acked == 1 })
	f.mu.Lock()
	first := f.hosts["host1"].session
	f.mu.Unlock()
	first.end()
	eventually(t, "a second stream", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		s := f.hosts["host1"].session
		return s != nil && s != first && s.sent != nil
	})
	f.mu.Lock()
	if f.hosts["host1"].enforced() != 0 {
		t.Error("what a stream that is gone acknowledged counts for the new one")
	}
	f.mu.Unlock()
	if g := next(t, c); g.Generation != 1 || len(g.Groups) != 1 || len(g.Groups[0].In) != 100 {
		t.Errorf("the goal after reconnection is not whole: %s", goal.Text(g))
	}
}

// A slow host is given the newest goal only.
func TestSlowHostGetsOnlyTheNewest(t *testing.T) {
	f := newFabric(t, Options{})
	c, _ := f.join(t, "host1", nil)
	publishOne(t, f, aGoal(1, aGroup("/nsg", 1)))
	if g := next(t, c); g.Generation != 1 {
		t.Fatalf("generation %d", g.Generation)
	}
	for i := uint64(2); i <= 50; i++ {
		publishOne(t, f, aGoal(i, aGroup("/nsg", int(i))))
	}
	c.Ack(1, "")
	if g := next(t, c); g.Generation != 50 {
		t.Errorf("generation %d came between, want 50", g.Generation)
	}
}

// A revision that changes nothing for a host is enforced there as soon as its goal is.
func TestUnchangedContentNeedsNoAcknowledgement(t *testing.T) {
	f := newFabric(t, Options{})
	c, _ := f.join(t, "host1", nil)
	publishOne(t, f, aGoal(1, aGroup("/nsg", 1)))
	next(t, c)
	publishOne(t, f, aGoal(2, aGroup("/nsg", 1)))
	need, err := f.Concerned(within(t), 2)
	if err != nil || len(need) != 0 {
		t.Errorf("revision 2 concerns %v, %v: it changed nothing", need, err)
	}
	if need, _ = f.Concerned(within(t), 1); need["host1"] != 1 {
		t.Errorf("revision 1 concerns %v", need)
	}
	c.Ack(1, "")
	if err := f.Wait(within(t), map[string]uint64{"host1": 2}); err != nil {
		t.Error(err)
	}
	select {
	case g := <-c.Goals():
		t.Errorf("goal %d was sent though nothing changed", g.Generation)
	case <-time.After(50 * time.Millisecond):
	}
}

// A host that another server has told of a later revision with the same content is not behind and not refused.
func TestSameContentUnderALaterRevision(t *testing.T) {
	f := newFabric(t, Options{})
	publishOne(t, f, aGoal(28, aGroup("/nsg", 1)))
	publishOne(t, f, aGoal(35, aGroup("/nsg", 1)))
	c, _ := f.join(t, "host1", func(o *ClientOptions) {
		o.Hello = func() Hello {
			return Hello{Host: "host1", Underlay: netip.MustParseAddr("198.18.0.11"), Generation: 30}
		}
	})
	if g := next(t, c); g.Generation != 35 {
		t.Errorf("generation %d", g.Generation)
	}
	c.Ack(35, "")
	if err := f.Wait(within(t), map[string]uint64{"host1": 35}); err != nil {
		t.Error(err)
	}
}

func TestWaitEnds(t *testing.T) {
	f := newFabric(t, Options{})
	c, leave := f.join(t, "host1", nil)
	publishOne(t, f, aGoal(1, aGroup("/nsg", 1)))
	next(t, c)
	short, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := f.Wait(short, map[string]uint64{"host1": 1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an unacknowledged goal: %v", err)
	}
	if w := f.Waiting(map[string]uint64{"host1": 1}); len(w) != 1 {
		t.Errorf("waiting for %v", w)
	}
	c.Ack(1, "the group /nsg does not fit")
	err := f.Wait(within(t), map[string]uint64{"host1": 1})
	var p *Problem
	if !errors.As(err, &p) || p.Host != "host1" || !strings.Contains(p.Text, "does not fit") {
		t.Errorf("a problem: %v", err)
	}
	c.Ack(1, "")
	eventually(t, "the problem is over", func() bool { return f.Wait(within(t), map[string]uint64{"host1": 1}) == nil })
	publishOne(t, f, aGoal(2, aGroup("/nsg", 2)))
	go func() {
		next(t, c)
		leave()
	}()
	if err := f.Wait(within(t), map[string]uint64{"host1": 2}); err != nil {
		t.Errorf("a host that has left is waited for: %v", err)
	}
}

// Neither side goes backwards.
func TestOlderIsRefused(t *testing.T) {
	f := newFabric(t, Options{})
	publishOne(t, f, aGoal(7))
	if err := f.Publish(6, nil); err == nil {
		t.Error("an older revision was published")
	}
	c, _ := f.join(t, "host1", func(o *ClientOptions) {
		o.Hello = func() Hello { return Hello{Host: "host1", Underlay: netip.MustParseAddr("198.18.0.11"), Generation: 9} }
	})
	eventually(t, "connected", func() bool { return f.Hosts()[0].Connected })
	select {
	case g := <-c.Goals():
		t.Fatalf("a host that enforces 9 was given %d", g.Generation)
	case <-time.After(100 * time.Millisecond):
	}
	if s := f.Hosts()[0]; !strings.Contains(s.Problem, "set back") {
		t.Errorf("nobody is told why: %+v", s)
	}
	var p *Problem
	if err := f.Wait(within(t), map[string]uint64{"host1": 7}); !errors.As(err, &p) {
		t.Errorf("a write that waits for it: %v", err)
	}
	if err := c.receive(&goalFrame{Host: goal.Host{Name: "host1", Generation: 8}}); err == nil {
		t.Error("the host took an older goal")
	}
	publishOne(t, f, aGoal(9, aGroup("/nsg", 1)))
	if g := next(t, c); g.Generation != 9 {
		t.Errorf("generation %d", g.Generation)
	}
}

func TestOnlyHostsOfTheCA(t *testing.T) {
	f := newFabric(t, Options{})
	hello := func(tc *tls.Config, name string) error {
		c, err := tls.Dial("tcp", f.address, tc)
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if err := writeFrame(c, &message{Hello: &Hello{Host: name}}); err != nil {
			return err
		}
		m, err := readFrame(c, maxFrame)
		if err == nil && m.Bye != nil {
			err = errors.New(m.Bye.Reason)
		}
		return err
	}
	if err := hello(f.tls(t, newAuthority(t), "host1"), "host1"); err == nil {
		t.Error("a certificate of another CA was accepted")
	}
	none := f.tls(t, f.ca, "host1")
	none.Certificates = nil
	if err := hello(none, "host1"); err == nil {
		t.Error("no certificate was accepted")
	}
	if err := hello(f.tls(t, f.ca, "host2"), "host1"); err == nil || !strings.Contains(err.Error(), "host2") {
		t.Errorf("host2's certificate for host1: %v", err)
	}
	old := f.tls(t, f.ca, "host1")
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if err := hello(old, "host1"); err == nil {
		t.Error("TLS 1.2 was accepted")
	}
	if len(f.Hosts()) != 0 {
		t.Errorf("hosts %+v", f.Hosts())
	}
}

func TestRefusedHello(t *testing.T) {
	f := newFabric(t, Options{OnHello: func(h Hello) error { return errors.New("the address is host2's") }})
	c, err := tls.Dial("tcp", f.address, f.tls(t, f.ca, "host1"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	writeFrame(c, &message{Hello: &Hello{Host: "host1"}})
	if m, err := readFrame(c, maxFrame); err != nil || m.Bye == nil || !strings.Contains(m.Bye.Reason, "host2's") {
		t.Errorf("answer %+v, %v", m, err)
	}
}

// The newest stream of one agent is the living one.
func TestNewStreamReplacesTheFirst(t *testing.T) {
	f := newFabric(t, Options{})
	publishOne(t, f, aGoal(1))
	first, err := tls.Dial("tcp", f.address, f.tls(t, f.ca, "host1"))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	writeFrame(first, &message{Hello: &Hello{Host: "host1"}})
	if m, err := news(first); err != nil || m.Goal == nil {
		t.Fatalf("first: %+v, %v", m, err)
	}
	c, _ := f.join(t, "host1", nil)
	next(t, c)
	if m, err := news(first); err != nil || m.Bye == nil {
		t.Errorf("the first stream goes on: %+v, %v", m, err)
	}
	c.Ack(1, "")
	if err := f.Wait(within(t), map[string]uint64{"host1": 1}); err != nil {
		t.Error(err)
	}
}

// news reads the next frame that is no beat.
func news(c *tls.Conn) (*message, error) {
	for {
		m, err := readFrame(c, maxFrame)
		if err != nil || m.Beat == nil {
			return m, err
		}
	}
}

func TestBeatsKeepAndSilenceEnds(t *testing.T) {
	f := newFabric(t, Options{Beat: 150 * time.Millisecond})
	_, stop := f.join(t, "host1", func(o *ClientOptions) { o.Beat = 150 * time.Millisecond })
	eventually(t, "connected", func() bool { h := f.Hosts(); return len(h) == 1 && h[0].Connected })
	since := f.Hosts()[0].Since
	time.Sleep(1200 * time.Millisecond)
	if h := f.Hosts()[0]; !h.Connected || h.Since != since {
		t.Errorf("the stream did not live on beats: %+v", h)
	}
	stop()
	silent, err := tls.Dial("tcp", f.address, f.tls(t, f.ca, "host1"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	writeFrame(silent, &message{Hello: &Hello{Host: "host1"}})
	eventually(t, "silent host connected", func() bool { return f.Hosts()[0].Connected })
	eventually(t, "silent host given up", func() bool { return !f.Hosts()[0].Connected })
}

func TestQuestionsAndReports(t *testing.T) {
	reports := make(chan Report, 10)
	f := newFabric(t, Options{OnReport: func(host string, r Report) { reports <- r }})
	c, _ := f.join(t, "host1", func(o *ClientOptions) {
		o.Answer = func(kind string) (json.RawMessage, error) {
			if kind != "drops" {
				return nil, errors.New("what is " + kind + "?")
			}
			return json.RawMessage(`[1,2]`), nil
		}
	})
	c.Report(Report{Sandboxes: []Sandbox{{VM: "/vm", Ready: true}}})
	select {
	case r := <-reports:
		if len(r.Sandboxes) != 1 || !r.Sandboxes[0].Ready {
			t.Errorf("report %+v", r)
		}
	case <-within(t).Done():
		t.Fatal("no report came")
	}
	if got := f.Sandboxes()["host1"]; len(got) != 1 {
		t.Errorf("sandboxes %+v", got)
	}
	if body, err := f.Ask(within(t), "host1", "drops"); err != nil || string(body) != "[1,2]" {
		t.Errorf("drops: %s, %v", body, err)
	}
	if _, err := f.Ask(within(t), "host1", "nonsense"); err == nil || !strings.Contains(err.Error(), "what is nonsense?") {
		t.Errorf("nonsense: %v", err)
	}
	if _, err := f.Ask(within(t), "host9", "drops"); !errors.Is(err, ErrNotConnected) {
		t.Errorf("unknown host: %v", err)
	}
}

func TestFrameBounds(t *testing.T) {
	for name, frame := range map[string][]byte{
		"empty":     {0, 0, 0, 0},
		"too large": binary.BigEndian.AppendUint32(nil, 1000),
		"cut":       {0, 0, 0, 9, '{'},
		"no JSON":   append([]byte{0, 0, 0, 2}, "no"...),
		"nothing":   append([]byte{0, 0, 0, 2}, "{}"...),
		"two kinds": append([]byte{0, 0, 0, 34}, `{"beat":{},"ack":{"generation":1}}`...),
	} {
		if m, err := readFrame(bytes.NewReader(frame), 100); err == nil {
			t.Errorf("%s: %+v was accepted", name, m)
		}
	}
}

func TestPartsThatWereNeverSent(t *testing.T) {
	var a assembler
	if _, err := a.put(&goalFrame{Groups: []Hash{"nothing"}}); err == nil {
		t.Error("a goal with an unknown part was put together")
	}
	var e encoder
	e.next()
	m, err := e.take(aGoal(1, aGroup("/nsg", 1)))
	if err != nil {
		t.Fatal(err)
	}
	f := m.lacking(nil, 1)
	f.Parts[2] = bytes.Clone(f.Parts[2])
	f.Parts[2][len(f.Parts[2])-1] ^= 1
	if _, err := a.put(f); err == nil {
		t.Error("a part that is not what its name says was taken")
	}
}

func FuzzFrame(f *testing.F) {
	var b bytes.Buffer
	writeFrame(&b, &message{Hello: &Hello{Host: "host1", Have: []Hash{"x"}}})
	f.Add(b.Bytes())
	var e encoder
	e.next()
	if m, err := e.take(aGoal(3, aGroup("/nsg", 2))); err == nil {
		b.Reset()
		writeFrame(&b, &message{Goal: m.lacking(nil, 1)})
		f.Add(b.Bytes())
	}
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := readFrame(bytes.NewReader(b), 1<<16)
		if err != nil {
			return
		}
		if m.Goal != nil {
			var a assembler
			if g, err := a.put(m.Goal); err == nil {
				goal.Text(g)
			}
		}
		var out bytes.Buffer
		if err := writeFrame(&out, m); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := readFrame(&out, maxFrame); err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
