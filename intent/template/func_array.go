package template

import (
	"slices"
	"strings"
	"unicode/utf8"
)

var arrayFunctions = map[string]function{
	"length":       {least: 1, most: 1, eager: length},
	"empty":        {least: 1, most: 1, eager: empty},
	"contains":     {least: 2, most: 2, eager: contains},
	"first":        {least: 1, most: 1, eager: end(true)},
	"last":         {least: 1, most: 1, eager: end(false)},
	"take":         {least: 2, most: 2, eager: part(true)},
	"skip":         {least: 2, most: 2, eager: part(false)},
	"array":        {least: 1, most: 1, eager: toArray},
	"createArray":  {least: 0, most: -1, eager: func(_ *scope, a *arguments) (any, error) { return append([]any{}, a.list...), nil }},
	"createObject": {least: 0, most: -1, eager: createObject},
	"range":        {least: 2, most: 2, eager: numbers},
	"union":        {least: 1, most: -1, eager: union},
	"intersection": {least: 2, most: -1, eager: intersection},
	"flatten":      {least: 1, most: 1, eager: flatten},
	"items":        {least: 1, most: 1, eager: items},
	"tryGet":       {least: 2, most: -1, eager: tryGet},
}

func length(_ *scope, a *arguments) (any, error) {
	switch v := a.list[0].(type) {
	case string:
		return int64(utf8.RuneCountInString(v)), nil
	case []any:
		return int64(len(v)), nil
	case *object:
		return int64(len(v.names)), nil
	}
	return nil, a.want(0, "an array, a string or an object")
}

func empty(s *scope, a *arguments) (any, error) {
	if a.list[0] == nil {
		return true, nil
	}
	n, err := length(s, a)
	return n == int64(0), err
}

func contains(s *scope, a *arguments) (any, error) {
	switch v := a.list[0].(type) {
	case string:
		return strings.Contains(v, scalar(a.list[1])), nil
	case *object:
		name, err := a.str(1)
		_, found := v.get(name)
		return found, err
	case []any:
		for _, e := range v {
			if same, err := equal(e, a.list[1], &s.x.budget); err != nil || same {
				return same, err
			}
		}
		return false, nil
	}
	return nil, a.want(0, "an array, a string or an object")
}

// end is the first or last element or character; of nothing it is null or the empty string.
func end(front bool) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		switch v := a.list[0].(type) {
		case string:
			r := []rune(v)
			switch {
			case len(r) == 0:
				return "", nil
			case front:
				return string(r[0]), nil
			}
			return string(r[len(r)-1]), nil
		case []any:
			switch {
			case len(v) == 0:
				return nil, nil
			case front:
				return v[0], nil
			}
			return v[len(v)-1], nil
		}
		return nil, a.want(0, "an array or a string")
	}
}

func part(front bool) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		n, err := a.integer(1)
		if err != nil {
			return nil, err
		}
		switch v := a.list[0].(type) {
		case string:
			r := []rune(v)
			n = min(max(n, 0), int64(len(r)))
			if front {
				return string(r[:n]), nil
			}
			return string(r[n:]), nil
		case []any:
			n = min(max(n, 0), int64(len(v)))
			if front {
				return v[:n:n], nil
			}
			return v[n:], nil
		}
		return nil, a.want(0, "an array or a string")
	}
}

func toArray(_ *scope, a *arguments) (any, error) {
	if v, ok := a.list[0].([]any); ok {
		return v, nil
	}
	return []any{a.list[0]}, nil
}

func createObject(_ *scope, a *arguments) (any, error) {
	if len(a.list)%2 != 0 {
		return nil, a.fail(-1, "expected names and values in pairs, found %d arguments", len(a.list))
	}
	out := newObject(len(a.list) / 2)
	for i := 0; i < len(a.list); i += 2 {
		name, err := a.str(i)
		if err != nil {
			return nil, err
		}
		out.set(name, a.list[i+1])
	}
	return out, nil
}

func numbers(s *scope, a *arguments) (any, error) {
	from, err := a.integer(0)
	if err != nil {
		return nil, err
	}
	count, err := a.integer(1)
	if err != nil {
		return nil, err
	}
	if count < 0 || count > 10000 || from < -2147483648 || from+count > 2147483647 {
		return nil, a.fail(1, "a range has 0 to 10000 elements of 32 bits, not %d from %d", count, from)
	}
	out := make([]any, count)
	for i := range out {
		out[i] = from + int64(i)
	}
	return out, s.x.budget.take(valueCost * len(out))
}

// union keeps the first of equal elements; of objects, the later value wins and objects inside are merged.
func union(s *scope, a *arguments) (any, error) {
	switch a.list[0].(type) {
	case []any:
		out := []any{}
		for i := range a.list {
			items, ok := a.list[i].([]any)
			if !ok {
				return nil, a.want(i, "an array like the first argument")
			}
			for _, e := range items {
				known, err := among(out, e, s)
				if err != nil {
					return nil, err
				}
				if !known {
					out = append(out, e)
				}
			}
		}
		return out, nil
	case *object:
		out := newObject(4)
		for i := range a.list {
			o, ok := a.list[i].(*object)
			if !ok {
				return nil, a.want(i, "an object like the first argument")
			}
			if err := merge(out, o, &s.x.budget); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return nil, a.want(0, "an array or an object")
}

func among(items []any, v any, s *scope) (bool, error) {
	for _, e := range items {
		if same, err := equal(e, v, &s.x.budget); err != nil || same {
			return same, err
		}
	}
	return false, nil
}

func merge(into, from *object, b *budget) error {
	for i, name := range from.names {
		if err := b.take(1); err != nil {
			return err
		}
		old, _ := into.get(name)
		oldObject, ok1 := old.(*object)
		newer, ok2 := from.values[i].(*object)
		if !ok1 || !ok2 {
			into.set(name, from.values[i])
			continue
		}
		both := newObject(len(oldObject.names))
		if err := merge(both, oldObject, b); err != nil {
			return err
		}
		if err := merge(both, newer, b); err != nil {
			return err
		}
		into.set(name, both)
	}
	return nil
}

func intersection(s *scope, a *arguments) (any, error) {
	switch first := a.list[0].(type) {
	case []any:
		out := []any{}
		for _, e := range first {
			everywhere, err := among(out, e, s)
			everywhere = !everywhere
			for i := 1; err == nil && everywhere && i < len(a.list); i++ {
				items, ok := a.list[i].([]any)
				if !ok {
					return nil, a.want(i, "an array like the first argument")
				}
				everywhere, err = among(items, e, s)
			}
			if err != nil {
				return nil, err
			}
			if everywhere {
				out = append(out, e)
			}
		}
		return out, nil
	case *object:
		out := newObject(len(first.names))
		for k, name := range first.names {
			everywhere := true
			for i := 1; everywhere && i < len(a.list); i++ {
				o, ok := a.list[i].(*object)
				if !ok {
					return nil, a.want(i, "an object like the first argument")
				}
				v, found := o.get(name)
				same, err := equal(v, first.values[k], &s.x.budget)
				if err != nil {
					return nil, err
				}
				everywhere = found && same
			}
			if everywhere {
				out.set(name, first.values[k])
			}
		}
		return out, nil
	}
	return nil, a.want(0, "an array or an object")
}

func flatten(s *scope, a *arguments) (any, error) {
	outer, ok := a.list[0].([]any)
	if !ok {
		return nil, a.want(0, "an array of arrays")
	}
	out := []any{}
	for _, e := range outer {
		inner, ok := e.([]any)
		if !ok {
			return nil, a.fail(0, "an element is %s, expected an array", typeName(e))
		}
		if err := s.x.budget.take(valueCost * len(inner)); err != nil {
			return nil, err
		}
		out = append(out, inner...)
	}
	return out, nil
}

// items lists an object's members by name.
func items(_ *scope, a *arguments) (any, error) {
	o, ok := a.list[0].(*object)
	if !ok {
		return nil, a.want(0, "an object")
	}
	names := slices.Clone(o.names)
	slices.SortFunc(names, func(x, y string) int { return strings.Compare(strings.ToLower(x), strings.ToLower(y)) })
	out := make([]any, len(names))
	for i, name := range names {
		item := newObject(2)
		v, _ := o.get(name)
		item.set("key", name)
		item.set("value", v)
		out[i] = item
	}
	return out, nil
}

// tryGet follows a path and gives null where it ends early.
func tryGet(_ *scope, a *arguments) (any, error) {
	v := a.list[0]
	for _, key := range a.list[1:] {
		if v == nil {
			return nil, nil
		}
		next, found, err := lookup(a.call, v, key)
		if err != nil || !found {
			return nil, err
		}
		v = next
	}
	return v, nil
}
