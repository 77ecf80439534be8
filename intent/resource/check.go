package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// check is one validation: the document, what is around it, and the faults found so far.
type check struct {
	doc    *Doc
	body   *node
	lk     Lookup
	faults Faults
}

func (c *check) bad(target, code, format string, args ...any) {
	c.faults = append(c.faults, bad(target, code, fmt.Sprintf(format, args...)))
}

// Validate lists every fault of a document as it would be stored, Revision and System aside: its place, its references and the
// rules of its type. lk is the state that the document would join; whether it already holds the document makes no difference.
func Validate(d *Doc, lk Lookup) Faults {
	if d.Type == nil {
		return Faults{{Status: 404, Code: "InvalidResourceType", Message: fmt.Sprintf("The resource type '%s' could not be found.", d.ID.Type)}}
	}
	root := d.tree()
	if root == nil {
		return Faults{bad("", "InvalidRequestContent", "The request content was invalid and could not be deserialized.")}
	}
	c := &check{doc: d, body: root, lk: lk}
	c.place()
	if len(c.faults) > 0 {
		return c.faults
	}
	c.tags()
	c.references()
	if d.Type.check != nil {
		d.Type.check(c)
	}
	return c.faults
}

var locationRule = regexp.MustCompile(`^[A-Za-z0-9(), ]+$`)

// place checks group, name and location.
func (c *check) place() {
	id := c.doc.ID
	if id.Type != GroupType && c.lk.Get(GroupID(id.Subscription, id.Group).Key()) == nil {
		c.faults = append(c.faults, GroupNotFound(id.Group))
	}
	c.faults = append(c.faults, checkName(c.doc.Type, id)...)
	if !c.doc.Type.Located {
		return
	}
	switch location := c.body.get("location").text(); {
	case location == "":
		c.bad("location", "LocationRequired", "The location property is required for this definition.")
	case !locationRule.MatchString(location):
		c.bad("location", "InvalidResourceLocation",
			"The specified location '%q' is invalid. A location must consist of characters, whitespace, digit, or following symbols '(,)'.", location)
	}
}

// GroupNotFound is the answer to anything in a resource group that does not exist.
func GroupNotFound(group string) Fault {
	return Fault{Status: 404, Code: "ResourceGroupNotFound", Message: fmt.Sprintf("Resource group '%s' could not be found.", group)}
}

// naming is what a name looks like, and what is said when it does not; the text has a place for the name.
type naming struct {
	rule       *regexp.Regexp
	code, text string
}

var networkNaming = &naming{regexp.MustCompile(`^\w$|^\w[\w.\-]{0,78}\w$`), "InvalidResourceName",
	"Resource name %s is invalid. The name can be up to 80 characters long. It must begin with a word character, and it must end with a word character or with '_'. The name may contain word characters or '.', '-', '_'."}

// checkName checks the last name of an id.
func checkName(t *Type, id ID) Faults { return checkNameAt(t, id.Name(), "name") }

func checkNameAt(t *Type, name, target string) Faults {
	n := t.naming
	if n == nil {
		n = networkNaming
	}
	if n.rule.MatchString(name) {
		return nil
	}
	return Faults{bad(target, n.code, fmt.Sprintf(n.text, name))}
}

// references checks that everything referred to is of the right type, exists, and is in the same subscription and location.
// What is in another subscription is answered as what does not exist.
func (c *check) references() {
	for _, r := range c.doc.Refs() {
		if r.Kind == GroupType || r.Own || TopKey(r.To) == r.To && c.refersTwice(r) {
			continue
		}
		c.reference(r)
	}
}

// refersTwice tells whether r is the second half of a reference to a child.
func (c *check) refersTwice(r Ref) bool { return TopKey(keyOf(r.ID)) != keyOf(r.ID) }

func keyOf(id string) string {
	parsed, err := ParseID(id)
	if err != nil {
		return id
	}
	return parsed.Key()
}

func (c *check) reference(r Ref) {
	id, err := ParseID(r.ID)
	if err != nil {
		c.bad(r.Field, "LinkedInvalidPropertyId", "Property id '%s' at path '%s' is invalid. Expect fully qualified resource Id that start with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.", r.ID, r.Field)
		return
	}
	if id.Type != r.Kind {
		c.bad(r.Field, "InvalidResourceReference", "Resource %s referenced by resource %s is not of type %s.", id, c.doc.ID, r.Kind)
		return
	}
	if self := id.Top().Key() == c.doc.Key(); self {
		return
	}
	target := c.lk.Get(id.Top().Key())
	found := target != nil && strings.EqualFold(id.Subscription, c.doc.ID.Subscription) &&
		(c.doc.Type.Global || target.Location() == c.doc.Location()) && (len(id.Names) == 1 || target.HasChild(id.Key()))
	if found {
		return
	}
	if c.doc.Type == virtualMachine { // the compute provider passes on what the network provider says
		c.faults = append(c.faults, Fault{Status: 404, Code: "NotFound", Message: fmt.Sprintf("Resource %s not found.", id), Target: r.Field})
		return
	}
	f := bad(r.Field, "InvalidResourceReference", fmt.Sprintf(
		"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, c.doc.ID))
	if len(id.Names) == 1 {
		f.Details = []Fault{{Status: 404, Code: "NotFound", Message: fmt.Sprintf("Resource %s not found.", id)}}
	}
	c.faults = append(c.faults, f)
}

// use is the question whether a document may be deleted.
type use struct {
	doc    *Doc
	lk     Lookup
	faults Faults
}

func (u *use) fault(code, message string) { u.faults = append(u.faults, bad("", code, message)) }

// conflict is a fault in the form of providers that answer 409.
func (u *use) conflict(code, format string, args ...any) {
	u.faults = append(u.faults, Fault{Status: 409, Code: code, Message: fmt.Sprintf(format, args...)})
}

func (u *use) referrers(key string) []*Doc {
	var out []*Doc
	for _, k := range u.lk.Referrers(key) {
		if d := u.lk.Get(k); d != nil {
			out = append(out, d)
		}
	}
	return out
}

// InUse lists why the document cannot be deleted: Azure's code and text for each user.
func InUse(d *Doc, lk Lookup) Faults {
	if d.Type == nil || d.Type.inUse == nil {
		return nil
	}
	u := &use{doc: d, lk: lk}
	d.Type.inUse(u)
	return u.faults
}

// childrenReferring are the ids of d's children that refer to key: a network's subnets, an interface's IP configurations, a
// group's rules.
func childrenReferring(d *Doc, key string) []string {
	var out []string
	child := func(t *Type, name string, refers bool) {
		if refers {
			out = append(out, d.ID.Child(t, name).String())
		}
	}
	switch d.Type {
	case virtualNetwork:
		for _, s := range parseVNet(d).Subnets {
			child(subnet, s.Name, s.NSG == key)
		}
	case networkInterface:
		for _, c := range parseNIC(d).IPConfigs {
			child(ipConfiguration, c.Name, c.Subnet == key || slices.Contains(c.ASGs, key))
		}
	case networkSecurityGroup:
		for _, r := range parseNSG(d).Rules {
			child(securityRule, r.Name, slices.Contains(r.Src.ASGs, key) || slices.Contains(r.Dst.ASGs, key))
		}
	}
	return out
}
