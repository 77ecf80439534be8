package arm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ringfence/intent/identity"
	"ringfence/intent/resource"
	"ringfence/intent/template"
)

const deploymentType = "Microsoft.Resources/deployments"

// putDeployment answers PUT of a deployment: it is checked whole, recorded, and then run.
func (q *request) putDeployment(id resource.ID) error {
	p, err := q.prepare(id)
	if err != nil {
		return err
	}
	if q.h.ops.running(id.Key()) {
		return fault(http.StatusConflict, "DeploymentActive", "Unable to edit or replace deployment '%s': a deployment of this name is still active.", id.Name())
	}
	rec := newRecord(p)
	w, err := q.h.record(q.Context(), q.who, id, rec)
	if err != nil {
		return err
	}
	who := q.who
	correlation := q.w.Header().Get("x-ms-correlation-request-id")
	op := q.h.ops.run(id.Key(), longestDeployment, func(ctx context.Context) error {
		return q.h.deploy(context.WithValue(ctx, stepKey{}, correlation), who, p, rec)
	})
	state := op.wait(q.Context(), q.h.Wait)
	if state != succeeded {
		q.h.ops.keep(op, id.Subscription)
		q.w.Header().Set("Azure-AsyncOperation", fmt.Sprintf("%s%s/operationStatuses/%s?api-version=%s", q.base(), id, op.id, q.apiVersion))
		q.w.Header().Set("Retry-After", "1")
	}
	status := http.StatusCreated
	if w.existed {
		status = http.StatusOK
	}
	s := q.h.Snapshot()
	d, err := find(s, id)
	if err != nil {
		return err
	}
	body, err := q.render(d, s, id)
	if err != nil {
		return err
	}
	q.raw(status, body)
	return nil
}

// deploy writes the plan's resources, each after those it depends on. One that fails stops those that depend on it only.
func (h *handler) deploy(ctx context.Context, who identity.Principal, p *prepared, rec *record) error {
	var last uint64
	var faults resource.Faults
	lost := map[string]bool{}
	for i := range p.plan.Resources {
		r := &p.plan.Resources[i]
		blocked := false
		for _, d := range r.DependsOn {
			blocked = blocked || lost[strings.ToLower(d)]
		}
		if blocked {
			lost[strings.ToLower(r.ID)] = true
			continue
		}
		began := time.Now()
		w, err := h.deployOne(ctx, who, r)
		rec.operation(p.id, r, began, w, err)
		if rid, bad := resource.ParseID(r.ID); bad == nil {
			h.step(ctx, who, rid, began, w, err)
		}
		if err != nil {
			lost[strings.ToLower(r.ID)] = true
			faults = append(faults, h.faultsOf(err)...)
			continue
		}
		last = max(last, w.Revision)
	}
	return h.conclude(ctx, who, p, rec, last, faults)
}

func (h *handler) deployOne(ctx context.Context, who identity.Principal, r *template.Resource) (written, error) {
	id, err := resource.ParseID(r.ID)
	if err != nil {
		return written{}, err
	}
	body, err := r.Resolve(h.reader(who))
	if err != nil {
		return written{}, templateFaults("Deployment template validation failed", err)
	}
	if err := h.mayWrite(who, id); err != nil {
		return written{}, err
	}
	return h.apply(ctx, who, h.putChange(id, body, r.APIVersion, condition{}))
}

// mayWrite judges a write that a deployment makes for somebody.
func (h *handler) mayWrite(who identity.Principal, id resource.ID) error {
	if action := actionType(id.Type) + "/write"; !h.rightsOf(who).May(action, id.String()) {
		return forbidden(who, action, id.String())
	}
	return nil
}

// reader answers reference() with what a GET answers.
func (h *handler) reader(who identity.Principal) template.Reader {
	return func(text, apiVersion string) (json.RawMessage, error) {
		id, err := resource.ParseID(text)
		if err != nil {
			return nil, err
		}
		if !h.Identity.Allows(who, id.Subscription) {
			return nil, subscriptionNotFound(id.Subscription)
		}
		if action := actionType(id.Type) + "/read"; !h.rightsOf(who).May(action, id.String()) {
			return nil, forbidden(who, action, id.String())
		}
		s := h.Snapshot()
		d, err := find(s, id)
		if err != nil {
			return nil, err
		}
		body, err := resource.Render(d, s, id, resource.Shown{APIVersion: apiVersion, State: succeeded})
		if err == nil && body == nil {
			err = childNotFound(id)
		}
		return body, err
	}
}

// conclude waits until all that was written is enforced, evaluates the outputs and writes the record.
func (h *handler) conclude(ctx context.Context, who identity.Principal, p *prepared, rec *record, last uint64, faults resource.Faults) error {
	if last > 0 {
		if err := h.Admit.Enforced(ctx, last); err != nil {
			faults = append(faults, resource.Fault{Status: 409, Code: "EnforcementFailed", Message: fmt.Sprintf("A host did not enforce the change: %v", err)})
		}
	}
	var err error
	if len(faults) == 0 {
		if rec.Properties.Outputs, err = p.plan.Outputs(h.reader(who)); err != nil {
			faults = append(faults, h.faultsOf(templateFaults("The template output is not valid", err))...)
		}
	}
	state := succeeded
	var outcome error
	if len(faults) > 0 {
		f := resource.Fault{Status: http.StatusConflict, Code: "DeploymentFailed", Details: faults,
			Message: "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details."}
		e := single(f, resource.Gateway)
		rec.Properties.Error, state, outcome = &e, failed, resource.Faults{f}
	}
	rec.finish(state)
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second) // what became of it is told also when time is up
	defer cancel()
	if _, err := h.record(ending, who, p.id, rec); err != nil && outcome == nil {
		return err
	}
	return outcome
}
