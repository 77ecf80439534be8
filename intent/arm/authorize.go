package arm

import (
	"net/http"
	"slices"
	"strings"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// groupAction is how actions call resource groups.
const groupAction = "Microsoft.Resources/subscriptions/resourceGroups"

// actionType is a type's name in actions.
func actionType(t string) string {
	if t == resource.GroupType {
		return groupAction
	}
	return t
}

// incarnations tells assignments made for what is there now from those made for what was there under the same name.
func incarnations(s Snapshot) identity.Incarnations {
	return func(scope string) string {
		d := s.Get(resource.TopKey(scope))
		if d == nil || d.Key() != scope && !d.HasChild(scope) {
			return ""
		}
		return d.System.Created + " " + d.System.GUID
	}
}

// rightsOf are what somebody may do now.
func (h *handler) rightsOf(who identity.Principal) identity.Rights {
	return h.Identity.Rights(who, incarnations(h.Snapshot()))
}

func (q *request) may(action, scope string) error {
	if q.rights().May(action, scope) {
		return nil
	}
	return forbidden(q.who, action, scope)
}

// rights are collected once for a request: it is judged by one state of the assignments.
func (q *request) rights() identity.Rights {
	if !q.haveRights {
		q.held, q.haveRights = q.h.rightsOf(q.who), true
	}
	return q.held
}

func forbidden(who identity.Principal, action, scope string) error {
	return fault(http.StatusForbidden, "AuthorizationFailed",
		"The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid. If access was recently granted, please refresh your credentials.",
		who.App, who.ID, action, scope)
}

// verbs are the last words of actions on resources themselves.
var verbs = map[string]string{
	http.MethodGet: "read", http.MethodHead: "read", http.MethodPut: "write", http.MethodPatch: "write", http.MethodDelete: "delete",
}

// mayResource judges a verb on one resource.
func (q *request) mayResource(id resource.ID) error {
	verb, known := verbs[q.Method]
	if !known {
		return nil // refused for its method
	}
	q.act(actionType(id.Type)+"/"+verb, id.String())
	return q.may(q.doing, id.String())
}

// act notes what the request is about, for the audit log.
func (q *request) act(action, target string) { q.doing, q.target = action, target }

// visible leaves out of a list what the client may not read.
func (q *request) visible(d *resource.Doc) bool {
	return q.rights().May(actionType(d.ID.Type)+"/read", d.ID.String())
}

// joins says which right somebody needs on a resource that another one of a type starts to refer to (learn.microsoft.com: the
// operations of Microsoft.Network and Microsoft.Compute).
func joins(from, to string) string {
	switch to {
	case "Microsoft.Network/applicationSecurityGroups":
		if from == "Microsoft.Network/networkSecurityGroups" {
			return to + "/joinNetworkSecurityRule/action"
		}
		return to + "/joinIpConfiguration/action"
	case resource.GroupType:
		return ""
	}
	return to + "/join/action"
}

// linked judges the references that a write brings in: who may write a network interface must not be able to put it into a subnet
// that is somebody else's.
func (h *handler) linked(who identity.Principal, s Snapshot, doc *resource.Doc) error {
	rights := h.Identity.Rights(who, incarnations(s))
	if rights.Everything() {
		return nil
	}
	var before []string
	if old := s.Get(doc.Key()); old != nil {
		before = old.RefKeys()
	}
	for _, r := range doc.Refs() {
		action := joins(doc.ID.Type, r.Kind)
		if action == "" || strings.ToLower(r.ID) != r.To || strings.HasPrefix(r.To, doc.Key()+"/") || slices.Contains(before, r.To) {
			continue
		}
		if !rights.May(action, r.To) {
			write := actionType(doc.ID.Type) + "/write"
			return fault(http.StatusForbidden, "LinkedAuthorizationFailed",
				"The client '%s' with object id '%s' has permission to perform action '%s' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
				who.App, who.ID, write, doc.ID, action, r.ID)
		}
	}
	return nil
}

// seen refuses whoever has no right at all at or below a scope.
func (q *request) seen(scope, action string) error {
	if q.rights().Sees(scope) {
		return nil
	}
	return forbidden(q.who, action, scope)
}
