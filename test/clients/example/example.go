// Package example reads what Azure's SDK says about itself: the operations that its clients know, and the requests that its own examples send.
//
// In: the source of an SDK module, as it lies in the module cache. Out: operations with method and path, and examples that can be
// sent with the SDK's clients, evaluated without being compiled. The conformance test owns it.
package example

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Source is an SDK module's source.
type Source struct {
	Dir       string
	Constants map[string]string // name → value, of enumerations
	Kinds     []any             // a value of each type that stands where an interface is wanted
	fset      *token.FileSet
}

// Operation is one thing that a client can ask for.
type Operation struct {
	Client, Method string // SecurityRulesClient, BeginDelete
	Verb, Path     string // DELETE, with names in braces
}

// Example is one request as the SDK's documentation shows it.
type Example struct {
	Client, Method string
	Name           string // of the file that defines it
	call           *ast.CallExpr
}

// Open finds a module's source; the module is one of the test's own.
func Open(module string) (*Source, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return nil, fmt.Errorf("find module %s: %w", module, err)
	}
	s := &Source{Dir: strings.TrimSpace(string(out)), Constants: map[string]string{}, fset: token.NewFileSet()}
	f, err := s.parse(filepath.Join(s.Dir, "constants.go"))
	if err != nil {
		return nil, err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			s.Constants[v.Names[0].Name], _ = strconv.Unquote(lit.Value)
		}
		return true
	})
	return s, nil
}

func (s *Source) parse(path string) (*ast.File, error) {
	f, err := parser.ParseFile(s.fset, path, nil, parser.ParseComments)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", path, err)
	}
	return f, nil
}

func (s *Source) files(suffix string) ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	var out []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			out = append(out, filepath.Join(s.Dir, e.Name()))
		}
	}
	return out, nil
}

// Operations lists what the module's clients can ask for, by client and method.
func (s *Source) Operations() ([]Operation, error) {
	files, err := s.files("client.go")
	if err != nil {
		return nil, err
	}
	var all []Operation
	for _, path := range files {
		f, err := s.parse(path)
		if err != nil {
			return nil, err
		}
		all = append(all, operationsOf(f)...)
	}
	slices.SortFunc(all, func(a, b Operation) int {
		return strings.Compare(a.Client+" "+a.Method, b.Client+" "+b.Method)
	})
	return all, nil
}

func operationsOf(f *ast.File) []Operation {
	var out []Operation
	public := map[string]string{} // an abbreviation is written in capitals in one name and not in the other
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Name.IsExported() {
			public[strings.ToLower(fn.Name.Name)] = fn.Name.Name
		}
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || !strings.HasSuffix(fn.Name.Name, "CreateRequest") {
			continue
		}
		word := strings.TrimSuffix(fn.Name.Name, "CreateRequest")
		word = strings.ToUpper(word[:1]) + word[1:]
		op := Operation{Client: receiver(fn)}
		for _, name := range []string{"Begin" + word, "New" + word + "Pager", word} {
			if op.Method == "" {
				op.Method = public[strings.ToLower(name)]
			}
		}
		op.Verb, op.Path = request(fn)
		if op.Method != "" && op.Path != "" {
			out = append(out, op)
		}
	}
	return out
}

func receiver(fn *ast.FuncDecl) string {
	if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
		return star.X.(*ast.Ident).Name
	}
	return ""
}

// request reads method and path where a client makes its request.
func request(fn *ast.FuncDecl) (verb, path string) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			id, isID := n.Lhs[0].(*ast.Ident)
			lit, isLit := n.Rhs[0].(*ast.BasicLit)
			if isID && isLit && id.Name == "urlPath" && path == "" {
				path, _ = strconv.Unquote(lit.Value)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "http" && strings.HasPrefix(n.Sel.Name, "Method") {
				verb = strings.ToUpper(strings.TrimPrefix(n.Sel.Name, "Method"))
			}
		}
		return true
	})
	return verb, path
}

var definition = regexp.MustCompile(`/examples/(.+)\.json`)

// Examples lists the module's examples, in the order of its files.
func (s *Source) Examples() ([]Example, error) {
	files, err := s.files("_client_example_test.go")
	if err != nil {
		return nil, err
	}
	var all []Example
	for _, path := range files {
		f, err := s.parse(path)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(fn.Name.Name, "Example") {
				continue
			}
			e := Example{Name: fn.Name.Name}
			if m := definition.FindStringSubmatch(fn.Doc.Text()); m != nil {
				e.Name = m[1]
			}
			if e.find(fn); e.call == nil {
				return nil, fmt.Errorf("%s: no call of a client in %s", path, fn.Name.Name)
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// find looks for clientFactory.NewSomeClient().Method(…).
func (e *Example) find(fn *ast.FuncDecl) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		client, ok := method.X.(*ast.CallExpr)
		if !ok {
			return true
		}
		maker, ok := client.Fun.(*ast.SelectorExpr)
		if x, isID := maker.X.(*ast.Ident); ok && isID && x.Name == "clientFactory" {
			e.call, e.Client, e.Method = call, strings.TrimPrefix(maker.Sel.Name, "New"), method.Sel.Name
		}
		return true
	})
}
