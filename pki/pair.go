package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Pair is a certificate and its key on disk. The key stays; the certificate is replaced whole, so both fit together at any moment.
type Pair struct {
	Cert, Key string
}

// TLS reads the pair as it is now: connections that are made after a renewal have the new certificate without anybody being restarted.
func (p Pair) TLS() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(p.Cert, p.Key)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return &c, nil
}

// Leaf reads the certificate.
func (p Pair) Leaf() (*x509.Certificate, error) {
	b, err := os.ReadFile(p.Cert)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	c, err := parseCert(b)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", p.Cert, err)
	}
	return c, nil
}

// EnsureKey loads the key, or makes it.
func (p Pair) EnsureKey() (crypto.Signer, error) {
	b, err := os.ReadFile(p.Key)
	if err == nil {
		return parseKey(b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	b, err = EncodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := WriteFile(p.Key, b, 0o600); err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	return key, nil
}

// Request asks for a certificate for the pair's key. The signer takes the key from it and nothing else.
func (p Pair) Request(name string) ([]byte, error) {
	key, err := p.EnsureKey()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return der, nil
}

// RequestKey reads a request: whoever made it has the private key of what it returns.
func RequestKey(der []byte) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request: %w", err)
	}
	return r.PublicKey, nil
}

// Put replaces the certificate by one for the same key.
func (p Pair) Put(cert []byte) error {
	c, err := parseCert(cert)
	if err != nil {
		return fmt.Errorf("new certificate: %w", err)
	}
	key, err := p.EnsureKey()
	if err != nil {
		return err
	}
	if own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !own.Equal(c.PublicKey) {
		return errors.New("new certificate: it is for another key")
	}
	return WriteFile(p.Cert, cert, 0o644)
}

// Due tells whether a certificate is to be renewed: a third of its life is left, or less.
func Due(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < c.NotAfter.Sub(c.NotBefore)/3
}

// EnsureServer makes the pair a server's with these names and addresses: made when there is none, renewed when it is due or is not for
// them or of another authority.
func (a *Authority) EnsureServer(p Pair, now time.Time, life time.Duration, name string, names []string, ips []net.IP) (renewed bool, err error) {
	return a.ensure(p, now, name, append([]string{ServerName}, names...), ips, func(public crypto.PublicKey) ([]byte, error) {
		return a.Server(now, life, public, name, names, ips)
	})
}

// EnsureAPI does so for the certificate of an API.
func (a *Authority) EnsureAPI(p Pair, now time.Time, life time.Duration, name string, names []string, ips []net.IP) (renewed bool, err error) {
	return a.ensure(p, now, name, names, ips, func(public crypto.PublicKey) ([]byte, error) {
		return a.API(now, life, public, name, names, ips)
	})
}

// EnsureHost does so for a host whose key is on the same machine as the authority.
func (a *Authority) EnsureHost(p Pair, now time.Time, life time.Duration, host string) (renewed bool, err error) {
	return a.ensure(p, now, host, nil, nil, func(public crypto.PublicKey) ([]byte, error) {
		return a.Host(now, life, public, host)
	})
}

func (a *Authority) ensure(p Pair, now time.Time, name string, names []string, ips []net.IP, issue func(crypto.PublicKey) ([]byte, error)) (bool, error) {
	if c, err := p.Leaf(); err == nil && !Due(c, now) && a.signed(c) && c.Subject.CommonName == name && covers(c, names, ips) {
		return false, nil
	}
	key, err := p.EnsureKey()
	if err != nil {
		return false, fmt.Errorf("certificate of %s: %w", name, err)
	}
	cert, err := issue(key.Public())
	if err != nil {
		return false, err
	}
	return true, p.Put(cert)
}

func (a *Authority) signed(c *x509.Certificate) bool { return c.CheckSignatureFrom(a.cert) == nil }

func covers(c *x509.Certificate, names []string, ips []net.IP) bool {
	return slices.Equal(c.DNSNames, names) && slices.EqualFunc(c.IPAddresses, ips, net.IP.Equal)
}

// WriteFile writes a file whole or not at all, and durably: a key that is lost after its certificate was signed shuts its owner out.
func WriteFile(path string, b []byte, mode os.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.Rename(f.Name(), path)
}
