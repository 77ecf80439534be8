package imds

import (
	"maps"
	"net"
	"sync"
	"time"
)

// limiter is one bucket of requests per VM, by id.
type limiter struct {
	mu      sync.Mutex
	rate    float64
	buckets map[string]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

func newLimiter(rate int) *limiter {
	return &limiter{rate: float64(rate), buckets: map[string]*bucket{}}
}

// allow takes one request out of the VM's bucket, which holds one second's.
func (l *limiter) allow(vm string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[vm]
	if b == nil {
		b = &bucket{tokens: l.rate, last: now}
		l.buckets[vm] = b
	}
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(l.rate, b.tokens+d.Seconds()*l.rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// keep forgets VMs that are gone; only known ones get a bucket, so the map is bounded by the goal.
func (l *limiter) keep(t *table) {
	here := map[string]bool{}
	for _, m := range t.ports {
		here[m.id] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for vm := range l.buckets {
		if !here[vm] {
			delete(l.buckets, vm)
		}
	}
}

// healths remembers what machines said last, so that only a change is logged.
type healths struct {
	mu   sync.Mutex
	last map[string]string // by VM
}

func (h *healths) changed(vm, state string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.last[vm] == state {
		return false
	}
	h.last[vm] = state
	return true
}

// keep forgets VMs that are gone.
func (h *healths) keep(t *table) {
	here := map[string]bool{}
	for _, m := range t.ports {
		here[m.id] = true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.last, func(vm, _ string) bool { return !here[vm] })
}

const (
	connectionsPerPort = 16
	connectionsInAll   = 1024
)

// door is a listener that lets only ports of this host in, and each only so often.
type door struct {
	net.Listener
	server *Server
	mu     sync.Mutex
	of     map[uint32]int
	all    int
}

// Accept returns the next connection of a known port; others are closed at once.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		port, known := d.server.table.Load().index(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
		switch {
		case !known:
			d.server.strangers.Add(1)
		case !d.enter(port):
			d.server.limited.Add(1)
		default:
			return &visit{Conn: c, leave: sync.OnceFunc(func() { d.exit(port) })}, nil
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

func (d *door) enter(port uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all >= connectionsInAll || d.of[port] >= connectionsPerPort {
		return false
	}
	d.all++
	d.of[port]++
	return true
}

func (d *door) exit(port uint32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all--
	if d.of[port]--; d.of[port] == 0 {
		delete(d.of, port)
	}
}

// visit is a connection that is counted until it is closed.
type visit struct {
	net.Conn
	leave func()
}

func (v *visit) Close() error {
	v.leave()
	return v.Conn.Close()
}
