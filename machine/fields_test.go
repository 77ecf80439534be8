package machine

import (
	_ "embed"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"
)

// source is where the fields' comments are.
//
//go:embed config.go
var source string

// Field is one field of the configuration, with the comment that it has in the code.
type Field struct{ Path, Text string }

// Fields lists the configuration's fields as docs/configuration.md has them.
func Fields() []Field {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		panic(err) // it was compiled
	}
	types := map[string]*ast.StructType{}
	ast.Inspect(file, func(n ast.Node) bool {
		if t, ok := n.(*ast.TypeSpec); ok {
			if s, ok := t.Type.(*ast.StructType); ok {
				types[t.Name.Name] = s
			}
		}
		return true
	})
	return fieldsOf(types, "Config", "")
}

func fieldsOf(types map[string]*ast.StructType, name, path string) (out []Field) {
	for _, f := range types[name].Fields.List {
		if f.Tag == nil {
			continue // not of the file
		}
		key, options, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml"), ",")
		inner := f.Type
		if p, ok := inner.(*ast.StarExpr); ok {
			inner = p.X
		}
		if id, ok := inner.(*ast.Ident); ok && types[id.Name] != nil {
			at := path
			if options != "inline" {
				at += key + "."
			}
			out = append(out, fieldsOf(types, id.Name, at)...)
			continue
		}
		out = append(out, Field{path + key, strings.TrimSpace(f.Comment.Text())})
	}
	return out
}
