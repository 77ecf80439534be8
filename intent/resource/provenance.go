package resource

import (
	"reflect"
	"slices"
	"strings"
)

// A security group is stored whole, so the document's revision says when any of its rules changed. Which revision brought a single
// rule is kept in System: of a rule that a write leaves as it was, the revision that it had before. That depends on the two documents
// alone. The revision of what a write brings is not known before the write is made, so it is not written: it is the document's own.

// Provenance is System's part about the rules of d, which replaces old; old may be nil.
func Provenance(old, d *Doc) (first int64, rules map[string]int64) {
	if old == nil || d.Type != networkSecurityGroup || old.Type != networkSecurityGroup {
		return 0, nil
	}
	before := map[string]SecurityRule{}
	for _, r := range parseNSG(old).Rules {
		before[strings.ToLower(r.Name)] = r
	}
	rules = map[string]int64{}
	for _, r := range d.typed().(*NSG).Rules {
		was, ok := before[strings.ToLower(r.Name)]
		since := int64(was.Revision)
		if was.Revision = 0; ok && reflect.DeepEqual(was, r) {
			rules[strings.ToLower(r.Name)] = since
		}
	}
	return since(old.System.First, old), rules
}

// provenance is g with the revisions that brought it and its rules.
func provenance(d *Doc, g *NSG) *NSG {
	out := *g
	out.Revision = uint64(since(d.System.First, d))
	out.Rules = slices.Clone(g.Rules)
	for i := range out.Rules {
		r := &out.Rules[i]
		r.Revision = uint64(since(d.System.Rules[strings.ToLower(r.Name)], d))
	}
	return &out
}

func since(known int64, d *Doc) int64 {
	if known != 0 {
		return known
	}
	return d.Revision
}
