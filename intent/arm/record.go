package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
	"ringfence/intent/template"
)

// record is a deployment's document: what a GET shows, and its operations.
type record struct {
	Location   string            `json:"location,omitempty"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties recordProperties  `json:"properties"`
	Template   json.RawMessage   `json:"template"`
	Operations []recordOperation `json:"operations"`

	began time.Time
}

type recordProperties struct {
	TemplateHash       string                     `json:"templateHash"`
	Parameters         map[string]json.RawMessage `json:"parameters"`
	Mode               string                     `json:"mode"`
	ProvisioningState  string                     `json:"provisioningState"`
	Timestamp          string                     `json:"timestamp"`
	Duration           string                     `json:"duration"`
	CorrelationID      string                     `json:"correlationId"`
	Providers          []recordProvider           `json:"providers"`
	Dependencies       []recordDependency         `json:"dependencies"`
	Outputs            json.RawMessage            `json:"outputs,omitempty"`
	OutputResources    []idOnly                   `json:"outputResources,omitempty"`
	ValidatedResources []idOnly                   `json:"validatedResources,omitempty"`
	Error              *errorBody                 `json:"error,omitempty"`
}

type idOnly struct {
	ID string `json:"id"`
}

type recordProvider struct {
	Namespace     string       `json:"namespace"`
	ResourceTypes []recordType `json:"resourceTypes"`
}

type recordType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
}

type recordTarget struct {
	ID           string `json:"id"`
	ResourceType string `json:"resourceType"`
	ResourceName string `json:"resourceName"`
}

type recordDependency struct {
	DependsOn []recordTarget `json:"dependsOn"`
	recordTarget
}

type recordOperation struct {
	ID          string `json:"id"`
	OperationID string `json:"operationId"`
	Properties  struct {
		Operation  string                `json:"provisioningOperation"`
		State      string                `json:"provisioningState"`
		Timestamp  string                `json:"timestamp"`
		Duration   string                `json:"duration"`
		StatusCode string                `json:"statusCode"`
		Message    map[string]*errorBody `json:"statusMessage,omitempty"`
		Target     recordTarget          `json:"targetResource"`
	} `json:"properties"`
}

func newRecord(p *prepared) *record {
	r := &record{Location: p.request.Location, Tags: p.request.Tags, Template: p.request.Properties.Template, began: time.Now(), Operations: []recordOperation{}}
	r.Properties = recordProperties{
		TemplateHash: templateHash(p.request.Properties.Template), Parameters: shownParameters(p.request), Mode: "Incremental",
		ProvisioningState: "Running", CorrelationID: newGUID(), Providers: []recordProvider{}, Dependencies: []recordDependency{},
	}
	for i := range p.plan.Resources {
		r.plans(&p.plan.Resources[i], p.group.Location(), p.plan)
	}
	r.stamp()
	return r
}

func (r *record) stamp() {
	r.Properties.Timestamp = time.Now().UTC().Format(time.RFC3339Nano)
	r.Properties.Duration = duration(time.Since(r.began))
}

// duration is ISO 8601.
func duration(d time.Duration) string { return fmt.Sprintf("PT%.7gS", d.Seconds()) }

// finish makes the record final.
func (r *record) finish(state string) {
	r.Properties.ProvisioningState = state
	r.stamp()
}

// plans notes a planned resource's type and dependencies.
func (r *record) plans(res *template.Resource, location string, plan *template.Plan) {
	namespace, typ, _ := strings.Cut(res.Type, "/")
	i := slices.IndexFunc(r.Properties.Providers, func(p recordProvider) bool { return p.Namespace == namespace })
	if i < 0 {
		i = len(r.Properties.Providers)
		r.Properties.Providers = append(r.Properties.Providers, recordProvider{Namespace: namespace})
	}
	types := &r.Properties.Providers[i].ResourceTypes
	if !slices.ContainsFunc(*types, func(t recordType) bool { return t.ResourceType == typ }) {
		*types = append(*types, recordType{typ, []string{location}})
	}
	if len(res.DependsOn) == 0 {
		return
	}
	d := recordDependency{recordTarget: targetOf(res)}
	for _, on := range res.DependsOn {
		j := slices.IndexFunc(plan.Resources, func(o template.Resource) bool { return is(o.ID, on) })
		if j >= 0 {
			d.DependsOn = append(d.DependsOn, targetOf(&plan.Resources[j]))
		}
	}
	r.Properties.Dependencies = append(r.Properties.Dependencies, d)
}

func targetOf(res *template.Resource) recordTarget {
	return recordTarget{res.ID, res.Type, res.Name}
}

// shownParameters are the given parameters without the values of secure ones.
func shownParameters(req deploymentRequest) map[string]json.RawMessage {
	var t struct {
		Parameters map[string]struct {
			Type         string          `json:"type"`
			DefaultValue json.RawMessage `json:"defaultValue"`
		} `json:"parameters"`
	}
	_ = json.Unmarshal(req.Properties.Template, &t) // the engine has read it
	out := map[string]json.RawMessage{}
	for name, p := range t.Parameters {
		v := p.DefaultValue
		for given, value := range req.Properties.Parameters {
			if is(given, name) {
				v = value["value"]
			}
		}
		shown := map[string]any{"type": typeWord(p.Type)}
		if !strings.HasPrefix(strings.ToLower(p.Type), "secure") && v != nil {
			shown["value"] = v
		}
		if b, err := json.Marshal(shown); err == nil {
			out[name] = b
		}
	}
	return out
}

// typeWord spells a parameter's type as answers do.
func typeWord(t string) string {
	for _, w := range []string{"String", "SecureString", "Int", "Bool", "Object", "SecureObject", "Array"} {
		if is(w, t) {
			return w
		}
	}
	return t
}

func templateHash(text []byte) string {
	return strings.ReplaceAll(resource.GUID(string(text)), "-", "")
}

// operation notes what became of one resource.
func (r *record) operation(id resource.ID, res *template.Resource, began time.Time, w written, err error) {
	var o recordOperation
	o.OperationID = strings.ToUpper(strings.ReplaceAll(resource.GUID(r.Properties.CorrelationID+res.ID), "-", ""))[:16]
	o.ID = id.String() + "/operations/" + o.OperationID
	o.Properties.Operation, o.Properties.State, o.Properties.StatusCode = "Create", succeeded, "OK"
	if w.created {
		o.Properties.StatusCode = "Created"
	}
	o.Properties.Timestamp = time.Now().UTC().Format(time.RFC3339Nano)
	o.Properties.Duration = duration(time.Since(began))
	o.Properties.Target = targetOf(res)
	if err != nil {
		o.Properties.State, o.Properties.StatusCode = failed, "BadRequest"
		o.Properties.Message = map[string]*errorBody{"error": failure(err)}
	} else {
		r.Properties.OutputResources = append(r.Properties.OutputResources, idOnly{res.ID})
	}
	r.Operations = append(r.Operations, o)
}

// record stores a deployment's record.
func (h *handler) record(ctx context.Context, who identity.Principal, id resource.ID, rec *record) (written, error) {
	body, err := json.Marshal(rec)
	if err != nil {
		return written{}, fmt.Errorf("encode deployment: %w", err)
	}
	return h.apply(ctx, who, func(s Snapshot) (in Intent, w written, err error) {
		g, err := inGroup(s, id.Subscription, id.Group)
		if err != nil {
			return in, w, err
		}
		id.Group = g.ID.Group
		d := resource.NewDoc(id, body)
		if old := s.Get(id.Key()); old != nil {
			d.ID, d.System, d.Revision = old.ID, old.System, old.Revision
			w.existed = true
		}
		w.created = !w.existed
		return Intent{Put: d}, w, nil
	})
}

// longestDeployment bounds how long a deployment may run: one that says longer that it is running has lost its server.
const longestDeployment = 20 * time.Minute

// orphaned is a deployment's document as it is to be shown: one whose server died while it ran has failed.
func (h *handler) orphaned(d *resource.Doc) *resource.Doc {
	var rec record
	if h.ops.running(d.Key()) || json.Unmarshal(d.Body, &rec) != nil || rec.Properties.ProvisioningState != "Running" {
		return d
	}
	began, err := time.Parse(time.RFC3339Nano, rec.Properties.Timestamp)
	if err != nil || time.Since(began) < longestDeployment+time.Minute {
		return d
	}
	rec.Properties.ProvisioningState = failed
	rec.Properties.Error = &errorBody{Code: "DeploymentFailed", Message: "The server that ran the deployment ended before the deployment did. What it made is there; deploy again."}
	body, err := json.Marshal(rec)
	if err != nil {
		return d
	}
	shown := resource.NewDoc(d.ID, body)
	shown.System, shown.Revision = d.System, d.Revision
	return shown
}

// stored reads a deployment's record.
func (q *request) stored(id resource.ID) (*record, error) {
	d, err := find(q.h.Snapshot(), id.Top())
	if err != nil {
		return nil, fault(404, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
	}
	var rec record
	if err := json.Unmarshal(d.Body, &rec); err != nil {
		return nil, fmt.Errorf("read deployment %s: %w", d.ID, err)
	}
	return &rec, nil
}

// deploymentOperations answers GET …/operations and …/operations/ID.
func (q *request) deploymentOperations(id resource.ID) error {
	return q.get(func() error {
		top := id
		top.Names = id.Names[:1]
		rec, err := q.stored(top)
		if err != nil {
			return err
		}
		if len(id.Names) == 1 {
			return values(q, rec.Operations)
		}
		for _, o := range rec.Operations {
			if is(o.OperationID, id.Names[1]) {
				q.json(http.StatusOK, o)
				return nil
			}
		}
		return fault(404, "DeploymentOperationNotFound", "The operation '%s' of deployment '%s' could not be found.", id.Names[1], id.Names[0])
	})
}

// deploymentStatus answers the poll of a deployment.
func (q *request) deploymentStatus(id resource.ID) error {
	return q.get(func() error {
		if len(id.Names) != 2 {
			return q.unknownPath()
		}
		op, err := q.lookup(id.Subscription, id.Names[1])
		if err != nil {
			return err
		}
		q.soon()
		q.raw(http.StatusOK, op.report(resource.Gateway))
		return nil
	})
}

// exportTemplate answers POST …/exportTemplate: the template as it was sent.
func (q *request) exportTemplate(id resource.ID) error {
	if q.Method != http.MethodPost {
		return notAllowed(q.Method)
	}
	rec, err := q.stored(id)
	if err != nil {
		return err
	}
	q.json(http.StatusOK, map[string]json.RawMessage{"template": rec.Template})
	return nil
}
