package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ringfence/observe"
)

const (
	// proveEvery is how often one table is read back and proved, beside those that an apply touched.
	proveEvery = 5 * time.Second
	// checkTime is how long a check waits for the loop.
	checkTime = 4 * time.Second
)

// check is the question whether what is loaded is the goal.
type check chan<- checked

type checked struct {
	proofs []observe.Proof
	err    error
}

// prove reads back what an apply touched. A goal whose tables say something else is not enforced.
func (a *Agent) prove() error {
	proofs, err := a.Datapath.Prove(a.current, a.device, false)
	if err != nil {
		return err
	}
	return a.alarm(proofs)
}

// proveNext proves the table whose turn it is. What differs is made anew.
func (a *Agent) proveNext(ctx context.Context) {
	a.proveAt = time.Now().Add(proveEvery)
	if a.current == nil || !a.inForce {
		return
	}
	proofs, err := a.Datapath.ProveNext(a.current)
	if err != nil {
		a.Log.Warn("what is loaded cannot be proved", "error", err)
	}
	if a.alarm(proofs) != nil {
		a.apply(ctx)
	}
}

// check proves everything. What differs is made anew once that is told.
func (a *Agent) check(ctx context.Context, c check) {
	if a.current == nil {
		c <- checked{err: errors.New("no goal has come since the agent started")}
		return
	}
	proofs, err := a.Datapath.Prove(a.current, a.device, true)
	c <- checked{proofs, err}
	if a.alarm(proofs) != nil {
		a.apply(ctx)
	}
}

// alarm logs and counts every difference, with both sides, and joins them.
func (a *Agent) alarm(proofs []observe.Proof) error {
	n, last := 0, ""
	for _, p := range proofs {
		for _, d := range p.Differences {
			if n++; n <= shown {
				last = fmt.Sprintf("%s: %s: loaded: %s; goal: %s", p.Part, d.At, d.Loaded, d.Goal)
				a.Log.Error("what is loaded is not the goal", "generation", a.current.Generation, "part", p.Part, "at", d.At, "loaded", d.Loaded, "goal", d.Goal)
			}
		}
	}
	if n == 0 {
		return nil
	}
	a.pulse.alarm(n, last)
	return fmt.Errorf("what is loaded is not the goal: %s (%d differences)", last, n)
}

func (p *pulse) alarm(n int, last string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.differs += uint64(n)
	p.differed, p.last = time.Now(), last
}

// loaded tells of differences since the agent started: also one that is healed has a cause.
func (p *pulse) loaded(now time.Time) observe.Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.differs == 0 {
		return observe.Finding{State: observe.OK, Topic: "loaded", What: "the tables in the kernel were read back and are the goal"}
	}
	return observe.Finding{State: observe.Warn, Topic: "loaded", What: fmt.Sprintf("%d differences between the tables in the kernel and the goal, made anew; the last %v ago: %s",
		p.differs, now.Sub(p.differed).Round(time.Second), p.last), Cure: "find out what else on this host writes into eBPF maps; prove it again: ringfence host check"}
}

// CheckRecord is one part of what is loaded, or one difference in it.
type CheckRecord struct {
	Part   string `json:"part"`
	Equal  bool   `json:"equal"`
	At     string `json:"at,omitempty"`
	Loaded string `json:"loaded,omitempty"`
	Goal   string `json:"goal,omitempty"`
}

// checkLoaded is the answer to the question "check".
func (a *Agent) checkLoaded() ([]CheckRecord, error) {
	answer := make(chan checked, 1)
	busy := time.After(checkTime)
	select {
	case a.checks <- answer:
	case <-busy:
		return nil, errors.New("the agent is busy enforcing a goal")
	}
	var c checked
	select {
	case c = <-answer:
	case <-busy:
		return nil, fmt.Errorf("not everything is proved within %v", checkTime)
	}
	out := []CheckRecord{}
	for _, p := range c.proofs {
		if p.Differences == nil {
			out = append(out, CheckRecord{Part: p.Part, Equal: true})
		}
		for _, d := range p.Differences {
			out = append(out, CheckRecord{Part: p.Part, At: d.At, Loaded: d.Loaded, Goal: d.Goal})
		}
	}
	return out, c.err
}
