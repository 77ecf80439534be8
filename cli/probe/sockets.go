package probe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// again is how often an unanswered datagram or echo request is sent anew: losing one packet is no verdict.
const again = 300 * time.Millisecond

// listen opens every socket before anybody shoots.
func (p *prober) listen() error {
	for _, port := range p.plan.TCP {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return fmt.Errorf("listen on tcp/%d: %w", port, err)
		}
		p.closers = append(p.closers, l)
		go p.accept(l)
	}
	for _, port := range p.plan.UDP {
		c, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return fmt.Errorf("listen on udp/%d: %w", port, err)
		}
		p.closers = append(p.closers, c)
		go p.answer(c)
	}
	return p.listenEcho()
}

func (p *prober) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			c.SetDeadline(time.Now().Add(10 * time.Second))
			line, err := bufio.NewReader(c).ReadString('\n')
			if nonce := strings.TrimSpace(line); err == nil && len(nonce) == NonceLength {
				p.note(nonce)
				fmt.Fprintf(c, "%s %s\n", nonce, p.plan.Who)
			}
		}()
	}
}

func (p *prober) answer(c net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if n == NonceLength {
			p.note(string(buf[:n]))
			c.WriteTo(append(buf[:n:n], " "+p.plan.Who...), from) // a lost answer is asked for again
		}
	}
}

// connect opens a connection and exchanges one line.
func connect(ctx context.Context, s Shot) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(s.To, s.Port).String())
	if err != nil {
		return silence(err)
	}
	defer c.Close()
	if t, ok := ctx.Deadline(); ok {
		c.SetDeadline(t)
	}
	if _, err := fmt.Fprintf(c, "%s\n", s.Nonce); err != nil {
		return silence(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return silence(err)
	}
	return own(line, s)
}

// exchange sends a datagram and waits for its answer.
func exchange(ctx context.Context, s Shot) (string, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.To, s.Port)))
	if err != nil {
		return "", err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	buf := make([]byte, 2048)
	for time.Now().Before(end) {
		if _, err := c.Write([]byte(s.Nonce)); err != nil {
			return silence(err)
		}
		c.SetReadDeadline(earlier(time.Now().Add(again), end))
		n, err := c.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return silence(err)
		}
		return own(string(buf[:n]), s)
	}
	return "", nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// own checks that an answer is that to this shot.
func own(line string, s Shot) (string, error) {
	nonce, who, _ := strings.Cut(strings.TrimSpace(line), " ")
	if nonce != s.Nonce {
		return "", fmt.Errorf("the answer %q is not that to nonce %s", line, s.Nonce)
	}
	return who, nil
}

// silence tells apart: no answer in time, a refusal by somebody's stack, and a request that could not be sent.
func silence(err error) (string, error) {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET):
		return Refused, nil
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "", nil
	}
	return "", err
}
