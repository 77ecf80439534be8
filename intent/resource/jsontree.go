package resource

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// get finds a member of an object in any casing; nil for none. It works on nil.
func (n *node) get(names ...string) *node {
	for _, name := range names {
		if n == nil || n.kind != kindObject {
			return nil
		}
		var found *node
		for i := range n.members {
			if strings.EqualFold(n.members[i].name, name) {
				found = n.members[i].value
				break
			}
		}
		n = found
	}
	return n
}

// set replaces or appends a member.
func (n *node) set(name string, v *node) {
	for i := range n.members {
		if strings.EqualFold(n.members[i].name, name) {
			n.members[i].value = v
			return
		}
	}
	n.members = append(n.members, member{name: name, value: v})
}

// text is a string's value, "" for anything else and for nil.
func (n *node) text() string {
	if n == nil {
		return ""
	}
	return n.str
}

// int is an integer's value.
func (n *node) int() (int64, bool) {
	if n == nil || n.kind != kindNumber {
		return 0, false
	}
	v, err := strconv.ParseInt(string(n.raw), 10, 64)
	return v, err == nil
}

func (n *node) isTrue() bool { return n != nil && n.kind == kindBool && string(n.raw) == "true" }

// list is an array's elements; nil for nothing.
func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.elems
}

// texts is an array of strings.
func (n *node) texts() []string {
	var out []string
	for _, e := range n.list() {
		out = append(out, e.text())
	}
	return out
}

// append writes the value compactly.
func (n *node) append(b []byte) []byte {
	switch n.kind {
	case kindObject:
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, m.name)
			b = append(b, ':')
			b = m.value.append(b)
		}
		return append(b, '}')
	case kindArray:
		b = append(b, '[')
		for i, e := range n.elems {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b)
		}
		return append(b, ']')
	case kindNull:
		return append(b, "null"...)
	}
	return append(b, n.raw...)
}

// appendString writes a JSON string without escaping for HTML.
func appendString(b []byte, s string) []byte {
	if plain(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return append(b, `""`...) // a Go string always encodes
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// jsonString makes a string node.
func jsonString(s string) *node {
	return &node{kind: kindString, str: s, raw: appendString(nil, s)}
}
