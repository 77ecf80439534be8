package template

import (
	"fmt"
	"strconv"
	"strings"
)

// The expression language: literals, calls, and access to members and elements.
//
//	expression = literal | name "(" [ expression { "," expression } ] ")" { "." name | "[" expression "]" }
//	name       = [ namespace "." ] identifier
//	literal    = "'" text "'" (a quote inside is doubled) | integer
//
// A string that begins with "[" and ends with "]" holds an expression; "[[" at its beginning stands for a single "[".

type expr interface{ offset() int }

type literalExpr struct {
	off   int
	value any
}

type callExpr struct {
	off       int
	namespace string // "" for the built-in functions
	name      string // as written
	args      []expr
}

// accessExpr is a member by a name that is written or computed, or an element by its index.
type accessExpr struct {
	off  int
	base expr
	key  expr
}

func (e *literalExpr) offset() int { return e.off }
func (e *callExpr) offset() int    { return e.off }
func (e *accessExpr) offset() int  { return e.off }

// exprError is a fault of an expression at an offset of its string.
type exprError struct {
	off  int
	code string // "" means InvalidTemplate
	msg  string
}

func (e *exprError) Error() string { return e.msg }

const (
	longestExpression = 24576 // characters: Azure's limit
	deepestExpression = 100   // calls and accesses inside each other
)

// isExpression tells an expression from plain text.
func isExpression(s string) bool {
	return len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']' && s[1] != '['
}

// plain is the text of a string that is no expression.
func plain(s string) string {
	if strings.HasPrefix(s, "[[") {
		return s[1:]
	}
	return s
}

// parseExpression reads "[…]"; offsets are into s.
func parseExpression(s string) (expr, error) {
	if len(s) > longestExpression {
		return nil, &exprError{0, "", fmt.Sprintf("the expression has %d characters, at most %d are allowed", len(s), longestExpression)}
	}
	p := &exprParser{text: s[:len(s)-1], pos: 1}
	e, err := p.expression(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.text) {
		return nil, p.fail("expected the end of the expression, found %s", p.here())
	}
	return e, nil
}

type exprParser struct {
	text string // without the closing bracket
	pos  int
}

func (p *exprParser) fail(format string, args ...any) error {
	return &exprError{off: p.pos, msg: "the expression is not valid: " + fmt.Sprintf(format, args...)}
}

func (p *exprParser) here() string {
	if p.pos >= len(p.text) {
		return "its end"
	}
	for _, r := range p.text[p.pos:] {
		return strconv.QuoteRune(r)
	}
	return ""
}

func (p *exprParser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *exprParser) peek() byte {
	p.space()
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *exprParser) expression(depth int) (expr, error) {
	if depth > deepestExpression {
		return nil, p.fail("it is nested deeper than %d", deepestExpression)
	}
	switch c := p.peek(); {
	case c == '\'':
		return p.str()
	case c == '-' || c == '+' || c >= '0' && c <= '9':
		return p.integer()
	case !letter(c):
		return nil, p.fail("expected a function or a literal, found %s", p.here())
	}
	base, err := p.call(depth)
	if err != nil {
		return nil, err
	}
	return p.accesses(base, depth)
}

func (p *exprParser) str() (expr, error) {
	e := &literalExpr{off: p.pos}
	var b strings.Builder
	for p.pos++; p.pos < len(p.text); p.pos++ {
		if p.text[p.pos] != '\'' {
			b.WriteByte(p.text[p.pos])
			continue
		}
		p.pos++
		if p.pos >= len(p.text) || p.text[p.pos] != '\'' {
			e.value = b.String()
			return e, nil
		}
		b.WriteByte('\'')
	}
	p.pos = e.off
	return nil, p.fail("a string is not closed")
}

func (p *exprParser) integer() (expr, error) {
	e := &literalExpr{off: p.pos}
	p.pos++
	for p.pos < len(p.text) && (p.text[p.pos] >= '0' && p.text[p.pos] <= '9' || p.text[p.pos] == '.') {
		p.pos++
	}
	text := p.text[e.off:p.pos]
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		p.pos = e.off
		return nil, p.fail("%q is no integer of 64 bits", text)
	}
	e.value = v
	return e, nil
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func (p *exprParser) name() string {
	p.space()
	from := p.pos
	for p.pos < len(p.text) && (letter(p.text[p.pos]) || p.text[p.pos] >= '0' && p.text[p.pos] <= '9' || p.text[p.pos] == '$') {
		p.pos++
	}
	return p.text[from:p.pos]
}

func (p *exprParser) call(depth int) (expr, error) {
	e := &callExpr{off: p.pos, name: p.name()}
	if p.peek() == '.' {
		p.pos++
		e.namespace, e.name = e.name, p.name()
	}
	if p.peek() != '(' {
		return nil, p.fail("expected '(' after the function's name %q, found %s", e.name, p.here())
	}
	p.pos++
	if p.peek() == ')' {
		p.pos++
		return e, nil
	}
	for {
		arg, err := p.expression(depth + 1)
		if err != nil {
			return nil, err
		}
		e.args = append(e.args, arg)
		switch p.peek() {
		case ',':
			p.pos++
		case ')':
			p.pos++
			return e, nil
		default:
			return nil, p.fail("expected ',' or ')' in the arguments of %s, found %s", e.name, p.here())
		}
	}
}

func (p *exprParser) accesses(base expr, depth int) (expr, error) {
	for n := depth; ; n++ {
		if n > deepestExpression {
			return nil, p.fail("it is nested deeper than %d", deepestExpression)
		}
		switch p.peek() {
		case '.':
			p.pos++
			off := p.pos
			name := p.name()
			if name == "" {
				return nil, p.fail("expected a member's name after '.', found %s", p.here())
			}
			base = &accessExpr{off, base, &literalExpr{off, name}}
		case '[':
			off := p.pos
			p.pos++
			key, err := p.expression(n + 1)
			if err != nil {
				return nil, err
			}
			if p.peek() != ']' {
				return nil, p.fail("expected ']', found %s", p.here())
			}
			p.pos++
			base = &accessExpr{off, base, key}
		default:
			return base, nil
		}
	}
}

// calls visits every call of an expression, outer ones first.
func calls(e expr, visit func(*callExpr)) {
	switch e := e.(type) {
	case *callExpr:
		visit(e)
		for _, a := range e.args {
			calls(a, visit)
		}
	case *accessExpr:
		calls(e.base, visit)
		calls(e.key, visit)
	}
}
