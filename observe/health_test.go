package observe

import (
	"testing"
	"time"
)

func TestSumsKeepEveryPacket(t *testing.T) {
	s := Sum([]Traffic{{1, 1, 2, 3, 4, 5, 6, 7}, {2, 10, 20, 30, 40, 50, 60, 70}})
	for i, f := range Fates {
		if s[f] != uint64(11*(i+1)) {
			t.Errorf("%s is %d", f, s[f])
		}
	}
	if len(Sum(nil)) != len(Fates) {
		t.Error("a host without ports has no zeros")
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	for _, d := range []time.Duration{time.Millisecond, 2 * time.Millisecond, time.Minute} {
		h.Add(d)
	}
	if h.Count != 3 || h.Buckets[0] != 1 || h.Buckets[1] != 1 || h.Sum < 60 || h.Sum > 61 {
		t.Errorf("%+v", h)
	}
}
