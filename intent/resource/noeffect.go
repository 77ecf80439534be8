package resource

import (
	"fmt"
	"strings"
)

// NoEffects lists the fields of the document that were accepted and mean nothing here, by path in document order.
func NoEffects(d *Doc) []string {
	if d.Type == nil {
		return nil
	}
	var out []string
	noEffects(d.Type.Schema, d.tree(), "", &out)
	return out
}

func noEffects(f *Field, n *node, path string, out *[]string) {
	if n == nil {
		return
	}
	fields := f.vocabulary()
	for _, m := range n.members {
		for _, c := range fields {
			if !strings.EqualFold(c.Name, m.name) {
				continue
			}
			at := join(path, c.Name)
			switch {
			case c.Effect == NoEffect:
				*out = append(*out, at)
			case c.Kind == Object:
				noEffects(c, m.value, at, out)
			case c.Kind == Array && c.Elem.Kind == Object:
				for i, e := range m.value.elems {
					noEffects(c.Elem, e, fmt.Sprintf("%s[%d]", at, i), out)
				}
			}
		}
	}
}
