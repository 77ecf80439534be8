package publish

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
)

// Files names the PEM files of one end of the stream.
type Files struct {
	CA   string `yaml:"ca"`
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

func (f Files) load() (*x509.CertPool, tls.Certificate, error) {
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, tls.Certificate{}, fmt.Errorf("read CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
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
	return &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, VerifyConnection: onlyHosts,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.pair() }}, nil
}

// onlyHosts refuses certificates that could serve: a server's is no host's, though it may call other servers.
func onlyHosts(s tls.ConnectionState) error {
	if len(s.PeerCertificates) > 0 && slices.Contains(s.PeerCertificates[0].ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return errors.New("the certificate is a server's, not a host's")
	}
	return nil
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
