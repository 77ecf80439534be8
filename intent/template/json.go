package template

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind of a JSON value.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "an array", "an object"}[k]
}

// node is one JSON value of the text, with the offset at which it begins.
type node struct {
	kind    kind
	off     int
	text    string // of a string, decoded; of a number, as written
	flag    bool
	items   []*node
	members []member
}

type member struct {
	name  string
	off   int
	value *node
}

// get finds a member; names of the template language are matched without regard to case, as Azure does.
func (n *node) get(name string) *node {
	if n == nil {
		return nil
	}
	for i := range n.members {
		if strings.EqualFold(n.members[i].name, name) {
			return n.members[i].value
		}
	}
	return nil
}

const deepest = 200 // nesting of values in the text

// jsonError is a fault of the text at an offset.
type jsonError struct {
	off int
	msg string
}

func (e *jsonError) Error() string { return e.msg }

// parseJSON reads one value. Beyond JSON it takes what Azure's tools take in templates: a byte order mark, comments and
// line breaks inside strings.
func parseJSON(text []byte) (*node, error) {
	p := &jsonParser{text: text}
	if bytes.HasPrefix(text, []byte("\xef\xbb\xbf")) {
		p.pos = 3
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if err := p.space(); err != nil {
		return nil, err
	}
	if p.pos < len(text) {
		return nil, p.fail("the text goes on after the value: %s", p.here())
	}
	return n, nil
}

type jsonParser struct {
	text []byte
	pos  int
}

func (p *jsonParser) fail(format string, args ...any) error {
	return &jsonError{p.pos, fmt.Sprintf(format, args...)}
}

// here shows what stands at the position.
func (p *jsonParser) here() string {
	if p.pos >= len(p.text) {
		return "end of text"
	}
	r, _ := utf8.DecodeRune(p.text[p.pos:])
	return strconv.QuoteRune(r)
}

func (p *jsonParser) peek() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

// space skips white space and comments.
func (p *jsonParser) space() error {
	for p.pos < len(p.text) {
		rest := p.text[p.pos:]
		switch {
		case rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\n' || rest[0] == '\r':
			p.pos++
		case bytes.HasPrefix(rest, []byte("//")):
			if i := bytes.IndexByte(rest, '\n'); i >= 0 {
				p.pos += i + 1
			} else {
				p.pos = len(p.text)
			}
		case bytes.HasPrefix(rest, []byte("/*")):
			i := bytes.Index(rest, []byte("*/"))
			if i < 0 {
				return p.fail("a comment is not closed")
			}
			p.pos += i + 2
		default:
			return nil
		}
	}
	return nil
}

func (p *jsonParser) value(depth int) (*node, error) {
	if depth > deepest {
		return nil, p.fail("values are nested deeper than %d", deepest)
	}
	n := &node{off: p.pos}
	var err error
	switch c := p.peek(); {
	case c == '{':
		n.kind = kindObject
		n.members, err = p.object(depth)
	case c == '[':
		n.kind = kindArray
		n.items, err = p.array(depth)
	case c == '"':
		n.kind = kindString
		n.text, err = p.str()
	case c == '-' || c >= '0' && c <= '9':
		n.kind = kindNumber
		n.text, err = p.number()
	default:
		err = p.word(n)
	}
	return n, err
}

func (p *jsonParser) word(n *node) error {
	for _, w := range []struct {
		text string
		kind kind
		flag bool
	}{{"true", kindBool, true}, {"false", kindBool, false}, {"null", kindNull, false}} {
		if bytes.HasPrefix(p.text[p.pos:], []byte(w.text)) {
			p.pos += len(w.text)
			n.kind, n.flag = w.kind, w.flag
			return nil
		}
	}
	return p.fail("expected a value, found %s", p.here())
}

func (p *jsonParser) object(depth int) ([]member, error) {
	p.pos++
	var out []member
	seen := map[string]bool{}
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		if p.peek() == '}' && len(out) == 0 {
			p.pos++
			return out, nil
		}
		m := member{off: p.pos}
		var err error
		if p.peek() != '"' {
			return nil, p.fail("expected a member's name in quotes, found %s", p.here())
		}
		if m.name, err = p.str(); err != nil {
			return nil, err
		}
		if seen[strings.ToLower(m.name)] {
			return nil, &jsonError{m.off, fmt.Sprintf("the member %q occurs twice in one object", m.name)}
		}
		seen[strings.ToLower(m.name)] = true
		if err := p.expect(':'); err != nil {
			return nil, err
		}
		if m.value, err = p.value(depth + 1); err != nil {
			return nil, err
		}
		out = append(out, m)
		more, err := p.more('}')
		if err != nil || !more {
			return out, err
		}
	}
}

func (p *jsonParser) array(depth int) ([]*node, error) {
	p.pos++
	var out []*node
	for {
		if err := p.space(); err != nil {
			return nil, err
		}
		if p.peek() == ']' && len(out) == 0 {
			p.pos++
			return out, nil
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		more, err := p.more(']')
		if err != nil || !more {
			return out, err
		}
	}
}

// expect takes one character with the space around it.
func (p *jsonParser) expect(c byte) error {
	if err := p.space(); err != nil {
		return err
	}
	if p.peek() != c {
		return p.fail("expected %q, found %s", c, p.here())
	}
	p.pos++
	return p.space()
}

// more takes a comma (true) or the end of a list (false).
func (p *jsonParser) more(end byte) (bool, error) {
	if err := p.space(); err != nil {
		return false, err
	}
	switch p.peek() {
	case ',':
		p.pos++
		return true, nil
	case end:
		p.pos++
		return false, nil
	}
	return false, p.fail("expected ',' or %q, found %s", end, p.here())
}

func (p *jsonParser) number() (string, error) {
	from := p.pos
	for p.pos < len(p.text) && strings.IndexByte("+-0123456789.eE", p.text[p.pos]) >= 0 {
		p.pos++
	}
	text := string(p.text[from:p.pos])
	digits := strings.TrimPrefix(text, "-")
	_, err := strconv.ParseFloat(text, 64)
	if err != nil || digits == "" || digits[0] < '0' || digits[0] > '9' || len(digits) > 1 && digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9' || strings.HasSuffix(text, ".") {
		return "", &jsonError{from, fmt.Sprintf("%q is no number", text)}
	}
	return text, nil
}

// str reads a string; line breaks may stand inside.
func (p *jsonParser) str() (string, error) {
	from := p.pos
	p.pos++
	var b strings.Builder
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '"':
			p.pos++
			return b.String(), nil
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(r)
		case c < ' ' && c != '\n' && c != '\r' && c != '\t':
			return "", p.fail("a control character inside a string")
		default:
			r, size := utf8.DecodeRune(p.text[p.pos:])
			if r == utf8.RuneError && size == 1 {
				return "", p.fail("the text is not UTF-8")
			}
			b.WriteRune(r)
			p.pos += size
		}
	}
	return "", &jsonError{from, "a string is not closed"}
}

func (p *jsonParser) escape() (rune, error) {
	if p.pos+1 >= len(p.text) {
		return 0, p.fail("a string is not closed")
	}
	c := p.text[p.pos+1]
	if c == 'u' {
		return p.unicode()
	}
	i := strings.IndexByte(`"\/bfnrt`, c)
	if i < 0 {
		return 0, p.fail("unknown escape \\%c", c)
	}
	p.pos += 2
	return rune("\"\\/\b\f\n\r\t"[i]), nil
}

func (p *jsonParser) unicode() (rune, error) {
	one := func(at int) (rune, bool) {
		if at+6 > len(p.text) || p.text[at] != '\\' || p.text[at+1] != 'u' {
			return 0, false
		}
		v, err := strconv.ParseUint(string(p.text[at+2:at+6]), 16, 16)
		return rune(v), err == nil
	}
	r, ok := one(p.pos)
	if !ok {
		return 0, p.fail(`\u needs four hexadecimal digits`)
	}
	p.pos += 6
	if utf16.IsSurrogate(r) {
		if low, ok := one(p.pos); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
			p.pos += 6
			return utf16.DecodeRune(r, low), nil
		}
		return utf8.RuneError, nil
	}
	return r, nil
}

// position turns an offset into line and column.
func position(text []byte, off int) (line, column int) {
	off = min(off, len(text))
	line = 1 + bytes.Count(text[:off], []byte{'\n'})
	return line, off - bytes.LastIndexByte(text[:off], '\n')
}

// within gives the offset in the text of byte i of the decoded string that begins at off.
func within(text []byte, off, i int) int {
	p := &jsonParser{text: text, pos: off + 1}
	for i > 0 && p.pos < len(text) && text[p.pos] != '"' {
		var r rune
		if text[p.pos] == '\\' {
			var err error
			if r, err = p.escape(); err != nil {
				break
			}
		} else {
			var size int
			r, size = utf8.DecodeRune(text[p.pos:])
			p.pos += size
		}
		i -= utf8.RuneLen(r)
	}
	return p.pos
}
