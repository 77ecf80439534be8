// Package dhcp answers VMs' DHCPv4, DHCPv6 and router solicitations from the goal.
//
// In: the goal of this host, and Ethernet frames that the data plane redirected to the service device, their destination MAC naming
// the port. Out: answers whose source MAC names the port to deliver to. Every lease is infinite and every answer follows from the
// goal alone, so the server keeps nothing that a restart could lose. The agent owns it.
package dhcp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netdev"
)

// Options say where to serve.
type Options struct {
	Namespace string // the service namespace
	Device    string // the device in it
	Log       *slog.Logger
}

// Status counts what happened since the start.
type Status struct {
	Generation  uint64 // of the goal being served
	Ports       int
	Answered    uint64
	Ignored     uint64 // well formed, but nothing to answer
	Malformed   uint64
	UnknownPort uint64
	Limited     uint64 // over a port's rate
	SendErrors  uint64
}

// frames is what the server needs of a device.
type frames interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
}

// Server serves one host.
type Server struct {
	conn  frames
	log   *slog.Logger
	table atomic.Pointer[table]
	limit *limiter
	count [outcomes]atomic.Uint64
	fails atomic.Uint64
	stop  chan struct{}
	done  sync.WaitGroup
}

// advertiseEvery is how often routers are advertised unasked: well inside the router lifetime.
const advertiseEvery = 20 * time.Minute

// Open starts serving an empty goal: nobody is answered before the first Set.
func Open(o Options) (*Server, error) {
	conn, err := netdev.OpenPacket(o.Namespace, o.Device)
	if err != nil {
		return nil, fmt.Errorf("dhcp: %w", err)
	}
	return start(conn, o.Log), nil
}

func start(conn frames, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{conn: conn, log: log, limit: newLimiter(), stop: make(chan struct{})}
	s.table.Store(newTable(&goal.Host{}))
	s.done.Add(2)
	go s.receive()
	go s.advertise()
	return s
}

// Set replaces what is served. Nothing of h is kept that its owner could change.
func (s *Server) Set(h *goal.Host) {
	t := newTable(h)
	s.table.Store(t)
	s.limit.keep(t.ports)
}

// Status returns the counters.
func (s *Server) Status() Status {
	t := s.table.Load()
	return Status{
		Generation: t.generation, Ports: len(t.ports),
		Answered: s.count[answered].Load(), Ignored: s.count[ignored].Load(), Malformed: s.count[malformed].Load(),
		UnknownPort: s.count[unknownPort].Load(), Limited: s.count[limited].Load(), SendErrors: s.fails.Load(),
	}
}

// Close stops serving.
func (s *Server) Close() error {
	close(s.stop)
	err := s.conn.Close()
	s.done.Wait()
	return err
}

// receive answers frame by frame: an answer takes microseconds.
func (s *Server) receive() {
	defer s.done.Done()
	buf := make([]byte, 1<<16)
	for {
		n, err := s.conn.Read(buf)
		if err != nil {
			if s.closed(err) {
				return
			}
			s.log.Warn("dhcp: receive", "error", err)
			time.Sleep(100 * time.Millisecond) // the device may be down for a moment
			continue
		}
		reply, what := s.serve(buf[:n], time.Now())
		s.count[what].Add(1)
		if reply != nil {
			s.send(reply)
		}
	}
}

// serve is one frame's whole way: port, rate, answer.
func (s *Server) serve(frame []byte, now time.Time) ([]byte, outcome) {
	t := s.table.Load()
	p, what := t.port(frame)
	if p == nil {
		return nil, what
	}
	if !s.limit.allow(p.index, now) {
		return nil, limited
	}
	return answer(p, frame)
}

// advertise tells every port with IPv6 its router again before the lifetime ends.
func (s *Server) advertise() {
	defer s.done.Done()
	tick := time.NewTicker(advertiseEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		for _, p := range s.table.Load().ports {
			if p.hasV6() {
				s.send(advertisement(p, allNodes))
			}
		}
	}
}

func (s *Server) send(frame []byte) {
	if _, err := s.conn.Write(frame); err != nil && !s.closed(err) {
		s.fails.Add(1)
		s.log.Warn("dhcp: send", "error", err)
	}
}

func (s *Server) closed(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return true
	}
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}
