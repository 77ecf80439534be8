package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ringfence/intent/store"
)

// Assignment gives a principal a role at a scope and everything below it.
type Assignment struct {
	Name        string `json:"name"`  // a GUID that whoever assigns chooses
	Scope       string `json:"scope"` // "/subscriptions/S", with a resource group, or a resource's id; as it was written
	Role        string `json:"role"`  // GUID of the role definition
	Principal   string `json:"principal"`
	Kind        string `json:"kind,omitempty"` // principalType as sent
	Description string `json:"description,omitempty"`
	Created     string `json:"created"` // RFC 3339
	Creator     string `json:"creator"` // object id of who assigned
	// Incarnation is the resource group or resource that the scope named when the role was assigned: one that is made anew under the
	// old name is another one, and nobody has a role in it yet. Empty for subscriptions.
	Incarnation string `json:"incarnation,omitempty"`
}

// Errors of Assign.
var (
	ErrAssigned = errors.New("the role assignment already exists")
	ErrChanged  = errors.New("a role assignment of this name exists, for another role, principal or scope")
)

const assignmentNotes = "identity/role/"

func assignmentKey(name string) string { return assignmentNotes + strings.ToLower(name) }

// Assignments are all that stand, those of the configuration first.
func (d *Directory) Assignments() []Assignment {
	all := slices.Clone(d.fixed)
	for _, n := range d.notesUnder(assignmentNotes) {
		var a Assignment
		if json.Unmarshal(n.Value, &a) == nil { // one that cannot be read gives nobody anything
			all = append(all, a)
		}
	}
	return all
}

// Assign stores a.
func (d *Directory) Assign(ctx context.Context, a Assignment) error {
	for _, old := range d.Assignments() {
		same := strings.EqualFold(old.Principal, a.Principal) && strings.EqualFold(old.Role, a.Role) && strings.EqualFold(old.Scope, a.Scope) &&
			old.Incarnation == a.Incarnation
		switch {
		case same:
			return ErrAssigned
		case strings.EqualFold(old.Name, a.Name):
			return ErrChanged
		}
	}
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("assign role: %w", err)
	}
	err = d.notes.PutNote(ctx, assignmentKey(a.Name), b, 0)
	var conflict *store.Conflict
	if errors.As(err, &conflict) {
		return ErrChanged
	}
	return err
}

// Unassign deletes an assignment.
func (d *Directory) Unassign(ctx context.Context, name string) error {
	n, ok := d.notes.Snapshot().Note(assignmentKey(name))
	if !ok {
		return nil
	}
	return d.notes.DeleteNote(ctx, assignmentKey(name), n.Revision)
}

// Incarnations says which resource a scope (in lower case) names now: "" when there is none. Subscriptions have none.
type Incarnations func(scope string) string

// Standing tells whether what the assignment was made for is still there.
func (a Assignment) Standing(now Incarnations) bool {
	return a.Incarnation == "" || a.Incarnation == now(strings.ToLower(a.Scope))
}

// Covers tells whether target lies at or below the assignment's scope. Both are ids without a slash at the end.
func (a Assignment) Covers(target string) bool { return Within(target, a.Scope) }

// Within tells whether target is scope or lies below it; both are ids without a slash at the end, in any casing.
func Within(target, scope string) bool {
	target, scope = strings.ToLower(target), strings.ToLower(scope)
	return target == scope || strings.HasPrefix(target, scope+"/")
}

// Rights are what a principal may do, as the assignments are now. A Rights is for one request.
type Rights struct {
	everything bool // the operator, and who carries a tenant's own token
	held       []held
}

type held struct {
	Assignment
	role Role
}

// Rights collects what p holds.
func (d *Directory) Rights(p Principal, now Incarnations) Rights {
	r := Rights{everything: p.Operator || p.Owner}
	if r.everything {
		return r
	}
	for _, a := range d.Assignments() {
		role, known := FindRole(a.Role)
		if known && strings.EqualFold(a.Principal, p.ID) && a.Standing(now) {
			r.held = append(r.held, held{a, role})
		}
	}
	return r
}

// May tells whether action is allowed at target.
func (r Rights) May(action, target string) bool {
	return r.everything || slices.ContainsFunc(r.held, func(h held) bool { return h.Covers(target) && h.role.Permits(action) })
}

// Sees tells whether anything at all at or below target may be read: only then is its name shown in lists.
func (r Rights) Sees(target string) bool {
	return r.everything || slices.ContainsFunc(r.held, func(h held) bool { return h.Covers(target) || Within(h.Scope, target) })
}

// Everything tells whether nothing is refused.
func (r Rights) Everything() bool { return r.everything }

// At are the roles that are held at target.
func (r Rights) At(target string) []Role {
	var all []Role
	for _, h := range r.held {
		if h.Covers(target) {
			all = append(all, h.role)
		}
	}
	return all
}
