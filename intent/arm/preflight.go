package arm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ringfence/intent/resource"
	"ringfence/intent/template"
)

// deploymentRequest is the body of a PUT or of a validation.
type deploymentRequest struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties struct {
		Mode       string                                `json:"mode"`
		Template   json.RawMessage                       `json:"template"`
		Parameters map[string]map[string]json.RawMessage `json:"parameters"`
	} `json:"properties"`
}

// prepared is a deployment that passed every check that can be made before the first write.
type prepared struct {
	id      resource.ID
	request deploymentRequest
	text    json.RawMessage // the template as it was sent: faults tell its lines
	plan    *template.Plan
	group   *resource.Doc
}

// prepare reads, expands and checks a deployment.
func (q *request) prepare(id resource.ID) (*prepared, error) {
	body, err := q.body()
	if err != nil {
		return nil, err
	}
	s := q.h.Snapshot()
	group, err := inGroup(s, id.Subscription, id.Group)
	if err != nil {
		return nil, err
	}
	normal, faults := resource.Decode(resource.Find(deploymentType), body)
	if len(faults) > 0 {
		return nil, faults
	}
	p := &prepared{id: id, group: group}
	if err := json.Unmarshal(normal, &p.request); err != nil {
		return nil, fault(400, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", err)
	}
	if len(p.request.Properties.Template) == 0 {
		return nil, fault(400, "InvalidRequestContent", "The request content was invalid: the deployment '%s' has no properties.template.", id.Name())
	}
	p.text = p.request.Properties.Template
	var sent deploymentRequest
	if json.Unmarshal(body, &sent) == nil && len(sent.Properties.Template) > 0 {
		p.text = sent.Properties.Template
	}
	if err := q.expand(p); err != nil {
		return nil, err
	}
	return p, q.h.preflight(s, p)
}

// expand runs the template engine.
func (q *request) expand(p *prepared) error {
	values := map[string]json.RawMessage{}
	for name, v := range p.request.Properties.Parameters {
		if v["value"] == nil {
			return fault(400, "InvalidTemplate", "Deployment template validation failed: 'the parameter '%s' has no value. References to key vaults are not supported.'.", name)
		}
		values[name] = v["value"]
	}
	t, err := template.Parse(p.text)
	if err != nil {
		return templateFaults("Deployment template parse failed", err)
	}
	sub, _ := q.h.Identity.Subscription(q.who, p.id.Subscription)
	p.plan, err = template.Expand(t, values, template.Env{
		Tenant: sub.Tenant, Subscription: p.id.Subscription, SubscriptionName: sub.Name,
		Group: p.group.ID.Name(), Location: p.group.Location(), Tags: p.group.Tags(), Deployment: p.id.Name(),
	})
	if err != nil {
		return templateFaults("Deployment template validation failed", err)
	}
	for _, r := range p.plan.Resources {
		rid, err := resource.ParseID(r.ID)
		if err != nil {
			return fault(400, "InvalidTemplate", "Deployment template validation failed: '%s: %s'.", r.Path, err)
		}
		if !q.h.Identity.Allows(q.who, rid.Subscription) {
			return subscriptionNotFound(rid.Subscription)
		}
		if err := q.may(actionType(rid.Type)+"/write", rid.String()); err != nil {
			return err
		}
	}
	return nil
}

// templateFaults gives each of the engine's faults Azure's form.
func templateFaults(what string, err error) error {
	var list template.Faults
	if !errors.As(err, &list) {
		return fmt.Errorf("%s: %w", what, err)
	}
	rank := func(f template.Fault) int { // what is missing is often missing because its type is not known
		if f.Code == template.CodeInvalidResourceType {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b template.Fault) int { return cmp.Compare(rank(a), rank(b)) })
	var out resource.Faults
	for _, f := range list {
		place := ""
		if f.Line > 0 {
			place = fmt.Sprintf(" (%s, line %d, column %d)", f.Path, f.Line, f.Column)
		}
		out = append(out, resource.Fault{Status: 400, Code: f.Code, Target: f.Path, Message: fmt.Sprintf("%s: '%s%s'.", what, f.Message, place)})
	}
	return out
}

// preflight checks every resource of the plan as if those before it were there already, so that what cannot work is refused
// before anything is made. Bodies that are known only later are checked then.
func (h *handler) preflight(s Snapshot, p *prepared) error {
	over := newOverlay(s)
	unknown := map[string]bool{}
	var faults resource.Faults
	for i := range p.plan.Resources {
		r := &p.plan.Resources[i]
		id, err := resource.ParseID(r.ID)
		if err != nil {
			return err
		}
		late := r.Deferred()
		for _, d := range r.DependsOn {
			late = late || unknown[strings.ToLower(d)]
		}
		if late {
			unknown[id.Key()] = true
			continue
		}
		in, _, err := h.putChange(id, r.Body, r.APIVersion, condition{})(over)
		if err == nil {
			err = resource.Validate(in.Put, over).Err()
		}
		var more resource.Faults
		if errors.As(err, &more) {
			for _, f := range more {
				f.Target = strings.TrimSuffix(r.Path+"."+f.Target, ".")
				faults = append(faults, f)
			}
			unknown[id.Key()] = true
			continue
		}
		if err != nil {
			return err
		}
		over.put(in.Put)
	}
	if len(faults) == 0 {
		return nil
	}
	return resource.Faults{{Status: 400, Code: "InvalidTemplateDeployment", Details: faults, Message: fmt.Sprintf(
		"The template deployment '%s' is not valid according to the validation procedure. See inner errors for details.", p.id.Name())}}
}

// validateDeployment answers POST …/validate.
func (q *request) validateDeployment(id resource.ID) error {
	if q.Method != http.MethodPost {
		return notAllowed(q.Method)
	}
	p, err := q.prepare(id)
	if err != nil {
		return err
	}
	rec := newRecord(p)
	rec.finish(succeeded)
	for _, r := range p.plan.Resources {
		rec.Properties.ValidatedResources = append(rec.Properties.ValidatedResources, idOnly{r.ID})
	}
	q.json(http.StatusOK, map[string]any{"id": id.String(), "name": id.Name(), "type": deploymentType, "properties": rec.Properties})
	return nil
}
