package pki

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Kinds of join tokens: what their bearer becomes.
const (
	HostKind   = "host"
	ServerKind = "server"
)

// Token lets its bearer join once. It is the only secret of a first contact: with Secret the bearer shows who it is, by CA it knows the
// server.
type Token struct {
	Kind   string // HostKind or ServerKind
	ID     string // names the token in the store and in logs
	Secret string
	CA     string // fingerprint of the authority
}

// NewToken makes a token for an authority with this fingerprint.
func NewToken(kind, ca string) Token {
	return Token{Kind: kind, ID: strings.ToLower(rand.Text()[:10]), Secret: strings.ToLower(rand.Text()), CA: ca}
}

var tokenForm = regexp.MustCompile(`^ringfence-(host|server)-([a-z2-7]{10})-([a-z2-7]{26})-([0-9a-f]{64})$`)

// ParseToken reads a token's text.
func ParseToken(text string) (Token, error) {
	m := tokenForm.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return Token{}, errors.New("join token: this is none, or not all of one: ringfence-host-… or ringfence-server-… expected, as it was printed")
	}
	return Token{Kind: m[1], ID: m[2], Secret: m[3], CA: m[4]}, nil
}

func (t Token) String() string {
	return fmt.Sprintf("ringfence-%s-%s-%s-%s", t.Kind, t.ID, t.Secret, t.CA)
}

// Hash is what is stored of a secret.
func Hash(secret string) string {
	sum := sha256.Sum256([]byte("ringfence join token\x00" + secret))
	return hex.EncodeToString(sum[:])
}

// Matches tells whether a secret is the one of a hash.
func Matches(secret, hash string) bool {
	return subtle.ConstantTimeCompare([]byte(Hash(secret)), []byte(hash)) == 1
}

// WrongAuthority says that whoever answered is not a server of the installation that a token is of.
type WrongAuthority struct{ Want string }

func (e *WrongAuthority) Error() string {
	return "the server that answered is not of the installation that the token is of (authority " + e.Want[:min(16, len(e.Want))] +
		"…): check the address; nothing was told to it"
}

// ClientTLS is the bearer's side of a first contact: the other end must be a server whose certificate was signed by the authority with
// the token's fingerprint. Nothing is sent before that is known.
func (t Token) ClientTLS(now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// The authority is not known yet: VerifyConnection does what the library would do, with the certificate that has the fingerprint.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return &WrongAuthority{t.CA}
			}
			roots := x509.NewCertPool()
			found := false
			for _, c := range s.PeerCertificates[1:] {
				if c.IsCA && Fingerprint(c) == t.CA {
					roots.AddCert(c)
					found = true
				}
			}
			if !found {
				return &WrongAuthority{t.CA}
			}
			_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: ServerName, CurrentTime: now(),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		},
	}
}
