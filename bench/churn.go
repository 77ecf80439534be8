package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// comparison is a load under two circumstances, in turns: the median of the ratios within a round.
type comparison struct {
	What    string  `json:"what"`
	Ratio   float64 `json:"ratio"`
	Low     float64 `json:"ratio_p25"`
	High    float64 `json:"ratio_p75"`
	N       int     `json:"n"`
	Details string  `json:"details,omitempty"`
}

// ruleCount compares the large NSG with the small one, from the samples of the contenders.
func ruleCount(cfg config, all []sample) (out []comparison) {
	for _, path := range []string{oneHost, twoHosts} {
		for _, l := range loads {
			large, small := rates(all, path+"|"+fmt.Sprintf("ringfence-%d", cfg.rules), l.mode), rates(all, path+"|ringfence-1", l.mode)
			if len(large) > 0 {
				out = append(out, compare(fmt.Sprintf("%d rules and 4 prefixes each against 1 rule, %s, %s", cfg.rules, path, l.title), large, small))
			}
		}
	}
	return out
}

func compare(what string, mine, theirs []float64) comparison {
	var ratios []float64
	for i := range mine {
		if i < len(theirs) && theirs[i] > 0 {
			ratios = append(ratios, mine[i]/theirs[i])
		}
	}
	return comparison{What: what, Ratio: quantile(ratios, 0.5), Low: quantile(ratios, 0.25), High: quantile(ratios, 0.75), N: len(ratios)}
}

// replaced measures connects while the large NSG is replaced through the API ten times a second, and while it is not. API server,
// store and agents work on the same CPUs as the load: that is in the figure; what the data plane alone loses is a program test run.
func (f *fabric) replaced(ctx context.Context, cfg config) (comparison, error) {
	large := fmt.Sprintf("ringfence-%d", cfg.rules)
	var c *contender
	for _, x := range f.list {
		if x.name == large && x.path == oneHost {
			c = x
		}
	}
	var rate [2][]float64
	variant, failed := 0, error(nil)
	for range cfg.rounds {
		for _, busy := range rand.Perm(2) {
			stop := make(chan struct{})
			var done sync.WaitGroup
			if busy == 1 {
				done.Go(func() {
					for t := time.NewTicker(100 * time.Millisecond); ; {
						select {
						case <-stop:
							t.Stop()
							return
						case <-t.C:
							variant++
							if _, err := f.api.put(ctx, f.path("networkSecurityGroups/"+large), nsgBody(cfg.rules, variant)); err != nil {
								failed = err
							}
						}
					}
				})
			}
			s := c.run(ctx, "crr", cfg.slice)
			close(stop)
			done.Wait()
			if s.Errors > 0 {
				return comparison{}, fmt.Errorf("connects while the NSG is replaced: %d errors", s.Errors)
			}
			rate[busy] = append(rate[busy], s.Rate)
		}
	}
	out := compare("connects while the large NSG is replaced through the API, against while it is not", rate[1], rate[0])
	out.Details = fmt.Sprintf("%d replacements in %v of load", variant, time.Duration(cfg.rounds)*cfg.slice)
	return out, failed
}
