package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ringfence/observe"
)

func TestTheDocumentsAreCurrent(t *testing.T) {
	files, err := filepath.Glob("../*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	parts := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parts += strings.Count(string(b), "<!-- generated: ")
		text, err := fill(string(b))
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		if text != string(b) {
			t.Errorf("%s is not what the code says: run `make generate`", f)
		}
	}
	if parts != len(tables) {
		t.Errorf("the documents have %d generated parts, there are %d tables", parts, len(tables))
	}
}

// Every reason that the kernel counts is explained, and none is explained that does not exist.
func TestEveryReasonIsInThePipeline(t *testing.T) {
	b, err := os.ReadFile("../pipeline.md")
	if err != nil {
		t.Fatal(err)
	}
	order, _, found := strings.Cut(string(b), "<!-- generated: reasons")
	if !found {
		t.Fatal("no table of reasons")
	}
	for _, i := range observe.Reasons() {
		if !strings.Contains(order, "`"+i.Name+"`") {
			t.Errorf("the order of checks does not say where %s is decided", i.Name)
		}
	}
}
