package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// results is what is shown of the benchmark's file.
type results struct {
	Started string `json:"started"`
	Kernel  string `json:"kernel"`
	CPUs    int    `json:"cpus"`
	Rounds  int    `json:"rounds"`
	Figures []struct {
		Path      string  `json:"path"`
		Load      string  `json:"load"`
		Contender string  `json:"contender"`
		Unit      string  `json:"unit"`
		Median    float64 `json:"median"`
		Ratio     float64 `json:"ratio_to_linux"`
	} `json:"figures"`
	Control []struct {
		What   string  `json:"what"`
		Median float64 `json:"median_ms"`
		N      int     `json:"n"`
	} `json:"control_plane"`
	Compared []struct {
		What  string  `json:"what"`
		Ratio float64 `json:"ratio"`
		Low   float64 `json:"ratio_p25"`
		High  float64 `json:"ratio_p75"`
	} `json:"compared"`
	Programs []struct {
		Name    string             `json:"name"`
		Metrics map[string]float64 `json:"metrics"`
	} `json:"programs"`
	Guests *struct {
		One, Many struct {
			What   string  `json:"what"`
			Median float64 `json:"median_ms"`
		}
		DNS []struct {
			Machines int     `json:"machines"`
			Answered float64 `json:"answered_per_second"`
			Lost     float64 `json:"lost_share"`
			P50      float64 `json:"p50_ms"`
			P99      float64 `json:"p99_ms"`
		} `json:"dns"`
	} `json:"guests"`
	Verifier []struct {
		What  string  `json:"what"`
		Unit  string  `json:"unit"`
		Value float64 `json:"value"`
	} `json:"verifier"`
}

// figures is the last run of `make bench` as tables.
func figures() string {
	b, err := os.ReadFile(filepath.Join(root, "bench", "results.json"))
	var r results
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return fmt.Sprintf("No figures: %v.\n", err)
	}
	var out strings.Builder
	day, _, _ := strings.Cut(r.Started, "T")
	fmt.Fprintf(&out, "%s, Linux %s, %d CPUs for everything, medians of %d rounds; in brackets the ratio to plain Linux routing without any firewall, as the median of the ratios within a round.\n",
		day, r.Kernel, r.CPUs, r.Rounds)
	out.WriteString("\n| path | contender | connects | TCP_RR | TCP stream | UDP 64 B |\n|---|---|---|---|---|---|\n")
	for i, f := range r.Figures {
		if i == 0 || f.Contender != r.Figures[i-1].Contender || f.Path != r.Figures[i-1].Path {
			fmt.Fprintf(&out, "| %s | %s |", f.Path, f.Contender)
		}
		fmt.Fprintf(&out, " %s (%.2f) |", quantity(f.Median, f.Unit), f.Ratio)
		if i+1 == len(r.Figures) || f.Contender != r.Figures[i+1].Contender || f.Path != r.Figures[i+1].Path {
			out.WriteString("\n")
		}
	}
	out.WriteString("\n| control plane | median |\n|---|---|\n")
	for _, c := range r.Control {
		fmt.Fprintf(&out, "| %s | %.0f ms |\n", c.What, c.Median)
	}
	r.guests(&out)
	if len(r.Compared) > 0 {
		out.WriteString("\n| compared, in turns | ratio (quartiles) |\n|---|---|\n")
	}
	for _, c := range r.Compared {
		fmt.Fprintf(&out, "| %s | %.2f (%.2f, %.2f) |\n", c.What, c.Ratio, c.Low, c.High)
	}
	if len(r.Programs) > 0 {
		out.WriteString("\n| program test runs, less an empty program | |\n|---|---|\n")
	}
	for _, p := range r.Programs {
		var words []string
		for _, unit := range slices.Sorted(maps.Keys(p.Metrics)) {
			words = append(words, strconv.FormatFloat(p.Metrics[unit], 'f', -1, 64)+" "+unit)
		}
		fmt.Fprintf(&out, "| `%s` | %s |\n", p.Name, strings.Join(words, ", "))
	}
	r.verifier(&out)
	return out.String()
}

// guests is what machines wait for.
func (r *results) guests(out *strings.Builder) {
	g := r.Guests
	if g == nil {
		return
	}
	fmt.Fprintf(out, "| %s | %.0f ms |\n| %s | %.0f ms |\n", g.One.What, g.One.Median, g.Many.What, g.Many.Median)
	for _, d := range g.DNS {
		fmt.Fprintf(out, "| DNS, %d machines ask %.0f times a second: lost %.2f %%, p50 %.2f ms, p99 | %.2f ms |\n", d.Machines, d.Answered, 100*d.Lost, d.P50, d.P99)
	}
}

// verifier is how long questions about all packets take.
func (r *results) verifier(out *strings.Builder) {
	if len(r.Verifier) == 0 {
		return
	}
	out.WriteString("\n| verifier, one core (docs/verify.md says what each is) | |\n|---|---|\n")
	for i := 0; i < len(r.Verifier); {
		what, words := r.Verifier[i].What, []string{}
		for ; i < len(r.Verifier) && r.Verifier[i].What == what; i++ {
			words = append(words, strconv.FormatFloat(r.Verifier[i].Value, 'f', -1, 64)+" "+r.Verifier[i].Unit)
		}
		fmt.Fprintf(out, "| `%s` | %s |\n", what, strings.Join(words, ", "))
	}
}

func quantity(v float64, unit string) string {
	switch {
	case unit == "Gbit/s":
		return fmt.Sprintf("%.1f Gbit/s", v)
	case v >= 10000:
		return fmt.Sprintf("%.0fk/s", v/1000)
	default:
		return fmt.Sprintf("%.1fk/s", v/1000)
	}
}
