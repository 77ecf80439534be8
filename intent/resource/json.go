package resource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

// kind is what a JSON value is.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindObject
	kindArray
)

var kindNames = [...]string{"null", "a boolean", "a number", "a string", "an object", "an array"}

// node is one JSON value with its place in the text: order, spelling and duplicates survive, unlike in a map.
type node struct {
	kind    kind
	raw     []byte // text of a scalar
	str     string // value of a string
	members []member
	elems   []*node
	off     int // where it begins
}

type member struct {
	name  string
	value *node
	off   int // where its value's text begins after the name
}

// syntaxError is malformed JSON at an offset.
type syntaxError struct {
	off int
	msg string
}

func (e *syntaxError) Error() string { return e.msg }

// maxDepth bounds nesting: no resource comes near.
const maxDepth = 100

// parseJSON reads exactly one value. Members that differ only in case are refused: which one counts would be a guess.
func parseJSON(text []byte) (*node, error) {
	p := &jsonParser{text: text}
	p.blank()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.blank()
	if p.pos != len(text) {
		return nil, p.fail("Additional text encountered after finished reading JSON content")
	}
	return n, nil
}

type jsonParser struct {
	text []byte
	pos  int
}

func (p *jsonParser) fail(format string, args ...any) error {
	return &syntaxError{p.pos, fmt.Sprintf(format, args...)}
}

func (p *jsonParser) blank() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *jsonParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *jsonParser) value(depth int) (*node, error) {
	if depth > maxDepth {
		return nil, p.fail("nested deeper than %d levels", maxDepth)
	}
	n := &node{off: p.pos}
	switch c := p.peek(); {
	case p.pos >= len(p.text):
		return nil, p.fail("Unexpected end of content")
	case c == '{':
		return n, p.object(n, depth)
	case c == '[':
		return n, p.array(n, depth)
	case c == '"':
		return n, p.string(n)
	default:
		return n, p.scalar(n)
	}
}

func (p *jsonParser) object(n *node, depth int) error {
	n.kind = kindObject
	var seen names
	p.pos++
	for first := true; ; first = false {
		p.blank()
		if p.peek() == '}' {
			p.pos++
			return nil
		}
		if !first {
			if p.peek() != ',' {
				return p.fail("After parsing a value an unexpected character was encountered: want ',' or '}'")
			}
			p.pos++
			p.blank()
		}
		name := &node{}
		if p.peek() != '"' {
			return p.fail("Invalid property identifier character: want '\"'")
		}
		if err := p.string(name); err != nil {
			return err
		}
		if seen.twice(n.members, name.str) {
			return p.fail("Property with the name '%s' occurs twice in one object", name.str)
		}
		p.blank()
		if p.peek() != ':' {
			return p.fail("Invalid character after parsing property name: want ':'")
		}
		p.pos++
		p.blank()
		off := p.pos
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name.str, v, off})
	}
}

// names finds members that differ in case only: by looking along short objects, with a map in long ones.
type names map[string]bool

func (s *names) twice(before []member, name string) bool {
	if len(before) < 16 {
		for i := range before {
			if strings.EqualFold(before[i].name, name) {
				return true
			}
		}
		return false
	}
	if *s == nil {
		*s = names{}
		for i := range before {
			(*s)[fold(before[i].name)] = true
		}
	}
	key := fold(name)
	was := (*s)[key]
	(*s)[key] = true
	return was
}

// fold makes strings equal that strings.EqualFold finds equal.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

func (p *jsonParser) array(n *node, depth int) error {
	n.kind = kindArray
	p.pos++
	for first := true; ; first = false {
		p.blank()
		if p.peek() == ']' {
			p.pos++
			return nil
		}
		if !first {
			if p.peek() != ',' {
				return p.fail("After parsing a value an unexpected character was encountered: want ',' or ']'")
			}
			p.pos++
			p.blank()
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.elems = append(n.elems, v)
	}
}

func (p *jsonParser) string(n *node) error {
	n.kind = kindString
	start := p.pos
	if end := plainEnd(p.text, start+1); end > 0 {
		p.pos = end + 1
		n.raw = p.text[start:p.pos]
		n.str = string(p.text[start+1 : end])
		return nil
	}
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch p.text[p.pos] {
		case '\\':
			p.pos++
		case '"':
			p.pos++
			n.raw = p.text[start:p.pos]
			if !utf8.Valid(n.raw) {
				return p.fail("a string is not valid UTF-8")
			}
			if err := json.Unmarshal(n.raw, &n.str); err != nil {
				return p.fail("a string is not well-formed: %v", err)
			}
			if replaced(n.raw, n.str) {
				return p.fail("a string holds half of a surrogate pair")
			}
			return nil
		}
	}
	return p.fail("Unterminated string. Expected delimiter: \"")
}

// replaced says whether decoding has put a replacement character where the text has none.
func replaced(raw []byte, decoded string) bool {
	const mark = "\uFFFD"
	in := strings.Count(string(raw), mark) + strings.Count(strings.ToLower(string(raw)), `\ufffd`)
	return strings.Count(decoded, mark) > in
}

// plainEnd finds the closing quote of a string of plain ASCII; 0 for any other.
func plainEnd(text []byte, from int) int {
	for i := from; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i
		case c == '\\' || c < ' ' || c >= 0x7f:
			return 0
		}
	}
	return 0
}

func (p *jsonParser) scalar(n *node) error {
	start := p.pos
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n,]}", p.text[p.pos]) < 0 {
		p.pos++
	}
	n.raw = p.text[start:p.pos]
	switch string(n.raw) {
	case "null":
		n.kind = kindNull
		return nil
	case "true", "false":
		n.kind = kindBool
		return nil
	}
	n.kind = kindNumber
	if !json.Valid(n.raw) || len(n.raw) == 0 || strings.IndexByte("-0123456789", n.raw[0]) < 0 {
		p.pos = start
		return p.fail("Unexpected character encountered while parsing value: %s", shorten(string(n.raw)))
	}
	return nil
}

func shorten(s string) string {
	if len(s) > 40 {
		return strings.ToValidUTF8(s[:40], "") + "…"
	}
	return s
}

// position turns an offset into line and column, both from 1.
func position(text []byte, off int) (line, column int) {
	before := text[:min(off, len(text))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}
