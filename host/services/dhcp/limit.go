package dhcp

import (
	"sync"
	"time"
)

// A port may send burst frames at once and then rate frames per second: a guest that boots needs about six.
const (
	burst = 30
	rate  = 10
)

// limiter is one token bucket per port.
type limiter struct {
	mu      sync.Mutex
	buckets map[uint32]*bucket
}

type bucket struct {
	tokens float64
	last   time.Time
}

func newLimiter() *limiter { return &limiter{buckets: map[uint32]*bucket{}} }

func (l *limiter) allow(index uint32, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[index]
	if b == nil {
		b = &bucket{tokens: burst, last: now}
		l.buckets[index] = b
	}
	if d := now.Sub(b.last); d > 0 {
		b.tokens = min(burst, b.tokens+d.Seconds()*rate)
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// keep forgets ports that are gone; only known ports get a bucket, so the map is bounded by the goal.
func (l *limiter) keep(ports map[uint32]*port) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for index := range l.buckets {
		if ports[index] == nil {
			delete(l.buckets, index)
		}
	}
}
