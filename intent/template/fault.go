package template

import (
	"fmt"
	"strings"
)

// Fault is one reason why a template is refused, at its place in the template's text.
type Fault struct {
	Code    string // Azure's error code: InvalidTemplate, InvalidResourceType …
	Message string // one sentence
	Path    string // resources[0].properties.subnets[1].name
	Line    int    // 1-based; 0 when the fault is not about a place in the text (a parameter's value)
	Column  int    // 1-based, in bytes
}

func (f Fault) Error() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.Code, f.Message)
	}
	return fmt.Sprintf("%s: %s (%s, line %d, column %d)", f.Code, f.Message, f.Path, f.Line, f.Column)
}

// Faults is every fault that was found, in the order of the text.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Codes that the engine gives.
const (
	CodeInvalidTemplate     = "InvalidTemplate"
	CodeInvalidResourceType = "InvalidResourceType"
)
