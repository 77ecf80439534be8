package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"ringfence/intent/store"
	"ringfence/pki"
	"ringfence/publish"
)

// Installation makes a server one of an installation that hosts and further servers join. Without it (a lab) the certificates are
// somebody else's matter, and every host with one is let in.
type Installation struct {
	Name      string          // of this server
	Authority *pki.Authority  // every server signs
	Cluster   *store.Cluster  // nil: this server alone
	Agents    string          // IP:PORT where hosts call this server
	Shared    json.RawMessage // what must be the same at every server: a new one gets it
	Local     string          // the host on this machine, which joins without a token; may be empty
	LocalKey  string          // print of its key
	Now       func() time.Time
}

// Lives of join tokens.
const (
	tokenLife = time.Hour
	tokenMost = 7 * 24 * time.Hour
)

// joinName is what hosts and servers may be called: part of the names of files, devices and certificates.
var joinName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (v *Server) now() time.Time {
	if v.inst == nil || v.inst.Now == nil {
		return time.Now()
	}
	return v.inst.Now()
}

// newToken makes a token by which name may join once.
func (v *Server) newToken(ctx context.Context, kind, name string, life time.Duration) (string, time.Time, error) {
	if v.inst == nil {
		return "", time.Time{}, errors.New("nobody joins a lab: its hosts are laid out with it")
	}
	if !joinName.MatchString(name) {
		return "", time.Time{}, fmt.Errorf("name %q: 1 to 32 of a-z, 0-9 and - expected", name)
	}
	if life == 0 {
		life = tokenLife
	}
	if life < time.Minute || life > tokenMost {
		return "", time.Time{}, fmt.Errorf("life %v: 1m to %v expected", life, tokenMost)
	}
	t, now := pki.NewToken(kind, v.inst.Authority.Fingerprint()), v.now()
	end := now.Add(life)
	err := v.store.PutToken(ctx, store.Token{ID: t.ID, Kind: kind, Name: name, Hash: pki.Hash(t.Secret), Expires: end}, now)
	if err != nil {
		return "", time.Time{}, err
	}
	v.log.Info("join token made", "kind", kind, "name", name, "token", t.ID, "expires", end)
	return t.String(), end, nil
}

// join lets the bearer of a token in. The token is spent before anything is given out: of two bearers one gets in.
func (v *Server) join(ctx context.Context, q publish.JoinRequest) (publish.JoinAnswer, error) {
	t, ok, err := v.store.GetToken(ctx, q.ID)
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	now := v.now()
	switch {
	case !ok || !pki.Matches(q.Secret, t.Hash):
		return publish.JoinAnswer{}, errors.New("the token is not known here: it was made by another installation, or it ended long ago; make a new one")
	case t.Kind != q.Kind:
		return publish.JoinAnswer{}, fmt.Errorf("the token is a %s's, not a %s's", t.Kind, q.Kind)
	case q.Name != "" && q.Name != t.Name:
		return publish.JoinAnswer{}, fmt.Errorf("the token is for %s, and this is %s", t.Name, q.Name)
	case !t.Used.IsZero():
		return publish.JoinAnswer{}, fmt.Errorf("the token for %s was used at %s: each lets one in, make a new one", t.Name, t.Used.UTC().Format(time.RFC3339))
	case now.After(t.Expires):
		return publish.JoinAnswer{}, fmt.Errorf("the token for %s expired at %s: make a new one", t.Name, t.Expires.UTC().Format(time.RFC3339))
	}
	if t.Kind == pki.ServerKind {
		return v.joinServer(ctx, q, t, now)
	}
	return v.joinHost(ctx, q, t, now)
}

func (v *Server) joinHost(ctx context.Context, q publish.JoinRequest, t store.Token, now time.Time) (publish.JoinAnswer, error) {
	if err := v.underlayFree(t.Name, q.Underlay.String(), q.Underlay.IsValid()); err != nil {
		return publish.JoinAnswer{}, err
	}
	if h, ok := v.known(t.Name); ok && v.here()[t.Name] {
		return publish.JoinAnswer{}, fmt.Errorf("a host named %s is connected: stop its agent first, or choose another name", h.Name)
	}
	public, err := pki.RequestKey(q.CSR)
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	print, err := pki.KeyPrint(public)
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	cert, err := v.inst.Authority.Host(now, pki.Life, public, t.Name)
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	if err := v.store.UseToken(ctx, t, now, &store.Enrolled{Key: print, At: now}); err != nil {
		return publish.JoinAnswer{}, spent(t, err)
	}
	facts := store.Host{Name: t.Name, Underlay: q.Underlay, Version: q.Version, Seen: now}
	if old, ok := v.known(t.Name); ok {
		facts.Capacity = old.Capacity
	}
	if err := v.store.PutHost(ctx, facts); err != nil {
		return publish.JoinAnswer{}, fmt.Errorf("the token is spent, but host %s could not be recorded: make a new one: %w", t.Name, err)
	}
	v.log.Info("host joined", "host", t.Name, "token", t.ID, "underlay", q.Underlay)
	return publish.JoinAnswer{Name: t.Name, CA: v.inst.Authority.PEM(), Cert: cert, Servers: v.addresses(ctx)}, nil
}

func (v *Server) joinServer(ctx context.Context, q publish.JoinRequest, t store.Token, now time.Time) (publish.JoinAnswer, error) {
	if q.Peer == "" {
		return publish.JoinAnswer{}, errors.New("a server says at which address other servers reach it")
	}
	initial, err := v.store.Invite(ctx, t.Name, q.Peer)
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	key, err := v.inst.Authority.KeyPEM()
	if err != nil {
		return publish.JoinAnswer{}, err
	}
	if err := v.store.UseToken(ctx, t, now, nil); err != nil {
		return publish.JoinAnswer{}, spent(t, err)
	}
	v.log.Info("server joins", "server", t.Name, "token", t.ID, "peer", q.Peer)
	return publish.JoinAnswer{Name: t.Name, CA: v.inst.Authority.PEM(), CAKey: key, Cluster: initial, Shared: v.inst.Shared, Servers: v.addresses(ctx)}, nil
}

func spent(t store.Token, err error) error {
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return fmt.Errorf("the token for %s was used at the same moment by somebody else: make a new one", t.Name)
	}
	return err
}

func (v *Server) known(name string) (store.Host, bool) {
	for _, h := range v.store.Snapshot().Hosts() {
		if h.Name == name {
			return h, true
		}
	}
	return store.Host{}, false
}

// underlayFree refuses a tunnel endpoint that another host has.
func (v *Server) underlayFree(name, address string, valid bool) error {
	if !valid {
		return fmt.Errorf("host %s: an underlay address expected", name)
	}
	for _, other := range v.store.Snapshot().Hosts() {
		if other.Name != name && other.Underlay.String() == address {
			return fmt.Errorf("underlay address %s is host %s's", address, other.Name)
		}
	}
	return nil
}

// enrolled tells whether a certificate is the one of a host that joined. One that was removed, or that joined anew with another key, has
// a certificate that is good by itself.
func (v *Server) enrolled(ctx context.Context, h publish.Hello) error {
	if v.inst == nil {
		return nil
	}
	e, ok, err := v.store.Enrolled(ctx, h.Host)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("host %s is not in the inventory: it was removed or never joined; make a token by `ringfence host add %s`", h.Host, h.Host)
	case e.Key != h.Key:
		return fmt.Errorf("host %s joined anew at %s with another key; this one is not its key any more", h.Host, e.At.UTC().Format(time.RFC3339))
	}
	return nil
}

// enrollLocal lets the host on this machine in: its key was made here.
func (v *Server) enrollLocal(ctx context.Context) error {
	if v.inst == nil || v.inst.Local == "" {
		return nil
	}
	e, ok, err := v.store.Enrolled(ctx, v.inst.Local)
	if err != nil || ok && e.Key == v.inst.LocalKey {
		return err
	}
	return v.store.Enroll(ctx, v.inst.Local, store.Enrolled{Key: v.inst.LocalKey, At: v.now()})
}

// renew signs a connected host's key again.
func (v *Server) renew(host string, csr []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTime)
	defer cancel()
	public, err := pki.RequestKey(csr)
	if err != nil {
		return nil, err
	}
	print, err := pki.KeyPrint(public)
	if err != nil {
		return nil, err
	}
	if err := v.enrolled(ctx, publish.Hello{Host: host, Key: print}); err != nil {
		return nil, err
	}
	return v.inst.Authority.Host(v.now(), pki.Life, public, host)
}
