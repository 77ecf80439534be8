package cli

import (
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"ringfence/intent/resource"
)

// word is one command or group of commands, as completion scripts and manual pages need it. Hidden ones are left out.
type word struct {
	path   []string // without the program's name; empty for the program itself
	help   string
	detail string
	flags  []flagWord // its own and those of the groups above it
	args   []argument
	sub    []*word // sorted by name
}

type flagWord struct {
	name, help, value string // value: what its value is called, empty when it takes none
	short             rune
	enum              []string
	file              bool // the value is a file's name
	env               []string
	global, required  bool
	repeated          bool
	fallback          string // default
}

type argument struct {
	name, help           string
	file, many, optional bool
	enum                 []string
}

// tree reads the whole command line.
func tree(types []*resource.Type) (*word, error) {
	parser, err := kong.New(newCommands(types), options(io.Discard, io.Discard, func(int) {})...)
	if err != nil {
		return nil, err
	}
	return wordOf(parser.Model.Node, nil, nil), nil
}

func wordOf(n *kong.Node, path []string, above []flagWord) *word {
	w := &word{path: path, help: n.Help, detail: n.Detail, flags: slices.Clone(above)}
	for _, f := range n.Flags {
		if !f.Hidden {
			w.flags = append(w.flags, flagOf(f))
		}
	}
	for _, p := range n.Positional {
		w.args = append(w.args, argument{name: p.Name, help: p.Help, file: isFile(p), many: p.IsCumulative() || p.Passthrough, optional: !p.Required, enum: choices(p)})
	}
	for _, c := range n.Children {
		if !c.Hidden && c.Type == kong.CommandNode {
			w.sub = append(w.sub, wordOf(c, append(slices.Clone(path), c.Name), w.flags))
		}
	}
	slices.SortFunc(w.sub, func(a, b *word) int { return strings.Compare(a.name(), b.name()) })
	return w
}

func flagOf(f *kong.Flag) flagWord {
	out := flagWord{name: f.Name, help: f.Help, short: f.Short, file: isFile(f.Value), env: f.Envs, required: f.Required, repeated: f.IsCumulative(),
		global: f.Group != nil && f.Group.Key == "global" || f.Name == "help"}
	if !f.IsBool() {
		out.value = strings.Trim(f.FormatPlaceHolder(), `"`)
		if f.PlaceHolder == "" {
			out.value = strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		}
		out.fallback = f.Default
	}
	out.enum = choices(f.Value)
	return out
}

// choices are the values that are allowed, nil for any.
func choices(v *kong.Value) (out []string) {
	if v.Enum == "" {
		return nil
	}
	for _, e := range v.EnumSlice() {
		if e != "" {
			out = append(out, e)
		}
	}
	return out
}

func isFile(v *kong.Value) bool {
	return v.Tag != nil && slices.Contains([]string{"existingfile", "path", "existingdir", "filecontent", "namedfilecontent"}, v.Tag.Type)
}

func (w *word) name() string {
	if len(w.path) == 0 {
		return "ringfence"
	}
	return w.path[len(w.path)-1]
}

// each visits a word and all below it.
func (w *word) each(fn func(*word)) {
	fn(w)
	for _, s := range w.sub {
		s.each(fn)
	}
}
