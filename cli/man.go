package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"ringfence/intent/resource"
)

type manCommand struct {
	Dir string `arg:"" help:"Directory to write the pages to."`
}

func (manCommand) Help() string {
	return "Writes one page per command, as ringfence-vm-create.1.\n\nExample:\n  ringfence man /usr/local/share/man/man1"
}

func (c *manCommand) Run(a *app) error {
	t, err := tree(resource.Types())
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	t.each(func(w *word) {
		if err == nil {
			err = os.WriteFile(filepath.Join(c.Dir, w.page()+".1"), []byte(w.man()), 0o644)
		}
	})
	if err != nil {
		return fmt.Errorf("write manual pages: %w", err)
	}
	return nil
}

// page is the name of a word's page.
func (w *word) page() string { return strings.Join(append([]string{"ringfence"}, w.path...), "-") }

// roff escapes text: a backslash, a dash that shall stay one, and a dot or quote that would begin a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", `\(ga`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	var b strings.Builder
	for _, r := range s {
		if r < 128 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\[u%04X]`, r)
		}
	}
	return b.String()
}

func (w *word) man() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`.TH "%s" 1 "" "Ringfence" "Ringfence"`, strings.ToUpper(w.page()))
	line(".SH NAME\n%s \\- %s", roff(w.page()), roff(strings.TrimSuffix(firstLine(w.help), ".")))
	line(".SH SYNOPSIS\n.B %s", roff(strings.Join(append([]string{"ringfence"}, w.path...), " ")))
	if w.sub != nil {
		line(".I command")
	}
	line("[\\fIflags\\fR]")
	for _, a := range w.args {
		name := `\fI` + roff(strings.ToUpper(a.name)) + `\fR`
		if a.many {
			name += " ..."
		}
		if a.optional {
			name = "[" + name + "]"
		}
		line("%s", name)
	}
	line(".SH DESCRIPTION")
	manText(&b, w.help)
	if w.detail != "" {
		line(".PP")
		manText(&b, w.detail)
	}
	if w.args != nil {
		line(".SH ARGUMENTS")
		for _, a := range w.args {
			line(".TP\n\\fI%s\\fR\n%s", roff(strings.ToUpper(a.name)), roff(a.help))
		}
	}
	if w.sub != nil {
		line(".SH COMMANDS")
		for _, s := range w.sub {
			line(".TP\n\\fB%s\\fR\n%s See \\fB%s\\fR(1).", roff(s.name()), roff(firstLine(s.help)), roff(s.page()))
		}
	}
	w.manFlags(&b, "FLAGS", func(f flagWord) bool { return !f.global })
	w.manFlags(&b, "FLAGS OF EVERY COMMAND", func(f flagWord) bool { return f.global })
	line(".SH EXIT STATUS\n0 when all went well, 1 on an error, 2 when the words were wrong, 3 when something was not found; of a command that is run elsewhere, its own.")
	if len(w.path) > 0 {
		up := *w
		up.path = w.path[:len(w.path)-1]
		line(".SH SEE ALSO\n\\fB%s\\fR(1)", roff(up.page()))
	}
	return b.String()
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// manText writes text: indented lines stay as they are, others flow.
func manText(b *strings.Builder, text string) {
	verbatim := false
	for _, l := range strings.Split(text, "\n") {
		indented := strings.HasPrefix(l, "  ")
		switch {
		case indented && !verbatim:
			b.WriteString(".PP\n.nf\n")
		case !indented && verbatim:
			b.WriteString(".fi\n")
		}
		verbatim = indented
		if strings.TrimSpace(l) == "" {
			b.WriteString(".PP\n")
			continue
		}
		b.WriteString(roff(l) + "\n")
	}
	if verbatim {
		b.WriteString(".fi\n")
	}
}

func (w *word) manFlags(b *strings.Builder, title string, of func(flagWord) bool) {
	for _, f := range w.flags {
		if !of(f) {
			continue
		}
		if title != "" {
			fmt.Fprintf(b, ".SH %s\n", title)
			title = ""
		}
		var forms []string
		for _, form := range f.forms() {
			forms = append(forms, `\fB`+roff(form)+`\fR`)
		}
		head := strings.Join(forms, ", ")
		if f.value != "" {
			head += ` \fI` + roff(f.value) + `\fR`
		}
		text := f.help
		if f.required {
			text += " Required."
		}
		if f.repeated {
			text += " May be repeated."
		}
		if f.fallback != "" {
			text += " Default: " + f.fallback + "."
		}
		if len(f.env) > 0 {
			text += " Environment: " + strings.Join(f.env, ", ") + "."
		}
		fmt.Fprintf(b, ".TP\n%s\n%s\n", head, roff(text))
	}
}
