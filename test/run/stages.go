package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// racy packages start goroutines that share memory: they are tested under the race detector, and only there.
var racy = []string{"ringfence/publish", "ringfence/intent/store", "ringfence/server", "ringfence/host/agent"}

// asRoot says to the tests that being skipped is not an option.
var asRoot = []string{"RINGFENCE_ROOT=1"}

// command runs a program with its output shown, and counts it as one test.
func command(t *tally, env []string, name string, args ...string) {
	what := name + " " + strings.Join(args, " ")
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.fail(what, err.Error())
		return
	}
	t.pass()
}

// output runs a program and returns what it printed.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(out), nil
}

func check(t *tally) error {
	unformatted, err := output("gofmt", "-l", ".")
	if err != nil {
		return err
	}
	if unformatted != "" {
		t.fail("gofmt", unformatted)
	} else {
		t.pass()
	}
	command(t, nil, "go", "vet", "./...")
	return nil
}

func build(t *tally) error {
	command(t, nil, "go", "build", "./...")
	command(t, nil, "go", "build", "-trimpath", "-o", "bin/ringfence", "./cmd/ringfence")
	return nil
}

// packages lists the module's packages that have tests, split by whether they need root (a file *_root_test.go says so).
func packages() (plain, privileged []string, err error) {
	out, err := output("go", "list", "-f", "{{.ImportPath}}|{{.Dir}}|{{len .TestGoFiles}}{{len .XTestGoFiles}}", "./...")
	if err != nil {
		return nil, nil, err
	}
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		f := strings.Split(line, "|")
		if len(f) != 3 || f[2] == "00" {
			continue
		}
		if m, _ := filepath.Glob(filepath.Join(f[1], "*_root_test.go")); len(m) > 0 {
			privileged = append(privileged, f[0])
		} else {
			plain = append(plain, f[0])
		}
	}
	return plain, privileged, nil
}

func isRacy(p string) bool  { return slices.Contains(racy, p) }
func notRacy(p string) bool { return !isRacy(p) }

func filter(in []string, keep func(string) bool) (out []string) {
	for _, p := range in {
		if keep(p) {
			out = append(out, p)
		}
	}
	return out
}

func unit(t *tally) error {
	plain, _, err := packages()
	if err != nil {
		return err
	}
	return goTest(t, ".", asRoot, append([]string{"-p", "2"}, filter(plain, notRacy)...)...)
}

func race(t *tally) error {
	plain, privileged, err := packages()
	if err != nil {
		return err
	}
	list := filter(append(plain, privileged...), isRacy)
	if len(list) == 0 {
		return errors.New("no package of the list has a test")
	}
	if _, err := output("go", append([]string{"build", "-race"}, list...)...); err != nil {
		return err
	}
	return goTest(t, ".", asRoot, append([]string{"-count=1", "-race", "-p", "1"}, list...)...)
}

func root(t *tally) error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make network namespaces and load eBPF programs: run them as root")
	}
	_, privileged, err := packages()
	if err != nil {
		return err
	}
	return goTest(t, ".", asRoot, append([]string{"-count=1", "-p", "1"}, filter(privileged, notRacy)...)...)
}

func clients(t *tally) error {
	return goTest(t, "test/clients", asRoot, "-count=1", "./...")
}

// demoTime is what the README promises for the demonstration after the build.
const demoTime = 20 * time.Second

func demo(t *tally) error {
	start := time.Now()
	command(t, nil, "bin/ringfence", "demo")
	if took := time.Since(start); took > demoTime {
		t.fail("the demonstration's time", fmt.Sprintf("%s, at most %s", took, demoTime))
	} else {
		t.pass()
	}
	return nil
}

func bench(t *tally) error {
	command(t, []string{"BENCH_SHORT=1"}, "go", "run", "./bench")
	return nil
}

// longForms are the settings under which tests run their long form; a test file that names one has one.
var longForms = []string{"RINGFENCE_SOAK=1", "RINGFENCE_TWIN_PACKETS=20000000"}

// soak runs every package that has a long form.
func soak(t *tally) error {
	var list []string
	err := testFiles(func(path string, src []byte) {
		for _, v := range longForms {
			name, _, _ := strings.Cut(v, "=")
			if dir := "./" + filepath.Dir(path); bytes.Contains(src, []byte(`"`+name+`"`)) && !slices.Contains(list, dir) && !strings.HasPrefix(path, "test/run") {
				list = append(list, dir)
			}
		}
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no test has a long form")
	}
	return goTest(t, ".", append(slices.Clone(longForms), asRoot...), append([]string{"-count=1", "-p", "1", "-timeout", "12h"}, list...)...)
}

// testFiles visits the module's test files.
func testFiles(visit func(path string, src []byte)) error {
	return filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "test/clients/") {
			return err
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("test files: %w", err)
		}
		visit(path, src)
		return nil
	})
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// fuzz runs every fuzz target of the module for FUZZTIME.
func fuzz(t *tally) error {
	limit := os.Getenv("FUZZTIME")
	if limit == "" {
		limit = "20s"
	}
	return testFiles(func(path string, src []byte) {
		for _, m := range fuzzTarget.FindAllSubmatch(src, -1) {
			command(t, nil, "go", "test", "-run", "^$", "-fuzz", "^"+string(m[1])+"$", "-fuzztime", limit, "./"+filepath.Dir(path))
		}
	})
}
