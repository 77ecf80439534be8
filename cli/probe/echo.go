package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"time"
)

// echoSocket is a raw socket for echo requests and replies of one family. The kernel of the other side answers by itself and cannot
// say who it is; therefore every prober also notes the requests that arrive.
type echoSocket struct {
	conn           net.PacketConn
	request, reply byte // ICMP types

	mu      sync.Mutex
	waiting map[string]chan struct{} // by nonce
}

func (p *prober) listenEcho() error {
	for i, f := range []struct {
		network, address string
		request, reply   byte
	}{{"ip4:icmp", "0.0.0.0", 8, 0}, {"ip6:ipv6-icmp", "::", 128, 129}} {
		c, err := net.ListenPacket(f.network, f.address)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", f.network, err)
		}
		s := &echoSocket{conn: c, request: f.request, reply: f.reply, waiting: map[string]chan struct{}{}}
		p.closers = append(p.closers, c)
		p.echo[i] = s
		go s.read(p)
	}
	return nil
}

const echoHeader = 8

func (s *echoSocket) read(p *prober) {
	buf := make([]byte, 2048)
	for {
		n, _, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if n != echoHeader+NonceLength {
			continue
		}
		nonce := string(buf[echoHeader:n])
		switch buf[0] {
		case s.request:
			p.note(nonce)
		case s.reply:
			s.mu.Lock()
			if done := s.waiting[nonce]; done != nil {
				close(done)
				delete(s.waiting, nonce)
			}
			s.mu.Unlock()
		}
	}
}

// ping sends echo requests until a reply comes.
func (p *prober) ping(ctx context.Context, id uint16, shot Shot) (string, error) {
	s := p.echo[0]
	if shot.To.Is6() {
		s = p.echo[1]
	}
	done := make(chan struct{})
	s.mu.Lock()
	s.waiting[shot.Nonce] = done
	s.mu.Unlock()
	to := &net.IPAddr{IP: shot.To.AsSlice()}
	for seq := uint16(1); ; seq++ {
		if _, err := s.conn.WriteTo(s.packet(id, seq, shot.Nonce), to); err != nil {
			return "", err
		}
		select {
		case <-done:
			return Echo, nil
		case <-ctx.Done():
			return "", nil
		case <-time.After(again):
		}
	}
}

// packet makes an echo request. For ICMPv6 the kernel writes the checksum.
func (s *echoSocket) packet(id, seq uint16, nonce string) []byte {
	b := make([]byte, echoHeader, echoHeader+NonceLength)
	b[0] = s.request
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	b = append(b, nonce...)
	if s.reply == 0 {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
