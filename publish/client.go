package publish

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"ringfence/goal"
)

// ClientOptions are a host's end's dependencies.
type ClientOptions struct {
	Server string // IP:PORT
	TLS    *tls.Config
	Hello  func() Hello                               // who the host is and what it enforces at this moment
	Answer func(kind string) (json.RawMessage, error) // questions of the operator; called on a goroutine of its own
	Log    *slog.Logger
	Beat   time.Duration // as the server's
	Dial   func(ctx context.Context, address string) (net.Conn, error)
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
	number   uint64 // of the last call
}

// link is one connection. Its outbox is a set of things to tell, not a queue: only the newest ack and report count.
type link struct {
	conn    net.Conn
	wake    chan struct{}
	done    chan struct{}
	answers []answer
	calls   []call
	open    map[uint64]chan answer // calls that wait for their reply
	ack     bool                   // the client's ack is still to be sent here
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
	return &Client{o: o, goals: make(chan *goal.Host, 1)}
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
		c.o.Log.Warn("stream to the control plane ended", "server", c.o.Server, "error", err, "again in", pause.Round(time.Millisecond))
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
	raw, err := c.o.Dial(ctx, c.o.Server)
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
	hello.Have = c.assembly.have()
	hello.Generation = max(hello.Generation, c.newest)
	c.mu.Unlock()
	if err := writeFrame(conn, &message{Hello: &hello}); err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	conn.SetDeadline(time.Time{})
	l := &link{conn: conn, wake: make(chan struct{}, 1), done: make(chan struct{}), open: map[uint64]chan answer{}}
	c.mu.Lock()
	c.link = l
	l.report = c.report != nil
	c.mu.Unlock()
	l.kick()
	defer func() {
		c.mu.Lock()
		c.link = nil
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
		default:
			return errors.New("a frame that is not the server's to send")
		}
	}
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
	beat := time.NewTicker(c.o.Beat)
	defer beat.Stop()
	defer l.conn.Close()
	for {
		select {
		case <-l.done:
			return
		case <-l.wake:
		case <-beat.C:
			if !c.send(l, &message{Beat: &struct{}{}}) {
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
	for i := range l.answers {
		out = append(out, &message{Answer: &l.answers[i]})
	}
	for i := range l.calls {
		out = append(out, &message{Call: &l.calls[i]})
	}
	l.report, l.ack, l.answers, l.calls = false, false, nil, nil
	return out
}
