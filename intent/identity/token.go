package identity

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"ringfence/intent/store"
)

// Lifetimes. A token outlives 1,200 s, below which Terraform's provider asks for another one on every call.
const (
	tokenLifetime = time.Hour
	keyLifetime   = 90 * 24 * time.Hour
	clockSkew     = time.Minute
)

const keyNotes = "identity/key/"

// longestToken bounds what is parsed at all.
const longestToken = 16 << 10

// keyring keeps what was parsed.
type keyring struct {
	mu     sync.Mutex
	parsed map[string]*rsa.PrivateKey // by key id; a key id names one key for ever
}

// signingKey is a key as it is stored.
type signingKey struct {
	ID      string    `json:"id"`
	Made    time.Time `json:"made"`
	Private []byte    `json:"private"` // PKCS #8
}

// EnsureKey sees to it that there is a key to sign with, and that it is not too old; keys whose last token has expired go. Servers
// that do this at the same time each make one, and all of them are good.
func (d *Directory) EnsureKey(ctx context.Context) error {
	keys := d.signingKeys()
	if len(keys) == 0 || d.now().Sub(keys[len(keys)-1].Made) > keyLifetime {
		if err := d.makeKey(ctx); err != nil {
			return fmt.Errorf("key that signs tokens: %w", err)
		}
	}
	for _, k := range keys {
		if d.now().Sub(k.Made) < keyLifetime+2*tokenLifetime+24*time.Hour {
			continue
		}
		n, ok := d.notes.Snapshot().Note(keyNotes + k.ID)
		if ok {
			_ = d.notes.DeleteNote(ctx, keyNotes+k.ID, n.Revision) // another server may have been first
		}
	}
	return nil
}

func (d *Directory) makeKey(ctx context.Context) error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	id := make([]byte, 20)
	_, _ = rand.Read(id) // never fails
	k := signingKey{ID: base64.RawURLEncoding.EncodeToString(id), Made: d.now().UTC(), Private: der}
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return d.notes.PutNote(ctx, keyNotes+k.ID, b, 0)
}

// signingKeys are all stored keys, the newest last.
func (d *Directory) signingKeys() []signingKey {
	var all []signingKey
	for _, n := range d.notesUnder(keyNotes) {
		var k signingKey
		if json.Unmarshal(n.Value, &k) == nil {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b signingKey) int { return cmp.Or(a.Made.Compare(b.Made), strings.Compare(a.ID, b.ID)) })
	return all
}

func (d *Directory) private(k signingKey) (*rsa.PrivateKey, error) {
	d.keys.mu.Lock()
	defer d.keys.mu.Unlock()
	if key := d.keys.parsed[k.ID]; key != nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Private)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.ID, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key %s: not an RSA key", k.ID)
	}
	if d.keys.parsed == nil {
		d.keys.parsed = map[string]*rsa.PrivateKey{}
	}
	d.keys.parsed[k.ID] = key
	return key, nil
}

// KeySet is the JSON Web Key Set (RFC 7517) of all keys that tokens may be signed with.
func (d *Directory) KeySet() ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range d.signingKeys() {
		key, err := d.private(k)
		if err != nil {
			return nil, err
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: k.ID, Algorithm: string(jose.RS256), Use: "sig"})
	}
	return json.Marshal(set)
}

// claims are what Azure's clients read in an access token of an application.
type claims struct {
	Audience string `json:"aud"`
	Issuer   string `json:"iss"`
	IssuedAt int64  `json:"iat"`
	From     int64  `json:"nbf"`
	Expires  int64  `json:"exp"`
	App      string `json:"appid"`
	Proof    string `json:"appidacr"` // 1: a secret, 2: a machine's identity
	Provider string `json:"idp"`
	Kind     string `json:"idtyp"`
	Object   string `json:"oid"`
	Subject  string `json:"sub"`
	Tenant   string `json:"tid"`
	Version  string `json:"ver"`
	Machine  string `json:"xms_mirid,omitempty"`
}

// Token is an access token and when it ends.
type Token struct {
	Text    string
	From    time.Time
	Expires time.Time
}

// Issue signs a token for p. issuer is the URL of the tenant's login; audience is the resource that it is for.
func (d *Directory) Issue(p ServicePrincipal, issuer, audience string) (Token, error) {
	keys := d.signingKeys()
	if len(keys) == 0 {
		return Token{}, errors.New("issue token: there is no key to sign with")
	}
	k := keys[len(keys)-1]
	key, err := d.private(k)
	if err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: k.ID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	now := d.now().UTC().Truncate(time.Second)
	t := Token{From: now, Expires: now.Add(tokenLifetime)}
	c := claims{Audience: audience, Issuer: issuer, IssuedAt: now.Unix(), From: now.Unix(), Expires: t.Expires.Unix(), App: p.App, Proof: "1",
		Provider: issuer, Kind: "app", Object: p.ID, Subject: p.ID, Tenant: p.Tenant, Version: "1.0"}
	if p.Machine != "" {
		c.Proof, c.Machine = "2", p.Machine
	}
	if t.Text, err = jwt.Signed(signer).Claims(c).Serialize(); err != nil {
		return Token{}, fmt.Errorf("issue token: %w", err)
	}
	return t, nil
}

// Errors of a token that is one.
var (
	ErrTokenExpired  = errors.New("the access token has expired")
	ErrTokenAudience = errors.New("the access token is for another resource")
)

// bearer says who carries a signed token. Only RS256 with one of our keys counts: what the token's own header says about how it is to
// be checked is never believed. A principal that was deleted has no valid token.
func (d *Directory) bearer(text, host string) (Principal, error) {
	if len(text) > longestToken {
		return Principal{}, ErrBadToken
	}
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(token.Headers) != 1 {
		return Principal{}, ErrBadToken
	}
	c, err := d.verify(token)
	if err != nil {
		return Principal{}, err
	}
	now := d.now()
	switch {
	case now.After(time.Unix(c.Expires, 0)):
		return Principal{}, ErrTokenExpired
	case now.Add(clockSkew).Before(time.Unix(c.From, 0)):
		return Principal{}, ErrBadToken
	case !ForManagement(c.Audience, host):
		return Principal{}, ErrTokenAudience
	}
	p, ok := d.ByApp(c.App)
	if !ok || p.ID != c.Object || !strings.EqualFold(p.Tenant, c.Tenant) {
		return Principal{}, ErrBadToken
	}
	return d.principal(p), nil
}

func (d *Directory) verify(token *jwt.JSONWebToken) (c claims, err error) {
	n, ok := store.Note{}, false
	if d.notes != nil {
		n, ok = d.notes.Snapshot().Note(keyNotes + token.Headers[0].KeyID)
	}
	var k signingKey
	if !ok || json.Unmarshal(n.Value, &k) != nil {
		return c, ErrBadToken
	}
	key, err := d.private(k)
	if err != nil {
		return c, ErrBadToken
	}
	if err := token.Claims(&key.PublicKey, &c); err != nil {
		return c, ErrBadToken
	}
	return c, nil
}

// principal is p as the maker of a request.
func (d *Directory) principal(p ServicePrincipal) Principal {
	out := Principal{Tenant: p.Tenant, Name: p.Name, ID: p.ID, App: p.App}
	for _, id := range d.all {
		if strings.EqualFold(d.subscriptions[id].Tenant, p.Tenant) {
			out.Subscriptions = append(out.Subscriptions, id)
		}
	}
	return out
}

// managementNames are the audiences of Azure's own management endpoint: clients that were only given another endpoint ask for them.
var managementNames = []string{"management.azure.com", "management.core.windows.net"}

// ForManagement tells whether an audience means this API, which the client reached as host (with its port).
func ForManagement(audience, host string) bool {
	u, err := url.Parse(audience)
	if err != nil || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return false
	}
	return strings.EqualFold(u.Host, host) || slices.Contains(managementNames, strings.ToLower(u.Host)) || sameLoopback(u.Host, host)
}

// sameLoopback: localhost and 127.0.0.1 with one port are one place.
func sameLoopback(a, b string) bool {
	nameA, portA, errA := net.SplitHostPort(a)
	nameB, portB, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && portA == portB && isLoopback(nameA) && isLoopback(nameB)
}

func isLoopback(name string) bool {
	ip := net.ParseIP(name)
	return strings.EqualFold(name, "localhost") || ip != nil && ip.IsLoopback()
}
