package template

import (
	"strings"

	"ringfence/intent/resource"
)

// Deployable is the answer of the type table: which types a template may create, and how their names are spelt.
func Deployable(name string) (canonical string, ok bool) {
	t := resource.Find(name)
	if t == nil || t.ReadOnly || strings.EqualFold(t.Provider(), "Microsoft.Resources") {
		return name, false
	}
	return t.Name, true
}
