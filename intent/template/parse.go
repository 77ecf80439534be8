package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Template is a template's text, read and checked for its outer form. It can be expanded any number of times.
type Template struct {
	text     []byte
	root     *node
	symbolic bool // resources are an object of symbolic names (language version 2.0)
}

// largestText bounds a template, as Azure does.
const largestText = 4 << 20

var topLevel = []string{"$schema", "languageVersion", "contentVersion", "apiProfile", "metadata", "parameters", "variables",
	"resources", "outputs", "functions", "definitions", "extensions", "imports"}

// unsupported sections are refused when they are not empty.
var unsupported = map[string]string{
	"functions":   "user-defined functions",
	"definitions": "type definitions",
	"extensions":  "extensions",
	"imports":     "imports",
}

// Parse reads a template's text and checks its outer form.
func Parse(text []byte) (*Template, error) {
	if len(text) > largestText {
		return nil, Faults{{Code: CodeInvalidTemplate, Message: fmt.Sprintf("the template has %d bytes, at most %d are allowed", len(text), largestText)}}
	}
	root, err := parseJSON(text)
	if err != nil {
		return nil, Faults{textFault(text, err)}
	}
	t := &Template{text: text, root: root}
	var faults Faults
	refuse := func(n *node, at, format string, args ...any) {
		line, column := position(text, n.off)
		faults = append(faults, Fault{CodeInvalidTemplate, fmt.Sprintf(format, args...), at, line, column})
	}
	if root.kind != kindObject {
		refuse(root, "", "a template is an object, not %s", root.kind)
		return nil, faults
	}
	for _, m := range root.members {
		if !slices.ContainsFunc(topLevel, func(known string) bool { return strings.EqualFold(known, m.name) }) {
			refuse(&node{off: m.off}, m.name, "a template has no member '%s'; there are: %s", m.name, strings.Join(topLevel, ", "))
		}
		if what := unsupported[m.name]; what != "" && len(m.value.members)+len(m.value.items) > 0 {
			refuse(m.value, m.name, "%s are not supported", what)
		}
	}
	t.checkForm(refuse)
	if faults != nil {
		return nil, faults
	}
	return t, nil
}

func (t *Template) checkForm(refuse func(n *node, at, format string, args ...any)) {
	if s := t.root.get("$schema"); s != nil {
		name := strings.ToLower(strings.TrimSuffix(s.text, "#"))
		if s.kind != kindString || !strings.HasSuffix(name, "/deploymenttemplate.json") {
			refuse(s, "$schema", "the schema %q is not that of a resource group's template (…/deploymentTemplate.json#); deployments to other scopes are not supported", s.text)
		}
	}
	for _, name := range []string{"parameters", "variables", "outputs"} {
		if n := t.root.get(name); n != nil && n.kind != kindObject {
			refuse(n, name, "'%s' is an object, not %s", name, n.kind)
		}
	}
	switch r := t.root.get("resources"); {
	case r == nil:
		refuse(t.root, "", "the member 'resources' is missing")
	case r.kind == kindObject:
		t.symbolic = true
	case r.kind != kindArray:
		refuse(r, "resources", "'resources' is an array (or, with symbolic names, an object), not %s", r.kind)
	}
}

func textFault(text []byte, err error) Fault {
	f := Fault{Code: CodeInvalidTemplate, Message: err.Error()}
	var j *jsonError
	if errors.As(err, &j) {
		f.Message = "the template is no valid JSON: " + j.msg
		f.Line, f.Column = position(text, j.off)
	}
	return f
}

// Parameter is what a template says about one of its parameters.
type Parameter struct {
	Name     string // as written
	Type     string // lower case: string, securestring, int, bool, object, secureobject, array
	Required bool   // it has no default value
}

// Parameters lists the parameters in the template's order.
func (t *Template) Parameters() []Parameter {
	var out []Parameter
	if n := t.root.get("parameters"); n != nil {
		for _, m := range n.members {
			p := Parameter{Name: m.name, Required: m.value.get("defaultValue") == nil}
			if typ := m.value.get("type"); typ != nil {
				p.Type = strings.ToLower(typ.text)
			}
			out = append(out, p)
		}
	}
	return out
}

// Values reads the values of parameters: a parameter file ({"parameters":{…}}) or the object inside it,
// {"name":{"value":…}}. What comes out is what Expand takes.
func Values(text []byte) (map[string]json.RawMessage, error) {
	out := map[string]json.RawMessage{}
	if len(strings.TrimSpace(string(text))) == 0 {
		return out, nil
	}
	root, err := parseJSON(text)
	if err != nil {
		return nil, Faults{textFault(text, err)}
	}
	at := &path{nil, "parameters"}
	if inner := root.get("parameters"); inner != nil && inner.get("value") == nil {
		root = inner
	}
	if root.kind != kindObject && root.kind != kindNull {
		return nil, Faults{valueFault(text, root, at, "parameters are an object, not %s", root.kind)}
	}
	var faults Faults
	for _, m := range root.members {
		where := at.member(m.name)
		v := m.value.get("value")
		switch {
		case m.value.get("reference") != nil:
			faults = append(faults, valueFault(text, m.value, where, "the value of '%s' is a reference to a key vault, which is not supported", m.name))
		case v == nil:
			faults = append(faults, valueFault(text, m.value, where, "the parameter '%s' has no member 'value'", m.name))
		default:
			raw, err := encodeValue(literal(v))
			if err != nil {
				return nil, err
			}
			out[m.name] = raw
		}
	}
	if faults != nil {
		return nil, faults
	}
	return out, nil
}

func valueFault(text []byte, n *node, at *path, format string, args ...any) Fault {
	line, column := position(text, n.off)
	return Fault{CodeInvalidTemplate, fmt.Sprintf(format, args...), at.String(), line, column}
}

// Strict is the template's text as plain JSON: comments became spaces, line breaks inside strings became escapes, so that
// places in the text stay where they were as far as possible.
func (t *Template) Strict() []byte {
	if json.Valid(t.text) {
		return t.text
	}
	out := make([]byte, 0, len(t.text))
	inString := false
	for i := 0; i < len(t.text); i++ {
		c := t.text[i]
		rest := t.text[i:]
		switch {
		case inString && c == '\\':
			out = append(out, c, t.text[i+1])
			i++
		case inString && strings.IndexByte("\n\r\t", c) >= 0:
			out = append(out, '\\', "nrt"[strings.IndexByte("\n\r\t", c)])
		case c == '"':
			inString = !inString
			out = append(out, c)
		case !inString && (bytes.HasPrefix(rest, []byte("//")) || bytes.HasPrefix(rest, []byte("/*"))):
			p := &jsonParser{text: t.text, pos: i}
			_ = p.space() // a text that was parsed has no comment without end
			for ; i < p.pos; i++ {
				if t.text[i] == '\n' {
					out = append(out, '\n')
				} else {
					out = append(out, ' ')
				}
			}
			i--
		case i < 3 && bytes.HasPrefix(t.text, []byte("\xef\xbb\xbf")):
		default:
			out = append(out, c)
		}
	}
	return out
}
