package resource

import (
	"fmt"
	"strings"
)

// ID is a parsed ARM id. Names come back as written; the static segments and the type are canonical.
type ID struct {
	Subscription string
	Group        string   // resource group
	Type         string   // "Microsoft.Network/virtualNetworks/subnets"; GroupType for a resource group itself
	Names        []string // one per type segment; for a resource group its name
}

// GroupType is the type of resource groups, whose ids have no provider segment.
const GroupType = "Microsoft.Resources/resourceGroups"

// maxID bounds what ParseID reads.
const maxID = 2048

// ParseID reads an id in any casing. Doubled and trailing slashes are refused here; the router tolerates them before.
// A type that the table does not know keeps its spelling.
func ParseID(s string) (ID, error) {
	if len(s) > maxID {
		return ID{}, fmt.Errorf("parse id: longer than %d bytes", maxID)
	}
	if !strings.HasPrefix(s, "/") {
		return ID{}, fmt.Errorf("parse id %q: it begins with /subscriptions/", s)
	}
	p := strings.Split(s[1:], "/")
	for _, part := range p {
		if part == "" || strings.ContainsAny(part, "\x00?#%\\") {
			return ID{}, fmt.Errorf("parse id %q: empty or forbidden segment %q", s, part)
		}
	}
	if len(p) < 4 || !strings.EqualFold(p[0], "subscriptions") || !strings.EqualFold(p[2], "resourceGroups") {
		return ID{}, fmt.Errorf("parse id %q: want /subscriptions/…/resourceGroups/…/providers/…", s)
	}
	if len(p) == 4 {
		return GroupID(p[1], p[3]), nil
	}
	if len(p) < 8 || len(p)%2 != 0 || !strings.EqualFold(p[4], "providers") {
		return ID{}, fmt.Errorf("parse id %q: want /providers/NAMESPACE/TYPE/NAME after the resource group", s)
	}
	id := ID{Subscription: p[1], Group: p[3]}
	segments := []string{p[5]}
	for i := 6; i < len(p); i += 2 {
		segments = append(segments, p[i])
		id.Names = append(id.Names, p[i+1])
	}
	id.Type = strings.Join(segments, "/")
	if t := Find(id.Type); t != nil {
		if t.Name == GroupType {
			return ID{}, fmt.Errorf("parse id %q: a resource group has no provider segment", s)
		}
		id.Type = t.Name
	}
	return id, nil
}

// GroupID is the id of a resource group.
func GroupID(subscription, group string) ID {
	return ID{Subscription: subscription, Group: group, Type: GroupType, Names: []string{group}}
}

// String is the id in canonical form.
func (id ID) String() string {
	var b strings.Builder
	b.WriteString("/subscriptions/" + id.Subscription + "/resourceGroups/" + id.Group)
	if id.Type == GroupType {
		return b.String()
	}
	segments := strings.Split(id.Type, "/")
	b.WriteString("/providers/" + segments[0])
	for i, name := range id.Names {
		b.WriteString("/" + segments[i+1] + "/" + name)
	}
	return b.String()
}

// Key is the canonical id in lower case: the key of every map.
func (id ID) Key() string { return strings.ToLower(id.String()) }

// Name is the last name.
func (id ID) Name() string { return id.Names[len(id.Names)-1] }

// Parent is the id one level up inside the same provider: a subnet's virtual network.
func (id ID) Parent() (ID, bool) {
	if len(id.Names) < 2 {
		return ID{}, false
	}
	id.Type = id.Type[:strings.LastIndexByte(id.Type, '/')]
	id.Names = id.Names[: len(id.Names)-1 : len(id.Names)-1]
	return id, true
}

// Top is the id of the document that the resource is stored in: itself or its outermost parent.
func (id ID) Top() ID {
	for {
		p, ok := id.Parent()
		if !ok {
			return id
		}
		id = p
	}
}

// Child is the id of a child of the given type.
func (id ID) Child(t *Type, name string) ID {
	names := append(id.Names[:len(id.Names):len(id.Names)], name)
	return ID{Subscription: id.Subscription, Group: id.Group, Type: t.Name, Names: names}
}

// TopKey is the key of the document that holds the resource with this key: itself for a top-level resource. Child
// references name the child; stores compare and lock the document.
func TopKey(key string) string {
	p := strings.SplitN(key, "/", 10) // "", subscriptions, S, resourcegroups, G, providers, P, T, N, rest
	if len(p) < 10 {
		return key
	}
	return strings.Join(p[:9], "/")
}
