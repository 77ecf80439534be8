// Command gen writes the tables in the documents that say what the code and the benchmark say: drop reasons, type table, metrics, figures.
//
// In: observe.Reasons, resource.Types, metrics.Catalogue, bench/results.json, and the module's Markdown files. Out: the same files, with everything
// between `<!-- generated: NAME -->` and `<!-- end -->` replaced. A test and `make verify-generated` hold the files to it.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// tables are the parts that can be generated, by the name in their mark.
var tables = map[string]func() string{
	"reasons": reasons,
	"types":   types,
	"figures": figures,
	"metrics": metricsTable,
	"labels":  labelsTable,
}

// root is the module's folder, seen from the folder of the documents.
var root = ".."

// documents are the files with generated parts.
func documents() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no Markdown in %s/docs", root)
	}
	return append(files, filepath.Join(root, "README.md")), err
}

func main() {
	files, err := documents()
	for _, f := range files {
		if err == nil {
			err = rewrite(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func rewrite(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text, err := fill(string(b))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if text == string(b) {
		return nil
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

var part = regexp.MustCompile(`(?s)<!-- generated: (\w+)[^>]* -->\n.*?<!-- end -->`)

// byTests is the beginning of a part that a test writes and checks.
var byTests = regexp.MustCompile(`<!-- generated: \w+ \(by test/`)

// fill replaces the generated parts of a text.
func fill(text string) (string, error) {
	var unknown error
	out := part.ReplaceAllStringFunc(text, func(old string) string {
		if at := byTests.FindStringIndex(old); at != nil && at[0] == 0 {
			return old
		}
		name := part.FindStringSubmatch(old)[1]
		table, ok := tables[name]
		if !ok {
			unknown = fmt.Errorf("nothing generates %q", name)
			return old
		}
		head, _, _ := strings.Cut(old, "\n")
		return head + "\n" + table() + "<!-- end -->"
	})
	return out, unknown
}
