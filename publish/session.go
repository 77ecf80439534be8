package publish

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	handshakeTime = 5 * time.Second
	writeTime     = 10 * time.Second
)

// session is one host's stream at the server. The reader is Publisher.serve's goroutine; everything is written by one writer.
type session struct {
	p     *Publisher
	conn  net.Conn
	name  string
	wake  chan struct{} // holds one token: something is to be sent
	done  chan struct{}
	once  sync.Once
	calls atomic.Int32 // of the host that are under way

	// Guarded by p.mu.
	has     map[Hash]bool // parts that the host holds once it has read what was sent
	sent    *manifest     // the goal sent last, nil before the first
	as      uint64        // the generation it was sent as
	asks    []ask
	replies []answer
	number  uint64
	open    map[uint64]chan answer
	bye     string
	renew   *renewFrame
	servers bool // the addresses are to be sent
	heard   time.Time
}

// Serve accepts hosts on l until ctx ends, then closes l and every stream. Connections are mutual TLS by tc.
func (p *Publisher) Serve(ctx context.Context, l net.Listener, tc *tls.Config) error {
	var streams sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer streams.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() {
				continue
			}
			return fmt.Errorf("accept hosts: %w", err)
		}
		streams.Go(func() {
			defer c.Close()
			end := context.AfterFunc(ctx, func() { c.Close() })
			defer end()
			if err := p.serve(tls.Server(c, tc)); err != nil && ctx.Err() == nil {
				p.o.Log.Warn("host's stream ended", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// serve speaks with one host until its stream ends.
func (p *Publisher) serve(c *tls.Conn) error {
	c.SetDeadline(time.Now().Add(handshakeTime))
	if err := c.Handshake(); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if c.ConnectionState().NegotiatedProtocol == joinProtocol {
		return p.join(c)
	}
	name, err := peerName(c)
	if err != nil {
		return err
	}
	if ended := expired(c, time.Now()); ended != nil {
		p.refuse(name, ended.Error())
		refuse(c, ended.Error())
		return fmt.Errorf("host %s: %w", name, ended)
	}
	first, err := readFrame(c, maxHello)
	if err != nil {
		return fmt.Errorf("host %s: read hello: %w", name, err)
	}
	if first.Hello == nil || first.Hello.Host != name {
		refuse(c, fmt.Sprintf("the first frame must be a hello of %q, as the certificate says", name))
		return fmt.Errorf("host %s: the first frame is no hello of it", name)
	}
	hello := *first.Hello
	if err := hello.proven(c); err != nil {
		return fmt.Errorf("host %s: %w", name, err)
	}
	if err := p.admit(hello); err != nil {
		p.refuse(name, err.Error())
		refuse(c, err.Error())
		return fmt.Errorf("host %s: hello: %w", name, err)
	}
	c.SetDeadline(time.Time{})
	s := p.open(c, hello)
	defer p.close(s)
	go s.write()
	return s.read()
}

// proven fills in what the connection itself says about the host.
func (h *Hello) proven(c *tls.Conn) (err error) {
	leaf := c.ConnectionState().PeerCertificates[0]
	h.Expires, h.From = leaf.NotAfter, c.RemoteAddr().String()
	h.Key, err = keyPrint(leaf)
	return err
}

// admit tells whether a stream may become the host's. A second agent with the same certificate may not, as long as the first one lives:
// both would program one name's goal, and the hosts' acknowledgements would be worth nothing.
func (p *Publisher) admit(h Hello) error {
	p.mu.Lock()
	now := p.hosts[h.Host]
	twin := now != nil && now.session != nil && h.Process != "" && now.hello.Process != "" && now.hello.Process != h.Process && time.Since(now.session.heard) < 3*p.o.Beat
	from := ""
	if twin {
		from = now.hello.From
	}
	p.mu.Unlock()
	if twin {
		return fmt.Errorf("a second agent with this host's certificate calls from %s; the one that is connected from %s stays: stop one of them, and give each host a certificate of its own", h.From, from)
	}
	if p.o.OnHello == nil {
		return nil
	}
	return p.o.OnHello(h)
}

// refuse tells the host why its stream ends.
func refuse(c net.Conn, reason string) {
	c.SetWriteDeadline(time.Now().Add(time.Second))
	writeFrame(c, &message{Bye: &leaveFrame{Reason: reason}})
}

// open makes the stream the host's. An older stream of the same host ends: the newest one is the living agent's.
func (p *Publisher) open(c net.Conn, hello Hello) *session {
	s := &session{p: p, conn: c, name: hello.Host, wake: make(chan struct{}, 1), done: make(chan struct{}),
		has: map[Hash]bool{}, open: map[uint64]chan answer{}}
	for _, h := range hello.Have {
		s.has[h] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.host(hello.Host)
	if h.session != nil {
		h.session.bye = "this host has connected anew"
		h.session.kick()
	}
	h.session, h.hello, h.changed, h.expires, h.within = s, hello, time.Now(), hello.Expires, 0
	s.heard, s.servers, h.refused = time.Now(), len(p.servers) > 0, ""
	h.acked, h.current, h.problem = 0, false, "" // it says anew what it enforces, once it has the goal
	s.kick()
	p.notify()
	p.o.Log.Info("host connected", "host", hello.Host, "underlay", hello.Underlay, "generation", hello.Generation)
	return s
}

func (p *Publisher) close(s *session) {
	s.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.host(s.name); h.session == s {
		h.session, h.changed = nil, time.Now()
		p.notify()
		p.o.Log.Info("host disconnected", "host", s.name)
	}
}

func (s *session) end() {
	s.once.Do(func() { close(s.done) })
	s.conn.Close()
}

func (s *session) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// read takes the host's frames.
func (s *session) read() error {
	for {
		s.conn.SetReadDeadline(time.Now().Add(3 * s.p.o.Beat))
		m, err := readFrame(s.conn, maxFrame)
		if err != nil {
			return fmt.Errorf("host %s: read: %w", s.name, err)
		}
		s.p.mu.Lock()
		s.heard = time.Now()
		s.p.mu.Unlock()
		switch {
		case m.Ack != nil:
			s.p.acknowledge(s, *m.Ack)
		case m.Report != nil:
			s.p.reported(s, *m.Report)
		case m.Answer != nil:
			s.answered(*m.Answer)
		case m.Call != nil:
			go s.called(*m.Call)
		case m.Renew != nil:
			s.p.renew(s, m.Renew.CSR)
		case m.Beat != nil:
			s.p.measure(s, *m.Beat, time.Now())
		default:
			return fmt.Errorf("host %s: a frame that is not a host's to send", s.name)
		}
	}
}

func (p *Publisher) acknowledge(s *session, a Ack) {
	p.mu.Lock()
	h := p.host(s.name)
	if h.session != s || s.sent == nil || a.Generation < h.acked || a.Generation > s.as {
		p.mu.Unlock()
		return // of a stream or a goal that nobody waits for any more
	}
	h.acked, h.current, h.problem = a.Generation, a.Generation == s.as && s.sent == h.goal, a.Problem
	enforced := h.enforced()
	s.kick()
	p.notify()
	p.mu.Unlock()
	if a.Problem != "" {
		p.o.Log.Error("host cannot enforce its goal", "host", s.name, "generation", a.Generation, "problem", a.Problem)
	}
	if p.o.OnAck != nil {
		p.o.OnAck(s.name, enforced, a.Problem)
	}
}

// renew signs a host's key anew; the stream goes on with the certificate that it began with.
func (p *Publisher) renew(s *session, csr []byte) {
	f := &renewFrame{Error: "this server signs no certificates"}
	if p.o.OnRenew != nil {
		cert, err := p.o.OnRenew(s.name, csr)
		if f = (&renewFrame{Cert: cert}); err != nil {
			f = &renewFrame{Error: err.Error()}
			p.o.Log.Warn("certificate not renewed", "host", s.name, "error", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.renew = f
	if end, err := expiry(f.Cert); err == nil {
		p.host(s.name).expires = end
		p.o.Log.Info("certificate renewed", "host", s.name, "expires", end)
	}
	p.notify()
	s.kick()
}

// measure takes the host's clock from a beat that came back: it was read at some time between the two of the server's.
func (p *Publisher) measure(s *session, b beat, now time.Time) {
	if b.Sent == 0 || b.Now == 0 {
		return
	}
	took := now.Sub(time.Unix(0, b.Sent))
	if took < 0 || took > 3*p.o.Beat {
		return // the server's own clock was set meanwhile
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.host(s.name)
	if h.session != s {
		return
	}
	h.skew, h.within = time.Unix(0, b.Now).Sub(time.Unix(0, b.Sent).Add(took/2)), max(took/2, time.Microsecond)
}

func (p *Publisher) reported(s *session, r Report) {
	p.mu.Lock()
	h := p.host(s.name)
	h.report, h.reported = r, true
	p.notify()
	p.mu.Unlock()
	if p.o.OnReport != nil {
		p.o.OnReport(s.name, r)
	}
}

// write sends the newest goal whenever the one before is acknowledged, questions, and a beat when there is nothing else.
func (s *session) write() {
	beat := time.NewTicker(s.p.o.Beat)
	defer beat.Stop()
	defer s.end()
	s.p.mu.Lock()
	s.asks = append(s.asks, ask{}) // measures the clock at once
	s.p.mu.Unlock()
	for {
		batch, last := s.next()
		for _, m := range batch {
			s.conn.SetWriteDeadline(time.Now().Add(writeTime))
			if err := writeFrame(counted{s.conn, &s.p.sent}, m); err != nil {
				s.p.o.Log.Warn("write to host", "host", s.name, "error", err)
				return
			}
		}
		if last {
			return
		}
		select {
		case <-s.done:
			return
		case <-s.wake:
		case <-beat.C:
			s.p.mu.Lock()
			s.asks = append(s.asks, ask{})
			s.p.mu.Unlock()
		}
	}
}

// next takes what is to be sent now; last is set when the stream ends with it.
func (s *session) next() (out []*message, last bool) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.bye != "" {
		return []*message{{Bye: &leaveFrame{Reason: s.bye}}}, true
	}
	h := s.p.host(s.name)
	idle := s.sent == nil || h.acked >= s.as
	if h.goal != nil && h.goal != s.sent && idle && h.offered >= h.hello.Generation {
		out = append(out, &message{Goal: h.goal.lacking(s.has, h.offered)})
		s.sent, s.as, s.has = h.goal, h.offered, h.goal.names()
	}
	for _, a := range s.asks {
		if a.Kind == "" {
			out = append(out, &message{Beat: &beat{Sent: time.Now().UnixNano()}})
			continue
		}
		out = append(out, &message{Ask: &a})
	}
	for i := range s.replies {
		out = append(out, &message{Reply: &s.replies[i]})
	}
	s.asks, s.replies = nil, nil
	if s.servers {
		out, s.servers = append(out, &message{Servers: &serverFrame{Addresses: s.p.servers}}), false
	}
	if s.renew != nil {
		out, s.renew = append(out, &message{Renew: s.renew}), nil
	}
	return out, false
}

func (s *session) ask(ctx context.Context, kind string) (json.RawMessage, error) {
	reply := make(chan answer, 1)
	s.p.mu.Lock()
	s.number++
	n := s.number
	s.open[n] = reply
	s.asks = append(s.asks, ask{Number: n, Kind: kind})
	s.kick()
	s.p.mu.Unlock()
	defer func() {
		s.p.mu.Lock()
		delete(s.open, n)
		s.p.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer to %q: %w", kind, ctx.Err())
	case <-s.done:
		return nil, ErrNotConnected
	case a := <-reply:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		return a.Body, nil
	}
}

func (s *session) answered(a answer) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if reply, ok := s.open[a.Number]; ok {
		reply <- a
		delete(s.open, a.Number)
	}
}
