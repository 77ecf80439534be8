package template

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// FuzzExpand: any text is expanded or refused with faults inside the text; what is planned is JSON.
func FuzzExpand(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "microsoft", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatal("no templates", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"languageVersion":"2.0","resources":{"a":{"type":"Microsoft.Network/virtualNetworks","apiVersion":"x","name":"n","copy":{"name":"c","count":"[length('abc')]"},"properties":{"copy":[{"name":"p","count":2,"input":"[copyIndex('p')]"}]}}},"outputs":{"o":{"type":"string","value":"[reference('a').x]"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		tpl, err := Parse(text)
		if err != nil {
			checkFaults(t, text, err)
			return
		}
		if strict := tpl.Strict(); !json.Valid(strict) {
			t.Fatalf("strict text is no JSON: %q", strict)
		}
		plan, err := Expand(tpl, nil, testEnv)
		if err != nil {
			checkFaults(t, text, err)
			return
		}
		for i := range plan.Resources {
			if r := &plan.Resources[i]; !json.Valid(r.Body) {
				t.Fatalf("%s: body is no JSON: %q", r.ID, r.Body)
			}
		}
		read := func(string, string) (json.RawMessage, error) { return json.RawMessage(`{"properties":{}}`), nil }
		if out, err := plan.Outputs(read); err == nil && !json.Valid(out) {
			t.Fatalf("outputs are no JSON: %q", out)
		}
	})
}

func checkFaults(t *testing.T, text []byte, err error) {
	t.Helper()
	faults, ok := err.(Faults)
	if !ok || len(faults) == 0 {
		t.Fatalf("no faults: %v", err)
	}
	for _, f := range faults {
		if f.Message == "" || f.Code == "" || f.Line < 0 || f.Column < 0 || f.Column > len(text)+1 {
			t.Fatalf("fault without a place or word: %+v", f)
		}
	}
}

// FuzzExpression: any expression is evaluated or refused.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"[concat('a', string(1))]", "[parameters('p')[0].x]", "[if(equals(1,2), 'a', format('{0:D3}', 7))]", "[[x]", "[split('a,b', ',')[1]]",
		"[cidrSubnet('10.0.0.0/8', 24, 3)]", "[union(createObject('a',1), createObject('b', createArray()))]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			return
		}
		tpl, err := Parse([]byte(`{"parameters":{"p":{"type":"array","defaultValue":[{"x":1}]}},"resources":[],"outputs":{"o":{"type":"object","value":` + string(quoted) + `}}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = Expand(tpl, nil, testEnv); err != nil {
			if faults, ok := err.(Faults); !ok || len(faults) == 0 || faults[0].Line != 1 {
				t.Fatalf("%v", err)
			}
		}
	})
}
