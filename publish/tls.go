package publish

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// Files names the PEM files of one end of the stream.
type Files struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

func (f Files) load() (*x509.CertPool, tls.Certificate, error) {
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("read CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, tls.Certificate{}, fmt.Errorf("read CA: %s holds no certificate", f.CA)
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("read certificate: %w", err)
	}
	return pool, cert, nil
}

// ServerTLS is the listener's side: TLS 1.3, clients show a host's certificate of the CA. Both sides read their certificate anew with
// every connection: one that was renewed needs no restart.
func (f Files) ServerTLS() (*tls.Config, error) {
	pool, _, err := f.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert, ClientCAs: pool, VerifyConnection: hostsOf(pool, time.Now),
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.pair() }}, nil
}

// hostsOf lets hosts in whose certificate the authority signed. One whose certificate has ended is let through the handshake, and then
// refused in words before anything else is said (see expired): its operator and the server's shall read the reason.
func hostsOf(pool *x509.CertPool, now func() time.Time) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return errors.New("a host's certificate expected")
		}
		leaf, at := s.PeerCertificates[0], now()
		if slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
			return errors.New("the certificate is a server's, not a host's")
		}
		if at.After(leaf.NotAfter) {
			at = leaf.NotAfter
		}
		between := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			between.AddCert(c)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		return err
	}
}

// expired says when a host's certificate has ended, and the cure.
func expired(c *tls.Conn, now time.Time) error {
	leaf := c.ConnectionState().PeerCertificates[0]
	if now.After(leaf.NotAfter) {
		return Expired(leaf, now)
	}
	return nil
}

// Expired is the sentence about a host's certificate that has ended, nil while it has not.
func Expired(leaf *x509.Certificate, now time.Time) error {
	if !now.After(leaf.NotAfter) {
		return nil
	}
	host := leaf.Subject.CommonName
	return fmt.Errorf("the certificate of host %s expired at %s: check the clocks, or make a new token by `ringfence host token %s` and join again",
		host, leaf.NotAfter.UTC().Format(time.RFC3339), host)
}

func keyPrint(leaf *x509.Certificate) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(leaf.PublicKey)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

func expiry(cert []byte) (time.Time, error) {
	block, _ := pem.Decode(cert)
	if block == nil {
		return time.Time{}, errors.New("no certificate")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, err
	}
	return c.NotAfter, nil
}

func (f Files) pair() (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	return &c, nil
}

// ClientTLS is the host's side; the server's certificate must carry serverName.
func (f Files) ClientTLS(serverName string) (*tls.Config, error) {
	pool, _, err := f.load()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: serverName,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return f.pair() }}, nil
}

// peerName is the host name that the other end proved.
func peerName(c *tls.Conn) (string, error) {
	chain := c.ConnectionState().PeerCertificates
	if len(chain) == 0 || chain[0].Subject.CommonName == "" {
		return "", errors.New("the client certificate has no common name")
	}
	return chain[0].Subject.CommonName, nil
}
