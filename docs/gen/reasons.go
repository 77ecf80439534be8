package main

import (
	"fmt"
	"strings"

	"ringfence/observe"
)

// reasons is the list of drop reasons as a table.
func reasons() string {
	var b strings.Builder
	b.WriteString("| number | reason | layer | what it means |\n|---|---|---|---|\n")
	for _, i := range observe.Reasons() {
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s |\n", i.Reason, i.Name, i.Layer, i.Text)
	}
	return b.String()
}
