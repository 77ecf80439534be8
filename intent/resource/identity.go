package resource

import (
	"fmt"
	"strings"
	"unicode"
)

// contradictions lists what a body says of its own identity that its path does not: a client that means another resource must not
// change this one. Casing does not count; a child may also be named with its parents, as templates do.
func contradictions(t *Type, id ID, sent *node) Faults {
	var faults Faults
	for _, c := range []struct {
		name  string
		means []string
	}{
		{"name", []string{id.Name(), strings.Join(id.Names, "/")}},
		{"id", []string{id.String()}},
		{"type", []string{t.Name}},
	} {
		said := sent.get(c.name)
		if said == nil || said.kind == kindNull || said.kind == kindString && (said.str == "" || means(said.str, c.means)) {
			continue
		}
		faults = append(faults, bad(c.name, "InvalidRequestContent", fmt.Sprintf(
			"The request content was invalid: its %s is %s, the request is for '%s'.", c.name, shorten(string(said.append(nil))), c.means[0])))
	}
	return faults
}

func means(said string, any []string) bool {
	for _, m := range any {
		if strings.EqualFold(strings.TrimSuffix(said, "/"), m) {
			return true
		}
	}
	return false
}

// Limits of tags, as Azure documents them.
const (
	mostTags     = 50
	longestTag   = 512
	longestValue = 256
	noTag        = `<>%&\?`
)

// tags checks names and values of tags.
func (c *check) tags() {
	t := c.body.get("tags")
	if t == nil {
		return
	}
	if len(t.members) > mostTags {
		c.bad("tags", "InvalidTags", "The resource has %d tags. It can have up to %d.", len(t.members), mostTags)
	}
	for _, m := range t.members {
		target := join("tags", shorten(m.name))
		switch {
		case m.name == "" || strings.ContainsAny(m.name, noTag) || strings.ContainsFunc(m.name, unicode.IsControl):
			c.bad(target, "InvalidTagNameCharacters", "The tag name %q is empty, or it has control characters or one of '%s'.", shorten(m.name), noTag)
		case len([]rune(m.name)) > longestTag:
			c.bad(target, "InvalidTags", "The tag name %q is longer than %d characters.", shorten(m.name), longestTag)
		case len([]rune(m.value.text())) > longestValue || strings.ContainsRune(m.value.text(), 0):
			c.bad(target, "InvalidTags", "The value of the tag %q is longer than %d characters, or it has a NUL.", shorten(m.name), longestValue)
		}
	}
}

// CheckName says what is wrong with a name for a resource of a type, before there is a request.
func CheckName(t *Type, name string) error { return checkNameAt(t, name, "name").Err() }

// ChildPlace is where a child stands in its parent's document: "properties.subnets[2]". Empty when it does not.
func ChildPlace(parent *Doc, child ID) string {
	t := Find(child.Type)
	if i := childIndex(parent.tree().get("properties", t.List), child.Name()); i >= 0 {
		return fmt.Sprintf("properties.%s[%d]", t.List, i)
	}
	return ""
}
