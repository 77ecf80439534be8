package publish

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// joinProtocol is what somebody without a certificate speaks, at the same address as the stream: one question, one answer.
const joinProtocol = "ringfence-join/1"

// joinTime bounds a first contact: a server's takes as long as the cluster needs to take a member in.
const joinTime = time.Minute

// JoinRequest is what the bearer of a token says. Everything but the token is its own word; the name is the token's.
type JoinRequest struct {
	ID       string     `json:"id"` // of the token
	Secret   string     `json:"secret"`
	Kind     string     `json:"kind"`
	Name     string     `json:"name,omitempty"` // whom the bearer takes itself for; empty: it does not know
	CSR      []byte     `json:"csr,omitempty"`  // a host's
	Underlay netip.Addr `json:"underlay,omitzero"`
	Version  string     `json:"version,omitempty"`
	Peer     string     `json:"peer,omitempty"` // a server's IP:PORT for other servers
}

// JoinAnswer is what it gets. Error says why not; then nothing else is set.
type JoinAnswer struct {
	Error   string          `json:"error,omitempty"`
	Name    string          `json:"name,omitempty"`
	CA      []byte          `json:"ca,omitempty"`
	Cert    []byte          `json:"cert,omitempty"`    // a host's
	Servers []string        `json:"servers,omitempty"` // where hosts call, all of them
	CAKey   []byte          `json:"ca_key,omitempty"`  // a server's: it signs, too
	Cluster string          `json:"cluster,omitempty"` // a server's: the members of the store
	Shared  json.RawMessage `json:"shared,omitempty"`  // a server's: what must be the same everywhere
}

// Refused is a server's reason not to let somebody join.
type Refused struct{ Reason string }

func (e *Refused) Error() string { return "the server refuses: " + e.Reason }

// Join makes the first contact; tc must check who answers.
func Join(ctx context.Context, server string, tc *tls.Config, q JoinRequest) (JoinAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTime)
	defer cancel()
	tc = tc.Clone()
	tc.NextProtos = []string{joinProtocol}
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: handshakeTime}, Config: tc}
	c, err := d.DialContext(ctx, "tcp", server)
	if err != nil {
		return JoinAnswer{}, fmt.Errorf("join at %s: %w", server, err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if err := writeFrame(c, &message{Join: &q}); err != nil {
		return JoinAnswer{}, fmt.Errorf("join at %s: %w", server, err)
	}
	m, err := readFrame(c, maxFrame)
	switch {
	case err != nil:
		return JoinAnswer{}, fmt.Errorf("join at %s: %w", server, err)
	case m.Joined == nil:
		return JoinAnswer{}, fmt.Errorf("join at %s: a frame that is no answer to it", server)
	case m.Joined.Error != "":
		return JoinAnswer{}, &Refused{m.Joined.Error}
	}
	return *m.Joined, nil
}

// Joinable lets those in who have no certificate yet, for that one question.
func Joinable(tc *tls.Config) *tls.Config {
	strict, open := tc.Clone(), tc.Clone()
	open.ClientAuth, open.ClientCAs, open.VerifyConnection = tls.NoClientCert, nil, nil
	open.NextProtos = []string{joinProtocol}
	strict.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(h.SupportedProtos, joinProtocol) {
			return open, nil
		}
		return nil, nil
	}
	return strict
}

// join answers a first contact.
func (p *Publisher) join(c *tls.Conn) error {
	if p.o.OnJoin == nil {
		return errors.New("join: nobody joins here")
	}
	m, err := readFrame(c, maxHello)
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if m.Join == nil {
		return errors.New("join: the first frame is none of it")
	}
	c.SetDeadline(time.Now().Add(joinTime))
	ctx, cancel := context.WithTimeout(context.Background(), joinTime)
	defer cancel()
	a, err := p.o.OnJoin(ctx, *m.Join)
	if err != nil {
		p.o.Log.Warn("joining refused", "from", c.RemoteAddr().String(), "token", m.Join.ID, "error", err)
		a = JoinAnswer{Error: err.Error()}
	}
	return writeFrame(c, &message{Joined: &a})
}
