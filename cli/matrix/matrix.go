package matrix

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Answer is one opinion about one cell.
type Answer uint8

const (
	Unknown Answer = iota // nobody measured it, or nothing is written down
	No
	Yes
	Wrong // something arrived or answered that must not have, or only half of it: neither yes nor no
)

func (a Answer) String() string { return [...]string{"?", "no", "yes", "WRONG"}[a] }

// Of turns a boolean into an answer.
func Of(through bool) Answer {
	if through {
		return Yes
	}
	return No
}

// Cell is one direction between two addresses with one probe.
type Cell struct {
	Tenant           string // whose machines, "" for neither's
	From, To         string // machine or node
	FromTier, ToTier string
	Family           string // IPv4, IPv6
	Probe            Probe
	Got              Answer // real packets
	Model            Answer
	Expected         Answer
	Detail           string // what happened, when it is not a plain yes or no
}

// Good says that the three agree.
func (c *Cell) Good() bool {
	return c.Got == c.Expected && c.Model == c.Expected && (c.Expected == Yes || c.Expected == No)
}

// row collects the cells that are shown in one line: the same tiers and the same three answers.
type row struct {
	from, to string
	answers  [3]Answer
	probes   []Probe
	cells    int
}

// Print writes the table, grouped by tiers, and gives the number of cells that are not good.
func Print(w io.Writer, e *Expectations, cells []Cell, all bool) (bad int, err error) {
	for _, tenant := range tenants(cells) {
		mine := slices.DeleteFunc(slices.Clone(cells), func(c Cell) bool { return c.Tenant != tenant })
		if tenant == "" {
			tenant = "from the Internet"
		}
		fmt.Fprintf(w, "\n%s\n", tenant)
		t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
		fmt.Fprintln(t, "  from\tto\tprobes\tcells\tgot through\tmodel\texpected")
		for _, r := range rows(e, mine) {
			mark := ""
			if r.answers[0] != r.answers[2] || r.answers[1] != r.answers[2] || r.answers[2] == Unknown {
				mark = "\t<<<"
			}
			fmt.Fprintf(t, "  %s\t%s\t%s\t%d\t%s\t%s\t%s%s\n", r.from, r.to, words(r.probes), r.cells, r.answers[0], r.answers[1], r.answers[2], mark)
		}
		if err := t.Flush(); err != nil {
			return 0, err
		}
	}
	return details(w, cells, all)
}

// details lists single cells: those that are not good, or all.
func details(w io.Writer, cells []Cell, all bool) (bad int, err error) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	listed := 0
	for i := range cells {
		c := &cells[i]
		if !c.Good() {
			bad++
		}
		if !all && (c.Good() || bad > mostDetails) {
			continue
		}
		if listed++; listed == 1 {
			fmt.Fprintf(t, "\n  tenant\tfrom\tto\tfamily\tprobe\tgot through\tmodel\texpected\t\n")
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Tenant, c.From, c.To, c.Family, c.Probe, c.Got, c.Model, c.Expected, c.Detail)
	}
	return bad, t.Flush()
}

const mostDetails = 60

// tenants in order of appearance.
func tenants(cells []Cell) []string {
	var out []string
	for i := range cells {
		if !slices.Contains(out, cells[i].Tenant) {
			out = append(out, cells[i].Tenant)
		}
	}
	return out
}

func rows(e *Expectations, cells []Cell) []row {
	var out []row
	for _, key := range order(e, cells) {
		var here []row
		for _, p := range e.Probes {
			for i := range cells {
				c := &cells[i]
				if c.FromTier != key[0] || c.ToTier != key[1] || c.Probe != p {
					continue
				}
				answers := [3]Answer{c.Got, c.Model, c.Expected}
				at := slices.IndexFunc(here, func(r row) bool { return r.answers == answers })
				if at < 0 {
					at = len(here)
					here = append(here, row{from: key[0], to: key[1], answers: answers})
				}
				here[at].cells++
				if !slices.Contains(here[at].probes, p) {
					here[at].probes = append(here[at].probes, p)
				}
			}
		}
		out = append(out, here...)
	}
	return out
}

// order is that of expected.txt, then whatever it does not know.
func order(e *Expectations, cells []Cell) [][2]string {
	out := slices.Clone(e.Order)
	for i := range cells {
		key := [2]string{cells[i].FromTier, cells[i].ToTier}
		if !slices.Contains(out, key) {
			out = append(out, key)
		}
	}
	return out
}

func words(probes []Probe) string {
	var out []string
	for _, p := range probes {
		out = append(out, p.String())
	}
	return strings.Join(out, " ")
}
