package main

import (
	"fmt"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// types lists for every resource type its path, and its fields by what they do here.
func types() string {
	var b strings.Builder
	for _, t := range resource.Types() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n", t.Name, sentence(t.Help))
		fmt.Fprintf(&b, "%s\n", ways(t))
		for _, e := range []struct {
			effect resource.Effect
			title  string
		}{
			{resource.Enforced, "Fields that mean what they mean on Azure"},
			{resource.NoEffect, "Accepted, kept and answered, without effect here"},
			{resource.Refused, "Refused, because enforcement would differ"},
			{resource.Secret, "Accepted, never kept nor answered"},
			{resource.ReadOnly, "Read-only"},
		} {
			if list := fields(t, e.effect); len(list) > 0 {
				fmt.Fprintf(&b, "- %s: %s\n", e.title, strings.Join(list, ", "))
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	s = strings.ToUpper(s[:1]) + s[1:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// ways says how a type is reached.
func ways(t *resource.Type) string {
	var out []string
	if len(t.Words) > 0 {
		out = append(out, "`ringfence "+strings.Join(t.Words, " ")+"`")
	}
	switch {
	case t.ReadOnly:
		out = append(out, "read and listed only")
	case t.Parent != nil:
		out = append(out, fmt.Sprintf("stored in its %s, with one ETag", t.Parent.Segment()))
	}
	if len(out) == 0 {
		return ""
	}
	return sentence(strings.Join(out, "; ")) + "\n"
}

// fields are the paths of a type's fields with one effect. Of an object without effect the inside is not listed; the path says it all.
func fields(t *resource.Type, effect resource.Effect) []string {
	var out, done []string
	t.Schema.Walk(func(path string, f *resource.Field) {
		inside := slices.ContainsFunc(done, func(d string) bool { return strings.HasPrefix(path, d+".") || strings.HasPrefix(path, d+"[]") })
		if f.Effect != effect || inside || container(f) {
			return
		}
		if f.Effect != resource.Enforced {
			done = append(done, path)
		}
		text := "`" + path + "`"
		if len(f.Harmless) > 0 {
			text += " (but " + strings.Join(f.Harmless, ", ") + ")"
		}
		out = append(out, text)
	})
	return out
}

// container tells whether a field only groups others, which are listed themselves.
func container(f *resource.Field) bool {
	if f.Effect != resource.Enforced {
		return false
	}
	return f.Kind == resource.Object && len(f.Fields) > 0 ||
		f.Kind == resource.Array && f.Elem.Kind == resource.Object && (len(f.Elem.Fields) > 0)
}
