package cli

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

type adCommands struct {
	SP spCommands `cmd:"" name:"sp" help:"Service principals."`
}

type spCommands struct {
	Create     spCreate     `cmd:"" name:"create-for-rbac" help:"Create a service principal with a secret, and give it a role."`
	List       spList       `cmd:"" help:"List the service principals."`
	Delete     spDelete     `cmd:"" help:"Delete a service principal with its role assignments; its tokens end at once."`
	Credential spCredential `cmd:"" help:"Secrets of a service principal."`
}

type spCreate struct {
	Name   string   `short:"n" required:"" help:"Name of the service principal."`
	Tenant string   `help:"Tenant: its name or id. Without it, that of --subscription."`
	Role   string   `help:"Role: Owner, Contributor, Reader or Network Contributor. Without it, none is assigned."`
	Scopes []string `help:"Scopes that the role is assigned at: /subscriptions/S, a resource group's id or a resource's."`
	Years  int      `default:"1" help:"Years until the secret expires."`
}

func (spCreate) Help() string {
	return `The secret is shown once and stored nowhere: keep it.

Examples:
  ringfence ad sp create-for-rbac -n ci --tenant contoso --role "Network Contributor" --scopes /subscriptions/SUBSCRIPTION/resourceGroups/shop
  ringfence ad sp create-for-rbac -n audit --tenant contoso --role Reader --scopes /subscriptions/SUBSCRIPTION`
}

func (c *spCreate) Run(a *app) error {
	switch {
	case (c.Role == "") != (len(c.Scopes) == 0):
		return usagef("--role and --scopes: give both or none")
	case c.Tenant == "":
		return usagef("--tenant: name the tenant that the service principal belongs to")
	}
	cl, err := a.operator()
	if err != nil {
		return err
	}
	v, err := cl.ask(a, http.MethodPost, "/ringfence/v1/principals", map[string]any{"tenant": c.Tenant, "name": c.Name, "years": c.Years})
	if err != nil {
		return err
	}
	for _, scope := range c.Scopes {
		if err := cl.assign(a, scope, c.Role, text(v, "objectId"), ""); err != nil {
			return fmt.Errorf("the service principal %s (%s) is there with the secret %s, but not its role: %w", c.Name, text(v, "appId"), text(v, "password"), err)
		}
	}
	return a.print(map[string]any{"appId": text(v, "appId"), "displayName": text(v, "name"), "password": text(v, "password"), "tenant": text(v, "tenant"), "objectId": text(v, "objectId")})
}

// ask sends a JSON body and decodes the answer.
func (c *client) ask(a *app, method, path string, body any) (any, error) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	ans, err := c.send(a.ctx, method, path, raw)
	if err != nil || len(ans.body) == 0 {
		return nil, err
	}
	return decode(ans.body)
}

var principalColumns = []column{{"Name", "name"}, {"AppId", "appId"}, {"ObjectId", "objectId"}, {"Tenant", "tenantName"}, {"Configured", "configured"}, {"SecretsExpire", "secrets"}}

type spList struct {
	Tenant string `help:"Only of this tenant: its name or id."`
}

func (spList) Help() string { return "Example:\n  ringfence ad sp list --tenant contoso" }

func (c *spList) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	v, err := cl.ask(a, http.MethodGet, "/ringfence/v1/principals?tenant="+url.QueryEscape(c.Tenant), nil)
	if err != nil {
		return err
	}
	return a.print(at(v, "value"), principalColumns...)
}

type spDelete struct {
	ID string `required:"" help:"Application id or object id."`
}

func (spDelete) Help() string { return "Example:\n  ringfence ad sp delete --id APPID" }

func (c *spDelete) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	_, err = cl.ask(a, http.MethodDelete, "/ringfence/v1/principals/"+url.PathEscape(c.ID), nil)
	return err
}

type spCredential struct {
	Reset spReset `cmd:"" help:"Give a service principal a new secret; the old ones end."`
}

type spReset struct {
	ID     string `required:"" help:"Application id or object id."`
	Append bool   `help:"Keep the old secrets."`
	Years  int    `default:"1" help:"Years until the secret expires."`
}

func (spReset) Help() string {
	return "Example:\n  ringfence ad sp credential reset --id APPID --append"
}

func (c *spReset) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	v, err := cl.ask(a, http.MethodPost, fmt.Sprintf("/ringfence/v1/principals/%s/secret?append=%v", url.PathEscape(c.ID), c.Append), map[string]any{"years": c.Years})
	if err != nil {
		return err
	}
	return a.print(map[string]any{"appId": text(v, "appId"), "password": text(v, "password"), "tenant": text(v, "tenant")})
}

type roleCommands struct {
	Assignment roleAssignmentCommands `cmd:"" help:"Role assignments."`
	Definition roleDefinitionCommands `cmd:"" help:"Role definitions."`
}

type roleAssignmentCommands struct {
	Create roleCreate `cmd:"" help:"Give a service principal a role at a scope."`
	List   roleList   `cmd:"" help:"List the role assignments at a scope, above and below it."`
	Delete roleDelete `cmd:"" help:"Take a role away."`
}

const authorizationVersion = "?api-version=2022-04-01"

type roleCreate struct {
	Assignee    string `required:"" help:"Application id or object id of the service principal."`
	Role        string `required:"" help:"Role: Owner, Contributor, Reader or Network Contributor."`
	Scope       string `required:"" help:"/subscriptions/S, a resource group's id or a resource's."`
	Description string `help:"Why."`
}

func (roleCreate) Help() string {
	return `Example:
  ringfence role assignment create --assignee APPID --role Reader --scope /subscriptions/SUBSCRIPTION/resourceGroups/shop`
}

func (c *roleCreate) Run(a *app) error {
	cl, err := a.newClient()
	if err != nil {
		return err
	}
	return cl.assign(a, c.Scope, c.Role, a.objectID(c.Assignee), c.Description)
}

// objectID turns an application id into the object id, which roles are given to; the operator's route knows.
func (a *app) objectID(assignee string) string {
	cl, err := a.operator()
	if err != nil {
		return assignee
	}
	v, err := cl.ask(a, http.MethodGet, "/ringfence/v1/principals", nil)
	if err != nil {
		return assignee
	}
	for _, p := range list(v, "value") {
		if strings.EqualFold(text(p, "appId"), assignee) || strings.EqualFold(text(p, "name"), assignee) {
			return text(p, "objectId")
		}
	}
	return assignee
}

func newName() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (c *client) assign(a *app, scope, role, object, why string) error {
	scope = strings.TrimRight(scope, "/")
	v, err := c.ask(a, http.MethodGet, scope+"/providers/Microsoft.Authorization/roleDefinitions"+authorizationVersion+"&$filter="+url.QueryEscape("roleName eq '"+role+"'"), nil)
	if err != nil {
		return err
	}
	found := list(v, "value")
	if len(found) == 0 {
		return usagef("--role %s: one of Owner, Contributor, Reader, Network Contributor", role)
	}
	p := map[string]any{"roleDefinitionId": text(found[0], "id"), "principalId": object, "principalType": "ServicePrincipal"}
	if why != "" {
		p["description"] = why
	}
	v, err = c.ask(a, http.MethodPut, scope+"/providers/Microsoft.Authorization/roleAssignments/"+newName()+authorizationVersion, map[string]any{"properties": p})
	if err != nil {
		return err
	}
	if a.flags.Output == "" && a.flags.Query == "" {
		return nil
	}
	return a.print(v)
}

type roleList struct {
	Scope    string `required:"" help:"/subscriptions/S, a resource group's id or a resource's."`
	Assignee string `help:"Only of this service principal: its application id or object id."`
}

func (roleList) Help() string {
	return "Example:\n  ringfence role assignment list --scope /subscriptions/SUBSCRIPTION -o json"
}

var assignmentColumns = []column{{"Name", "name"}, {"Principal", "properties.principalId"}, {"Role", "properties.roleDefinitionId"}, {"Scope", "properties.scope"}}

func (c *roleList) Run(a *app) error {
	v, names, err := c.find(a)
	if err != nil {
		return err
	}
	for _, one := range v {
		if p, ok := at(one, "properties").(map[string]any); ok && !a.structured() {
			p["roleDefinitionId"] = roleOf(one, names)
		}
	}
	return a.print(v, assignmentColumns...)
}

// find gives the assignments, and the names of the roles.
func (c *roleList) find(a *app) ([]any, map[string]string, error) {
	cl, err := a.newClient()
	if err != nil {
		return nil, nil, err
	}
	names, err := cl.roleNames(a)
	if err != nil {
		return nil, nil, err
	}
	path := strings.TrimRight(c.Scope, "/") + "/providers/Microsoft.Authorization/roleAssignments" + authorizationVersion
	if c.Assignee != "" {
		path += "&$filter=" + url.QueryEscape("principalId eq '"+a.objectID(c.Assignee)+"'")
	}
	v, err := cl.ask(a, http.MethodGet, path, nil)
	return list(v, "value"), names, err
}

type roleDelete struct {
	roleList
	Role string `help:"Only this role."`
}

func (roleDelete) Help() string {
	return "Example:\n  ringfence role assignment delete --assignee APPID --scope /subscriptions/SUBSCRIPTION"
}

func (c *roleDelete) Run(a *app) error {
	if c.Assignee == "" {
		return usagef("--assignee: name the service principal")
	}
	found, names, err := c.find(a)
	if err != nil {
		return err
	}
	cl, err := a.newClient()
	if err != nil {
		return err
	}
	gone := 0
	for _, one := range found {
		if !strings.EqualFold(strings.TrimRight(c.Scope, "/"), text(at(one, "properties"), "scope")) || c.Role != "" && !strings.EqualFold(roleOf(one, names), c.Role) {
			continue
		}
		if _, err := cl.ask(a, http.MethodDelete, text(one, "id")+authorizationVersion, nil); err != nil {
			return err
		}
		gone++
	}
	if gone == 0 {
		return fmt.Errorf("%s has no such role at %s: %w", c.Assignee, c.Scope, errNotFound)
	}
	return nil
}

type roleDefinitionCommands struct {
	List roleDefinitionList `cmd:"" help:"List the roles that can be assigned, and what they allow."`
}

type roleDefinitionList struct{}

func (roleDefinitionList) Help() string { return "Example:\n  ringfence role definition list -o json" }

func (c *roleDefinitionList) Run(a *app) error {
	cl, err := a.newClient()
	if err != nil {
		return err
	}
	v, err := cl.ask(a, http.MethodGet, "/providers/Microsoft.Authorization/roleDefinitions"+authorizationVersion, nil)
	if err != nil {
		return err
	}
	return a.print(at(v, "value"), column{"Name", "properties.roleName"}, column{"Id", "name"}, column{"Description", "properties.description"})
}

// roleNames are the names of the roles by their ids in lower case, as the API tells them.
func (c *client) roleNames(a *app) (map[string]string, error) {
	v, err := c.ask(a, http.MethodGet, "/providers/Microsoft.Authorization/roleDefinitions"+authorizationVersion, nil)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, d := range list(v, "value") {
		names[strings.ToLower(text(d, "name"))] = text(at(d, "properties"), "roleName")
	}
	return names, nil
}

// roleOf is the name of the role that an assignment gives, or the id of its definition.
func roleOf(assignment any, names map[string]string) string {
	id := text(at(assignment, "properties"), "roleDefinitionId")
	if name := names[strings.ToLower(id[strings.LastIndexByte(id, '/')+1:])]; name != "" {
		return name
	}
	return id
}

type monitorCommands struct {
	Log activityCommands `cmd:"" name:"activity-log" help:"Who changed what, when, and what became of it."`
}

type activityCommands struct {
	List activityList `cmd:"" help:"List the newest entries."`
}

type activityList struct {
	Scope     string `help:"Only below this: /subscriptions/S, a resource group's id or a resource's."`
	Principal string `help:"Only of this principal: its name."`
	Failed    bool   `help:"Only what was refused or failed."`
	Since     string `default:"24h" help:"How far to look back."`
	Top       int    `default:"100" help:"At most so many."`
}

func (activityList) Help() string {
	return `Every write is on record: also those that were refused, and each that a deployment made, under the deployment's correlation id. Each server keeps its own log, in audit/ of its data directory, as JSON lines.

Examples:
  ringfence monitor activity-log list
  ringfence monitor activity-log list --failed --since 168h -o json`
}

func (c *activityList) Run(a *app) error {
	cl, err := a.operator()
	if err != nil {
		return err
	}
	q := url.Values{"scope": {c.Scope}, "principal": {c.Principal}, "failed": {fmt.Sprint(c.Failed)}, "since": {c.Since}, "top": {fmt.Sprint(c.Top)}}
	v, err := cl.ask(a, http.MethodGet, "/ringfence/v1/audit?"+q.Encode(), nil)
	if err != nil {
		return err
	}
	return a.print(at(v, "value"), column{"Time", "time"}, column{"Principal", "principal"}, column{"Operation", "operation"}, column{"Resource", "resource"},
		column{"Status", "status"}, column{"Code", "code"}, column{"Correlation", "correlation"})
}
