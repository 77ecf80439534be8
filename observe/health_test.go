package observe

import (
	"slices"
	"testing"
	"time"
)

func TestSumsKeepEveryPacket(t *testing.T) {
	drops := SumDrops([]Drop{{Port: 1, Dir: In, Reason: ACLRule, Rule: "a", Packets: 3}, {Port: 2, Dir: In, Reason: ACLRule, Rule: "b", Packets: 4},
		{Port: 2, Dir: Out, Reason: ACLRule, Packets: 5}, {Dir: In, Reason: OverlayVNI, Packets: 1}})
	want := []DropSum{{"in", "acl_rule", 7}, {"out", "acl_rule", 5}, {"in", "overlay_vni", 1}}
	if !slices.Equal(drops, want) {
		t.Errorf("%+v", drops)
	}
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
