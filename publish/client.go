package publish

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"ringfence/goal"
)

// ClientOptions are a host's end's dependencies.
type ClientOptions struct {
	Server string                 // IP:PORT
	More   []string               // further servers, as they were known when the process began
	Keep   func(servers []string) // keeps what a server says about them; may be nil
	Renew  Renewal                // the certificate's; without Due it is the operator's matter
	TLS    *tls.Config
	Hello  func() Hello                               // who the host is and what it enforces at this moment
	Answer func(kind string) (json.RawMessage, error) // questions of the operator; called on a goroutine of its own
	Log    *slog.Logger
	Beat   time.Duration // as the server's
	Dial   func(ctx context.Context, address string) (net.Conn, error)
}

// Renewal renews the host's certificate while it connects.
type Renewal struct {
	Due     func() (expired error, due bool) // looks at the certificate; expired: why the host cannot connect with it
	Request func() ([]byte, error)           // a certificate request for the same key
	Put     func(cert []byte) error          // replaces the certificate
}

// Client is the host's end of the stream. It reconnects for ever; the host goes on with the goal it has meanwhile.
type Client struct {
	o     ClientOptions
	goals chan *goal.Host

	mu       sync.Mutex
	assembly assembler
	newest   uint64 // generation of the newest goal handed out
	received int    // goals so far
	ack      *Ack   // of the newest goal handed out, once it is there
	report   *Report
	link     *link
	number   uint64   // of the last call
	process  string   // names this process to the server
	servers  []string // where to call, in this order; the first is the configured one until a server says otherwise
	turn     int
	since    time.Time // when the stream began, or ended; when the client was made
	asked    time.Time // for a new certificate; the writer's own
}

// renewPause is how long the client waits after it asked for a new certificate before it asks again.
const renewPause = 10 * time.Minute

// link is one connection. Its outbox is a set of things to tell, not a queue: only the newest ack and report count.
type link struct {
	conn    net.Conn
	wake    chan struct{}
	done    chan struct{}
	answers []answer
	calls   []call
	open    map[uint64]chan answer // calls that wait for their reply
	beat    *beat
	renew   *renewFrame
	ack     bool // the client's ack is still to be sent here
	report  bool
}

// NewClient returns a Client; Run makes it work.
func NewClient(o ClientOptions) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Beat == 0 {
		o.Beat = 3 * time.Second
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{Timeout: handshakeTime}).DialContext(ctx, "tcp", address)
		}
	}
	return &Client{o: o, goals: make(chan *goal.Host, 1), process: crand.Text(), since: time.Now(), servers: candidates(o.Server, o.More)}
}

// candidates are the configured server and those that were learnt, each once.
func candidates(first string, more []string) []string {
	out := []string{first}
	for _, s := range more {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Server is where the client calls now.
func (c *Client) Server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.servers[c.turn%len(c.servers)]
}

// Goals gives the newest goal. One that was not taken before the next came is dropped.
func (c *Client) Goals() <-chan *goal.Host { return c.goals }

// Ack tells the server that generation is enforced, or why not.
func (c *Client) Ack(generation uint64, problem string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.newest {
		return // a newer one was handed out: its own ack will follow
	}
	c.ack = &Ack{Generation: generation, Problem: problem}
	if c.link != nil {
		c.link.ack = true
		c.link.kick()
	}
}

// Report tells the server the host's state, now and after every reconnection.
func (c *Client) Report(r Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report = &r
	if c.link != nil {
		c.link.report = true
		c.link.kick()
	}
}

// Run keeps the stream until ctx ends.
func (c *Client) Run(ctx context.Context) {
	const least, most = 100 * time.Millisecond, 3 * time.Second
	wait := least
	for ctx.Err() == nil {
		c.mu.Lock()
		before := c.received
		c.mu.Unlock()
		err := c.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		switch {
		case errors.Is(err, errSentAway):
			wait = most // coming back at once would only repeat it
		case c.received != before:
			wait = least // a server that gave a goal is one to come back to soon
		}
		c.mu.Unlock()
		pause := wait/2 + rand.N(wait/2+1)
		at := c.Server()
		c.mu.Lock()
		if c.turn++; c.received != before || c.turn%len(c.servers) != 0 {
			pause = rand.N(least) // another server can be asked at once
		}
		c.mu.Unlock()
		c.o.Log.Warn("stream to the control plane ended", "server", at, "error", err, "again in", pause.Round(time.Millisecond))
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		wait = min(2*wait, most)
	}
}

var errSentAway = errors.New("sent away")

// stream is the life of one connection.
func (c *Client) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.o.Renew.Due != nil {
		if ended, _ := c.o.Renew.Due(); ended != nil {
			return ended
		}
	}
	raw, err := c.o.Dial(ctx, c.Server())
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer raw.Close()
	conn := tls.Client(raw, c.o.TLS)
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	conn.SetDeadline(time.Now().Add(handshakeTime))
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	hello := c.o.Hello()
	c.mu.Lock()
	hello.Process = c.process
	hello.Have = c.assembly.have()
	hello.Generation = max(hello.Generation, c.newest)
	c.mu.Unlock()
	if err := writeFrame(conn, &message{Hello: &hello}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	conn.SetDeadline(time.Time{})
	l := &link{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{}), open: map[uint64]chan answer{}}
	c.mu.Lock()
	c.link, c.since = l, time.Now()
	l.report = c.report != nil
	c.mu.Unlock()
	l.kick()
	defer func() {
		c.mu.Lock()
		c.link, c.since = nil, time.Now()
		c.mu.Unlock()
		close(l.done)
	}()
	go c.write(l)
	return c.read(l)
}

func (c *Client) read(l *link) error {
	for {
		l.conn.SetReadDeadline(time.Now().Add(3 * c.o.Beat))
		m, err := readFrame(l.conn, maxFrame)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		switch {
		case m.Goal != nil:
			if err := c.receive(m.Goal); err != nil {
				return err
			}
		case m.Ask != nil:
			go c.answer(l, *m.Ask)
		case m.Reply != nil:
			c.replied(l, *m.Reply)
		case m.Bye != nil:
			return fmt.Errorf("%w: %s", errSentAway, m.Bye.Reason)
		case m.Beat != nil:
			c.mu.Lock()
			l.beat = &beat{Sent: m.Beat.Sent, Now: time.Now().UnixNano()}
			c.mu.Unlock()
			l.kick()
		case m.Servers != nil:
			c.learn(m.Servers.Addresses)
		case m.Renew != nil:
			c.renewed(m.Renew)
		default:
			return errors.New("a frame that is not the server's to send")
		}
	}
}

// learn takes the addresses of all servers; the one that is connected stays the present one.
func (c *Client) learn(addresses []string) {
	c.mu.Lock()
	now := c.servers[c.turn%len(c.servers)]
	c.servers = candidates(now, append(slices.Clone(addresses), c.o.Server))
	c.turn = 0
	c.mu.Unlock()
	c.o.Log.Debug("servers", "addresses", addresses)
	if c.o.Keep != nil {
		c.o.Keep(addresses)
	}
}

// askRenewal asks for a new certificate when the old one is due, on the stream that it opened.
func (c *Client) askRenewal(l *link) {
	if c.o.Renew.Due == nil {
		return
	}
	if _, due := c.o.Renew.Due(); !due || time.Since(c.asked) < renewPause {
		return
	}
	c.asked = time.Now()
	csr, err := c.o.Renew.Request()
	if err != nil {
		c.o.Log.Error("certificate cannot be renewed", "error", err)
		return
	}
	c.mu.Lock()
	l.renew = &renewFrame{CSR: csr}
	c.mu.Unlock()
}

func (c *Client) renewed(f *renewFrame) {
	if f.Error != "" {
		c.o.Log.Warn("certificate not renewed", "error", f.Error)
		return
	}
	if c.o.Renew.Put == nil {
		return
	}
	if err := c.o.Renew.Put(f.Cert); err != nil {
		c.o.Log.Error("new certificate not kept", "error", err)
		return
	}
	c.o.Log.Info("certificate renewed; the next connection uses it")
}

// receive puts a goal together and hands it out. An older one than the host has ends the stream: that server must catch up first.
func (c *Client) receive(f *goalFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := max(c.newest, c.o.Hello().Generation); f.Host.Generation < have {
		return fmt.Errorf("goal %d is older than %d, which is in force", f.Host.Generation, have)
	}
	g, err := c.assembly.put(f)
	if err != nil {
		c.assembly = assembler{} // ask for everything the next time
		return err
	}
	c.newest, c.ack = g.Generation, nil
	c.received++
	select {
	case <-c.goals:
	default:
	}
	c.goals <- g
	return nil
}

func (c *Client) answer(l *link, q ask) {
	a := answer{Number: q.Number}
	if c.o.Answer == nil {
		a.Error = "this host answers no questions"
	} else if body, err := c.o.Answer(q.Kind); err != nil {
		a.Error = err.Error()
	} else {
		a.Body = body
	}
	c.mu.Lock()
	l.answers = append(l.answers, a)
	c.mu.Unlock()
	l.kick()
}

func (l *link) kick() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (c *Client) write(l *link) {
	tick := time.NewTicker(c.o.Beat)
	defer tick.Stop()
	defer l.conn.Close()
	c.askRenewal(l)
	for {
		select {
		case <-l.done:
			return
		case <-l.wake:
		case <-tick.C:
			c.askRenewal(l)
			if !c.send(l, &message{Beat: &beat{}}) {
				return
			}
		}
		for _, m := range c.outbox(l) {
			if !c.send(l, m) {
				return
			}
		}
	}
}

func (c *Client) send(l *link, m *message) bool {
	l.conn.SetWriteDeadline(time.Now().Add(writeTime))
	if err := writeFrame(l.conn, m); err != nil {
		c.o.Log.Warn("write to the control plane", "error", err)
		return false
	}
	return true
}

func (c *Client) outbox(l *link) (out []*message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.report && c.report != nil {
		out = append(out, &message{Report: c.report})
	}
	if l.ack && c.ack != nil {
		out = append(out, &message{Ack: c.ack})
	}
	if l.beat != nil {
		out = append(out, &message{Beat: l.beat})
	}
	if l.renew != nil {
		out = append(out, &message{Renew: l.renew})
	}
	for i := range l.answers {
		out = append(out, &message{Answer: &l.answers[i]})
	}
	for i := range l.calls {
		out = append(out, &message{Call: &l.calls[i]})
	}
	l.report, l.ack, l.answers, l.calls, l.beat, l.renew = false, false, nil, nil, nil, nil
	return out
}
