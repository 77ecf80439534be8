package clients

import (
	"fmt"
	"slices"
	"strings"

	"ringfence/test/clients/example"
)

// conformancePage writes what became of the examples, operation by operation.
func conformancePage(ops []example.Operation, done []outcome) string {
	of := map[string][]outcome{}
	for _, d := range done {
		key := d.Client + " " + d.Method
		of[key] = append(of[key], d)
	}
	var served, absent strings.Builder
	count := map[string]int{}
	total := map[string]int{}
	for _, d := range done {
		total[d.result]++
	}
	for _, o := range ops {
		list := of[o.Client+" "+o.Method]
		word, text := judged(list)
		count[word]++
		line := fmt.Sprintf("| %s.%s | %s | %s%s |\n", strings.TrimSuffix(o.Client, "Client"), strings.TrimPrefix(o.Method, "Begin"), o.Verb, word, text)
		if word == "missing" || word == "no example" {
			absent.WriteString(line)
		} else {
			served.WriteString(line)
		}
	}
	var b strings.Builder
	b.WriteString("# Azure's network API, operation by operation\n\n<!-- generated: conformance (by test/clients from the examples inside Azure's SDK for Go) -->\n\n")
	fmt.Fprintf(&b, "The SDK's network module documents %d operations with %d examples. Each example was sent by the SDK as it stands, after what it takes for granted had been made.\n", len(ops), len(done))
	fmt.Fprintf(&b, "Examples: %d work, %d are refused by the name of what is not supported, %d ask for what is missing and are told so by name.\n", total["works"], total["refused"], total["missing"])
	fmt.Fprintf(&b, "Operations: %d work, %d work for some examples, %d are refused for every example, %d are missing, %d have no example.\n",
		count["works"], count["works in part"], count["refused"], count["missing"], count["no example"])
	b.WriteString("\n## Served\n\n| operation | method | result |\n|---|---|---|\n" + served.String())
	b.WriteString("\n## Not served\n\nRefused with `RingfenceNotSupported` and a sentence that names the type or the operation.\n\n| operation | method | result |\n|---|---|---|\n" + absent.String())
	return b.String() + "\n<!-- end -->\n"
}

// judged sums the examples of one operation up.
func judged(list []outcome) (word, text string) {
	var works, refused int
	var why []string
	for _, d := range list {
		switch d.result {
		case "works":
			works++
		case "missing":
			return "missing", ""
		default:
			refused++
			if !slices.Contains(why, d.why) {
				why = append(why, d.why)
			}
		}
	}
	switch {
	case len(list) == 0:
		return "no example", ""
	case refused == 0:
		return "works", ""
	case works == 0:
		return "refused", ": " + strings.Join(why, ", ")
	}
	return "works in part", fmt.Sprintf(": %d of %d; refused: %s", works, len(list), strings.Join(why, ", "))
}
