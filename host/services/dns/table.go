package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ringfence/goal"
)

// outcome is what became of a question.
type outcome int

const (
	answered outcome = iota
	forwarded
	failed
	refused
	malformed
	limited
	stranger
	outcomes
)

// table is what one goal makes of names: immutable.
type table struct {
	generation uint64
	ports      map[uint32]*port
	forwarders []netip.AddrPort
}

// port is one that may ask.
type port struct {
	index uint32
	zone  *zone
	rate  *rate
	ahead *atomic.Int32 // questions of it that wait for forwarders
}

// zone is what one virtual network knows.
type zone struct {
	serial   uint32
	domain   string // with dots at both ends: ".abc.rx.internal.cloudapp.net."; "" when there is none
	prefixes []netip.Prefix
	hosts    map[string]*host
	byIP     map[netip.Addr]*host
	addrs    []netip.Addr // of byIP, sorted
}

type host struct {
	name   string
	v4, v6 []netip.Addr
}

// newTable keeps the rates of ports that were there before.
func newTable(h *goal.Host, old *table, perSecond int) *table {
	t := &table{generation: h.Generation, ports: make(map[uint32]*port, len(h.Ports)), forwarders: slices.Clone(h.Forwarders)}
	zones := make(map[uint32]*zone, len(h.VNets))
	for i := range h.VNets {
		zones[h.VNets[i].VNI] = newZone(&h.VNets[i], uint32(h.Generation))
	}
	for i := range h.Ports {
		p := &port{index: h.Ports[i].Index, zone: zones[h.Ports[i].VNI]}
		if p.zone == nil {
			continue
		}
		if old != nil && old.ports[p.index] != nil {
			p.rate, p.ahead = old.ports[p.index].rate, old.ports[p.index].ahead
		} else {
			p.rate, p.ahead = newRate(perSecond), new(atomic.Int32)
		}
		t.ports[p.index] = p
	}
	return t
}

func newZone(n *goal.VNet, serial uint32) *zone {
	z := &zone{serial: serial, prefixes: slices.Clone(n.Prefixes), hosts: make(map[string]*host, len(n.Names)), byIP: map[netip.Addr]*host{}}
	if n.Domain != "" {
		z.domain = "." + strings.ToLower(n.Domain) + "."
	}
	for _, name := range n.Names {
		h := &host{name: strings.ToLower(name.Host)}
		for _, ip := range name.IPs {
			if ip.Is4() {
				h.v4 = append(h.v4, ip)
			} else {
				h.v6 = append(h.v6, ip)
			}
			z.byIP[ip] = h
			z.addrs = append(z.addrs, ip)
		}
		z.hosts[h.name] = h
	}
	slices.SortFunc(z.addrs, netip.Addr.Compare)
	return z
}

// asker finds the port behind a source address.
func (t *table) asker(from netip.Addr) *port {
	index, ok := goal.PortOf(from)
	if !ok {
		return nil
	}
	return t.ports[index]
}

// rate allows a number of questions per second, and as many at once; one word, because all processors ask it.
type rate struct {
	every int64        // nanoseconds between two
	free  atomic.Int64 // when all that was allowed so far is paid for
}

func newRate(perSecond int) *rate { return &rate{every: int64(time.Second) / int64(perSecond)} }

func (r *rate) allow(now time.Time) bool {
	at := now.UnixNano()
	for {
		free := r.free.Load()
		next := max(free, at) + r.every
		if next-at > int64(time.Second) {
			// A clock that was set back must not lock a port out.
			if free-at <= 2*int64(time.Second) || !r.free.CompareAndSwap(free, at) {
				return false
			}
			continue
		}
		if r.free.CompareAndSwap(free, next) {
			return true
		}
	}
}
