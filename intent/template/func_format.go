package template

import (
	"fmt"
	"strconv"
	"strings"
)

// format fills {n}, {n,width} and {n:D3} in; doubled braces stand for one.
func format(s *scope, a *arguments) (any, error) {
	pattern, err := a.str(0)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		switch {
		case (c == '{' || c == '}') && i+1 < len(pattern) && pattern[i+1] == c:
			b.WriteByte(c)
			i++
		case c == '{':
			end := strings.IndexByte(pattern[i:], '}')
			if end < 0 {
				return nil, a.fail(0, "a brace is not closed in %q", pattern)
			}
			part, err := fill(s, a, pattern[i+1:i+end])
			if err != nil {
				return nil, err
			}
			b.WriteString(part)
			i += end
		case c == '}':
			return nil, a.fail(0, "a brace is closed that was not opened in %q", pattern)
		default:
			b.WriteByte(c)
		}
		if b.Len() > largest {
			return nil, errTooLarge
		}
	}
	return b.String(), s.x.budget.take(b.Len())
}

// fill renders one place holder: index[,width][:format].
func fill(s *scope, a *arguments, spec string) (string, error) {
	head, how, _ := strings.Cut(spec, ":")
	index, width, aligned := strings.Cut(head, ",")
	i, err := strconv.Atoi(strings.TrimSpace(index))
	if err != nil || i < 0 {
		return "", a.fail(0, "{%s} is no place holder", spec)
	}
	if i+1 >= len(a.list) {
		return "", a.fail(0, "{%s} has no argument: there are %d", spec, len(a.list)-1)
	}
	out, err := numberFormat(a, i+1, how)
	if err == nil && how == "" {
		out, err = text(a.list[i+1], s)
	}
	if err != nil || !aligned {
		return out, err
	}
	w, err := strconv.Atoi(strings.TrimSpace(width))
	if err != nil || w < -1000 || w > 1000 {
		return "", a.fail(0, "{%s} is no place holder", spec)
	}
	return fmt.Sprintf("%*s", w, out), nil
}

// numberFormat knows D (digits), X (hexadecimal) and zeros; other .NET formats are refused.
func numberFormat(a *arguments, i int, how string) (string, error) {
	if how == "" {
		return "", nil
	}
	n, isInt := a.list[i].(int64)
	digits := 0
	if len(how) > 1 {
		digits, _ = strconv.Atoi(how[1:])
	}
	switch {
	case isInt && strings.Trim(how, "0") == "":
		return fmt.Sprintf("%0*d", len(how), n), nil
	case isInt && digits < 100 && (how[0] == 'D' || how[0] == 'd'):
		return fmt.Sprintf("%0*d", digits, n), nil
	case isInt && digits < 100 && how[0] == 'X':
		return fmt.Sprintf("%0*X", digits, uint64(n)), nil
	case isInt && digits < 100 && how[0] == 'x':
		return fmt.Sprintf("%0*x", digits, uint64(n)), nil
	}
	return "", a.fail(0, "the format %q of %s is not supported: D, X and zeros of an int are", how, typeName(a.list[i]))
}
