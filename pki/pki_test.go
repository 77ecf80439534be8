package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := New("test", start)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func pair(t *testing.T) Pair {
	dir := t.TempDir()
	return Pair{filepath.Join(dir, "x.pem"), filepath.Join(dir, "x.key")}
}

func TestAuthorityStaysTheSame(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	first, err := Open(dir, "one", start)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Open(dir, "another", start.Add(time.Hour))
	if err != nil || again.Fingerprint() != first.Fingerprint() {
		t.Fatalf("opened again: %v, %v", again, err)
	}
	if st, err := os.Stat(filepath.Join(dir, authorityKey)); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("the key's mode: %v, %v", st.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, authorityKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "one", start); err == nil {
		t.Fatal("an authority without its key was replaced: every host would be shut out")
	}
}

func TestHalvesOfTwoAuthorities(t *testing.T) {
	a, b := authority(t), authority(t)
	key, err := b.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(a.PEM(), key); err == nil {
		t.Fatal("accepted")
	}
}

func verify(t *testing.T, a *Authority, cert []byte, o x509.VerifyOptions) error {
	t.Helper()
	c, err := parseCert(cert)
	if err != nil {
		t.Fatal(err)
	}
	o.Roots = x509.NewCertPool()
	o.Roots.AddCert(a.cert)
	_, err = c.Verify(o)
	return err
}

func TestWhatACertificateIsGoodFor(t *testing.T) {
	a := authority(t)
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	server, err := a.Server(start, Life, key.Public(), "s1", []string{"api.example"}, []net.IP{net.IPv4(192, 0, 2, 1)})
	if err != nil {
		t.Fatal(err)
	}
	// a host of a server's name must not pass for it
	host, err := a.Host(start, Life, key.Public(), ServerName)
	if err != nil {
		t.Fatal(err)
	}
	api, err := a.API(start, Life, key.Public(), "api", []string{"api.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	asServer, asClient := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, c := range []struct {
		what string
		cert []byte
		o    x509.VerifyOptions
		good bool
	}{
		{"a server serves", server, x509.VerifyOptions{DNSName: ServerName, KeyUsages: asServer, CurrentTime: start}, true},
		{"under its further names", server, x509.VerifyOptions{DNSName: "api.example", KeyUsages: asServer, CurrentTime: start}, true},
		{"and addresses", server, x509.VerifyOptions{DNSName: "192.0.2.1", KeyUsages: asServer, CurrentTime: start}, true},
		{"not under others", server, x509.VerifyOptions{DNSName: "other.example", KeyUsages: asServer, CurrentTime: start}, false},
		{"a server calls its peers", server, x509.VerifyOptions{DNSName: ServerName, KeyUsages: asClient, CurrentTime: start}, true},
		{"a host calls", host, x509.VerifyOptions{KeyUsages: asClient, CurrentTime: start}, true},
		{"a host does not serve", host, x509.VerifyOptions{KeyUsages: asServer, CurrentTime: start}, false},
		{"a host is no peer", host, x509.VerifyOptions{DNSName: ServerName, KeyUsages: asClient, CurrentTime: start}, false},
		{"an API serves", api, x509.VerifyOptions{DNSName: "api.example", KeyUsages: asServer, CurrentTime: start}, true},
		{"an API calls nobody", api, x509.VerifyOptions{KeyUsages: asClient, CurrentTime: start}, false},
		{"an API is no server to hosts", api, x509.VerifyOptions{DNSName: ServerName, KeyUsages: asServer, CurrentTime: start}, false},
		{"after its life", server, x509.VerifyOptions{KeyUsages: asServer, CurrentTime: start.Add(Life + time.Second)}, false},
		{"an hour early", server, x509.VerifyOptions{KeyUsages: asServer, CurrentTime: start.Add(-early)}, true},
	} {
		if err := verify(t, a, c.cert, c.o); (err == nil) != c.good {
			t.Errorf("%s: %v", c.what, err)
		}
		if err := verify(t, authority(t), c.cert, c.o); err == nil {
			t.Errorf("%s: another authority is believed", c.what)
		}
	}
}

func TestNothingOutlivesTheAuthority(t *testing.T) {
	a := authority(t)
	key, _ := NewKey()
	cert, err := a.Host(a.Expires().Add(-time.Hour), Life, key.Public(), "h")
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := parseCert(cert); !c.NotAfter.Equal(a.Expires()) {
		t.Fatalf("ends %v, the authority %v", c.NotAfter, a.Expires())
	}
}

func TestServersPairIsRenewedWhenItMust(t *testing.T) {
	a, p := authority(t), pair(t)
	ips := []net.IP{net.IPv4(192, 0, 2, 1)}
	ensure := func(by *Authority, now time.Time, names []string, want bool) {
		t.Helper()
		before, _ := os.ReadFile(p.Key)
		renewed, err := by.EnsureServer(p, now, Life, "s1", names, ips)
		if err != nil || renewed != want {
			t.Fatalf("at %v: renewed %v, %v", now, renewed, err)
		}
		if after, _ := os.ReadFile(p.Key); before != nil && string(before) != string(after) {
			t.Fatal("the key changed")
		}
		if _, err := p.TLS(); err != nil {
			t.Fatal(err)
		}
	}
	ensure(a, start, nil, true)
	ensure(a, start.Add(Life/2), nil, false)
	ensure(a, start.Add(Life*7/10), nil, true)
	ensure(a, start.Add(Life*7/10), nil, false)
	ensure(a, start.Add(Life*7/10), []string{"api.example"}, true)
	ensure(authority(t), start.Add(Life*7/10), []string{"api.example"}, true)
}

func TestRequestShowsTheKey(t *testing.T) {
	a, p := authority(t), pair(t)
	der, err := p.Request("host1")
	if err != nil {
		t.Fatal(err)
	}
	public, err := RequestKey(der)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Host(start, Life, public, "host1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Put(cert); err != nil {
		t.Fatal(err)
	}
	other, _ := NewKey()
	strange, err := a.Host(start, Life, other.Public(), "host1")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Put(strange); err == nil {
		t.Fatal("a certificate for another key was taken: the host could not connect any more")
	}
	der[len(der)-1] ^= 1
	if _, err := RequestKey(der); err == nil {
		t.Fatal("a request with a wrong signature was believed")
	}
}

func TestToken(t *testing.T) {
	tok := NewToken(HostKind, authority(t).Fingerprint())
	back, err := ParseToken(" " + tok.String() + "\n")
	if err != nil || back != tok {
		t.Fatalf("%v, %v", back, err)
	}
	if !Matches(tok.Secret, Hash(tok.Secret)) || Matches(tok.Secret+"a", Hash(tok.Secret)) || strings.Contains(Hash(tok.Secret), tok.Secret) {
		t.Fatal("hash is wrong")
	}
	for _, bad := range []string{"", "ringfence-host", tok.String()[:60], tok.String() + "0", strings.Replace(tok.String(), "host", "king", 1)} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(NewToken(ServerKind, strings.Repeat("0a", 32)).String())
	f.Add("ringfence-host--")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && tok.String() != strings.TrimSpace(s) {
			t.Fatalf("%q became %q", s, tok.String())
		}
	})
}

func FuzzRequestKey(f *testing.F) {
	p := Pair{filepath.Join(f.TempDir(), "x.pem"), filepath.Join(f.TempDir(), "x.key")}
	der, err := p.Request("h")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := RequestKey(b); err == nil && k == nil {
			t.Fatal("neither a key nor an error")
		}
	})
}

// A first contact: the bearer speaks only to a server of the token's authority.
func TestFirstContact(t *testing.T) {
	a, stranger := authority(t), authority(t)
	tok := NewToken(HostKind, a.Fingerprint())
	contact := func(by *Authority, now time.Time, host bool) (read string, err error) {
		p := pair(t)
		if host {
			_, err = by.EnsureHost(p, start, Life, ServerName)
			b, _ := os.ReadFile(p.Cert)
			os.WriteFile(p.Cert, append(b, by.PEM()...), 0o644)
		} else {
			_, err = by.EnsureServer(p, start, Life, "s1", nil, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		cert, err := p.TLS()
		if err != nil {
			t.Fatal(err)
		}
		c, s := net.Pipe()
		got := make(chan string, 1)
		go func() {
			conn := tls.Server(s, &tls.Config{Certificates: []tls.Certificate{*cert}})
			b, _ := io.ReadAll(conn)
			got <- string(b)
		}()
		conn := tls.Client(c, tok.ClientTLS(func() time.Time { return now }))
		if _, err = conn.Write([]byte(tok.Secret)); err == nil {
			conn.CloseWrite()
		}
		c.Close()
		return <-got, err
	}
	if got, err := contact(a, start, false); err != nil || got != tok.Secret {
		t.Fatalf("%q, %v", got, err)
	}
	var wrong *WrongAuthority
	if got, err := contact(stranger, start, false); !errors.As(err, &wrong) || got != "" {
		t.Errorf("another authority: it got %q, %v", got, err)
	}
	if got, err := contact(a, start, true); err == nil || got != "" {
		t.Errorf("a host that plays server: it got %q, %v", got, err)
	}
	if got, err := contact(a, start.Add(Life+time.Hour), false); err == nil || got != "" {
		t.Errorf("an expired server: it got %q, %v", got, err)
	}
}
