package model

import (
	"time"

	"ringfence/goal"
	"ringfence/observe"
)

type bucket struct {
	port uint32
	kind goal.LimitKind
}

// limit takes n packets out of one of the port's buckets. A bucket that is full holds Burst packets; every Gap it gains one. It is
// kept as the time until which it is spoken for: full when that has passed, empty when that is Burst gaps away.
func (w *walk) limit(port *goal.Port, kind goal.LimitKind, n int) Verdict {
	r := port.Limits.Of(kind)
	gap := time.Duration(r.Gap())
	if gap == 0 {
		return Verdict{}
	}
	key := bucket{port.Index, kind}
	until := max(w.m.buckets[key], w.m.now) + gap*time.Duration(n)
	if until-w.m.now > gap*time.Duration(r.Burst) {
		return w.drop(observe.LimitARP + observe.Reason(kind))
	}
	w.m.buckets[key] = until
	return Verdict{}
}
