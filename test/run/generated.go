package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// generators are the packages with a go:generate line, in the order in which their output is needed:
// the data plane is compiled with the header that observe writes.
var generators = []string{"./observe/...", "./host/datapath/...", "./docs/..."}

func generate(t *tally) error {
	for _, g := range generators {
		command(t, nil, "go", "generate", g)
	}
	return nil
}

// verifyGenerated generates everything anew and compares with what was there, byte for byte. On a difference the old bytes are put
// back, so that looking does not change the tree.
func verifyGenerated(t *tally) error {
	before, err := readGenerated(".")
	if err != nil {
		return err
	}
	if err := generate(t); err != nil {
		return err
	}
	after, err := readGenerated(".")
	if err != nil {
		return err
	}
	for _, path := range union(before, after) {
		old, had := before[path]
		now, has := after[path]
		switch {
		case !had:
			t.fail(path, "generated, but not in the repository: run `make generate`")
			os.Remove(path)
		case !has || !bytes.Equal(old, now):
			t.fail(path, fmt.Sprintf("%d bytes in the repository, %d from its sources, and not the same: run `make generate`", len(old), len(now)))
			if err := os.WriteFile(path, old, 0o644); err != nil {
				return fmt.Errorf("put back: %w", err)
			}
		default:
			t.pass()
		}
	}
	fmt.Printf("%d generated files\n", len(after))
	return nil
}

// generatedLine is Go's own convention, in any comment syntax; in Markdown only parts of a file are generated, between marks.
var generatedLine = regexp.MustCompile(`(?m)^(//|/\*|#|<!--) ?(Code generated .* DO NOT EDIT|generated: )`)

// readGenerated reads every generated file under dir: those that say so, and compiled kernel programs.
func readGenerated(dir string) (map[string][]byte, error) {
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != dir && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		ext := filepath.Ext(path)
		if ext != ".go" && ext != ".h" && ext != ".md" && ext != ".o" {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if ext == ".o" || generatedLine.Match(b) {
			out[path] = b
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read generated files: %w", err)
	}
	return out, nil
}

func union(a, b map[string][]byte) []string {
	var out []string
	for k := range a {
		out = append(out, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}
