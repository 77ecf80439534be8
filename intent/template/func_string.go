package template

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

var stringFunctions = map[string]function{
	"concat":         {least: 1, most: -1, eager: concat},
	"format":         {least: 1, most: -1, eager: format},
	"toLower":        {least: 1, most: 1, eager: oneString(strings.ToLower)},
	"toUpper":        {least: 1, most: 1, eager: oneString(strings.ToUpper)},
	"trim":           {least: 1, most: 1, eager: oneString(strings.TrimSpace)},
	"string":         {least: 1, most: 1, eager: toString},
	"replace":        {least: 3, most: 3, eager: replace},
	"substring":      {least: 2, most: 3, eager: substring},
	"split":          {least: 2, most: 2, eager: split},
	"join":           {least: 2, most: 2, eager: join},
	"startsWith":     {least: 2, most: 2, eager: test(strings.HasPrefix)},
	"endsWith":       {least: 2, most: 2, eager: test(strings.HasSuffix)},
	"indexOf":        {least: 2, most: 2, eager: find(strings.Index)},
	"lastIndexOf":    {least: 2, most: 2, eager: find(strings.LastIndex)},
	"padLeft":        {least: 2, most: 3, eager: padLeft},
	"uniqueString":   {least: 1, most: -1, eager: unique},
	"guid":           {least: 1, most: -1, eager: guid},
	"base64":         {least: 1, most: 1, eager: oneString(func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) })},
	"base64ToString": {least: 1, most: 1, eager: fromBase64},
	"uriComponent":   {least: 1, most: 1, eager: oneString(func(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") })},
	"uri":            {least: 2, most: 2, eager: uri},
	"json":           {least: 1, most: 1, eager: fromJSON},
}

func oneString(f func(string) string) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		v, err := a.str(0)
		return f(v), err
	}
}

func test(f func(s, part string) bool) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		v, err := a.strs()
		if err != nil {
			return nil, err
		}
		return f(strings.ToLower(v[0]), strings.ToLower(v[1])), nil
	}
}

// find counts in characters and ignores case, as Azure does for strings; in an array it finds the element that is equal.
func find(f func(s, part string) int) func(*scope, *arguments) (any, error) {
	return func(s *scope, a *arguments) (any, error) {
		if items, ok := a.list[0].([]any); ok {
			return findElement(s, a, items)
		}
		v, err := a.strs()
		if err != nil {
			return nil, err
		}
		text := strings.ToLower(v[0])
		i := f(text, strings.ToLower(v[1]))
		if i > 0 {
			i = utf8.RuneCountInString(text[:i])
		}
		return int64(i), nil
	}
}

func findElement(s *scope, a *arguments, items []any) (any, error) {
	at := int64(-1)
	for i := range items {
		same, err := equal(items[i], a.list[1], &s.x.budget)
		if err != nil {
			return nil, err
		}
		if same {
			at = int64(i)
			if strings.EqualFold(a.call.name, "indexOf") {
				break
			}
		}
	}
	return at, nil
}

// concat joins strings (numbers and booleans as text) or arrays.
func concat(s *scope, a *arguments) (any, error) {
	if _, ok := a.list[0].([]any); ok {
		var out []any
		for i := range a.list {
			items, ok := a.list[i].([]any)
			if !ok {
				return nil, a.want(i, "an array like the first argument")
			}
			if err := s.x.budget.take(valueCost * len(items)); err != nil {
				return nil, err
			}
			out = append(out, items...)
		}
		return out, nil
	}
	var b strings.Builder
	for i := range a.list {
		switch a.list[i].(type) {
		case nil, []any, *object:
			return nil, a.want(i, "a string, an int or a bool")
		}
		text := scalar(a.list[i])
		if err := s.x.budget.take(len(text)); err != nil {
			return nil, err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// scalar is the text of a value that is neither array nor object; booleans are spelt as .NET spells them.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case float:
		return string(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	}
	return ""
}

func toString(s *scope, a *arguments) (any, error) { return text(a.list[0], s) }

func text(v any, s *scope) (string, error) {
	switch v.(type) {
	case nil, []any, *object:
		var b bytes.Buffer
		err := encode(&b, v, &s.x.budget)
		return b.String(), err
	}
	return scalar(v), nil
}

func toInt(_ *scope, a *arguments) (any, error) {
	switch v := a.list[0].(type) {
	case int64:
		return v, nil
	case string:
		i, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return nil, a.fail(0, "%q is no integer of 64 bits", v)
		}
		return i, nil
	}
	return nil, a.want(0, "a string or an int")
}

func replace(s *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	if v[1] == "" {
		return nil, a.fail(1, "the text to replace is empty")
	}
	size := len(v[0]) + strings.Count(v[0], v[1])*len(v[2])
	if err := s.x.budget.take(size); err != nil {
		return nil, err
	}
	return strings.ReplaceAll(v[0], v[1], v[2]), nil
}

func substring(_ *scope, a *arguments) (any, error) {
	v, err := a.str(0)
	if err != nil {
		return nil, err
	}
	from, err := a.integer(1)
	if err != nil {
		return nil, err
	}
	runes := []rune(v)
	length := int64(len(runes)) - from
	if len(a.list) == 3 {
		if length, err = a.integer(2); err != nil {
			return nil, err
		}
	}
	if from < 0 || length < 0 || from > int64(len(runes)) || length > int64(len(runes))-from {
		return nil, a.fail(1, "start %d and length %d lie outside the string %q of %d characters", from, length, v, len(runes))
	}
	return string(runes[from : from+length]), nil
}

func split(_ *scope, a *arguments) (any, error) {
	v, err := a.str(0)
	if err != nil {
		return nil, err
	}
	var seps []string
	switch d := a.list[1].(type) {
	case string:
		seps = []string{d}
	case []any:
		for _, e := range d {
			t, ok := e.(string)
			if !ok {
				return nil, a.want(1, "a string or an array of strings")
			}
			seps = append(seps, t)
		}
	default:
		return nil, a.want(1, "a string or an array of strings")
	}
	out := []any{}
	for rest := v; ; {
		at, size := -1, 0
		for _, sep := range seps {
			if i := strings.Index(rest, sep); sep != "" && i >= 0 && (at < 0 || i < at) {
				at, size = i, len(sep)
			}
		}
		if at < 0 {
			return append(out, rest), nil
		}
		out = append(out, rest[:at])
		rest = rest[at+size:]
	}
}

func join(s *scope, a *arguments) (any, error) {
	items, ok := a.list[0].([]any)
	if !ok {
		return nil, a.want(0, "an array")
	}
	sep, err := a.str(1)
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	for i := range items {
		if parts[i], err = text(items[i], s); err != nil {
			return nil, err
		}
		if err := s.x.budget.take(len(parts[i]) + len(sep)); err != nil {
			return nil, err
		}
	}
	return strings.Join(parts, sep), nil
}

func padLeft(_ *scope, a *arguments) (any, error) {
	switch a.list[0].(type) {
	case string, int64:
	default:
		return nil, a.want(0, "a string or an int")
	}
	width, err := a.integer(1)
	if err != nil {
		return nil, err
	}
	pad := " "
	if len(a.list) == 3 {
		if pad, err = a.str(2); err != nil {
			return nil, err
		}
	}
	v := scalar(a.list[0])
	if width < 0 || width > 1000 || utf8.RuneCountInString(pad) != 1 {
		return nil, a.fail(1, "expected a width of 0 to 1000 and one padding character")
	}
	return strings.Repeat(pad, max(0, int(width)-utf8.RuneCountInString(v))) + v, nil
}

func guid(_ *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	// Name-based UUID, version 5, in Azure's own name space 11fb06fb-712d-4ddd-98c7-e71bbd588830.
	space := []byte{0x11, 0xfb, 0x06, 0xfb, 0x71, 0x2d, 0x4d, 0xdd, 0x98, 0xc7, 0xe7, 0x1b, 0xbd, 0x58, 0x88, 0x30}
	h := sha1.Sum(append(space, strings.Join(v, "-")...))
	h[6], h[8] = h[6]&0x0f|0x50, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]), nil
}

func fromBase64(_ *scope, a *arguments) (any, error) {
	v, err := a.str(0)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(v)
	if err != nil || !utf8.Valid(b) {
		return nil, a.fail(0, "%q is no base64 of a text", v)
	}
	return string(b), nil
}

// uri appends a relative part to a base: after its last slash, or after itself when it ends with one.
func uri(_ *scope, a *arguments) (any, error) {
	v, err := a.strs()
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(v[0])
	if err != nil || !base.IsAbs() {
		return nil, a.fail(0, "%q is no absolute URI", v[0])
	}
	rel, err := base.Parse(v[1])
	if err != nil {
		return nil, a.fail(1, "%q is no relative URI", v[1])
	}
	return rel.String(), nil
}

func fromJSON(s *scope, a *arguments) (any, error) {
	v, err := a.str(0)
	if err != nil {
		return nil, err
	}
	n, err := parseJSON([]byte(v))
	if err != nil {
		return nil, a.fail(0, "the text is no JSON: %v", err)
	}
	return literal(n), s.x.budget.take(len(v))
}
