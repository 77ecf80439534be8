package agent

import (
	"sync"
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

// pulse is what the loop tells about itself to those who ask from other goroutines.
type pulse struct {
	mu       sync.Mutex
	goal     uint64    // generation of the newest goal
	came     time.Time // when it came, zero before the first
	ports    []uint32  // of it
	acked    time.Time // when it was acknowledged last
	problem  string    // said then
	ready    int       // configured sandboxes
	apply    observe.Histogram
	failures uint64
	differs  uint64    // differences between what was loaded and the goal
	differed time.Time // when there was one last
	last     string    // it
	drops    rising[dropKey, observe.DropSum]
	packets  rising[packetKey, string]
	services Services // nil before there are any
}

type (
	dropKey struct {
		port uint32
		kind observe.DropSum // without packets
	}
	packetKey struct {
		port uint32
		fate string
	}
)

// begin notes the goal that is applied.
func (p *pulse) begin(h *goal.Host) {
	ports := make([]uint32, len(h.Ports))
	for i := range h.Ports {
		ports[i] = h.Ports[i].Index
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.came.IsZero() || p.goal != h.Generation {
		p.goal, p.came = h.Generation, time.Now()
	}
	p.ports = ports
}

// end notes how that went.
func (p *pulse) end(took time.Duration, problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apply.Add(took)
	p.acked, p.problem = time.Now(), problem
	if problem != "" {
		p.failures++
	}
}

// serve notes what serves VMs now.
func (p *pulse) serve(s Services) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.services = s
}

func (p *pulse) configured(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = n
}

// rising adds up counters whose owners come and go: a sum that never falls.
type rising[K, G comparable] struct {
	last  map[K]uint64
	total map[G]uint64
}

// take brings the newest counters; group says which sum each belongs to.
func (r *rising[K, G]) take(now map[K]uint64, group func(K) G) map[G]uint64 {
	if r.total == nil {
		r.total = map[G]uint64{}
	}
	for k, n := range now {
		before := r.last[k]
		if n < before {
			before = 0 // the owner is another one and counts anew
		}
		r.total[group(k)] += n - before
	}
	r.last = now
	return r.total
}

// sample is the answer to the question "metrics".
func (a *Agent) sample() (observe.Sample, error) {
	drops, err := a.dropped()
	if err != nil {
		return observe.Sample{}, err
	}
	traffic, err := a.Datapath.Traffic()
	if err != nil {
		return observe.Sample{}, err
	}
	s := observe.Sample{Version: Version, Generation: a.Datapath.Generation(), Drops: []observe.DropSum{}, Packets: observe.Sum(nil)}
	if s.Flows, s.FlowLimit, err = a.Datapath.FlowUse(); err != nil {
		return observe.Sample{}, err
	}
	relearning, err := a.Datapath.Relearning()
	if err != nil {
		return observe.Sample{}, err
	}
	s.Relearning = relearning.Seconds()
	dropped, passed := map[dropKey]uint64{}, map[packetKey]uint64{}
	for _, d := range drops {
		dropped[dropKey{d.Port, observe.DropSum{Direction: d.Dir.String(), Reason: d.Reason.String()}}] += d.Packets
	}
	for _, t := range traffic {
		for fate, n := range observe.Sum([]observe.Traffic{t}) {
			passed[packetKey{t.Port, fate}] = n
		}
	}
	p := &a.pulse
	p.mu.Lock()
	defer p.mu.Unlock()
	for kind, n := range p.drops.take(dropped, func(k dropKey) observe.DropSum { return k.kind }) {
		kind.Packets = n
		s.Drops = append(s.Drops, kind)
	}
	for fate, n := range p.packets.take(passed, func(k packetKey) string { return k.fate }) {
		s.Packets[fate] = n
	}
	s.Ports, s.Ready, s.Failures, s.Differences = len(p.ports), p.ready, p.failures, p.differs
	if p.services != nil {
		s.Services = p.services.Counts()
	}
	s.Apply = p.apply
	s.Apply.Buckets = append([]uint64(nil), p.apply.Buckets...)
	return s, nil
}
