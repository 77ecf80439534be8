// Package dns answers VMs' questions for names: those of their own virtual network from the goal, all others by the operator's
// forwarders.
//
// In: the goal of this host, and datagrams and connections to 168.63.129.16 port 53 in the service namespace, whose source address
// is the alias of the port that asks (goal.Alias). Out: answers to that alias, and questions to forwarders from the host's own
// namespace. Names belong to a virtual network: two VMs with one address get different answers. Who is no port of this host gets
// none. The server keeps nothing that a restart could lose. The agent owns it.
package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ringfence/goal"
	"ringfence/host/kernel/netns"
)

// Address is where VMs ask.
var Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 53)

// Options say where to serve.
type Options struct {
	Namespace string         // the service namespace, which has the address
	Address   netip.AddrPort // zero: Address
	Outside   string         // the namespace that forwarders are asked from; "": the process's own
	Rate      int            // questions per second and port; 0: DefaultRate
	Log       *slog.Logger
}

// DefaultRate is what one port may ask in a second, and at once: the figure that is told of Azure.
const DefaultRate = 1000

// Status counts what happened since the start.
type Status struct {
	Generation uint64 // of the goal being served
	Ports      int
	Answered   uint64 // by this server itself, also in the negative
	Forwarded  uint64 // answered by a forwarder
	Failed     uint64 // no forwarder answered, or too many were waiting
	Refused    uint64 // names or requests that nobody here answers
	Malformed  uint64
	Limited    uint64 // over a port's rate or number of connections
	Strangers  uint64 // from who is no port of this host
	SendErrors uint64
}

// Server serves one host.
type Server struct {
	o     Options
	log   *slog.Logger
	table atomic.Pointer[table]
	count [outcomes]atomic.Uint64
	fails atomic.Uint64
	ahead *forwarder
	conns connections

	udp    []*net.UDPConn
	tcp    net.Listener
	ctx    context.Context
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Open starts serving an empty goal: nobody is answered before the first Set.
func Open(o Options) (*Server, error) {
	if !o.Address.IsValid() {
		o.Address = Address
	}
	s := newServer(o)
	if err := netns.Do(o.Namespace, s.listen); err != nil {
		s.Close()
		return nil, fmt.Errorf("dns: %w", err)
	}
	for _, c := range s.udp {
		s.done.Go(func() { s.datagrams(c) })
	}
	s.done.Go(s.accept)
	return s, nil
}

func newServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	s := &Server{o: o, log: o.Log, ahead: newForwarder(o.Outside), conns: connections{open: map[net.Conn]uint32{}, of: map[uint32]int{}}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.table.Store(newTable(&goal.Host{}, nil, o.Rate))
	return s
}

// listen opens as many sockets as there are processors: the kernel spreads the askers over them.
func (s *Server) listen() error {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		if e != nil {
			return e
		}
		return err
	}}
	for range runtime.GOMAXPROCS(0) {
		c, err := lc.ListenPacket(s.ctx, "udp4", s.o.Address.String())
		if err != nil {
			return err
		}
		u := c.(*net.UDPConn)
		s.udp = append(s.udp, u)
		if err := u.SetReadBuffer(1 << 20); err != nil {
			return err
		}
	}
	var err error
	s.tcp, err = (&net.ListenConfig{}).Listen(s.ctx, "tcp4", s.o.Address.String())
	return err
}

// Set replaces what is served. Nothing of h is kept that its owner could change.
func (s *Server) Set(h *goal.Host) { s.table.Store(newTable(h, s.table.Load(), s.o.Rate)) }

// Status returns the counters.
func (s *Server) Status() Status {
	t := s.table.Load()
	return Status{
		Generation: t.generation, Ports: len(t.ports),
		Answered: s.count[answered].Load(), Forwarded: s.count[forwarded].Load(), Failed: s.count[failed].Load(),
		Refused: s.count[refused].Load(), Malformed: s.count[malformed].Load(), Limited: s.count[limited].Load(),
		Strangers: s.count[stranger].Load(), SendErrors: s.fails.Load(),
	}
}

// Close stops serving.
func (s *Server) Close() error {
	s.cancel()
	for _, c := range s.udp {
		c.Close()
	}
	if s.tcp != nil {
		s.tcp.Close()
	}
	s.conns.closeAll()
	s.done.Wait()
	return nil
}

// datagrams answers one by one: an answer of its own takes microseconds. What must be asked elsewhere is done beside.
func (s *Server) datagrams(c *net.UDPConn) {
	buf := make([]byte, longest+1)
	send := func(reply []byte, to netip.AddrPort) {
		if _, err := c.WriteToUDPAddrPort(reply, to); err != nil && s.ctx.Err() == nil {
			s.fails.Add(1)
		}
	}
	out := make([]byte, 0, longest)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.log.Warn("dns: receive", "error", err)
			time.Sleep(100 * time.Millisecond)
			continue
		}
		r := s.serve(buf[:n], from.Addr(), false, out[:0])
		if r.later == nil {
			if s.count[r.what].Add(1); r.reply != nil {
				send(r.reply, from)
			}
			continue
		}
		s.done.Go(func() {
			reply, what := r.later(s.ctx)
			if s.count[what].Add(1); reply != nil {
				send(reply, from)
			}
		})
	}
}
