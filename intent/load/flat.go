package load

import "strings"

// envelope are the members that stand beside properties and not inside.
var envelope = map[string]bool{"id": true, "name": true, "type": true, "etag": true, "location": true, "tags": true, "kind": true, "sku": true,
	"zones": true, "identity": true, "plan": true, "extendedlocation": true, "managedby": true, "resourcegroup": true, "subscriptionid": true,
	"tenantid": true, "apiversion": true, "properties": true, "systemdata": true, "dependson": true, "scope": true, "resources": true}

// childLists are the lists of children, by parent type in lower case: each child has the parent's form again.
var childLists = map[string][]string{
	"microsoft.network/virtualnetworks":       {"subnets", "virtualNetworkPeerings"},
	"microsoft.network/networksecuritygroups": {"securityRules", "defaultSecurityRules"},
	"microsoft.network/networkinterfaces":     {"ipConfigurations"},
}

// nested gives a body ARM's form: what az prints flat goes into properties, nulls are as good as absent, and so are the empty strings
// that some clients write for nothing. The input stays as it is.
func nested(n *node, typ string) *node {
	out, props := object(n.line), object(n.line)
	given := n.get("properties")
	for _, m := range n.members {
		low := strings.ToLower(m.name)
		switch {
		case m.value.kind == kindNull || low == "properties" || low == "resourcegroup":
		case envelope[low] || given != nil && given.kind == kindObject:
			out.members = append(out.members, m)
		default:
			props.members = append(props.members, member{m.name, clean(m.value)})
		}
	}
	if given != nil {
		props = clean(given)
	}
	for _, list := range childLists[strings.ToLower(typ)] {
		children := props.get(list)
		if children == nil || children.kind != kindArray {
			continue
		}
		all := array(children.line)
		for _, c := range children.items {
			if c.kind == kindObject {
				c = nested(c, "")
			}
			all.items = append(all.items, c)
		}
		props.set(list, all)
	}
	if props.kind == kindObject && len(props.members) == 0 && given == nil {
		return out
	}
	out.set("properties", props)
	return out
}

// clean copies a value without nulls and empty strings, which stand for what is absent.
func clean(n *node) *node {
	if n.kind != kindObject && n.kind != kindArray {
		return n
	}
	out := &node{kind: n.kind, line: n.line}
	for _, e := range n.items {
		out.items = append(out.items, clean(e))
	}
	for _, m := range n.members {
		if m.value.kind == kindNull || m.value.kind == kindString && m.value.text == "" {
			continue
		}
		out.members = append(out.members, member{m.name, clean(m.value)})
	}
	return out
}
