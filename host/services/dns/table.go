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
	zones      map[uint32]*zone        // by VNI
	private    map[string]*privateZone // by id of the zone
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
	from     goal.VNet // Domain, Prefixes and Names that it was made from
	serial   uint32    // generation that brought them
	domain   string    // with dots at both ends: ".abc.rx.internal.cloudapp.net."; "" when there is none
	prefixes []netip.Prefix
	hosts    map[string]*host
	byIP     map[netip.Addr]*host
	addrs    []netip.Addr // of byIP, sorted
	private  []privateLink
}

type host struct {
	name   string
	v4, v6 []netip.Addr
}

// newTable keeps the rates of ports that were there before, and zones in which nothing changed: most goals change rules only.
func newTable(h *goal.Host, old *table, perSecond int) *table {
	t := &table{generation: h.Generation, ports: make(map[uint32]*port, len(h.Ports)), zones: make(map[uint32]*zone, len(h.VNets)),
		forwarders: slices.Clone(h.Forwarders), private: make(map[string]*privateZone, len(h.Zones))}
	for i := range h.Zones {
		z := &h.Zones[i]
		if old != nil && old.private[z.ID].madeFrom(z) {
			t.private[z.ID] = old.private[z.ID]
		} else {
			t.private[z.ID] = newPrivate(z)
		}
	}
	for i := range h.VNets {
		n := &h.VNets[i]
		links := t.linksOf(n)
		if old != nil && old.zones[n.VNI].madeFrom(n) && slices.Equal(old.zones[n.VNI].private, links) {
			t.zones[n.VNI] = old.zones[n.VNI]
		} else {
			t.zones[n.VNI] = newZone(n, uint32(h.Generation))
			t.zones[n.VNI].private = links
		}
	}
	for i := range h.Ports {
		p := &port{index: h.Ports[i].Index, zone: t.zones[h.Ports[i].VNI]}
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

func (z *zone) madeFrom(n *goal.VNet) bool {
	return z != nil && z.from.Domain == n.Domain && slices.Equal(z.from.Prefixes, n.Prefixes) &&
		slices.EqualFunc(z.from.Names, n.Names, func(a, b goal.Name) bool { return a.Host == b.Host && slices.Equal(a.IPs, b.IPs) })
}

func newZone(n *goal.VNet, serial uint32) *zone {
	z := &zone{serial: serial, prefixes: slices.Clone(n.Prefixes), hosts: make(map[string]*host, len(n.Names)), byIP: map[netip.Addr]*host{}}
	if n.Domain != "" {
		z.domain = "." + strings.ToLower(n.Domain) + "."
	}
	z.from = goal.VNet{Domain: n.Domain, Prefixes: z.prefixes, Names: make([]goal.Name, 0, len(n.Names))}
	for _, name := range n.Names {
		z.from.Names = append(z.from.Names, goal.Name{Host: name.Host, IPs: slices.Clone(name.IPs)})
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
