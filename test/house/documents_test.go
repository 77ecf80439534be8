package house

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents that lead through the source; they name files as `path/file.go` and what is in them as `path/file.go:Name`.
var documents = []string{"ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "docs/pipeline.md", "docs/services.md", "docs/api.md", "docs/metrics.md", "docs/backup.md"}

var (
	quoted = regexp.MustCompile("`([^`\n]+)`")
	source = regexp.MustCompile(`^([a-zA-Z0-9_./-]+\.(?:go|c|h|sh|md|json|txt|txtar|yaml))(?::([A-Za-z0-9_.]+))?$`)
)

// What a document says about the source is there: a file that moved or a function that was renamed is moved and renamed in the document too.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	declared := map[string]map[string]bool{}
	for _, f := range tree(t) {
		declared[f.path] = names(f.ast)
	}
	for _, d := range documents {
		b, err := os.ReadFile(filepath.Join("..", "..", d))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(string(b), -1) {
			ref := source.FindStringSubmatch(m[1])
			if ref == nil || !strings.Contains(ref[1], "/") {
				continue
			}
			text, err := os.ReadFile(filepath.Join("..", "..", ref[1]))
			switch {
			case err != nil:
				t.Errorf("%s names %s: %v", d, ref[1], err)
			case ref[2] == "":
			case declared[ref[1]] != nil && !declared[ref[1]][ref[2]]:
				t.Errorf("%s names %s in %s, which declares no such thing", d, ref[2], ref[1])
			case declared[ref[1]] == nil && !strings.Contains(string(text), ref[2]):
				t.Errorf("%s names %s in %s, where it is not", d, ref[2], ref[1])
			}
		}
	}
}

// names are the top-level names of a file; a method is Type.Method.
func names(f *ast.File) map[string]bool {
	out := map[string]bool{}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil && len(d.Recv.List) == 1 {
				typ := d.Recv.List[0].Type
				if star, ok := typ.(*ast.StarExpr); ok {
					typ = star.X
				}
				if ix, ok := typ.(*ast.IndexExpr); ok {
					typ = ix.X
				}
				if id, ok := typ.(*ast.Ident); ok {
					name = id.Name + "." + name
				}
			}
			out[name] = true
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					out[s.Name.Name] = true
				case *ast.ValueSpec:
					for _, n := range s.Names {
						out[n.Name] = true
					}
				}
			}
		}
	}
	return out
}

// The index of folders in ARCHITECTURE.md has a line for every package that is not below another one with a line.
func TestArchitectureNamesEveryRoom(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range tree(t) {
		if seen[f.pkg] {
			continue
		}
		seen[f.pkg] = true
		if !strings.Contains(string(b), "`"+f.pkg+"`") && !strings.Contains(string(b), "`"+f.pkg+"/`") {
			t.Errorf("ARCHITECTURE.md has no line for %s", f.pkg)
		}
	}
}
