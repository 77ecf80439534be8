package load

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
)

// Bounds of one file: no export comes near.
const (
	largestFile = 256 << 20
	deepest     = 100
)

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
	kindUnknown // a value that is known only when it was applied
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "an array", "an object", "not known"}[k]
}

// node is one JSON value with the line it begins at.
type node struct {
	kind    kind
	text    string // of a string: its value; of a number and of a boolean: as written
	members []member
	items   []*node
	line    int
}

type member struct {
	name  string
	value *node
}

// get finds a member in any casing along a path; nil when there is none or when it is null. It works on nil.
func (n *node) get(names ...string) *node {
	for _, name := range names {
		if n == nil {
			return nil
		}
		var found *node
		for i := range n.members {
			if strings.EqualFold(n.members[i].name, name) {
				found = n.members[i].value
				break
			}
		}
		if found != nil && found.kind == kindNull {
			found = nil
		}
		n = found
	}
	return n
}

func (n *node) str() string {
	if n == nil || n.kind != kindString {
		return ""
	}
	return n.text
}

func (n *node) list() []*node {
	if n == nil {
		return nil
	}
	return n.items
}

func (n *node) isTrue() bool { return n != nil && n.kind == kindBool && n.text == "true" }

// set replaces or appends a member.
func (n *node) set(name string, v *node) {
	for i := range n.members {
		if strings.EqualFold(n.members[i].name, name) {
			n.members[i] = member{name, v}
			return
		}
	}
	n.members = append(n.members, member{name, v})
}

// drop takes a member out.
func (n *node) drop(name string) {
	for i := range n.members {
		if strings.EqualFold(n.members[i].name, name) {
			n.members = append(n.members[:i:i], n.members[i+1:]...)
			return
		}
	}
}

func text(s string, line int) *node    { return &node{kind: kindString, text: s, line: line} }
func number(s string, line int) *node  { return &node{kind: kindNumber, text: s, line: line} }
func object(line int) *node            { return &node{kind: kindObject, line: line} }
func array(line int, n ...*node) *node { return &node{kind: kindArray, items: n, line: line} }

// reference is the object that refers to an id.
func reference(id string, line int) *node {
	return &node{kind: kindObject, line: line, members: []member{{"id", text(id, line)}}}
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
			b = append(appendString(b, m.name), ':')
			b = m.value.append(b)
		}
		return append(b, '}')
	case kindArray:
		b = append(b, '[')
		for i, e := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b)
		}
		return append(b, ']')
	case kindString:
		return appendString(b, n.text)
	case kindNull, kindUnknown:
		return append(b, "null"...)
	}
	return append(b, n.text...)
}

func appendString(b []byte, s string) []byte {
	raw, err := json.Marshal(s)
	if err != nil {
		return append(b, `""`...) // a Go string always encodes
	}
	return append(b, raw...)
}

// errAt is a fault of a file's text.
type errAt struct {
	line int
	msg  string
}

func (e *errAt) Error() string { return e.msg }

// parseJSON reads exactly one value. A member that stands twice, in whatever casing, is refused: which one counts would be a guess.
func parseJSON(data []byte) (*node, error) {
	if len(data) > largestFile {
		return nil, &errAt{1, fmt.Sprintf("the file has %d bytes, at most %d are read", len(data), largestFile)}
	}
	p := &parser{data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err == nil {
		if _, more := p.dec.Token(); more != io.EOF {
			err = fmt.Errorf("the text goes on after the first value")
		}
	}
	if err == nil {
		return n, nil
	}
	var at *errAt
	if errors.As(err, &at) {
		return nil, at
	}
	var syntax *json.SyntaxError
	off := p.dec.InputOffset()
	if errors.As(err, &syntax) {
		off = max(off, syntax.Offset-1)
	}
	msg := "it is no valid JSON: " + err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		msg, off = "it is no valid JSON: it ends in the middle of a value", int64(len(data))
	}
	return nil, &errAt{p.lineAt(off), msg}
}

type parser struct {
	data []byte
	dec  *json.Decoder
	off  int64
	line int
}

// lineAt counts on from where it was asked last.
func (p *parser) lineAt(off int64) int {
	off = min(off, int64(len(p.data)))
	if off > p.off {
		p.line += bytes.Count(p.data[p.off:off], []byte{'\n'})
		p.off = off
	}
	return p.line
}

func (p *parser) value(depth int) (*node, error) {
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &node{line: p.lineAt(p.dec.InputOffset())}
	if depth > deepest {
		return nil, &errAt{n.line, fmt.Sprintf("it is nested deeper than %d levels", deepest)}
	}
	switch v := tok.(type) {
	case json.Delim:
		if v == '{' {
			return n, p.object(n, depth)
		}
		return n, p.array(n, depth)
	case string:
		n.kind, n.text = kindString, v
	case json.Number:
		n.kind, n.text = kindNumber, v.String()
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(v)
	}
	return n, nil
}

func (p *parser) object(n *node, depth int) error {
	n.kind = kindObject
	seen := map[string]bool{}
	for p.dec.More() {
		tok, err := p.dec.Token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		if low := strings.ToLower(name); seen[low] {
			return &errAt{p.lineAt(p.dec.InputOffset()), fmt.Sprintf("the member %q stands twice in one object", name)}
		} else {
			seen[low] = true
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name, v})
	}
	_, err := p.dec.Token()
	return err
}

func (p *parser) array(n *node, depth int) error {
	n.kind = kindArray
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	_, err := p.dec.Token()
	return err
}

// plain gives a file's text as UTF-8 without byte order mark: what is redirected to a file in PowerShell is UTF-16.
func plain(data []byte) []byte {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return data[3:]
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		return fromUTF16(data[2:], binary.LittleEndian)
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		return fromUTF16(data[2:], binary.BigEndian)
	}
	return data
}

func fromUTF16(data []byte, order binary.ByteOrder) []byte {
	units := make([]uint16, len(data)/2)
	for i := range units {
		units[i] = order.Uint16(data[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}
