package server

import (
	"strings"
	"testing"

	"ringfence/goal"
)

// What the configuration says of a limit stands in every port's goal; what it does not say has its default.
func TestLimitsAreRead(t *testing.T) {
	c := Config{Limits: map[string]Limit{"dns": {Rate: 7, Burst: 9}, "arp": {Rate: 5}, "flows": {}}}
	want := goal.DefaultLimits
	want.DNS, want.ARP, want.Flows = goal.Rate{PerSecond: 7, Burst: 9}, goal.Rate{PerSecond: 5, Burst: 5}, goal.Rate{}
	if got, err := c.limits(); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for name, bad := range map[string]map[string]Limit{"limits.smtp": {"smtp": {Rate: 1}}, "limit nd": {"nd": {Burst: 5}}, "at most": {"nd": {Rate: 1, Burst: 1 << 30}}} {
		if _, err := (&Config{Limits: bad}).limits(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
