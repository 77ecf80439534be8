package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	jmespath "github.com/jmespath/go-jmespath"
	"go.yaml.in/yaml/v3"
)

// column is one column of a table: its title and the JMESPath of its value.
type column struct{ title, path string }

// print writes a value in the format that was asked for; columns are for tables.
func (a *app) print(v any, columns ...column) error {
	format := a.flags.Output
	if format == "" {
		format = a.defaults
	}
	if format == "" {
		format = "table"
	}
	if a.flags.Query != "" {
		q, err := jmespath.Search(a.flags.Query, v)
		if err != nil {
			return usagef("--query %q: %w", a.flags.Query, err)
		}
		v, columns = q, nil
	}
	a.progress.done()
	switch format {
	case "junit", "sarif":
		return usagef("-o %s: this command has no such output", format)
	case "none":
		return nil
	case "json", "jsonc":
		return printJSON(a.out, v)
	case "yaml", "yamlc":
		return printYAML(a.out, v)
	case "tsv":
		return printTSV(a.out, v, columns)
	}
	return printTable(a.out, v, columns)
}

// structured tells whether a program is to read the answer: then all of it is printed, as the API has it.
func (a *app) structured() bool {
	return slices.Contains([]string{"json", "jsonc", "yaml", "yamlc"}, a.flags.Output) || a.flags.Query != ""
}

// printTSV writes values apart by tabs and nothing else, as shells read them: a line for each element, of objects the columns of the table, or
// their values in the order of their names.
func printTSV(w io.Writer, v any, columns []column) error {
	rows, many := v.([]any)
	if !many {
		rows = []any{v}
	}
	for _, r := range rows {
		cells, err := tsvCells(r, columns)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return nil
}

var tsvBreaks = strings.NewReplacer("\t", " ", "\n", " ", "\r", " ")

func tsvCells(row any, columns []column) (cells []string, err error) {
	var values []any
	switch row := row.(type) {
	case []any:
		values = row
	case map[string]any:
		if columns == nil {
			for _, name := range slices.Sorted(maps.Keys(row)) {
				values = append(values, row[name])
			}
		}
		for _, c := range columns {
			one, err := jmespath.Search(c.path, row)
			if err != nil {
				return nil, fmt.Errorf("column %s: %w", c.title, err)
			}
			values = append(values, one)
		}
	default:
		values = []any{row}
	}
	for _, one := range values {
		cells = append(cells, tsvBreaks.Replace(cell(one)))
	}
	return cells, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func printYAML(w io.Writer, v any) error {
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(v); err != nil {
		return err
	}
	return enc.Close()
}

// printTable writes a list as rows and an object as one row or, without columns, as lines of name and value.
func printTable(w io.Writer, v any, columns []column) error {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return printRows(w, v, columns)
	case map[string]any:
		if columns == nil {
			return printMembers(w, v)
		}
		return printRows(w, []any{v}, columns)
	}
	_, err := fmt.Fprintln(w, cell(v))
	return err
}

func printRows(w io.Writer, rows []any, columns []column) error {
	if columns == nil {
		columns = guessColumns(rows)
	}
	if columns == nil { // scalars
		for _, r := range rows {
			if _, err := fmt.Fprintln(w, cell(r)); err != nil {
				return err
			}
		}
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var titles, rules []string
	for _, c := range columns {
		titles = append(titles, c.title)
		rules = append(rules, strings.Repeat("-", len(c.title)))
	}
	fmt.Fprintln(t, strings.Join(titles, "\t"))
	fmt.Fprintln(t, strings.Join(rules, "\t"))
	for _, r := range rows {
		cells := make([]string, len(columns))
		for i, c := range columns {
			v, err := jmespath.Search(c.path, r)
			if err != nil {
				return fmt.Errorf("column %s: %w", c.title, err)
			}
			cells[i] = short(c, v)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t "))
	}
	return t.Flush()
}

// short is a cell's text; of ids only the name is shown, and of those in a column of resources the type too. Values stay whole.
func short(c column, v any) string {
	text := cell(v)
	ids := strings.Split(text, ", ")
	for i, id := range ids {
		if !strings.HasPrefix(id, "/subscriptions/") || c.title == "Value" {
			return text
		}
		if _, tail, ok := strings.Cut(id, "/providers/"); ok && c.title == "Resource" {
			ids[i] = tail
		} else {
			ids[i] = id[strings.LastIndexByte(id, '/')+1:]
		}
	}
	return strings.Join(ids, ", ")
}

// guessColumns takes the scalar members of the rows' objects; nil when the rows are no objects.
func guessColumns(rows []any) []column {
	var names []string
	for _, r := range rows {
		o, ok := r.(map[string]any)
		if !ok {
			return nil
		}
		for name, v := range o {
			switch v.(type) {
			case map[string]any, []any:
				continue
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	rank := func(n string) string {
		if i := slices.Index([]string{"name", "key", "value"}, strings.ToLower(n)); i >= 0 {
			return string(rune('0' + i))
		}
		return n
	}
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(rank(x), rank(y)) })
	var out []column
	for _, n := range names {
		out = append(out, column{title(n), jmesName(n)})
	}
	return out
}

func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }

func jmesName(name string) string {
	b, _ := json.Marshal(name) // a string never fails
	return string(b)
}

func printMembers(w io.Writer, o map[string]any) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	var names []string
	for n := range o {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		fmt.Fprintf(t, "%s\t%s\n", n, cell(o[n]))
	}
	return t.Flush()
}

// cell is a value in one line.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		if v == float64(int64(v)) {
			return fmt.Sprint(int64(v))
		}
		return fmt.Sprint(v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		var parts []string
		for _, e := range v {
			if _, ok := e.(map[string]any); ok {
				b, _ := json.Marshal(v) // made from JSON
				return string(b)
			}
			parts = append(parts, cell(e))
		}
		return strings.Join(parts, ", ")
	}
	b, _ := json.Marshal(v) // made from JSON
	return string(b)
}

// generic turns typed values into what JMESPath and the tables understand.
func generic(v any) any {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	_ = json.Unmarshal(b, &out) // just written
	return out
}
