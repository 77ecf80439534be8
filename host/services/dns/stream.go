package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	connectionsPerPort = 16
	connectionsInAll   = 1024
	idle               = 10 * time.Second
)

// connections counts the open ones, so that no port can take them all.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]uint32
	of   map[uint32]int // by port
	shut bool
}

func (c *connections) add(conn net.Conn, port uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut || len(c.open) >= connectionsInAll || c.of[port] >= connectionsPerPort {
		return false
	}
	c.open[conn] = port
	c.of[port]++
	return true
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	port := c.open[conn]
	delete(c.open, conn)
	if c.of[port]--; c.of[port] == 0 {
		delete(c.of, port)
	}
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for conn := range c.open {
		conn.Close()
	}
}

func (s *Server) accept() {
	for {
		conn, err := s.tcp.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.log.Warn("dns: accept", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
		p := s.table.Load().asker(from)
		switch {
		case p == nil:
			s.count[stranger].Add(1)
			drop(conn)
		case !s.conns.add(conn, p.index):
			s.count[limited].Add(1)
			drop(conn)
		default:
			s.done.Go(func() {
				defer s.conns.remove(conn)
				defer conn.Close()
				s.converse(conn, from)
			})
		}
	}
}

// drop closes at once, with a reset.
func drop(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// converse answers one question after the other until the asker ends, is silent for too long, or asks too much.
func (s *Server) converse(conn net.Conn, from netip.Addr) {
	buf := make([]byte, longest)
	for {
		conn.SetDeadline(time.Now().Add(idle))
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(size[:]))
		if n > longest || n < headerLen {
			s.count[malformed].Add(1)
			return
		}
		if _, err := io.ReadFull(conn, buf[:n]); err != nil {
			return
		}
		r := s.serve(buf[:n], from, true, nil)
		if r.later != nil {
			r.reply, r.what = r.later(s.ctx)
		}
		s.count[r.what].Add(1)
		if r.reply == nil {
			return
		}
		conn.SetDeadline(time.Now().Add(idle))
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r.reply))), r.reply...)); err != nil {
			if s.ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				s.fails.Add(1)
			}
			return
		}
	}
}
