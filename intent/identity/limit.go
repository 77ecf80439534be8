package identity

import (
	"fmt"
	"sync"
	"time"
)

// Rate is how many requests of a kind one principal may make in one subscription: Burst at once, then PerSecond. A zero Rate is no
// limit.
type Rate struct {
	PerSecond float64 `yaml:"per_second"`
	Burst     float64 `yaml:"burst"`
}

func (r Rate) check(field string) error {
	if r.PerSecond < 0 || r.Burst < 0 || r.PerSecond > 0 && r.Burst < 1 || r.PerSecond == 0 && r.Burst > 0 {
		return fmt.Errorf("%s: per_second above 0 and burst of at least 1 expected, or neither", field)
	}
	return nil
}

// Limits are the rates of the API.
type Limits struct {
	Reads  Rate `yaml:"reads"`
	Writes Rate `yaml:"writes"`
}

// DefaultLimits hold where nothing is configured: far above what a person or Terraform does, low enough that a loop that has gone
// wrong leaves the server to others.
var DefaultLimits = Limits{Reads: Rate{2000, 20_000}, Writes: Rate{1000, 10_000}}

// Check lists what is wrong.
func (l Limits) Check() []error {
	var out []error
	for _, one := range []error{l.Reads.check("api_limits.reads"), l.Writes.check("api_limits.writes")} {
		if one != nil {
			out = append(out, one)
		}
	}
	return out
}

// Limiter counts requests in token buckets, one for each key. It is safe for use by several goroutines.
type Limiter struct {
	rate Rate
	now  func() time.Time

	mu      sync.Mutex
	buckets map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// mostBuckets bounds the memory: full buckets are forgotten when there are more.
const mostBuckets = 10_000

// NewLimiter returns a limiter whose buckets are full.
func NewLimiter(r Rate) *Limiter {
	return &Limiter{rate: r, now: time.Now, buckets: map[string]*bucket{}}
}

// Take takes one from key's bucket. It tells how many are left, or how long to wait for the next.
func (l *Limiter) Take(key string) (left int, wait time.Duration) {
	if l.rate.PerSecond == 0 {
		return 1 << 20, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := l.buckets[key]
	if b == nil {
		l.makeRoom(now)
		b = &bucket{l.rate.Burst, now}
		l.buckets[key] = b
	}
	if d := now.Sub(b.at); d > 0 {
		b.left = min(l.rate.Burst, b.left+d.Seconds()*l.rate.PerSecond)
	}
	b.at = now
	if b.left < 1 {
		return 0, time.Duration((1 - b.left) / l.rate.PerSecond * float64(time.Second))
	}
	b.left--
	return int(b.left), 0
}

// makeRoom forgets buckets that would be full by now: who comes back finds a full one. When that is not enough, somebody makes up
// keys, and everything is forgotten at once.
func (l *Limiter) makeRoom(now time.Time) {
	if len(l.buckets) < mostBuckets {
		return
	}
	for key, b := range l.buckets {
		if b.left+now.Sub(b.at).Seconds()*l.rate.PerSecond >= l.rate.Burst {
			delete(l.buckets, key)
		}
	}
	if len(l.buckets) >= mostBuckets {
		clear(l.buckets)
	}
}

// Forget gives key a full bucket again.
func (l *Limiter) Forget(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.buckets, key)
}
