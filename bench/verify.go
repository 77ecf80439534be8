package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// proof is one figure of the verifier: what it takes to answer a question about all packets.
type proof struct {
	What  string  `json:"what"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit,omitempty"` // what it may be at most; 0: no limit
}

// proofLimits are the promises that the figures are held against, on one core of an idle machine.
var proofLimits = map[string]float64{
	"Judge1000 ms/median": 10, "Judge1000 ms/worst": 35, "Judge10000 ms/worst": 1500, "DiffOneEdit ms/p95": 10,
	"Equivalence1000 ms/worst": 1000, "Network ms/cold": 10_000, "Network ms/edit": 200, "Network MiB/sys": 1024,
}

var (
	benchmarkLine = regexp.MustCompile(`^Benchmark(\w+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	benchmarkPart = regexp.MustCompile(`([\d.e+]+) (\S+)`)
)

// proofs runs the verifier's benchmarks on one core. Z3 is asked the same equivalence where it is installed; that takes minutes, and the
// short form leaves it out.
func proofs(ctx context.Context, cfg config) ([]proof, error) {
	runs := [][]string{{"Judge|Diff|Equivalence|Network", "3x"}, {"Z3", "1x"}}
	if cfg.results == "" {
		runs = [][]string{{"Judge1000$|Diff|Network", "1x"}}
	}
	var ps []proof
	for _, r := range runs {
		out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", r[0], "-benchtime", r[1], "-cpu", "1", "-timeout", "60m", "./verify").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("verifier: %w\n%s", err, out)
		}
		ps = append(ps, parseProofs(string(out))...)
	}
	if len(ps) == 0 {
		return nil, fmt.Errorf("verifier: the benchmarks told no figure")
	}
	return ps, nil
}

// parseProofs reads the figures that the benchmarks report themselves.
func parseProofs(text string) []proof {
	var out []proof
	for line := range strings.Lines(text) {
		m := benchmarkLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		for _, part := range benchmarkPart.FindAllStringSubmatch(m[2], -1) {
			v, err := strconv.ParseFloat(part[1], 64)
			if err != nil || part[2] == "ns/op" {
				continue
			}
			out = append(out, proof{m[1], part[2], v, proofLimits[m[1]+" "+part[2]]})
		}
	}
	return out
}

func printProofs(w io.Writer, ps []proof) {
	fmt.Fprintf(w, "\n%-18s %-12s %12s %12s\n", "verifier", "unit", "value", "at most")
	for _, p := range ps {
		limit := ""
		if p.Limit > 0 {
			limit = fmt.Sprintf("%.0f", p.Limit)
		}
		fmt.Fprintf(w, "%-18s %-12s %12.1f %12s\n", p.What, p.Unit, p.Value, limit)
	}
}
