package main

import (
	"fmt"
	"time"
)

// tally counts tests over all stages and remembers what failed, for the end of the output.
type tally struct {
	passed, failed int
	failures       []string
	times          []stageTime
}

type stageTime struct {
	name string
	took time.Duration
	word string
}

func (t *tally) pass() { t.passed++ }

// fail counts one failure and prints why at once.
func (t *tally) fail(what, why string) {
	t.failed++
	t.failures = append(t.failures, what)
	fmt.Printf("FAIL %s\n%s\n", what, why)
}

// summary prints the times, the names of the failures and the counts, the counts last and alone on their line.
func (t *tally) summary(total time.Duration) {
	for _, s := range t.times {
		fmt.Printf("%-10s %-6s %8s\n", s.name, s.word, s.took)
	}
	fmt.Printf("%-10s %-6s %8s\n", "total", "", total.Round(100*time.Millisecond))
	for _, f := range t.failures {
		fmt.Printf("failed: %s\n", f)
	}
	fmt.Printf("%d passed, %d failed\n", t.passed, t.failed)
}
