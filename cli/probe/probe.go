// Package probe sends and answers test traffic inside a network namespace.
//
// In: a plan on standard input, one JSON line: what to listen on and what to send. Out: "ready" when it listens; after the word
// "go" the shots with what came back; after the word "end" the requests that arrived here. One process per namespace holds many
// sockets, so that a whole matrix of cells is measured at the same time. Nothing is left behind when it ends.
package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Plan is what one process does.
type Plan struct {
	Who     string        // how it calls itself in answers
	TCP     []uint16      // ports to answer on
	UDP     []uint16      //
	Timeout time.Duration // how long a shot waits for its answer
	Shots   []Shot
}

// Shot is one request: a connection with a line, a datagram or an echo request, each with a nonce that nothing else carries.
type Shot struct {
	ID      int
	Network string // tcp, udp, icmp
	To      netip.Addr
	Port    uint16 // tcp and udp
	Nonce   string // NonceLength letters and digits
}

// NonceLength is the length of a nonce.
const NonceLength = 16

// Result is what came back.
type Result struct {
	ID     int
	Answer string // who answered; Echo for an echo reply, Refused when a stack refused it; "" when nothing came in time
	Error  string // why it could not be sent: then nothing was measured
}

// Answers that name nobody.
const (
	Echo    = "(echo)"
	Refused = "(refused)"
)

// Serve is the life of a prober.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewReader(in)
	var plan Plan
	if err := readLine(lines, &plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	p := &prober{plan: plan}
	defer p.close()
	if err := p.listen(); err != nil {
		return err
	}
	if err := p.check(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	if err := expect(lines, "go"); err != nil {
		return err
	}
	if err := writeLine(out, p.fire(ctx)); err != nil {
		return err
	}
	if err := expect(lines, "end"); err != nil {
		return err
	}
	return writeLine(out, p.arrived())
}

func readLine(r *bufio.Reader, v any) error {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

func writeLine(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(b, '\n'))
	}
	return err
}

func expect(r *bufio.Reader, word string) error {
	line, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("wait for %q: %w", word, err)
	}
	if strings.TrimSpace(line) != word {
		return fmt.Errorf("expected %q, found %q", word, line)
	}
	return nil
}

// prober is one running process.
type prober struct {
	plan    Plan
	closers []io.Closer
	echo    [2]*echoSocket // IPv4, IPv6

	mu   sync.Mutex
	seen map[string]int // nonces of requests that arrived
}

func (p *prober) close() {
	for _, c := range p.closers {
		c.Close()
	}
}

// note remembers a request that arrived.
func (p *prober) note(nonce string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = map[string]int{}
	}
	p.seen[nonce]++
}

// arrived lists the nonces that arrived.
func (p *prober) arrived() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := []string{}
	for n := range p.seen {
		out = append(out, n)
	}
	return out
}

// checkTime bounds the prober's look at itself, also on a busy machine.
const checkTime = 10 * time.Second

// check asks every socket of its own over the loopback, so that silence later means the network and not a deaf prober.
func (p *prober) check(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, checkTime)
	defer stop()
	var shots []Shot
	for _, to := range []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()} {
		for _, port := range p.plan.TCP {
			shots = append(shots, Shot{Network: "tcp", To: to, Port: port})
		}
		for _, port := range p.plan.UDP {
			shots = append(shots, Shot{Network: "udp", To: to, Port: port})
		}
		shots = append(shots, Shot{Network: "icmp", To: to})
	}
	for i, s := range shots {
		s.Nonce = fmt.Sprintf("check%0*d", NonceLength-5, i)
		if answer, err := p.shoot(ctx, 1<<15+i, s); err != nil || answer != p.plan.Who && answer != Echo {
			return fmt.Errorf("%s port %d does not answer on %s: %q, %v", s.Network, s.Port, s.To, answer, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.seen) != len(shots) {
		return fmt.Errorf("%d of %d requests over the loopback were noted", len(p.seen), len(shots))
	}
	clear(p.seen)
	return nil
}

// fire sends every shot at once.
func (p *prober) fire(ctx context.Context) []Result {
	ctx, stop := context.WithTimeout(ctx, p.plan.Timeout)
	defer stop()
	out := make([]Result, len(p.plan.Shots))
	var all sync.WaitGroup
	for i, s := range p.plan.Shots {
		all.Go(func() {
			answer, err := p.shoot(ctx, i, s)
			out[i] = Result{ID: s.ID, Answer: answer}
			if err != nil {
				out[i].Error = err.Error()
			}
		})
	}
	all.Wait()
	return out
}

func (p *prober) shoot(ctx context.Context, index int, s Shot) (string, error) {
	switch s.Network {
	case "tcp":
		return connect(ctx, s)
	case "udp":
		return exchange(ctx, s)
	case "icmp":
		return p.ping(ctx, uint16(index+1), s)
	}
	return "", errors.New("unknown network " + s.Network)
}
