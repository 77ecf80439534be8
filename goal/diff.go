package goal

import (
	"slices"
	"strings"
)

// Diff shows what changes from goal a to goal b as lines of their texts: - for what goes, + for what comes, each under the
// heading of its block. It is empty when the texts are equal.
func Diff(a, b *Host) string {
	var out strings.Builder
	blocksA, headsA := blocks(Text(a))
	blocksB, headsB := blocks(Text(b))
	for _, e := range edits(headsA, headsB) {
		switch e.op {
		case '-', '+':
			in := blocksA
			if e.op == '+' {
				in = blocksB
			}
			for _, line := range in[e.line] {
				out.WriteString(string(e.op) + " " + line + "\n")
			}
		default:
			diffBlock(&out, blocksA[e.line], blocksB[e.line])
		}
	}
	return out.String()
}

// blocks cuts a text at its left margin and returns the blocks by heading and the headings in order.
func blocks(text string) (map[string][]string, []string) {
	out, heads := map[string][]string{}, []string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		if line[0] != ' ' {
			heads = append(heads, line)
		}
		head := heads[len(heads)-1]
		out[head] = append(out[head], line)
	}
	return out, heads
}

// diffBlock shows the lines that differ, with the heading and the line that they are indented under.
func diffBlock(out *strings.Builder, a, b []string) {
	shown := map[int]string{0: ""} // the last line shown per indentation
	var above [2]string            // the last line seen per indentation
	for _, e := range edits(a, b) {
		depth := indent(e.line)
		if depth < len(above) {
			above[depth] = e.line
			if depth == 0 {
				above[1] = ""
			}
		}
		if e.op == ' ' {
			continue
		}
		for d := 0; d < min(depth, len(above)); d++ {
			if above[d] != "" && shown[d] != above[d] {
				out.WriteString("  " + above[d] + "\n")
				shown[d] = above[d]
			}
		}
		if depth < len(above) {
			shown[depth] = e.line
		}
		out.WriteString(string(e.op) + " " + e.line + "\n")
	}
}

func indent(line string) int { return (len(line) - len(strings.TrimLeft(line, " "))) / 2 }

// edit is one line of a difference: ' ' in both, '-' in a only, '+' in b only.
type edit struct {
	op   rune
	line string
}

// farApart is the number of differing lines beyond which a shortest difference is not worth its cost.
const farApart = 500

// edits returns a difference of two lists of lines, a shortest one unless they are far apart.
func edits(a, b []string) []edit {
	var out []edit
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		out = append(out, edit{' ', a[0]})
		a, b = a[1:], b[1:]
	}
	var tail []edit
	n := 0
	for n < min(len(a), len(b)) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	for _, line := range a[len(a)-n:] {
		tail = append(tail, edit{' ', line})
	}
	out = append(out, middle(a[:len(a)-n], b[:len(b)-n])...)
	return append(out, tail...)
}

// middle is Myers' greedy algorithm: reached[d] holds, for every diagonal k = x-y, how far d edits lead.
func middle(a, b []string) []edit {
	limit := min(len(a)+len(b), farApart)
	at := map[int]int{1: 0}
	var reached []map[int]int
	for d := 0; d <= limit; d++ {
		step := map[int]int{}
		for k := -d; k <= d; k += 2 {
			x := at[k-1] + 1
			if k == -d || k != d && at[k-1] < at[k+1] {
				x = at[k+1]
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			step[k] = x
			if x >= len(a) && x-k >= len(b) {
				return walkBack(a, b, append(reached, step))
			}
		}
		reached = append(reached, step)
		at = step
	}
	var out []edit
	for _, line := range a {
		out = append(out, edit{'-', line})
	}
	for _, line := range b {
		out = append(out, edit{'+', line})
	}
	return out
}

// walkBack reads the edits off the furthest points, from the end: before every edit's point comes the edit, after it equal lines.
func walkBack(a, b []string, reached []map[int]int) []edit {
	x, y := len(a), len(b)
	var back []edit
	for d := len(reached) - 1; d > 0; d-- {
		k, at := x-y, reached[d-1]
		e, fromX, fromY := edit{}, 0, 0
		if k == -d || k != d && at[k-1] < at[k+1] {
			fromX, fromY = at[k+1], at[k+1]-k-1
			e = edit{'+', b[fromY]}
		} else {
			fromX, fromY = at[k-1], at[k-1]-k+1
			e = edit{'-', a[fromX]}
		}
		for x > fromX && y > fromY && x+y > fromX+fromY+1 {
			x, y = x-1, y-1
			back = append(back, edit{' ', a[x]})
		}
		back = append(back, e)
		x, y = fromX, fromY
	}
	for x > 0 {
		x--
		back = append(back, edit{' ', a[x]})
	}
	slices.Reverse(back)
	return back
}
