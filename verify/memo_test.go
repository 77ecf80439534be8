package verify

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"ringfence/goal"
)

// After every edit the memo of the networks before gives the answers that a new one gives, and keeps only what is in use.
func TestMemo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 71))
	h := largeHost(60, 6, 30)
	checks := largeChecks(6, 30)
	memo := NewMemo()
	changed := 0
	var before []Result
	for range 40 {
		n, err := New(Source{Hosts: []*goal.Host{h}}, memo)
		if err != nil {
			t.Fatal(err)
		}
		got, err := n.Check(checks, nil)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := New(Source{Hosts: []*goal.Host{h}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want, err := fresh.Check(checks, nil)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("with a memo %+v\nwithout %+v\n%v", got, want, err)
		}
		if before != nil && !reflect.DeepEqual(before, got) {
			changed++
		}
		before = got
		memo.Trim()
		if kept, all := len(memo.answers), len(fresh.memo.answers); kept > all {
			t.Fatalf("%d answers are kept, %d were asked for", kept, all)
		}
		edited := *h
		edited.Groups = slices.Clone(h.Groups)
		g := &edited.Groups[r.IntN(len(edited.Groups))]
		switch r.IntN(3) {
		case 0:
			g.In, g.Out = edited.Groups[0].In, edited.Groups[0].Out
		default:
			g.In = mutate(r, g.In)
		}
		h = &edited
	}
	if changed < 5 {
		t.Errorf("only %d edits changed an answer: the test shows little", changed)
	}
}

// Two groups that share their rules in memory are two groups: an answer names the one that was asked.
func TestGroupsThatShareRules(t *testing.T) {
	h := shop()
	h.Groups[1].In, h.Groups[1].Out = h.Groups[0].In, h.Groups[0].Out
	n := network(t, h)
	for to, group := range map[string]string{"db": nsgDB, "web": nsgWeb} {
		e, err := n.Explain(zones, *tcp("app", to, 22), true)
		if err != nil || e.Denied == nil || e.Denied.Blockers[0].By.Group != group {
			t.Errorf("to %s: %+v %v", to, e.Denied, err)
		}
	}
}
