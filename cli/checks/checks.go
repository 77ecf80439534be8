// Package checks reads what a network shall do and not do: the assertion file, and reachability intents of Azure Virtual Network Manager.
//
// In: the text of a file, YAML or JSON. Out: a File with typed zones and assertions, each with its line; or every fault of the file with its
// line and the path of its field. Nothing is taken in silence: an unknown word is a fault. The command line owns its Files.
package checks

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ringfence/intent/load"
	"ringfence/verify"
)

// Bounds of a file.
const (
	largestFile = 16 << 20
	deepest     = 40
)

// File is an assertion file.
type File struct {
	Name     string
	Tags     map[string][]netip.Prefix // contents of service tags
	Machines []load.Machine            // machines that are assumed beside those of the source
	Checks   verify.Checks
	Lines    map[string]int   // assertion → line
	Lint     map[string]Level // finding → how bad it is
}

// Level says how bad a finding is.
type Level string

// Levels, the worst last.
const (
	Off   Level = "off"
	Info  Level = "info"
	Warn  Level = "warn"
	Error Level = "error"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	File string
	Line int
	Path string
	Text string
}

func (f Fault) Error() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	if f.Path != "" {
		at += ": " + f.Path
	}
	return at + ": " + f.Text
}

// Faults is all of them, in the order of the file.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Read reads a file. The error is Faults.
func Read(name string, data []byte) (*File, error) {
	r := &reader{file: &File{Name: name, Tags: map[string][]netip.Prefix{}, Checks: verify.Checks{Zones: verify.Zones{}}, Lines: map[string]int{}, Lint: map[string]Level{}}}
	if len(data) > largestFile {
		return nil, Faults{{File: name, Text: fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), largestFile)}}
	}
	root, err := r.parse(data)
	if err != nil {
		return nil, err
	}
	if isIntent(root) {
		r.intents(root)
	} else {
		r.root(root)
	}
	if len(r.faults) > 0 {
		slices.SortStableFunc(r.faults, func(a, b Fault) int { return a.Line - b.Line })
		return nil, r.faults
	}
	return r.file, nil
}

type reader struct {
	file   *File
	faults Faults
}

func (r *reader) bad(n *yaml.Node, path, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	r.faults = append(r.faults, Fault{r.file.Name, line, path, fmt.Sprintf(format, args...)})
}

// parse gives the one document of the file. Anchors and aliases are refused: what a line says shall stand in the line.
func (r *reader) parse(data []byte) (root *yaml.Node, err error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, Faults{yamlFault(r.file.Name, err)}
	}
	if err := dec.Decode(&more); err == nil {
		return nil, Faults{{r.file.Name, more.Line, "", "a file holds one document"}}
	}
	if len(doc.Content) != 1 {
		return nil, Faults{{File: r.file.Name, Text: "the file is empty"}}
	}
	r.plain(doc.Content[0], "", 0)
	if len(r.faults) > 0 {
		return nil, r.faults
	}
	return doc.Content[0], nil
}

func yamlFault(name string, err error) Fault {
	f := Fault{File: name, Text: strings.TrimPrefix(err.Error(), "yaml: ")}
	if err.Error() == "EOF" {
		f.Text = "the file is empty"
	}
	var line int
	if n, _ := fmt.Sscanf(f.Text, "line %d:", &line); n == 1 {
		f.Line = line
		_, f.Text, _ = strings.Cut(f.Text, ": ")
	}
	return f
}

// plain refuses what would make the file mean something else than it says.
func (r *reader) plain(n *yaml.Node, path string, depth int) {
	switch {
	case depth > deepest:
		r.bad(n, path, "nested deeper than %d levels", deepest)
		return
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.bad(n, path, "anchors and aliases are not supported")
		return
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode {
				r.bad(key, path, "a name is expected")
			} else if seen[key.Value] {
				r.bad(key, join(path, key.Value), "it stands twice")
			}
			seen[key.Value] = true
			r.plain(n.Content[i+1], join(path, key.Value), depth+1)
		}
		return
	}
	for i, e := range n.Content {
		r.plain(e, fmt.Sprintf("%s[%d]", path, i), depth+1)
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fields visits the members of a mapping; a name without a reader is a fault.
func (r *reader) fields(n *yaml.Node, path string, readers map[string]func(*yaml.Node, string)) {
	if n.Kind != yaml.MappingNode {
		r.bad(n, path, "expected names and values, found %s", what(n))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i], n.Content[i+1]
		read := readers[key.Value]
		if read == nil {
			r.bad(key, join(path, key.Value), "unknown; there are: %s", words(readers))
			continue
		}
		read(v, join(path, key.Value))
	}
}

func words[V any](m map[string]V) string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func what(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "names and values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return fmt.Sprintf("%q", n.Value)
}

// texts reads one word or a list of words.
func (r *reader) texts(n *yaml.Node, path string, each func(n *yaml.Node, path, s string)) {
	switch {
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		for i, e := range n.Content {
			at := fmt.Sprintf("%s[%d]", path, i)
			if e.Kind != yaml.ScalarNode || e.Value == "" || e.Tag == "!!null" {
				r.bad(e, at, "expected a word, found %s", what(e))
				continue
			}
			each(e, at, e.Value)
		}
	case n.Kind == yaml.ScalarNode && n.Value != "" && n.Tag != "!!null":
		each(n, path, n.Value)
	default:
		r.bad(n, path, "expected a word or a list of words, found %s", emptyList(n))
	}
}

func emptyList(n *yaml.Node) string {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		return "an empty list"
	}
	return what(n)
}

// into appends words to a list.
func (r *reader) into(list *[]string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		r.texts(n, path, func(_ *yaml.Node, _, s string) { *list = append(*list, s) })
	}
}

func (r *reader) one(to *string) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
			r.bad(n, path, "expected a word, found %s", what(n))
			return
		}
		*to = n.Value
	}
}

// prefixes reads addresses and prefixes.
func (r *reader) prefixes(list *[]netip.Prefix) func(*yaml.Node, string) {
	return func(n *yaml.Node, path string) {
		r.texts(n, path, func(n *yaml.Node, path, s string) {
			if p, ok := prefix(s); ok {
				*list = append(*list, p)
				return
			}
			r.bad(n, path, "%q is no address and no prefix in CIDR notation without host bits", s)
		})
	}
}

func prefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p == p.Masked() && !p.Addr().Is4In6()
}
