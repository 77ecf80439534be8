package house

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// pure packages are functions of their arguments: the same input gives the same bytes, on every machine and at every time.
var pure = []string{"goal", "goal/model", "observe", "intent/resource", "compile", "intent/template", "intent/load", "verify", "verify/space"}

// impure standard packages bring a clock, randomness, I/O or concurrency with them.
var impure = []string{
	"os", "net", "net/http", "time", "math/rand", "math/rand/v2", "crypto/rand", "log", "log/slog", "syscall", "io/ioutil",
	"sync", "sync/atomic", "context", "runtime", "unsafe", "os/exec", "embed",
}

// exempt lists pairs of a pure package and an import that is harmless there, with the reason.
var exempt = map[string]string{
	"compile sync":         "the memo of compiled groups is shared between writes",
	"goal/model time":      "the clock is a duration that the caller adds to",
	"observe time":         "a drop's time is a value that the kernel reported",
	"intent/template time": "utcNow's and dateTimeAdd's values are computed from the deployment's own time",
}

func TestPurePackages(t *testing.T) {
	for _, f := range tree(t) {
		if f.test || f.main || !slices.Contains(pure, f.pkg) {
			continue
		}
		for _, imp := range f.imports {
			if own(imp) == "" && strings.Contains(strings.Split(imp, "/")[0], ".") {
				t.Errorf("%s imports %s: a pure package needs the standard library only", f.path, imp)
			}
			if slices.Contains(impure, imp) && exempt[f.pkg+" "+imp] == "" {
				t.Errorf("%s imports %s: %s is pure", f.path, imp, f.pkg)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a go statement at offset %d: %s is pure", f.path, g.Pos(), f.pkg)
			}
			return true
		})
		for _, clock := range []string{"time.Now(", "time.Since(", "time.After(", "time.Sleep("} {
			if strings.Contains(f.text, clock) {
				t.Errorf("%s calls %s): %s knows no clock", f.path, clock, f.pkg)
			}
		}
	}
}
