package cli

import (
	"fmt"
	"io"
	"strings"

	"ringfence/intent/resource"
)

type completionCommand struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (completionCommand) Help() string {
	return `Prints a script for the shell. It completes commands, flags, values that are a choice, and files; it asks no server.

Examples:
  source <(ringfence completion bash)
  ringfence completion bash > /usr/share/bash-completion/completions/ringfence
  ringfence completion zsh > /usr/share/zsh/vendor-completions/_ringfence
  ringfence completion fish > /usr/share/fish/vendor_completions.d/ringfence.fish`
}

func (c *completionCommand) Run(a *app) error {
	t, err := tree(resource.Types())
	if err != nil {
		return err
	}
	script := map[string]func(*word) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	_, err = io.WriteString(a.out, script(t))
	return err
}

// quoted is text as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// marks in the tables of the scripts: what follows a flag.
const (
	anyFile  = "@file"
	anyValue = "@value"
)

// follows is what the scripts offer after a flag: its choices, files, nothing; "" for a flag that takes no value.
func (f flagWord) follows() string {
	switch {
	case f.value == "":
		return ""
	case f.enum != nil:
		return strings.Join(f.enum, " ")
	case f.file:
		return anyFile
	}
	return anyValue
}

// first is what the scripts offer as a command's first argument.
func (w *word) first() string {
	switch {
	case len(w.args) == 0:
		return ""
	case w.args[0].file:
		return anyFile
	}
	return strings.Join(w.args[0].enum, " ")
}

func (f flagWord) forms() []string {
	out := []string{"--" + f.name}
	if f.short != 0 {
		out = append(out, "-"+string(f.short))
	}
	return out
}

// tables are the three functions that the scripts of bash and zsh ask: the commands below a path, its flags, and what follows a flag.
func tables(t *word) string {
	var words, flags, values strings.Builder
	t.each(func(w *word) {
		path := quoted(strings.Join(w.path, " "))
		var names []string
		for _, s := range w.sub {
			names = append(names, s.name())
		}
		if w.sub != nil {
			fmt.Fprintf(&words, "    %s) echo %s;;\n", path, quoted(strings.Join(names, " ")))
		}
		var forms []string
		for _, f := range w.flags {
			forms = append(forms, f.forms()...)
			if v := f.follows(); v != "" {
				pattern := make([]string, 0, 2)
				for _, form := range f.forms() {
					pattern = append(pattern, quoted(strings.Join(w.path, " ")+" "+form))
				}
				fmt.Fprintf(&values, "    %s) echo %s;;\n", strings.Join(pattern, "|"), quoted(v))
			}
		}
		fmt.Fprintf(&flags, "    %s) echo %s;;\n", path, quoted(strings.Join(forms, " ")))
		if first := w.first(); first != "" {
			fmt.Fprintf(&values, "    %s) echo %s;;\n", quoted(strings.Join(w.path, " ")+" "), quoted(first))
		}
	})
	return "_ringfence_words() {\n  case $1 in\n" + words.String() + "  esac\n}\n" +
		"_ringfence_flags() {\n  case $1 in\n" + flags.String() + "  esac\n}\n" +
		"_ringfence_values() {\n  case \"$1 $2\" in\n" + values.String() + "  esac\n}\n"
}

const bashHead = "# bash completion for ringfence, made by `ringfence completion bash`\n"

// bashBody walks the words before the cursor down the tree and offers what may come next. After a lone -- it is another program's turn.
const bashBody = `_ringfence() {
  local cur=${COMP_WORDS[COMP_CWORD]} path= i=1 w next=
  while ((i < COMP_CWORD)); do
    w=${COMP_WORDS[i]}
    case $w in
      --) COMPREPLY=(); compopt -o default 2>/dev/null; return;;
      -*) next=$(_ringfence_values "$path" "$w")
          if [[ -n $next ]]; then
            if ((i + 1 == COMP_CWORD)); then break; fi
            i=$((i + 1)); next=
          fi;;
      *) case " $(_ringfence_words "$path") " in *" $w "*) path=${path:+$path }$w;; esac;;
    esac
    i=$((i + 1))
  done
  if [[ -z $next ]]; then
    case $cur in
      -*) next=$(_ringfence_flags "$path");;
      *) next=$(_ringfence_words "$path"); [[ -n $next ]] || next=$(_ringfence_values "$path" '');;
    esac
  fi
  case $next in
    @file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur");;
    @value) COMPREPLY=();;
    *) mapfile -t COMPREPLY < <(compgen -W "$next" -- "$cur");;
  esac
}
complete -F _ringfence ringfence
`

func bashScript(t *word) string { return bashHead + tables(t) + bashBody }

const zshBody = `_ringfence() {
  local cur=${words[CURRENT]} cmdpath= i=2 w next=
  while ((i < CURRENT)); do
    w=${words[i]}
    case $w in
      --) _default; return;;
      -*) next=$(_ringfence_values "$cmdpath" "$w")
          if [[ -n $next ]]; then
            if ((i + 1 == CURRENT)); then break; fi
            i=$((i + 1)); next=
          fi;;
      *) case " $(_ringfence_words "$cmdpath") " in *" $w "*) cmdpath=${cmdpath:+$cmdpath }$w;; esac;;
    esac
    i=$((i + 1))
  done
  if [[ -z $next ]]; then
    case $cur in
      -*) next=$(_ringfence_flags "$cmdpath");;
      *) next=$(_ringfence_words "$cmdpath"); [[ -n $next ]] || next=$(_ringfence_values "$cmdpath" '');;
    esac
  fi
  case $next in
    @file) _files;;
    @value) ;;
    *) compadd -- ${=next};;
  esac
}
if [[ ${funcstack[1]} == _ringfence ]]; then _ringfence "$@"; else compdef _ringfence ringfence; fi
`

func zshScript(t *word) string {
	return "#compdef ringfence\n# zsh completion for ringfence, made by `ringfence completion zsh`\n" + tables(t) + zshBody
}

// fishBody is true when the words before the cursor lead to the given path, and to no command below it.
const fishBody = `function __ringfence_at
    set -l path
    set -l skip 0
    for w in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
        else if test "$w" = --
            return 1
        else if string match -q -- '-*' $w
            contains -- $w $__ringfence_valued; and set skip 1
        else if contains -- (string join ' ' $path $w) $__ringfence_paths
            set path $path $w
        end
    end
    test "$argv[1]" = "$path"
end
complete -c ringfence -f
`

func fishScript(t *word) string {
	var b, rules strings.Builder
	var paths []string
	valued := map[string]bool{}
	t.each(func(w *word) {
		path := strings.Join(w.path, " ")
		if path != "" {
			paths = append(paths, quoted(path))
		}
		at := "complete -c ringfence -n " + quoted("__ringfence_at "+quoted(path))
		for _, s := range w.sub {
			fmt.Fprintf(&rules, "%s -a %s -d %s\n", at, s.name(), quoted(s.help))
		}
		for _, f := range w.flags {
			fmt.Fprintf(&rules, "%s -l %s", at, f.name)
			if f.short != 0 {
				fmt.Fprintf(&rules, " -s %c", f.short)
			}
			switch v := f.follows(); v {
			case "":
			case anyFile:
				rules.WriteString(" -r -F")
			case anyValue:
				rules.WriteString(" -x")
			default:
				fmt.Fprintf(&rules, " -x -a %s", quoted(v))
			}
			if f.value != "" {
				for _, form := range f.forms() {
					valued[form] = true
				}
			}
			fmt.Fprintf(&rules, " -d %s\n", quoted(f.help))
		}
		switch first := w.first(); first {
		case "":
		case anyFile:
			fmt.Fprintf(&rules, "%s -F\n", at)
		default:
			fmt.Fprintf(&rules, "%s -a %s\n", at, quoted(first))
		}
	})
	b.WriteString("# fish completion for ringfence, made by `ringfence completion fish`\n")
	fmt.Fprintf(&b, "set -g __ringfence_paths %s\nset -g __ringfence_valued %s\n", strings.Join(paths, " "), strings.Join(sortedKeys(valued), " "))
	return b.String() + fishBody + rules.String()
}
