package arm

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
)

// authorizationProvider hangs below every scope: a subscription, a resource group, a resource.
const authorizationProvider = "Microsoft.Authorization"

// authorizing tells whether a path ends in what Microsoft.Authorization has at a scope.
func (q *request) authorizing() bool { return q.authorizationAt() >= 0 }

// authorizationAt is where in the path the provider stands, -1 for nowhere.
func (q *request) authorizationAt() int {
	for i := len(q.path) - 2; i >= 0 && i >= len(q.path)-4; i-- {
		if is(q.path[i], "providers") && is(q.path[i+1], authorizationProvider) && (i == 0 || is(q.path[0], "subscriptions") && i >= 2) {
			return i
		}
	}
	return -1
}

// scope is what rights hold at.
type scope struct {
	id   string // in canonical casing, without a slash at the end; "" for the tenant
	name string // incarnation; "" for a subscription or the tenant
}

// authorization answers for {scope}/providers/Microsoft.Authorization/….
func (q *request) authorization() error {
	at := q.authorizationAt()
	rest := q.path[at+2:]
	if len(rest) == 0 || len(rest) > 2 {
		return q.get(func() error { return q.providersOf(q.subscriptionOf(), []string{authorizationProvider}) })
	}
	sc, err := q.scopeOf(q.path[:at])
	if err != nil {
		return err
	}
	name := ""
	if len(rest) == 2 {
		name = rest[1]
	}
	switch strings.ToLower(rest[0]) {
	case "roledefinitions":
		return q.get(func() error { return q.roleDefinitions(sc, name) })
	case "roleassignments":
		if sc.id == "" {
			return q.unknownPath()
		}
		return q.roleAssignments(sc, name)
	case "permissions":
		return q.get(func() error { return q.permissions(sc) })
	}
	return fault(404, "InvalidResourceType", "The resource type '%s' could not be found in the namespace '%s' for api version '%s'.", rest[0], authorizationProvider, q.apiVersion)
}

func (q *request) subscriptionOf() string {
	if len(q.path) > 1 && is(q.path[0], "subscriptions") {
		return q.path[1]
	}
	return ""
}

// scopeOf reads a scope; what is not there is not found.
func (q *request) scopeOf(p []string) (scope, error) {
	switch len(p) {
	case 0:
		return scope{}, nil
	case 2:
		return scope{id: "/subscriptions/" + p[1]}, nil
	}
	id, err := resource.ParseID("/" + strings.Join(p, "/"))
	if err != nil {
		return scope{}, fault(400, "InvalidScope", "The scope '/%s' is not valid.", strings.Join(p, "/"))
	}
	s := q.h.Snapshot()
	if err := q.seen(id.String(), authorizationProvider+"/roleAssignments/read"); err != nil {
		return scope{}, err
	}
	d, err := find(s, id)
	if err != nil {
		return scope{}, err
	}
	shown := d.ID
	if len(id.Names) > len(d.ID.Names) {
		if !d.HasChild(id.Key()) {
			return scope{}, childNotFound(id)
		}
		shown = id
		shown.Group = d.ID.Group
	}
	return scope{shown.String(), incarnations(s)(id.Key())}, nil
}

// definitionJSON is a role as ARM shows it.
func definitionJSON(r identity.Role, scope string) map[string]any {
	notActions := r.NotActions
	if notActions == nil {
		notActions = []string{}
	}
	return map[string]any{
		"id": definitionID(scope, r.ID), "name": r.ID, "type": "Microsoft.Authorization/roleDefinitions",
		"properties": map[string]any{"roleName": r.Name, "type": "BuiltInRole", "description": r.Description, "assignableScopes": []string{"/"},
			"permissions": []any{map[string]any{"actions": r.Actions, "notActions": notActions, "dataActions": []string{}, "notDataActions": []string{}}}},
	}
}

// definitionID: definitions are shown below the subscription that they are asked for in.
func definitionID(scope, guid string) string {
	if p := strings.Split(scope, "/"); len(p) >= 3 {
		scope = strings.Join(p[:3], "/")
	}
	return scope + "/providers/Microsoft.Authorization/roleDefinitions/" + guid
}

var roleNameRule = regexp.MustCompile(`(?i)^\s*(roleName|type)\s+eq\s+'([^']*)'\s*$`)

func (q *request) roleDefinitions(sc scope, name string) error {
	if name != "" {
		r, ok := identity.FindRole(name)
		if !ok || !is(r.ID, name) {
			return fault(404, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", name)
		}
		q.json(http.StatusOK, definitionJSON(r, sc.id))
		return nil
	}
	keep := func(identity.Role) bool { return true }
	if f := q.param("$filter"); f != "" {
		m := roleNameRule.FindStringSubmatch(f)
		switch {
		case m == nil && !is(strings.TrimSpace(f), "atScopeAndBelow()") && !is(strings.TrimSpace(f), "atScope()"):
			return fault(400, "UnsupportedQueryOption", "The filter '%s' is not supported. Supported filters are roleName eq '{value}', type eq 'BuiltInRole'.", f)
		case m != nil && is(m[1], "roleName"):
			keep = func(r identity.Role) bool { return is(r.Name, m[2]) }
		case m != nil:
			keep = func(identity.Role) bool { return is(m[2], "BuiltInRole") }
		}
	}
	var all []map[string]any
	for _, r := range identity.Roles() {
		if keep(r) {
			all = append(all, definitionJSON(r, sc.id))
		}
	}
	return values(q, all)
}

func (q *request) permissions(sc scope) error {
	type permission struct {
		Actions    []string `json:"actions"`
		NotActions []string `json:"notActions"`
	}
	var all []permission
	if q.rights().Everything() {
		all = append(all, permission{[]string{"*"}, []string{}})
	}
	for _, r := range q.rights().At(sc.id) {
		all = append(all, permission{r.Actions, append([]string{}, r.NotActions...)})
	}
	return values(q, all)
}

// assignmentJSON is an assignment as ARM shows it.
func assignmentJSON(a identity.Assignment) map[string]any {
	kind := a.Kind
	if kind == "" {
		kind = "ServicePrincipal"
	}
	return map[string]any{
		"id": a.Scope + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name, "name": a.Name, "type": "Microsoft.Authorization/roleAssignments",
		"properties": map[string]any{
			"roleDefinitionId": definitionID(a.Scope, a.Role), "principalId": a.Principal, "principalType": kind, "scope": a.Scope,
			"condition": nil, "conditionVersion": nil, "description": optional(a.Description), "delegatedManagedIdentityResourceId": nil,
			"createdOn": optional(a.Created), "updatedOn": optional(a.Created), "createdBy": optional(a.Creator), "updatedBy": optional(a.Creator),
		},
	}
}

func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (q *request) roleAssignments(sc scope, name string) error {
	verb, known := verbs[q.Method]
	if !known || q.Method == http.MethodPatch {
		return notAllowed(q.Method)
	}
	target := sc.id
	q.act(authorizationProvider+"/roleAssignments/"+verb, target+"/providers/Microsoft.Authorization/roleAssignments/"+name)
	if err := q.may(q.doing, target); err != nil {
		return err
	}
	switch {
	case name == "":
		return q.get(func() error { return q.listAssignments(sc) })
	case !identity.IsGUID(name):
		return fault(400, "InvalidRoleAssignmentId", "The role assignment ID '%s' is not valid. The role assignment ID must be a GUID.", name)
	case q.Method == http.MethodPut:
		return q.putAssignment(sc, name)
	}
	a, found := q.assignment(sc, name)
	switch {
	case !found && q.Method == http.MethodDelete:
		q.empty(http.StatusNoContent)
		return nil
	case !found:
		return fault(404, "RoleAssignmentNotFound", "The role assignment '%s' is not found.", name)
	case q.Method == http.MethodDelete:
		return q.deleteAssignment(a)
	}
	q.json(http.StatusOK, assignmentJSON(a))
	return nil
}

// assignment finds one made for this scope as it is now.
func (q *request) assignment(sc scope, name string) (identity.Assignment, bool) {
	for _, a := range q.h.Identity.Assignments() {
		if is(a.Name, name) && is(a.Scope, sc.id) && a.Incarnation == sc.name {
			return a, true
		}
	}
	return identity.Assignment{}, false
}

var principalRule = regexp.MustCompile(`(?i)^\s*(?:atScope\(\)\s+and\s+)?(?:principalId\s+eq\s+'([^']*)'|assignedTo\('([^']*)'\))\s*$`)

// listAssignments answers with those at, above and below the scope: atScope() leaves those below out.
func (q *request) listAssignments(sc scope) error {
	filter := strings.TrimSpace(q.param("$filter"))
	principal := ""
	m := principalRule.FindStringSubmatch(filter)
	switch {
	case m != nil:
		principal = m[1] + m[2]
	case filter != "" && !is(filter, "atScope()"):
		return fault(400, "UnsupportedQueryOption", "The filter '%s' is not supported. Supported filters are either 'atScope()' or 'principalId eq '{value}' or assignedTo('{value}')'.", filter)
	}
	below := !strings.HasPrefix(strings.ToLower(filter), "atscope()")
	now := incarnations(q.h.Snapshot())
	var all []map[string]any
	for _, a := range q.h.Identity.Assignments() {
		here := a.Covers(sc.id) || below && identity.Within(a.Scope, sc.id)
		if here && a.Standing(now) && (principal == "" || is(a.Principal, principal)) {
			all = append(all, assignmentJSON(a))
		}
	}
	return values(q, all)
}

func (q *request) deleteAssignment(a identity.Assignment) error {
	if _, configured := q.h.Identity.Configured(a.Principal); configured && a.Creator == "" {
		return fault(http.StatusConflict, "RoleAssignmentConfigured", "The role assignment '%s' stands in the server's configuration and is changed there.", a.Name)
	}
	if err := q.h.Identity.Unassign(q.Context(), a.Name); err != nil {
		return err
	}
	q.json(http.StatusOK, assignmentJSON(a))
	return nil
}

// putAssignment gives a principal of the same tenant a role. Giving the same again is no change and no error.
func (q *request) putAssignment(sc scope, name string) error {
	a, err := q.readAssignment(sc, name)
	if err != nil {
		return err
	}
	if old, found := q.assignment(sc, name); found && is(old.Role, a.Role) && is(old.Principal, a.Principal) {
		q.json(http.StatusOK, assignmentJSON(old))
		return nil
	}
	switch err := q.h.Identity.Assign(q.Context(), a); {
	case errors.Is(err, identity.ErrAssigned):
		return fault(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists.")
	case errors.Is(err, identity.ErrChanged):
		return fault(http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Tenant ID, application ID, principal ID, and scope are not allowed to be updated.")
	case err != nil:
		return err
	}
	q.json(http.StatusCreated, assignmentJSON(a))
	return nil
}

func (q *request) readAssignment(sc scope, name string) (a identity.Assignment, err error) {
	body, err := q.body()
	if err != nil {
		return a, err
	}
	type properties struct {
		RoleDefinitionID string  `json:"roleDefinitionId"`
		PrincipalID      string  `json:"principalId"`
		PrincipalType    string  `json:"principalType"`
		Description      string  `json:"description"`
		Condition        *string `json:"condition"`
	}
	var sent struct {
		properties             // versions before 2018 had them at the top, too
		Properties *properties `json:"properties"`
	}
	if err := json.Unmarshal(body, &sent); err != nil {
		return a, fault(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	p := sent.properties
	if sent.Properties != nil {
		p = *sent.Properties
	}
	words := strings.Split(p.RoleDefinitionID, "/")
	role, known := identity.FindRole(words[len(words)-1])
	who, exists := q.h.Identity.ByID(p.PrincipalID)
	tenant, _ := q.h.Identity.Subscription(q.who, strings.Split(sc.id, "/")[2])
	switch {
	case p.Condition != nil && *p.Condition != "":
		return a, fault(400, "RoleAssignmentConditionNotSupported", "Conditions of role assignments are not supported here.")
	case !known || !identity.IsGUID(words[len(words)-1]):
		return a, fault(400, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist.", words[len(words)-1])
	case !exists || !is(who.Tenant, tenant.Tenant): // of another tenant is like none
		return a, fault(400, "PrincipalNotFound", "Principal %s does not exist in the directory %s. Check that you have the correct principal ID.", p.PrincipalID, tenant.Tenant)
	case p.PrincipalType != "" && !is(p.PrincipalType, "ServicePrincipal"):
		return a, fault(400, "UnmatchedPrincipalType", "The PrincipalId '%s' has type 'ServicePrincipal', which is different from specified PrincipalType '%s'.", p.PrincipalID, p.PrincipalType)
	}
	return identity.Assignment{Name: strings.ToLower(name), Scope: sc.id, Role: role.ID, Principal: who.ID, Kind: "ServicePrincipal", Description: p.Description,
		Created: time.Now().UTC().Format(time.RFC3339Nano), Creator: creator(q.who), Incarnation: sc.name}, nil
}

// creator is the object id of whoever assigns; the operator and a tenant's own token have none.
func creator(p identity.Principal) string {
	if p.ID != "" {
		return p.ID
	}
	return resource.GUID("principal " + p.Tenant + " " + p.Name)
}
