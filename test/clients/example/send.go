package example

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"reflect"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Send makes the example's request with a client factory of its module. text changes every string of the example before it is sent: examples
// name a subscription that nobody has.
func (e *Example) Send(ctx context.Context, s *Source, factory any, text func(string) string) (answer any, err error) {
	maker := reflect.ValueOf(factory).MethodByName("New" + e.Client)
	if !maker.IsValid() {
		return nil, fmt.Errorf("no client %s", e.Client)
	}
	method := maker.Call(nil)[0].MethodByName(e.Method)
	if !method.IsValid() {
		return nil, fmt.Errorf("client %s has no method %s", e.Client, e.Method)
	}
	v := &evaluator{constants: s.Constants, kinds: map[string]reflect.Type{}, ctx: ctx, text: text}
	for _, k := range s.Kinds {
		v.kinds[reflect.TypeOf(k).Name()] = reflect.TypeOf(k)
	}
	args := make([]reflect.Value, len(e.call.Args))
	for i, a := range e.call.Args {
		if args[i], err = v.value(a, method.Type().In(i)); err != nil {
			return nil, fmt.Errorf("evaluate example %s: argument %d: %w", e.Name, i, err)
		}
	}
	return finish(ctx, method.Call(args))
}

// finish waits for what a method began: every page, and the end of an operation.
func finish(ctx context.Context, out []reflect.Value) (any, error) {
	if len(out) == 2 && !out[1].IsNil() {
		return nil, out[1].Interface().(error)
	}
	first := out[0]
	if next := first.MethodByName("NextPage"); next.IsValid() {
		return pages(ctx, first, next)
	}
	poll := first.MethodByName("PollUntilDone")
	if !poll.IsValid() {
		return first.Interface(), nil
	}
	wait := &runtime.PollUntilDoneOptions{Frequency: 20 * time.Millisecond}
	return finish(ctx, poll.Call([]reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(wait)}))
}

func pages(ctx context.Context, pager, next reflect.Value) (last any, err error) {
	more := pager.MethodByName("More")
	for more.Call(nil)[0].Bool() {
		out := next.Call([]reflect.Value{reflect.ValueOf(ctx)})
		if !out[1].IsNil() {
			return nil, out[1].Interface().(error)
		}
		last = out[0].Interface()
	}
	return last, nil
}

// evaluator gives an expression of an example the value that Go would: of the few forms that the examples are written in.
type evaluator struct {
	constants map[string]string
	kinds     map[string]reflect.Type
	ctx       context.Context
	text      func(string) string
}

var errForm = errors.New("a form of expression that is not known")

func (v *evaluator) value(x ast.Expr, want reflect.Type) (reflect.Value, error) {
	switch x := x.(type) {
	case *ast.Ident:
		return v.word(x.Name, want)
	case *ast.BasicLit:
		return v.literal(x, want)
	case *ast.UnaryExpr:
		return v.pointer(x, want)
	case *ast.CompositeLit:
		return v.composite(x, want)
	case *ast.CallExpr:
		return v.call(x, want)
	case *ast.SelectorExpr: // a constant of an enumeration
		text, ok := v.constants[x.Sel.Name]
		if !ok {
			return reflect.Value{}, fmt.Errorf("constant %s: %w", x.Sel.Name, errForm)
		}
		return reflect.ValueOf(text).Convert(want), nil
	}
	return reflect.Value{}, fmt.Errorf("%T: %w", x, errForm)
}

func (v *evaluator) word(name string, want reflect.Type) (reflect.Value, error) {
	switch name {
	case "nil":
		return reflect.Zero(want), nil
	case "ctx":
		return reflect.ValueOf(v.ctx), nil
	case "true", "false":
		return assignable(reflect.ValueOf(name == "true"), want)
	}
	return reflect.Value{}, fmt.Errorf("%s: %w", name, errForm)
}

func (v *evaluator) literal(x *ast.BasicLit, want reflect.Type) (reflect.Value, error) {
	if x.Kind == token.STRING {
		s, err := strconv.Unquote(x.Value)
		if err != nil {
			return reflect.Value{}, err
		}
		return assignable(reflect.ValueOf(v.text(s)), want)
	}
	n, err := strconv.ParseFloat(x.Value, 64)
	if err != nil {
		return reflect.Value{}, err
	}
	return assignable(reflect.ValueOf(n), want)
}

func assignable(x reflect.Value, want reflect.Type) (reflect.Value, error) {
	if want.Kind() == reflect.Interface || x.CanConvert(want) {
		return x.Convert(want), nil
	}
	return reflect.Value{}, fmt.Errorf("%s where %s is wanted: %w", x.Type(), want, errForm)
}

func (v *evaluator) pointer(x *ast.UnaryExpr, want reflect.Type) (reflect.Value, error) {
	if x.Op == token.SUB {
		if lit, ok := x.X.(*ast.BasicLit); ok {
			return v.literal(&ast.BasicLit{Kind: lit.Kind, Value: "-" + lit.Value}, want)
		}
	}
	if lit, ok := x.X.(*ast.CompositeLit); ok && want.Kind() == reflect.Interface {
		if named, ok := lit.Type.(*ast.SelectorExpr); ok && v.kinds[named.Sel.Name] != nil {
			want = reflect.PointerTo(v.kinds[named.Sel.Name])
		}
	}
	if x.Op != token.AND || want.Kind() != reflect.Pointer {
		return reflect.Value{}, fmt.Errorf("%s of %s: %w", x.Op, want, errForm)
	}
	return v.address(x.X, want)
}

// address is a pointer to the value of x.
func (v *evaluator) address(x ast.Expr, want reflect.Type) (reflect.Value, error) {
	inner, err := v.value(x, want.Elem())
	if err != nil {
		return inner, err
	}
	p := reflect.New(want.Elem())
	p.Elem().Set(inner)
	return p, nil
}

func (v *evaluator) composite(x *ast.CompositeLit, want reflect.Type) (reflect.Value, error) {
	if want.Kind() == reflect.Interface {
		if _, isMap := x.Type.(*ast.MapType); isMap {
			want = reflect.TypeFor[map[string]any]()
		} else {
			want = reflect.TypeFor[[]any]()
		}
	}
	if want.Kind() == reflect.Pointer { // of an element of a list, where & may be left out
		return v.address(x, want)
	}
	out := reflect.New(want).Elem()
	for _, e := range x.Elts {
		if err := v.element(out, e); err != nil {
			return out, err
		}
	}
	return out, nil
}

func (v *evaluator) element(out reflect.Value, e ast.Expr) error {
	kv, keyed := e.(*ast.KeyValueExpr)
	t := out.Type()
	switch {
	case t.Kind() == reflect.Slice && !keyed:
		item, err := v.value(e, t.Elem())
		if err == nil {
			out.Set(reflect.Append(out, item))
		}
		return err
	case t.Kind() == reflect.Map && keyed:
		key, err := v.value(kv.Key, t.Key())
		if err != nil {
			return err
		}
		item, err := v.value(kv.Value, t.Elem())
		if err != nil {
			return err
		}
		if out.IsNil() {
			out.Set(reflect.MakeMap(t))
		}
		out.SetMapIndex(key, item)
		return nil
	case t.Kind() == reflect.Struct && keyed:
		f := out.FieldByName(kv.Key.(*ast.Ident).Name)
		if !f.IsValid() {
			return fmt.Errorf("%s has no field %s: %w", t, kv.Key, errForm)
		}
		item, err := v.value(kv.Value, f.Type())
		if err == nil {
			f.Set(item)
		}
		return err
	}
	return fmt.Errorf("an element of %s: %w", t, errForm)
}

// call is to.Ptr, a conversion, or a function that parses a moment.
func (v *evaluator) call(x *ast.CallExpr, want reflect.Type) (reflect.Value, error) {
	if fn, ok := x.Fun.(*ast.FuncLit); ok {
		return v.moment(fn, want)
	}
	if len(x.Args) != 1 {
		return reflect.Value{}, fmt.Errorf("call: %w", errForm)
	}
	if converts(x.Fun) {
		return v.value(x.Args[0], want)
	}
	if want.Kind() != reflect.Pointer {
		return reflect.Value{}, fmt.Errorf("a pointer where %s is wanted: %w", want, errForm)
	}
	return v.address(x.Args[0], want)
}

func converts(fun ast.Expr) bool {
	if _, slice := fun.(*ast.ArrayType); slice {
		return true
	}
	s, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name != "to"
}

func (v *evaluator) moment(fn *ast.FuncLit, want reflect.Type) (out reflect.Value, err error) {
	err = errForm
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			var text string
			var when time.Time
			if text, err = strconv.Unquote(lit.Value); err == nil {
				when, err = time.Parse(time.RFC3339Nano, text)
			}
			out = reflect.ValueOf(when)
		}
		return true
	})
	if err != nil || want != out.Type() {
		return out, fmt.Errorf("moment as %s: %w", want, errors.Join(err, errForm))
	}
	return out, nil
}
