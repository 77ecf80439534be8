package load

import (
	"os"
	"path/filepath"
	"testing"
)

// Whatever a file holds, loading it ends, and what it could not use was said.
func FuzzLoad(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/*.json")
	more, _ := filepath.Glob("../template/testdata/microsoft/*.json")
	for _, name := range append(seeds, more...) {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`[{"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n","ipConfigurations":[{}]}]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := Load([]File{{"x.json", text}}, Options{})
		if s.View == nil {
			t.Fatal("no view")
		}
		if len(s.View.VNets)+len(s.View.NSGs)+len(s.View.NICs)+len(s.View.VMs)+len(s.View.ASGs) == 0 && len(s.Faults)+len(s.Unknowns)+len(s.Ignored) == 0 && len(text) > 0 {
			empty(t, text)
		}
	})
}

// empty: saying nothing is right only for what says that there is nothing.
func empty(t *testing.T, text []byte) {
	root, err := parseJSON(plain(text))
	if err != nil {
		t.Fatal("a file that is no JSON was taken in silence")
	}
	if root.kind == kindObject && !isTemplate(root) && !isParameters(root) && !isTerraform(root) && root.get("value") == nil && root.get("data") == nil && root.get("id") == nil {
		t.Fatal("a file without a resource was taken in silence")
	}
}
