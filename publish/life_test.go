package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ringfence/goal"
	"ringfence/pki"
)

// installation is a publisher with certificates as an installation has them.
type installation struct {
	*Publisher
	ca      *pki.Authority
	files   Files
	address string
	stop    func()
}

func install(t *testing.T, ca *pki.Authority, o Options) *installation {
	t.Helper()
	dir := t.TempDir()
	f := Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, "s.pem"), Key: filepath.Join(dir, "s.key")}
	must(t, pki.WriteFile(f.CA, ca.PEM(), 0o600))
	_, err := ca.EnsureServer(pki.Pair{Cert: f.Cert, Key: f.Key}, time.Now(), pki.Life, "s1", nil, nil)
	must(t, err)
	tc, err := f.ServerTLS()
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	i := &installation{Publisher: New(o), ca: ca, files: f, address: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.Serve(ctx, l, Joinable(tc)) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(i.stop)
	return i
}

// host makes a host's files; its certificate was signed at a time.
func (i *installation) host(t *testing.T, name string, signed time.Time, life time.Duration) Files {
	t.Helper()
	dir := t.TempDir()
	f := Files{CA: i.files.CA, Cert: filepath.Join(dir, "h.pem"), Key: filepath.Join(dir, "h.key")}
	p := pki.Pair{Cert: f.Cert, Key: f.Key}
	key, err := p.EnsureKey()
	must(t, err)
	cert, err := i.ca.Host(signed, life, key.Public(), name)
	must(t, err)
	must(t, p.Put(cert))
	return f
}

func (i *installation) call(t *testing.T, name string, f Files, change func(*ClientOptions)) (*Client, func()) {
	t.Helper()
	tc, err := f.ClientTLS(pki.ServerName)
	must(t, err)
	return (&fabric{Publisher: i.Publisher, address: i.address}).joinWith(t, name, tc, change)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newCA(t *testing.T) *pki.Authority {
	a, err := pki.New("test", time.Now().Add(-72*time.Hour))
	must(t, err)
	return a
}

func (i *installation) status(name string) Status {
	for _, h := range i.Hosts() {
		if h.Name == name {
			return h
		}
	}
	return Status{}
}

func give(t *testing.T, p *Publisher, generation uint64) {
	t.Helper()
	g := aGoal(generation)
	must(t, p.Publish(generation, map[string]*goal.Host{g.Name: g}))
}

func TestSecondAgentIsRefusedAndNamed(t *testing.T) {
	i := install(t, newCA(t), Options{Beat: 300 * time.Millisecond})
	give(t, i.Publisher, 1)
	files := i.host(t, "host1", time.Now(), pki.Life)
	beat := func(o *ClientOptions) { o.Beat = 300 * time.Millisecond }
	first, stop := i.call(t, "host1", files, beat)
	next(t, first)
	first.Ack(1, "")
	must(t, i.Wait(within(t), map[string]uint64{"host1": 1}))
	twin, _ := i.call(t, "host1", files, beat)
	eventually(t, "the second is named", func() bool { return strings.Contains(i.status("host1").Problem, "second agent") })
	time.Sleep(time.Second) // several tries of the twin
	if s := i.status("host1"); !s.Connected || s.Acked != 1 {
		t.Errorf("the first was disturbed: %+v", s)
	}
	select {
	case g := <-twin.Goals():
		t.Fatalf("the second got goal %d", g.Generation)
	default:
	}
	stop() // the first ends: now the other is the host
	if g := next(t, twin); g.Generation != 1 {
		t.Errorf("generation %d", g.Generation)
	}
}

func TestExpiredCertificateIsSaidOnBothSides(t *testing.T) {
	i := install(t, newCA(t), Options{})
	give(t, i.Publisher, 1)
	files := i.host(t, "host1", time.Now().Add(-48*time.Hour), 24*time.Hour)
	tc, err := files.ClientTLS(pki.ServerName)
	must(t, err)
	c, err := tls.Dial("tcp", i.address, tc)
	must(t, err)
	defer c.Close()
	must(t, writeFrame(c, &message{Hello: &Hello{Host: "host1"}}))
	m, err := readFrame(c, maxFrame)
	if err != nil || m.Bye == nil || !strings.Contains(m.Bye.Reason, "expired") || !strings.Contains(m.Bye.Reason, "host token host1") {
		t.Errorf("the host hears %+v, %v", m, err)
	}
	if s := i.status("host1"); s.Connected || !strings.Contains(s.Problem, "expired") {
		t.Errorf("the operator sees %+v", s)
	}
	// Another authority's expired certificate is a stranger's: it does not even get a sentence.
	other := install(t, newCA(t), Options{})
	strange := other.host(t, "host1", time.Now().Add(-48*time.Hour), 24*time.Hour)
	strange.CA = files.CA
	tc, err = strange.ClientTLS(pki.ServerName)
	must(t, err)
	if c, err := tls.Dial("tcp", i.address, tc); err == nil {
		defer c.Close()
		if m, err := readFrame(c, maxFrame); err == nil {
			t.Errorf("a stranger hears %+v", m)
		}
	}
}

func TestServersCertificateIsNoHosts(t *testing.T) {
	i := install(t, newCA(t), Options{})
	tc, err := i.files.ClientTLS(pki.ServerName)
	must(t, err)
	c, err := tls.Dial("tcp", i.address, tc)
	if err == nil {
		defer c.Close()
		_, err = readFrame(c, maxFrame)
	}
	if err == nil {
		t.Error("let in")
	}
}

func renewal(f Files) Renewal {
	p := pki.Pair{Cert: f.Cert, Key: f.Key}
	return Renewal{
		Due: func() (error, bool) {
			leaf, err := p.Leaf()
			if err != nil {
				return err, false
			}
			return Expired(leaf, time.Now()), pki.Due(leaf, time.Now())
		},
		Request: func() ([]byte, error) { return p.Request("host1") },
		Put:     p.Put,
	}
}

func TestCertificateIsRenewedWhileTheStreamGoesOn(t *testing.T) {
	ca := newCA(t)
	i := install(t, ca, Options{Beat: 100 * time.Millisecond, OnRenew: func(host string, csr []byte) ([]byte, error) {
		key, err := pki.RequestKey(csr)
		if err != nil {
			return nil, err
		}
		return ca.Host(time.Now(), pki.Life, key, host)
	}})
	give(t, i.Publisher, 1)
	files := i.host(t, "host1", time.Now().Add(-23*time.Hour), 24*time.Hour)
	c, _ := i.call(t, "host1", files, func(o *ClientOptions) { o.Beat, o.Renew = 100*time.Millisecond, renewal(files) })
	next(t, c)
	since := i.status("host1").Since
	eventually(t, "renewed on disk", func() bool {
		leaf, err := pki.Pair{Cert: files.Cert, Key: files.Key}.Leaf()
		return err == nil && time.Until(leaf.NotAfter) > pki.Life/2
	})
	eventually(t, "and in the list", func() bool { return time.Until(i.status("host1").Expires) > pki.Life/2 })
	if s := i.status("host1"); !s.Connected || !s.Since.Equal(since) {
		t.Errorf("the stream was dropped: %+v, since %v", s, since)
	}
}

func TestHostGoesToAnotherServer(t *testing.T) {
	ca := newCA(t)
	a, b := install(t, ca, Options{}), install(t, ca, Options{})
	files := a.host(t, "host1", time.Now(), pki.Life)
	give(t, a.Publisher, 5)
	give(t, b.Publisher, 6)
	both := []string{a.address, b.address}
	a.SetServers(both)
	b.SetServers(both)
	kept := make(chan []string, 10)
	c, _ := a.call(t, "host1", files, func(o *ClientOptions) { o.Keep = func(s []string) { kept <- s } })
	if g := next(t, c); g.Generation != 5 {
		t.Fatalf("generation %d", g.Generation)
	}
	if got := <-kept; !slices.Equal(got, both) {
		t.Fatalf("kept %v", got)
	}
	began := time.Now()
	a.stop()
	if g := next(t, c); g.Generation != 6 {
		t.Errorf("generation %d", g.Generation)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if c.Server() != b.address {
		t.Errorf("it calls %s", c.Server())
	}
}

// The other server is behind: the host keeps what it has and does not go back.
func TestAnotherServerThatIsBehind(t *testing.T) {
	ca := newCA(t)
	a, b := install(t, ca, Options{}), install(t, ca, Options{})
	files := a.host(t, "host1", time.Now(), pki.Life)
	give(t, a.Publisher, 5)
	give(t, b.Publisher, 3)
	a.SetServers([]string{b.address})
	c, _ := a.call(t, "host1", files, nil)
	next(t, c)
	eventually(t, "told of the other", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return slices.Contains(c.servers, b.address)
	})
	a.stop()
	eventually(t, "connected to the other", func() bool { return b.status("host1").Connected })
	if p := b.status("host1").Problem; !strings.Contains(p, "generation 5") {
		t.Errorf("problem %q", p)
	}
	give(t, b.Publisher, 7)
	if g := next(t, c); g.Generation != 7 {
		t.Errorf("generation %d", g.Generation)
	}
}

func TestClockIsMeasured(t *testing.T) {
	i := install(t, newCA(t), Options{Beat: 50 * time.Millisecond})
	give(t, i.Publisher, 1)
	files := i.host(t, "host1", time.Now(), pki.Life)
	// the client's word about its clock is what counts: an hour ahead
	tc, err := files.ClientTLS(pki.ServerName)
	must(t, err)
	c, err := tls.Dial("tcp", i.address, tc)
	must(t, err)
	defer c.Close()
	must(t, writeFrame(c, &message{Hello: &Hello{Host: "host1"}}))
	for {
		m, err := readFrame(c, maxFrame)
		must(t, err)
		if m.Beat != nil && m.Beat.Sent != 0 {
			must(t, writeFrame(c, &message{Beat: &beat{Sent: m.Beat.Sent, Now: time.Now().Add(time.Hour).UnixNano()}}))
			break
		}
	}
	eventually(t, "measured", func() bool { return i.status("host1").Skew != "" })
	skew, err := time.ParseDuration(i.status("host1").Skew)
	if err != nil || (skew-time.Hour).Abs() > time.Second {
		t.Errorf("skew %v, %v", skew, err)
	}
}

func TestJoinAsksOnceAndIsAnswered(t *testing.T) {
	ca := newCA(t)
	i := install(t, ca, Options{OnJoin: func(_ context.Context, q JoinRequest) (JoinAnswer, error) {
		if q.Secret != "right" {
			return JoinAnswer{}, errors.New("no")
		}
		return JoinAnswer{Name: "host9"}, nil
	}})
	tok := pki.NewToken(pki.HostKind, ca.Fingerprint())
	a, err := Join(within(t), i.address, tok.ClientTLS(time.Now), JoinRequest{ID: tok.ID, Secret: "right"})
	if err != nil || a.Name != "host9" {
		t.Errorf("%+v, %v", a, err)
	}
	var refused *Refused
	if _, err := Join(within(t), i.address, tok.ClientTLS(time.Now), JoinRequest{Secret: "wrong"}); !errors.As(err, &refused) || refused.Reason != "no" {
		t.Errorf("%v", err)
	}
	var wrong *pki.WrongAuthority
	strange := pki.NewToken(pki.HostKind, newCA(t).Fingerprint())
	if _, err := Join(within(t), i.address, strange.ClientTLS(time.Now), JoinRequest{Secret: "right"}); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
	// who joins without a certificate gets no stream
	tc := tok.ClientTLS(time.Now)
	tc.NextProtos = []string{joinProtocol}
	c, err := tls.Dial("tcp", i.address, tc)
	must(t, err)
	defer c.Close()
	must(t, writeFrame(c, &message{Hello: &Hello{Host: "host1"}}))
	if m, err := readFrame(c, maxFrame); err == nil {
		t.Errorf("answer %+v", m)
	}
	if i.status("host1").Connected {
		t.Error("connected")
	}
}
