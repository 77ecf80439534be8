package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ringfence/intent/resource"
)

func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(context.Background(), args, Programs{}, nil, &out, &errOut); code != exitOK {
		t.Fatalf("%v: exit %d: %s", args, code, errOut.String())
	}
	return out.String()
}

// bash completes what the command line takes.
func TestCompletionInBash(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "monday.backup"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	script := printed(t, "completion", "bash") + `
cd "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=()
_ringfence
echo "${COMPREPLY[*]}"
`
	file := filepath.Join(t.TempDir(), "script") // too long for an argument
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for words, want := range map[string]string{
		"ringfence v":                           "verify version vm",
		"ringfence vm ":                         "availability-set create delete exec list show",
		"ringfence vm create --na":              "--name",
		"ringfence --lab vm vm sh":              "show", // the value of a flag is no command
		"ringfence network nsg rule cr":         "create",
		"ringfence vm list -o j":                "json jsonc junit",
		"ringfence vm list --query x":           "",
		"ringfence completion ":                 "bash zsh fish",
		"ringfence restore mon":                 "monday.backup",
		"ringfence restore x --config mon":      "monday.backup",
		"ringfence vm exec web1 -- ringfence v": "",
		"ringfence pro":                         "", // hidden
		"ringfence doctor --su":                 "--subscription",
	} {
		cmd := exec.Command("bash", append([]string{file, dir}, strings.Split(words, " ")...)...)
		out, err := cmd.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%s: %q, want %q (%v)", words, got, want, err)
		}
	}
}

// Each script knows every command and every flag.
func TestCompletionsAreComplete(t *testing.T) {
	words, err := tree(resource.Types())
	if err != nil {
		t.Fatal(err)
	}
	for shell, lines := range map[string]func(w *word, f flagWord) (command, flag string){
		"bash": func(w *word, f flagWord) (string, string) {
			return quoted(strings.Join(w.path, " ")) + ") echo '", "--" + f.name
		},
		"zsh": func(w *word, f flagWord) (string, string) {
			return quoted(strings.Join(w.path, " ")) + ") echo '", "--" + f.name
		},
		"fish": func(w *word, f flagWord) (string, string) {
			at := "complete -c ringfence -n " + quoted("__ringfence_at "+quoted(strings.Join(w.path, " ")))
			return at, at + " -l " + f.name
		},
	} {
		script, n := printed(t, "completion", shell), 0
		words.each(func(w *word) {
			for _, f := range w.flags {
				n++
				command, flag := lines(w, f)
				if !strings.Contains(script, command) || !strings.Contains(script, flag) {
					t.Errorf("%s: nothing about --%s of %v", shell, f.name, w.path)
				}
			}
		})
		if n < 500 {
			t.Errorf("only %d flags of all commands", n)
		}
	}
}

// Every command has a page that names each of its flags and shows its examples as they are.
func TestManualPages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	printed(t, "man", dir)
	words, err := tree(resource.Types())
	if err != nil {
		t.Fatal(err)
	}
	pages := 0
	words.each(func(w *word) {
		pages++
		b, err := os.ReadFile(filepath.Join(dir, w.page()+".1"))
		if err != nil {
			t.Error(err)
			return
		}
		text := string(b)
		for _, f := range w.flags {
			if !strings.Contains(text, `\fB`+roff("--"+f.name)+`\fR`) {
				t.Errorf("%s does not name --%s", w.page(), f.name)
			}
		}
		for _, s := range w.sub {
			if !strings.Contains(text, roff(s.page())+`\fR(1)`) {
				t.Errorf("%s does not lead to %s", w.page(), s.page())
			}
		}
		if strings.Contains(w.detail, "\n  ringfence") && !strings.Contains(text, "\n.nf\n  ") {
			t.Errorf("%s: examples are not shown as they are", w.page())
		}
		for _, part := range []string{".TH ", "\n.SH NAME\n", "\n.SH SYNOPSIS\n", "\n.SH DESCRIPTION\n", "\n.SH EXIT STATUS\n"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s has no %q", w.page(), part)
			}
		}
		for i, r := range text {
			if r > 126 {
				t.Errorf("%s: %q at %d is no character for roff", w.page(), r, i)
				break
			}
		}
	})
	if files, _ := os.ReadDir(dir); len(files) != pages || pages < 60 {
		t.Errorf("%d files, %d commands", len(files), pages)
	}
	for in, want := range map[string]string{`.x -y \z`: `\&.x \-y \ez`, "'a": `\&'a`, "a…": `a\[u2026]`} {
		if got := roff(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
