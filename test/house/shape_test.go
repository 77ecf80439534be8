package house

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Names that say nothing about what is inside.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "types", "manager", "managers", "misc", "base", "shared", "core", "lib"}

func TestPackageNamesSayWhatIsInside(t *testing.T) {
	for _, f := range tree(t) {
		for _, part := range strings.Split(f.pkg, "/") {
			if slices.Contains(forbiddenNames, part) || slices.Contains(forbiddenNames, strings.TrimSuffix(f.name, "_test")) {
				t.Errorf("%s: %q is no name for a package", f.path, part)
			}
		}
	}
}

// A package comment says what goes in, what comes out and who owns it: once, so that there is one place to keep true.
func TestOnePackageComment(t *testing.T) {
	docs, files := map[string][]string{}, map[string]bool{}
	testsOnly := map[string]bool{}
	for _, f := range tree(t) {
		if _, seen := testsOnly[f.pkg]; !seen {
			testsOnly[f.pkg] = true
		}
		testsOnly[f.pkg] = testsOnly[f.pkg] && f.test
		files[f.pkg] = true
		if f.doc != "" {
			docs[f.pkg] = append(docs[f.pkg], f.path)
			word := "Package " + strings.TrimSuffix(f.name, "_test") + " "
			if !strings.HasPrefix(f.doc, word) && !(f.main && strings.HasPrefix(f.doc, "Command ")) {
				t.Errorf("%s: the package comment begins with %q", f.path, word)
			}
		}
	}
	for pkg := range files {
		if n := len(docs[pkg]); n != 1 {
			t.Errorf("%s: %d package comments %v, want one", pkg, n, docs[pkg])
		}
	}
}

const (
	longestFile     = 800
	longestFunction = 160
)

// Decay shows in the longest file, which everybody edits, not in the median.
func TestNothingGrowsTooLong(t *testing.T) {
	for _, f := range tree(t) {
		if f.lines > longestFile && !generated(f.text) {
			t.Errorf("%s has %d lines, at most %d: split it by what the parts are about", f.path, f.lines, longestFile)
		}
		if f.test || generated(f.text) {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := int(fn.Pos()-f.ast.FileStart), int(fn.End()-f.ast.FileStart)
			if n := strings.Count(f.text[from:to], "\n"); n > longestFunction {
				t.Errorf("%s: func %s has %d lines, at most %d", f.path, fn.Name.Name, n, longestFunction)
			}
		}
	}
}

var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func generated(text string) bool { return generatedMark.MatchString(text) }

// Generated C headers carry the same mark as Go files, so that `make verify-generated` finds them.
func TestGeneratedFilesAreMarked(t *testing.T) {
	for _, p := range []string{"host/datapath/bpf/reasons.h"} {
		b, err := os.ReadFile(filepath.Join("..", "..", p))
		if err != nil {
			t.Errorf("generated file: %v", err)
			continue
		}
		head, _, _ := strings.Cut(string(b), "\n")
		if !strings.Contains(head, "Code generated") || !strings.Contains(head, "DO NOT EDIT") {
			t.Errorf("%s: the first line is %q, want the mark of a generated file", p, head)
		}
	}
	for _, f := range tree(t) {
		base := filepath.Base(f.path)
		if (strings.HasSuffix(base, "_bpfel.go") || strings.HasPrefix(base, "zz_") || strings.HasSuffix(base, "_gen.go")) && !generated(f.text) {
			t.Errorf("%s looks generated and does not say so", f.path)
		}
	}
}

// Unfinished work is written as an issue, not into the source.
func TestNoLeftovers(t *testing.T) {
	words := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	for _, f := range tree(t) {
		for i, line := range strings.Split(f.text, "\n") {
			if words.MatchString(line) {
				t.Errorf("%s:%d: %s", f.path, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// A root test is skipped for one reason only: nobody is root. Everything else it needs is there or is a failure.
func TestSkipsOnlyWithoutRoot(t *testing.T) {
	for _, f := range tree(t) {
		if !f.test || under(f.pkg, "test/house") {
			continue
		}
		lines := strings.Split(f.text, "\n")
		for i, line := range lines {
			if !regexp.MustCompile(`\.Skip(f|Now)?\(`).MatchString(line) {
				continue
			}
			around := strings.Join(lines[max(0, i-8):i+1], "\n")
			if !strings.Contains(around, "Geteuid") && !strings.Contains(around, "RINGFENCE_SOAK") {
				t.Errorf("%s:%d: a skip that is not about root: %s", f.path, i+1, strings.TrimSpace(line))
			}
		}
	}
}
