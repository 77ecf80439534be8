package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// event is one line of `go test -json`.
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// results gathers the events of one `go test`.
type results struct {
	t      *tally
	output map[string][]string // by package and test: printed only on failure
	count  map[string]int      // tests passed, by package
	bad    map[string]bool     // packages with a failure already counted
}

// goTest runs `go test -json` with args in dir, counts every test and subtest, and treats a skip as a failure.
func goTest(t *tally, dir string, env []string, args ...string) error {
	cmd := exec.Command("go", append([]string{"test", "-json", "-timeout", "15m"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	before := t.failed
	r := &results{t: t, output: map[string][]string{}, count: map[string]int{}, bad: map[string]bool{}}
	readErr := r.read(pipe)
	err = cmd.Wait()
	if readErr != nil {
		return readErr
	}
	if err != nil && t.failed == before {
		return fmt.Errorf("go test %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// read consumes events until the end.
func (r *results) read(pipe io.Reader) error {
	in := bufio.NewReaderSize(pipe, 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Print(string(line)) // not an event: a tool speaking
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("go test: read: %w", err)
		}
	}
}

// take handles one event. Events without a test are about the package.
func (r *results) take(e event) {
	key := e.Package + "\x00" + e.Test
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Print(e.Output)
	case "pass":
		if e.Test == "" {
			fmt.Printf("ok   %-40s %4d tests %7.1fs\n", e.Package, r.count[e.Package], e.Elapsed)
		} else {
			r.count[e.Package]++
			r.t.pass()
		}
		delete(r.output, key)
	case "fail":
		if e.Test != "" || !r.bad[e.Package] {
			r.t.fail(strings.TrimSpace(e.Package+" "+e.Test), r.text(e.Package, key))
		}
		r.bad[e.Package] = true
	case "skip":
		if e.Test != "" {
			r.bad[e.Package] = true
			r.t.fail(e.Package+" "+e.Test+" (skipped)", r.text(e.Package, key))
		}
	}
}

// text is what a failed test printed, with its package's own output (a panic's trace, for one) behind it.
func (r *results) text(pkg, key string) string {
	own := strings.Join(r.output[key], "")
	if key != pkg+"\x00" {
		return own
	}
	var all strings.Builder
	for k, v := range r.output { // tests that never ended: the process died in one of them
		if k != key && strings.HasPrefix(k, pkg+"\x00") {
			all.WriteString(strings.Join(v, ""))
		}
	}
	return all.String() + own
}
