package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
)

// A value is nil, bool, int64, float (a number that is no integer, as written), string, []any or *object.

type float string

// object keeps the order and spelling of its members and finds them without regard to case.
type object struct {
	names  []string
	values []any
	index  map[string]int // by lower-case name
}

func newObject(size int) *object { return &object{index: make(map[string]int, size)} }

func (o *object) get(name string) (any, bool) {
	i, ok := o.index[strings.ToLower(name)]
	if !ok {
		return nil, false
	}
	return o.values[i], true
}

// set replaces the member of that name or appends it.
func (o *object) set(name string, v any) {
	low := strings.ToLower(name)
	if i, ok := o.index[low]; ok {
		o.values[i] = v
		return
	}
	o.index[low] = len(o.names)
	o.names, o.values = append(o.names, name), append(o.values, v)
}

// typeName names a value's type in refusals.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case int64:
		return "int"
	case float:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	case *object:
		return "object"
	}
	return "unknown"
}

var errTooLarge = errors.New("the template's values grow beyond what one deployment may hold")

// budget bounds the work of an expansion: values may share parts, so a short text can describe an enormous value.
type budget struct{ left int }

// largest is the budget of one expansion in bytes, valueCost what a value takes at least.
const (
	largest   = 64 << 20
	valueCost = 64
)

func (b *budget) take(n int) error {
	b.left -= n
	if b.left < 0 {
		return errTooLarge
	}
	return nil
}

// encode writes compact JSON.
func encode(buf *bytes.Buffer, v any, b *budget) error {
	if err := b.take(2); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		buf.WriteString("null")
	case bool:
		buf.WriteString(strconv.FormatBool(v))
	case int64:
		buf.WriteString(strconv.FormatInt(v, 10))
	case float:
		buf.WriteString(string(v))
	case string:
		if err := b.take(len(v)); err != nil {
			return err
		}
		quote(buf, v)
	case []any:
		return encodeArray(buf, v, b)
	case *object:
		return encodeObject(buf, v, b)
	case poison:
		quote(buf, Unknown)
	}
	return nil
}

func encodeArray(buf *bytes.Buffer, v []any, b *budget) error {
	buf.WriteByte('[')
	for i, e := range v {
		if i > 0 {
			buf.WriteByte(',')
		}
		if err := encode(buf, e, b); err != nil {
			return err
		}
	}
	buf.WriteByte(']')
	return nil
}

func encodeObject(buf *bytes.Buffer, v *object, b *budget) error {
	buf.WriteByte('{')
	for i, name := range v.names {
		if i > 0 {
			buf.WriteByte(',')
		}
		quote(buf, name)
		buf.WriteByte(':')
		if err := encode(buf, v.values[i], b); err != nil {
			return err
		}
	}
	buf.WriteByte('}')
	return nil
}

func quote(buf *bytes.Buffer, s string) {
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string never fails
	buf.Truncate(buf.Len() - 1)
}

// equal compares deeply. Strings inside arrays and objects compare with regard to case, as equals() does.
func equal(a, c any, b *budget) (bool, error) {
	if err := b.take(1); err != nil {
		return false, err
	}
	switch a := a.(type) {
	case []any:
		c, ok := c.([]any)
		if !ok || len(a) != len(c) {
			return false, nil
		}
		for i := range a {
			if same, err := equal(a[i], c[i], b); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	case *object:
		c, ok := c.(*object)
		if !ok || len(a.names) != len(c.names) {
			return false, nil
		}
		for i, name := range a.names {
			v, ok := c.get(name)
			if !ok {
				return false, nil
			}
			if same, err := equal(a.values[i], v, b); err != nil || !same {
				return false, err
			}
		}
		return true, nil
	}
	switch c.(type) {
	case []any, *object:
		return false, nil
	}
	return a == c, nil
}

// literal turns a node into a value as it stands, without looking for expressions.
func literal(n *node) any {
	switch n.kind {
	case kindBool:
		return n.flag
	case kindNumber:
		return number(n.text)
	case kindString:
		return n.text
	case kindArray:
		out := make([]any, len(n.items))
		for i := range n.items {
			out[i] = literal(n.items[i])
		}
		return out
	case kindObject:
		out := newObject(len(n.members))
		for _, m := range n.members {
			out.set(m.name, literal(m.value))
		}
		return out
	}
	return nil
}

func number(text string) any {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		return i
	}
	return float(text)
}
