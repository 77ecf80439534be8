package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// figure is one cell of the table.
type figure struct {
	Path      string  `json:"path"`
	Load      string  `json:"load"`
	Contender string  `json:"contender"`
	Unit      string  `json:"unit"`
	Median    float64 `json:"median"`
	Min       float64 `json:"min"`
	Max       float64 `json:"max"`
	Ratio     float64 `json:"ratio_to_linux"` // median of the ratios within a round
	RatioLow  float64 `json:"ratio_p25"`
	RatioHigh float64 `json:"ratio_p75"`
	Errors    int     `json:"errors"`
}

// timing is one figure of the control plane.
type timing struct {
	What   string  `json:"what"`
	Median float64 `json:"median_ms"`
	Min    float64 `json:"min_ms"`
	Max    float64 `json:"max_ms"`
	N      int     `json:"n"`
}

// report is what a run found.
type report struct {
	Started string   `json:"started"`
	Seconds float64  `json:"seconds"`
	Kernel  string   `json:"kernel"`
	CPUs    int      `json:"cpus"`
	Rounds  int      `json:"rounds"`
	Slice   float64  `json:"slice_seconds"`
	Rules   int      `json:"rules_of_the_large_nsg"`
	Figures []figure `json:"figures"`
	Control []timing `json:"control_plane"`

	Compared []comparison `json:"compared"`
	Programs []program    `json:"programs"`

	Guests   *guestFigures `json:"guests"`
	Verifier []proof       `json:"verifier"`
}

func newReport(cfg config, started time.Time, list []*contender, all []sample, control []timing) *report {
	r := &report{Started: started.UTC().Format(time.RFC3339), Seconds: time.Since(started).Round(time.Second).Seconds(), Kernel: kernel(),
		CPUs: runtime.NumCPU(), Rounds: cfg.rounds, Slice: cfg.slice.Seconds(), Rules: cfg.rules, Control: control}
	for _, c := range list {
		for _, l := range loads {
			mine, theirs := rates(all, c.path+"|"+c.name, l.mode), rates(all, c.path+"|"+baseline, l.mode)
			f := figure{Path: c.path, Load: l.mode, Contender: c.name, Unit: l.unit, Median: quantile(mine, 0.5),
				Min: quantile(mine, 0), Max: quantile(mine, 1)}
			var ratios []float64
			for i := range mine {
				if i < len(theirs) && theirs[i] > 0 {
					ratios = append(ratios, mine[i]/theirs[i])
				}
			}
			f.Ratio, f.RatioLow, f.RatioHigh = quantile(ratios, 0.5), quantile(ratios, 0.25), quantile(ratios, 0.75)
			for _, s := range all {
				if s.contender == c.path+"|"+c.name && s.mode == l.mode {
					f.Errors += s.Errors
				}
			}
			r.Figures = append(r.Figures, f)
		}
	}
	return r
}

// rates are a contender's rates of one load, by round.
func rates(all []sample, contender, mode string) []float64 {
	var mine []sample
	for _, s := range all {
		if s.contender == contender && s.mode == mode {
			mine = append(mine, s)
		}
	}
	slices.SortFunc(mine, func(a, b sample) int { return a.round - b.round })
	var out []float64
	for _, s := range mine {
		out = append(out, s.Rate)
	}
	return out
}

// quantile of unsorted values; 0 when there are none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	v := slices.Sorted(slices.Values(values))
	return v[min(len(v)-1, int(q*float64(len(v)-1)+0.5))]
}

func summarise(what string, d []time.Duration) timing {
	var ms []float64
	for _, x := range d {
		ms = append(ms, float64(x.Microseconds())/1000)
	}
	return timing{What: what, Median: quantile(ms, 0.5), Min: quantile(ms, 0), Max: quantile(ms, 1), N: len(d)}
}

func kernel() string {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return ""
	}
	var b strings.Builder
	for _, c := range u.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// print writes the tables: one per path, a contender per line, and beside each figure its ratio to plain routing.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "Linux %s, %d CPUs, %d rounds of %.2f s a slice, medians; in brackets the ratio to linux of the same path\n\n", r.Kernel, r.CPUs, r.Rounds, r.Slice)
	fmt.Fprintf(w, "| path | contender |")
	for _, l := range loads {
		fmt.Fprintf(w, " %s |", l.title)
	}
	fmt.Fprintf(w, "\n|---|---|%s\n", strings.Repeat("---|", len(loads)))
	for i := 0; i < len(r.Figures); i += len(loads) {
		fmt.Fprintf(w, "| %s | %s |", r.Figures[i].Path, r.Figures[i].Contender)
		for _, f := range r.Figures[i : i+len(loads)] {
			fmt.Fprintf(w, " %s (%.2f)%s |", human(f.Median, f.Unit), f.Ratio, failures(f.Errors))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n| control plane | median | min | max | n |\n|---|---|---|---|---|\n")
	for _, t := range r.Control {
		fmt.Fprintf(w, "| %s | %.0f ms | %.0f | %.0f | %d |\n", t.What, t.Median, t.Min, t.Max, t.N)
	}
	r.Guests.print(w)
	printProofs(w, r.Verifier)
}

func human(v float64, unit string) string {
	switch {
	case unit == "Gbit/s":
		return fmt.Sprintf("%.1f Gbit/s", v)
	case v >= 10000:
		return fmt.Sprintf("%.1fk", v/1000)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}

func failures(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" %d errors", n)
}

// problem is an error when a contender carried nothing or lost something: then the figures mean nothing and are not written.
func (r *report) problem() error {
	for _, f := range r.Figures {
		if f.Median == 0 {
			return fmt.Errorf("%s, %s, %s: nothing got through", f.Path, f.Contender, f.Load)
		}
		if f.Errors > 0 {
			return fmt.Errorf("%s, %s, %s: %d errors", f.Path, f.Contender, f.Load, f.Errors)
		}
	}
	return nil
}

func (r *report) write(path string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
