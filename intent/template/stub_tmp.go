package template

import "encoding/json"

type Template struct{}
type lateBody struct{}
type outputs struct{}

func (l *lateBody) resolve(read Reader) (json.RawMessage, error) { return nil, nil }
func (l *outputs) resolve(read Reader) (json.RawMessage, error)  { return nil, nil }

// Parse reads a template's text.
func Parse(text []byte) (*Template, error) { return nil, Faults{{Code: CodeInvalidTemplate}} }

// Expand evaluates.
func Expand(t *Template, params map[string]json.RawMessage, env Env) (*Plan, error) { return nil, nil }
