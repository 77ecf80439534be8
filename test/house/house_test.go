// Package house holds the rules of the house as tests: who may import whom, who owns which library, what a package may be called,
// how long a file may grow. In: the source tree, parsed without loading dependencies. Out: a sentence per breach. It is nobody's dependency.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "ringfence"

// file is one Go file of the tree.
type file struct {
	path    string // relative to the module, with slashes
	pkg     string // folder relative to the module; "" for the root
	name    string // package clause
	test    bool
	main    bool
	doc     string
	lines   int
	imports []string
	ast     *ast.File
	text    string
}

// own is what an import is called inside the house: "" for a foreign one.
func own(imp string) string {
	if rest, ok := strings.CutPrefix(imp, module+"/"); ok {
		return rest
	}
	return ""
}

// tree parses every Go file of the module (not of test/clients, which is a module of its own).
func tree(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel == "test/clients" || rel == "bin" || d.Name() == "testdata" || rel != "." && strings.HasPrefix(d.Name(), ".") {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") {
			files = append(files, parse(t, p, rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files found: the walk is wrong", len(files))
	}
	return files
}

func parse(t *testing.T, p, rel string) file {
	t.Helper()
	src, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parser.ParseFile(token.NewFileSet(), rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	dir := path.Dir(rel)
	if dir == "." {
		dir = ""
	}
	f := file{path: rel, pkg: dir, name: a.Name.Name, test: strings.HasSuffix(rel, "_test.go"), ast: a, text: string(src),
		main: a.Name.Name == "main", doc: a.Doc.Text(), lines: strings.Count(string(src), "\n")}
	for _, i := range a.Imports {
		s, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		f.imports = append(f.imports, s)
	}
	return f
}

// under tells whether pkg is dir or below it.
func under(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }
