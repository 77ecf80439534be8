package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ringfence/observe"
)

func TestTheDocumentsAreCurrent(t *testing.T) {
	root = "../.."
	files, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	parts := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		parts += strings.Count(string(b), "<!-- generated: ") - len(byTests.FindAllString(string(b), -1))
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

var declaredMap = regexp.MustCompile(`(?m)^(?:MAP\((\w+), MAP_|BLOBS\((\w+), \d|\} (\w+) SEC\("\.maps"\))`)

// Every map of the data plane has its sentence.
func TestEveryMapIsInThePipeline(t *testing.T) {
	doc, err := os.ReadFile("../pipeline.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := filepath.Glob("../../host/datapath/bpf/*.[hc]")
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	for _, f := range sources {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declaredMap.FindAllStringSubmatch(string(b), -1) {
			name := m[1] + m[2] + m[3]
			declared[name] = true
			if !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("%s declares the map %s, which docs/pipeline.md does not explain", filepath.Base(f), name)
			}
		}
	}
	if len(declared) < 20 {
		t.Errorf("only %d maps found: the search is wrong", len(declared))
	}
	_, table, _ := strings.Cut(string(doc), "## Maps")
	table, _, _ = strings.Cut(table, "\n## ")
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|").FindAllStringSubmatch(table, -1) {
		for _, name := range strings.Split(row[1], ", ") {
			if !declared[strings.Trim(name, "`")] {
				t.Errorf("docs/pipeline.md explains the map %s, which is not declared", name)
			}
		}
	}
}
