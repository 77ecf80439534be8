package goal_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"ringfence/goal"
)

// A difference applied to the old lines gives the new ones: what is neither - nor + is left as it is.
func TestDiffSaysExactlyWhatChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := hosts(t), hosts(t)
		a, b := from[0], to[0]
		if rapid.Bool().Draw(t, "related") { // one goal with some of its parts gone
			c := *a
			c.Groups = slices.DeleteFunc(slices.Clone(a.Groups), func(goal.Group) bool { return rapid.Bool().Draw(t, "drop") })
			for i := range c.Groups {
				c.Groups[i].In = slices.DeleteFunc(slices.Clone(c.Groups[i].In), func(goal.Rule) bool { return rapid.Bool().Draw(t, "drop") })
			}
			b = &c
		}
		removed, added := counts(goal.Diff(a, b))
		want := tally(goal.Text(a))
		for line, n := range removed {
			want[line] -= n
		}
		for line, n := range added {
			want[line] += n
		}
		for line, n := range tally(goal.Text(b)) {
			if want[line] != n {
				t.Fatalf("line %q: %d by the difference, %d in the goal", line, want[line], n)
			}
		}
		if goal.Text(a) != goal.Text(b) && len(removed)+len(added) == 0 {
			t.Fatal("different texts without a difference")
		}
	})
}

func counts(diff string) (removed, added map[string]int) {
	removed, added = map[string]int{}, map[string]int{}
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		switch line[:2] {
		case "- ":
			removed[line[2:]]++
		case "+ ":
			added[line[2:]]++
		}
	}
	return removed, added
}

func tally(text string) map[string]int {
	n := map[string]int{}
	for line := range strings.Lines(text) {
		if line != "\n" {
			n[strings.TrimSuffix(line, "\n")]++
		}
	}
	return n
}

func TestDiffIsEmptyForEqualGoals(t *testing.T) {
	if d := goal.Diff(full(), full()); d != "" {
		t.Errorf("got %q", d)
	}
}

// People read a difference: each change stands under its block and its set.
func TestDiffReadsWell(t *testing.T) {
	a, b := full(), full()
	b.Generation = 8
	b.Groups[0].In[0].Allow = false
	b.VNets[0].Sets[0].Prefixes = nil
	b.VNets[0].Endpoints[0].Port = 3
	b.Ports = nil
	want := `  host host1
-   generation 7
+   generation 8
- port 1
-   id nic
-   vm vm
-   sandbox sb hostname hn device eth0
-   primary false
-   mac 02:00:00:00:00:00
-   vni 9
-   address 10.0.0.4 subnet 10.0.0.0/24
-   nic-group g
-   subnet-group s
-   subnet sub
-   dns 10.0.0.4
-   domain d
-   mtu 1500
-   compute n group - subscription - location -
-   vm-id - size - zone - os - priority -
-   image - - - -
-   admin -
-   key p k
-   tag a b
  vnet 9
    set n
-     10.0.0.0/24
-   endpoint 10.0.0.4 port 1 host 10.0.0.4 mac 00:00:00:00:00:00
+   endpoint 10.0.0.4 port 3 host 10.0.0.4 mac 00:00:00:00:00:00
  group g
-   in 100 allow tcp from 10.0.0.0/24,tag:Storage port 80-81 to 10.0.0.0/24,tag:Storage port 80-81 securityRules/a
+   in 100 deny tcp from 10.0.0.0/24,tag:Storage port 80-81 to 10.0.0.0/24,tag:Storage port 80-81 securityRules/a
`
	if got := goal.Diff(a, b); got != want {
		t.Errorf("got\n%s", got)
	}
}
