// Package pki is the installation's own certificates: one authority in the data directory, certificates of servers and of hosts.
//
// In: names, addresses, public keys and the time. Out: certificates that say what their owner is: a server's is good for both ends of a
// connection and carries ServerName, a host's for calling only, with the host's name as its common name and no other. Join tokens carry
// the authority's fingerprint, so that a first contact is authenticated both ways. The server owns the authority; whoever has its key
// can be anybody.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ServerName is in every server's certificate and in no host's: by it hosts know a server, and servers know each other.
const ServerName = "ringfence-server"

// Lifetimes. What is signed is renewed when a third of its life is left.
const (
	AuthorityLife = 10 * 365 * 24 * time.Hour
	Life          = 90 * 24 * time.Hour
	early         = time.Hour // certificates begin so long ago: the reader's clock may be behind
)

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// New makes an authority with a key of its own.
func New(name string, now time.Time) (*Authority, error) {
	key, err := NewKey()
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	t, err := template(name, now, AuthorityLife)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	t.IsCA, t.BasicConstraintsValid, t.MaxPathLenZero = true, true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return &Authority{cert, key}, nil
}

// Files of an authority in its directory.
const (
	authorityCert = "ca.pem"
	authorityKey  = "ca.key"
)

// CertFile is where the authority of a directory has its certificate.
func CertFile(dir string) string { return filepath.Join(dir, authorityCert) }

// Open loads the authority of a directory, or makes one there when there is none. A half that is missing is an error: another authority
// would shut out every host.
func Open(dir, name string, now time.Time) (*Authority, error) {
	cert, certErr := os.ReadFile(CertFile(dir))
	key, keyErr := os.ReadFile(filepath.Join(dir, authorityKey))
	if errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist) {
		a, err := New(name, now)
		if err != nil {
			return nil, err
		}
		return a, a.Save(dir)
	}
	if err := errors.Join(certErr, keyErr); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a, err := Parse(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", dir, err)
	}
	return a, nil
}

// Parse reads an authority from PEM.
func Parse(cert, key []byte) (*Authority, error) {
	c, err := parseCert(cert)
	if err != nil {
		return nil, err
	}
	k, err := parseKey(key)
	if err != nil {
		return nil, err
	}
	own, ok := k.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !c.IsCA || !ok || !own.Equal(c.PublicKey) {
		return nil, errors.New("certificate and key are not those of one authority")
	}
	return &Authority{c, k}, nil
}

// Save writes the authority; the key first, so that a crash leaves no certificate that nobody can use.
func (a *Authority) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	key, err := EncodeKey(a.key)
	if err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, authorityKey), key, 0o600); err != nil {
		return fmt.Errorf("certificate authority: %w", err)
	}
	return WriteFile(CertFile(dir), a.PEM(), 0o644)
}

// PEM is the authority's certificate; KeyPEM its key.
func (a *Authority) PEM() []byte             { return encodeCert(a.cert.Raw) }
func (a *Authority) KeyPEM() ([]byte, error) { return EncodeKey(a.key) }

// Expires is when the authority ends, and with it everything that it signed.
func (a *Authority) Expires() time.Time { return a.cert.NotAfter }

// Fingerprint names the authority: the SHA-256 of its certificate.
func (a *Authority) Fingerprint() string { return Fingerprint(a.cert) }

// Fingerprint is the SHA-256 of a certificate.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// KeyPrint names a public key, whatever certificate it is in.
func KeyPrint(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// Server signs a server's certificate for further names and addresses. The authority's follows it, for those who know only its fingerprint.
func (a *Authority) Server(now time.Time, life time.Duration, public crypto.PublicKey, name string, names []string, ips []net.IP) ([]byte, error) {
	return a.serving(now, life, public, name, append([]string{ServerName}, names...), ips, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

// API signs the certificate of something that people and their clients call: it is no server's to hosts or to other servers.
func (a *Authority) API(now time.Time, life time.Duration, public crypto.PublicKey, name string, names []string, ips []net.IP) ([]byte, error) {
	return a.serving(now, life, public, name, names, ips, x509.ExtKeyUsageServerAuth)
}

func (a *Authority) serving(now time.Time, life time.Duration, public crypto.PublicKey, name string, names []string, ips []net.IP, uses ...x509.ExtKeyUsage) ([]byte, error) {
	t, err := template(name, now, life)
	if err != nil {
		return nil, err
	}
	t.ExtKeyUsage, t.DNSNames, t.IPAddresses = uses, names, ips
	leaf, err := a.sign(t, public)
	if err != nil {
		return nil, fmt.Errorf("certificate of server %s: %w", name, err)
	}
	return append(leaf, a.PEM()...), nil
}

// Host signs a host's certificate. It has no names that a verifier of servers would look at.
func (a *Authority) Host(now time.Time, life time.Duration, public crypto.PublicKey, host string) ([]byte, error) {
	t, err := template(host, now, life)
	if err != nil {
		return nil, err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	leaf, err := a.sign(t, public)
	if err != nil {
		return nil, fmt.Errorf("certificate of host %s: %w", host, err)
	}
	return leaf, nil
}

func (a *Authority) sign(t *x509.Certificate, public crypto.PublicKey) ([]byte, error) {
	t.KeyUsage = x509.KeyUsageDigitalSignature
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter // nobody trusts it for longer
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, public, a.key)
	if err != nil {
		return nil, err
	}
	return encodeCert(der), nil
}

func template(name string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Ringfence"}},
		NotBefore: now.Add(-early), NotAfter: now.Add(life)}, nil
}

// NewKey makes a private key.
func NewKey() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// EncodeKey writes a private key as PEM.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func parseCert(b []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(b []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("no private key in PEM")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key cannot sign")
	}
	return s, nil
}

// FingerprintPEM is the fingerprint of a certificate in PEM.
func FingerprintPEM(cert []byte) (string, error) {
	c, err := parseCert(cert)
	if err != nil {
		return "", err
	}
	return Fingerprint(c), nil
}
