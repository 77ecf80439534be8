// Command gen writes the tables of docs/ that say what the code says: the drop reasons and the type table.
//
// In: observe.Reasons, resource.Types, and the Markdown files of a folder. Out: the same files, with everything between
// `<!-- generated: NAME -->` and `<!-- end -->` replaced. A test and `make verify-generated` hold the files to it.
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
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen FOLDER")
		os.Exit(2)
	}
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.md"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no Markdown in %s", os.Args[1])
	}
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

// fill replaces the generated parts of a text.
func fill(text string) (string, error) {
	var unknown error
	out := part.ReplaceAllStringFunc(text, func(old string) string {
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
