package main

import (
	"fmt"
	"strings"

	"ringfence/observe/metrics"
)

// metricsTable lists every metric.
func metricsTable() string {
	var out strings.Builder
	out.WriteString("| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range metrics.Catalogue() {
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, strings.Join(m.Labels, ", "), m.Help)
	}
	return out.String()
}

// labelsTable says what bounds each label.
func labelsTable() string {
	var out strings.Builder
	out.WriteString("| label | bounded by |\n|---|---|\n")
	for _, l := range metrics.Labels {
		fmt.Fprintf(&out, "| `%s` | %s |\n", l.Name, l.Bound)
	}
	return out.String()
}
