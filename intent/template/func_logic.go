package template

import (
	"maps"
	"math"
	"slices"
	"strings"
)

// functions are the built-in functions by lower-case name.
var functions map[string]function

func init() {
	functions = map[string]function{}
	functionGroups = []map[string]function{logicFunctions, numberFunctions, stringFunctions, arrayFunctions, scopeFunctions, addressFunctions}
	for _, group := range functionGroups {
		for name, f := range group {
			functions[strings.ToLower(name)] = f
		}
	}
}

// Functions lists the names of the supported functions, spelt as Azure spells them.
func Functions() []string {
	var out []string
	for _, group := range functionGroups {
		out = slices.AppendSeq(out, maps.Keys(group))
	}
	slices.Sort(out)
	return out
}

var functionGroups []map[string]function

var logicFunctions = map[string]function{
	"if":       {least: 3, most: 3, lazy: ifThen},
	"and":      {least: 2, most: -1, lazy: shortcut(false)},
	"or":       {least: 2, most: -1, lazy: shortcut(true)},
	"not":      {least: 1, most: 1, eager: not},
	"equals":   {least: 2, most: 2, eager: equals},
	"true":     {eager: func(*scope, *arguments) (any, error) { return true, nil }},
	"false":    {eager: func(*scope, *arguments) (any, error) { return false, nil }},
	"null":     {eager: func(*scope, *arguments) (any, error) { return nil, nil }},
	"coalesce": {least: 1, most: -1, lazy: coalesce},
	"bool":     {least: 1, most: 1, eager: toBool},
}

func truth(s *scope, c *callExpr, i int) (bool, error) {
	v, err := s.eval(c.args[i])
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fail(c.args[i], "%s: argument %d is %s, expected a bool", c.name, i+1, typeName(v))
	}
	return b, nil
}

// ifThen evaluates only the branch that is taken.
func ifThen(s *scope, c *callExpr) (any, error) {
	yes, err := truth(s, c, 0)
	if err != nil {
		return nil, err
	}
	if yes {
		return s.eval(c.args[1])
	}
	return s.eval(c.args[2])
}

func shortcut(on bool) func(*scope, *callExpr) (any, error) {
	return func(s *scope, c *callExpr) (any, error) {
		for i := range c.args {
			if b, err := truth(s, c, i); err != nil || b == on {
				return on, err
			}
		}
		return !on, nil
	}
}

func not(_ *scope, a *arguments) (any, error) {
	b, err := a.boolean(0)
	return !b, err
}

func equals(s *scope, a *arguments) (any, error) { return equal(a.list[0], a.list[1], &s.x.budget) }

func coalesce(s *scope, c *callExpr) (any, error) {
	for _, e := range c.args {
		if v, err := s.eval(e); err != nil || v != nil {
			return v, err
		}
	}
	return nil, nil
}

func toBool(_ *scope, a *arguments) (any, error) {
	switch v := a.list[0].(type) {
	case bool:
		return v, nil
	case int64:
		return v != 0, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
		return nil, a.fail(0, "%q is neither true nor false", v)
	}
	return nil, a.want(0, "a string or an int")
}

var numberFunctions = map[string]function{
	"add": {least: 2, most: 2, eager: arithmetic(func(x, y int64) (int64, bool) {
		return x + y, (x+y > x) == (y > 0)
	})},
	"sub": {least: 2, most: 2, eager: arithmetic(func(x, y int64) (int64, bool) {
		return x - y, (x-y < x) == (y > 0)
	})},
	"mul": {least: 2, most: 2, eager: arithmetic(func(x, y int64) (int64, bool) {
		return x * y, x == 0 || (x*y)/x == y && !(x == -1 && y == math.MinInt64)
	})},
	"div": {least: 2, most: 2, eager: arithmetic(func(x, y int64) (int64, bool) {
		if y == 0 || x == math.MinInt64 && y == -1 {
			return 0, false
		}
		return x / y, true
	})},
	"mod": {least: 2, most: 2, eager: arithmetic(func(x, y int64) (int64, bool) {
		if y == 0 || y == -1 {
			return 0, y == -1
		}
		return x % y, true
	})},
	"min":             {least: 1, most: -1, eager: extreme(func(x, y int64) bool { return x < y })},
	"max":             {least: 1, most: -1, eager: extreme(func(x, y int64) bool { return x > y })},
	"int":             {least: 1, most: 1, eager: toInt},
	"less":            {least: 2, most: 2, eager: compare(func(c int) bool { return c < 0 })},
	"lessOrEquals":    {least: 2, most: 2, eager: compare(func(c int) bool { return c <= 0 })},
	"greater":         {least: 2, most: 2, eager: compare(func(c int) bool { return c > 0 })},
	"greaterOrEquals": {least: 2, most: 2, eager: compare(func(c int) bool { return c >= 0 })},
}

func arithmetic(f func(x, y int64) (int64, bool)) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		x, err := a.integer(0)
		if err != nil {
			return nil, err
		}
		y, err := a.integer(1)
		if err != nil {
			return nil, err
		}
		v, ok := f(x, y)
		if !ok {
			return nil, a.fail(1, "%d and %d have no result of 64 bits", x, y)
		}
		return v, nil
	}
}

func extreme(better func(x, y int64) bool) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		items := a.list
		if l, ok := a.list[0].([]any); ok && len(a.list) == 1 {
			items = l
		}
		var best int64
		for i, v := range items {
			n, ok := v.(int64)
			if !ok {
				return nil, a.fail(0, "expected ints, found %s", typeName(v))
			}
			if i == 0 || better(n, best) {
				best = n
			}
		}
		if len(items) == 0 {
			return nil, a.fail(0, "the array is empty")
		}
		return best, nil
	}
}

func compare(holds func(int) bool) func(*scope, *arguments) (any, error) {
	return func(_ *scope, a *arguments) (any, error) {
		switch x := a.list[0].(type) {
		case int64:
			y, err := a.integer(1)
			switch {
			case err != nil:
				return nil, err
			case x < y:
				return holds(-1), nil
			case x > y:
				return holds(1), nil
			}
			return holds(0), nil
		case string:
			y, err := a.str(1)
			return holds(strings.Compare(x, y)), err
		}
		return nil, a.want(0, "an int or a string")
	}
}
