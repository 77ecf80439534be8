package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// program is one of the data plane's own benchmarks: program test runs, without what an empty program takes.
type program struct {
	Name    string             `json:"name"`
	Metrics map[string]float64 `json:"metrics"` // by unit
	order   []string
}

// programs runs the benchmarks of host/datapath that belong to the table; the short form leaves out the large ones.
func programs(ctx context.Context, cfg config) ([]program, error) {
	which := "^Benchmark(Established|Flows|First|FullTable|Cap|Replaced|Apply|Group)$"
	if cfg.results == "" {
		which = "^Benchmark(Established|FullTable)$"
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "test", "./host/datapath", "-run", "^$", "-bench", which, "-benchtime", "1x", "-timeout", "10m")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "RINGFENCE_ROOT=1"), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("program test runs: %w: %s%s", err, stdout.String(), stderr.String())
	}
	out := parsePrograms(&stdout)
	if len(out) == 0 {
		return nil, fmt.Errorf("program test runs: no figures in %q", stdout.String())
	}
	return out, nil
}

// parsePrograms reads what `go test -bench` prints: a name, how often, then values with their units.
func parsePrograms(r io.Reader) (out []program) {
	for s := bufio.NewScanner(r); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 4 || len(f)%2 != 0 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndex(name, "-"); i > 0 {
			name = name[:i]
		}
		p := program{Name: name, Metrics: map[string]float64{}}
		for i := 2; i < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				p.Metrics[f[i+1]], p.order = v, append(p.order, f[i+1])
			}
		}
		out = append(out, p)
	}
	return out
}

func printPrograms(w io.Writer, list []program) {
	fmt.Fprintf(w, "\n| program test runs | |\n|---|---|\n")
	for _, p := range list {
		var words []string
		for _, unit := range p.order {
			words = append(words, fmt.Sprintf("%s %s", strconv.FormatFloat(p.Metrics[unit], 'f', -1, 64), unit))
		}
		fmt.Fprintf(w, "| %s | %s |\n", p.Name, strings.Join(words, ", "))
	}
}

// printMore writes what is compared otherwise than with plain Linux, and the program test runs.
func (r *report) printMore(w io.Writer) {
	fmt.Fprintf(w, "\n| compared | ratio | p25 | p75 | n |\n|---|---|---|---|---|\n")
	for _, c := range r.Compared {
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %d |\n", c.What, c.Ratio, c.Low, c.High, c.N)
	}
	if len(r.Programs) > 0 {
		printPrograms(w, r.Programs)
	}
}
