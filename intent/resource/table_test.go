package resource

import (
	"fmt"
	"strings"
	"testing"
)

// The vocabulary is tested by itself: a type that is added is tested with it.

// place builds the smallest body that has value at path ("properties.subnets[].name").
func place(path, value string) string {
	parts := strings.Split(path, ".")
	body := value
	for i := len(parts) - 1; i >= 0; i-- {
		name, listed := strings.CutSuffix(parts[i], "[]")
		if listed {
			body = "[" + body + "]"
		}
		body = fmt.Sprintf("{%q:%s}", name, body)
	}
	return body
}

func sample(f *Field) string {
	switch f.Kind {
	case String:
		if len(f.Enum) > 0 {
			return fmt.Sprintf("%q", f.Enum[len(f.Enum)-1])
		}
		return `"x"`
	case Int:
		return "7"
	case Bool:
		return "true"
	case Array:
		return "[" + sample(f.Elem) + "]"
	case Reference:
		return `{"id":"x"}`
	}
	return `{"x":"y"}`
}

func about(faults Faults, code, path string) bool {
	for _, f := range faults {
		if f.Code == code && strings.ReplaceAll(f.Target, "[0]", "[]") == path {
			return true
		}
		if about(f.Details, code, path) {
			return true
		}
	}
	return false
}

func TestEveryFieldDoesWhatTheTableSays(t *testing.T) {
	for _, typ := range Types() {
		typ.Schema.Walk(func(path string, f *Field) {
			if f.Kind == Object && f.Effect == Enforced {
				return
			}
			body := place(path, sample(f))
			_, faults := Decode(typ, []byte(body))
			at := typ.Name + " " + path
			if refused := about(faults, NotSupported, path); refused != (f.Effect == Refused) {
				t.Errorf("%s (%s): refused %v: %v", at, f.Effect, refused, faults)
			}
			if about(faults, "InvalidJson", path) {
				t.Errorf("%s: %s is not accepted: %v", at, body, faults)
			}
			if f.Effect == Refused {
				_, faults = Decode(typ, []byte(place(path, "null")))
				if about(faults, NotSupported, path) {
					t.Errorf("%s: null is refused", at)
				}
				for _, h := range f.Harmless {
					if _, faults = Decode(typ, []byte(place(path, h))); about(faults, NotSupported, path) {
						t.Errorf("%s: harmless %s is refused", at, h)
					}
				}
			}
			if f.Kind != Any && f.Effect != ReadOnly && f.Effect != Refused {
				wrong := "[[1]]"
				if _, faults = Decode(typ, []byte(place(path, wrong))); !about(faults, "InvalidJson", path) && !about(faults, "InvalidJson", path+"[]") {
					t.Errorf("%s: %s is accepted: %v", at, wrong, faults)
				}
			}
			if _, faults = Decode(typ, []byte(place(path+"Zz", "1"))); !about(faults, "InvalidJson", path+"Zz") {
				t.Errorf("%s: an unknown neighbour is accepted: %v", at, faults)
			}
		})
	}
}

func TestTableIsWhole(t *testing.T) {
	words := map[string]bool{}
	for i, typ := range Types() {
		if typ.Help == "" || len(typ.Words) == 0 || typ.Schema == nil || typ.Schema.Model == "" {
			t.Errorf("%s: a column is empty", typ.Name)
		}
		w := strings.Join(typ.Words, " ")
		if words[w] {
			t.Errorf("%s: the words %q are used twice", typ.Name, w)
		}
		words[w] = true
		if Find(strings.ToUpper(typ.Name)) != typ {
			t.Errorf("%s is not found", typ.Name)
		}
		if typ.Parent != nil && (typ.List == "" || !strings.HasPrefix(typ.Name, typ.Parent.Name+"/") || indexOf(typ.Parent) > i) {
			t.Errorf("%s: parent", typ.Name)
		}
		typ.Schema.Walk(func(path string, f *Field) {
			if f.Kind == Reference && Find(f.Target) == nil {
				t.Errorf("%s %s refers to %q", typ.Name, path, f.Target)
			}
			if f.Name == "" || f.Effect == Refused && f.Required {
				t.Errorf("%s %s: a field without sense", typ.Name, path)
			}
		})
	}
}

func indexOf(t *Type) int {
	for i, x := range Types() {
		if x == t {
			return i
		}
	}
	return -1
}

func TestNoEffects(t *testing.T) {
	d := doc(t, "virtualNetworks/v", `{"location":"l","tags":{"a":"b"},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]},
		"enableVmProtection":true,"subnets":[{"name":"s","properties":{"addressPrefix":"10.0.0.0/24","defaultOutboundAccess":false}}]}}`)
	got := strings.Join(NoEffects(d), " ")
	if got != "properties.enableVmProtection properties.subnets[0].properties.defaultOutboundAccess" {
		t.Error(got)
	}
}
