package identity

import "strings"

// Role is one of Azure's built-in role definitions. Actions are patterns with *; what NotActions match is taken away again.
type Role struct {
	ID          string // GUID, the same in every tenant of Azure
	Name        string
	Description string
	Actions     []string
	NotActions  []string
}

// The built-in roles that can be assigned (learn.microsoft.com/azure/role-based-access-control/built-in-roles).
var roles = []Role{
	{ID: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", Name: "Owner",
		Description: "Full access to manage all resources, and the right to assign roles.", Actions: []string{"*"}},
	{ID: "b24988ac-6180-42a0-ab88-20f7382dd24c", Name: "Contributor",
		Description: "Full access to manage all resources, without the right to assign roles.", Actions: []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action"}},
	{ID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Name: "Reader",
		Description: "View all resources, change none.", Actions: []string{"*/read"}},
	{ID: "4d97b98b-1d4f-4787-a291-c67834d212e7", Name: "Network Contributor",
		Description: "Manage networks, without access to anything else.",
		Actions: []string{"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Network/*",
			"Microsoft.ResourceHealth/availabilityStatuses/read", "Microsoft.Resources/deployments/*",
			"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*"}},
}

// Roles are the built-in role definitions.
func Roles() []Role { return roles }

// FindRole finds a role by its GUID or its name, in any casing.
func FindRole(word string) (Role, bool) {
	for _, r := range roles {
		if strings.EqualFold(r.ID, word) || strings.EqualFold(r.Name, word) {
			return r, true
		}
	}
	return Role{}, false
}

// Permits tells whether the role allows an action, like Microsoft.Network/virtualNetworks/subnets/join/action.
func (r Role) Permits(action string) bool {
	return anyMatches(r.Actions, action) && !anyMatches(r.NotActions, action)
}

func anyMatches(patterns []string, action string) bool {
	for _, p := range patterns {
		if matchAction(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// matchAction compares with a pattern in which * stands for any text, also with slashes.
func matchAction(pattern, action string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == action
	}
	if !strings.HasPrefix(action, parts[0]) {
		return false
	}
	rest := action[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, p)
		if i < 0 {
			return false
		}
		rest = rest[i+len(p):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
