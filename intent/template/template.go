// Package template expands ARM templates: the template language of Azure Resource Manager as one pure engine.
//
// In: the text of a template, the values of its parameters and the scope it is deployed to. Out: a Plan, the resources in
// the order in which they are to be written, each with the body that a client would PUT, and the outputs. Whatever the
// engine does not know (a function, a resource type, a property of the language) is refused by name and place before
// anything is created; every fault that can be found is listed. No clock, no I/O, no randomness.
//
// The flow inside is one way: json.go (text → nodes with positions) → expr.go (expression text → syntax tree) → eval.go and
// func_*.go (syntax tree → values) → expand.go (nodes → resources) → order.go (resources → plan).
package template

import (
	"encoding/json"
)

// Env is the scope of a deployment: what resourceGroup(), subscription(), deployment() and tenant() answer.
type Env struct {
	Tenant           string // tenant id
	Subscription     string // subscription id
	SubscriptionName string
	Group            string            // resource group name
	Location         string            // of the resource group
	Tags             map[string]string // of the resource group
	Deployment       string            // deployment name

	// KnownType gives the canonical spelling of a resource type ("Microsoft.Network/virtualNetworks/subnets") and whether it
	// can be deployed. Nil: Deployable, the type table.
	KnownType func(name string) (canonical string, ok bool)
}

// Plan is an expanded template. Resolve and Outputs evaluate in place: one goroutine at a time.
type Plan struct {
	Resources []Resource // dependencies before dependents, else in the template's order
	Lost      []Lost     // of ExpandPartly: declarations of which not even the id is known
	outputs   *outputs
}

// Resource is one resource to write.
type Resource struct {
	ID         string          // full ARM id, canonical type
	APIVersion string          //
	Type       string          // "Microsoft.Network/virtualNetworks/subnets"
	Name       string          // with the parents' names: "vnet/subnet"
	Body       json.RawMessage // what a client would PUT; null while Deferred: then ask Resolve
	DependsOn  []string        // ids of resources of this plan
	Path       string          // where it stands in the template: resources[2].resources[0]
	Doubtful   bool            // of ExpandPartly: whether it is deployed is not known

	late *lateBody
}

// Reader answers the current state of a resource, as GET with that API version would; apiVersion may be empty.
type Reader func(id, apiVersion string) (json.RawMessage, error)

// Deferred says that the body uses reference() and is known only after the resources it depends on were written.
func (r *Resource) Deferred() bool { return r.late != nil }

// Resolve gives the body to write. For a resource that is not deferred it is Body; else reference() is answered by read.
func (r *Resource) Resolve(read Reader) (json.RawMessage, error) {
	if r.late == nil {
		return r.Body, nil
	}
	return r.late.resolve(read)
}

// Outputs evaluates the template's outputs after everything was written: {"name":{"type":"String","value":…}}.
func (p *Plan) Outputs(read Reader) (json.RawMessage, error) {
	if p.outputs == nil {
		return json.RawMessage("{}"), nil
	}
	return p.outputs.resolve(read)
}
