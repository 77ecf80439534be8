// Command run carries out the stages of `make test` and counts what they tested.
//
// In: the names of stages. Out: what failed in full and the rest in one line each, how long every stage took, and as the
// last line "N passed, N failed"; the exit code is 1 when anything failed. A stage that fails does not keep the later ones from running.
// A skipped test is a failure here: the machine has what the tests need, or .ci/deps installs it.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// stage is one step of the whole test.
type stage struct {
	name string
	what string
	run  func(*tally) error
}

// stages in the order of `all`: the cheap ones first.
var stages = []stage{
	{"check", "gofmt and go vet", check},
	{"generated", "the generated files are what their sources give", verifyGenerated},
	{"build", "bin/ringfence", build},
	{"unit", "tests without privilege", unit},
	{"race", "packages with goroutines, under the race detector", race},
	{"root", "tests in namespaces and in the kernel, one package at a time", root},
	{"clients", "Azure's SDK against a lab", clients},
	{"demo", "the demonstration", demo},
	{"bench", "the benchmark's short form", bench},
}

// Stages that `all` leaves out.
var extra = []stage{
	{"generate", "write the generated files", generate},
	{"soak", "the long forms of the tests that have one", soak},
	{"fuzz", "every fuzz target for a while", fuzz},
}

func main() {
	want, err := pick(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	t := &tally{}
	start := time.Now()
	for _, s := range want {
		runStage(s, t)
	}
	t.summary(time.Since(start))
	if t.failed > 0 {
		os.Exit(1)
	}
}

// pick turns arguments into stages; "all" is every stage of the list.
func pick(args []string) ([]stage, error) {
	var out []stage
	for _, a := range args {
		if a == "all" {
			out = append(out, stages...)
			continue
		}
		found := false
		for _, s := range append(append([]stage(nil), stages...), extra...) {
			if s.name == a {
				out, found = append(out, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("run: no stage %q; there are: all %s", a, strings.Join(names(), " "))
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("run: which stage? There are: all %s", strings.Join(names(), " "))
	}
	return out, nil
}

func names() []string {
	var out []string
	for _, s := range append(append([]stage(nil), stages...), extra...) {
		out = append(out, s.name)
	}
	return out
}

// runStage runs one stage; an error of the stage itself counts as one failure.
func runStage(s stage, t *tally) {
	fmt.Printf("=== %s: %s\n", s.name, s.what)
	start, failed := time.Now(), t.failed
	if err := s.run(t); err != nil {
		t.fail(s.name, err.Error())
	}
	took := time.Since(start).Round(100 * time.Millisecond)
	word := "ok"
	if t.failed > failed {
		word = "FAILED"
	}
	fmt.Printf("--- %s: %s in %s\n\n", s.name, word, took)
	t.times = append(t.times, stageTime{s.name, took, word})
}
