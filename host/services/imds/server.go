// Package imds answers VMs' questions about themselves: the metadata service at 169.254.169.254 and, as far as a guest needs them
// to say that it is ready, the wire server's calls at 168.63.129.16, both HTTP on port 80.
//
// In: the goal of this host, and connections in the service namespace whose source address is the alias of the port that asks
// (goal.Alias). Out: JSON and text made from the goal, for that port's VM only. Who is no port of this host is not answered. The
// server keeps nothing that a restart could lose. The agent owns it.
package imds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"ringfence/goal"
	"ringfence/host/kernel/netns"
)

// Where VMs ask.
var (
	Metadata = netip.AddrPortFrom(netip.AddrFrom4([4]byte{169, 254, 169, 254}), 80)
	Wire     = netip.AddrPortFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 80)
)

// Options say where to serve.
type Options struct {
	Namespace string // the service namespace, which has the addresses
	Rate      int    // requests per second and VM; 0: DefaultRate
	Log       *slog.Logger
}

// DefaultRate is Azure's: five requests per second and VM.
const DefaultRate = 5

// wireRate is for the wire server, whose callers ask again and again while a guest starts.
const wireRate = 20

// Status counts what happened since the start.
type Status struct {
	Generation uint64 // of the goal being served
	Ports      int
	Answered   uint64
	Refused    uint64 // with an error: wrong form, nothing there
	Limited    uint64 // over a VM's rate or number of connections
	Strangers  uint64 // from who is no port of this host
}

// Server serves one host.
type Server struct {
	log              *slog.Logger
	table            atomic.Pointer[table]
	limit, wireLimit *limiter
	healths          healths
	http             []*http.Server
	ends             []net.Listener
	done             sync.WaitGroup

	answered, refused, limited, strangers atomic.Uint64
}

// Open starts serving an empty goal: nobody is answered before the first Set.
func Open(o Options) (*Server, error) {
	s := newServer(o)
	lc := net.ListenConfig{}
	handlers := map[netip.AddrPort]http.Handler{Metadata: s.known(s.metadata, s.limit), Wire: s.known(s.wire, s.wireLimit)}
	err := netns.Do(o.Namespace, func() error {
		for _, at := range []netip.AddrPort{Metadata, Wire} {
			l, err := lc.Listen(context.Background(), "tcp4", at.String())
			if err != nil {
				return err
			}
			s.ends = append(s.ends, &door{Listener: l, server: s, of: map[uint32]int{}})
			s.http = append(s.http, s.listener(handlers[at]))
		}
		return nil
	})
	if err != nil {
		for _, l := range s.ends {
			l.Close()
		}
		return nil, fmt.Errorf("metadata: %w", err)
	}
	for i, h := range s.http {
		s.done.Go(func() {
			if err := h.Serve(s.ends[i]); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("metadata: serving ended", "error", err)
			}
		})
	}
	return s, nil
}

func newServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Rate == 0 {
		o.Rate = DefaultRate
	}
	s := &Server{log: o.Log, limit: newLimiter(o.Rate), wireLimit: newLimiter(wireRate), healths: healths{last: map[string]string{}}}
	s.table.Store(newTable(&goal.Host{}))
	return s
}

// listener bounds what a guest can make the host hold.
func (s *Server) listener(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 15 * time.Second, MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		DisableGeneralOptionsHandler: true,
	}
}

// Set replaces what is served. Nothing of h is kept that its owner could change.
func (s *Server) Set(h *goal.Host) {
	t := newTable(h)
	s.table.Store(t)
	s.limit.keep(t)
	s.wireLimit.keep(t)
	s.healths.keep(t)
}

// Status returns the counters.
func (s *Server) Status() Status {
	t := s.table.Load()
	return Status{Generation: t.generation, Ports: len(t.ports), Answered: s.answered.Load(), Refused: s.refused.Load(),
		Limited: s.limited.Load(), Strangers: s.strangers.Load()}
}

// Close stops serving.
func (s *Server) Close() error {
	var faults []error
	for _, h := range s.http {
		faults = append(faults, h.Close())
	}
	for _, l := range s.ends { // one whose serving had not begun yet
		l.Close()
	}
	s.done.Wait()
	return errors.Join(faults...)
}

type askerKey struct{}

// known lets only ports of this host through, at their VM's rate.
func (s *Server) known(next http.HandlerFunc, limit *limiter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, err := netip.ParseAddrPort(r.RemoteAddr)
		var vm *machine
		if err == nil {
			vm = s.table.Load().asker(at.Addr())
		}
		switch {
		case vm == nil:
			s.strangers.Add(1)
			panic(http.ErrAbortHandler) // the connection ends without a word
		case !limit.allow(vm.id, time.Now()):
			s.limited.Add(1)
			w.Header().Set("Retry-After", "1")
			fail(w, http.StatusTooManyRequests, "Too many requests: the limit per second is reached.", nil)
			return
		}
		c := &counter{ResponseWriter: w, code: http.StatusOK}
		next(c, r.WithContext(context.WithValue(r.Context(), askerKey{}, vm)))
		if c.code < 400 {
			s.answered.Add(1)
		} else {
			s.refused.Add(1)
		}
	})
}

func asker(r *http.Request) *machine { return r.Context().Value(askerKey{}).(*machine) }

// counter remembers what was answered.
type counter struct {
	http.ResponseWriter
	code int
}

func (c *counter) WriteHeader(code int) {
	c.code = code
	c.ResponseWriter.WriteHeader(code)
}
