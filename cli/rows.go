package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	jmespath "github.com/jmespath/go-jmespath"
	"go.yaml.in/yaml/v3"
)

// rowPrinter prints records one by one as they come: JSON a line each, YAML documents, or rows of a table whose columns are as wide as
// they have been so far.
type rowPrinter struct {
	a       *app
	columns []column
	widths  []int
}

func (p *rowPrinter) print(v any) error {
	if q := p.a.flags.Query; q != "" {
		out, err := jmespath.Search(q, v)
		if err != nil {
			return usagef("--query %q: %w", q, err)
		}
		if out == nil {
			return nil
		}
		v = out
	}
	switch p.a.flags.Output {
	case "none":
		return nil
	case "json", "jsonc":
		enc := json.NewEncoder(p.a.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(v)
	case "yaml", "yamlc":
		b, err := yaml.Marshal(v)
		if err == nil {
			_, err = fmt.Fprintf(p.a.out, "---\n%s", b)
		}
		return err
	}
	if _, ok := v.(map[string]any); !ok || p.a.flags.Query != "" {
		_, err := fmt.Fprintln(p.a.out, cell(v))
		return err
	}
	return p.row(v)
}

// row writes a record; the first one, which says how wide columns are at least, below the titles.
func (p *rowPrinter) row(v any) error {
	cells := make([]string, len(p.columns))
	for i, c := range p.columns {
		value, err := jmespath.Search(c.path, v)
		if err != nil {
			return fmt.Errorf("column %s: %w", c.title, err)
		}
		cells[i] = short(c, value)
	}
	if p.widths == nil {
		p.widths = make([]int, len(cells))
		titles, rules := make([]string, len(cells)), make([]string, len(cells))
		for i, c := range p.columns {
			titles[i], rules[i], p.widths[i] = c.title, strings.Repeat("-", len(c.title)), max(len(c.title), len(cells[i]))
		}
		if err := p.line(titles); err != nil {
			return err
		}
		if err := p.line(rules); err != nil {
			return err
		}
	}
	return p.line(cells)
}

func (p *rowPrinter) line(cells []string) error {
	var b strings.Builder
	for i, c := range cells {
		p.widths[i] = max(p.widths[i], len(c))
		fmt.Fprintf(&b, "%-*s  ", p.widths[i], c)
	}
	_, err := fmt.Fprintln(p.a.out, strings.TrimRight(b.String(), " "))
	return err
}
