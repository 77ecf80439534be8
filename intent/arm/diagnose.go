package arm

import (
	"encoding/json"
	"net/http"
	"strings"

	"ringfence/intent/resource"
)

// Diagnoser answers Azure's own questions about what the rules do, from the goals that hosts enforce.
type Diagnoser interface {
	// Diagnose answers a question about a virtual machine or network interface of the snapshot. Faults come back as resource.Faults.
	Diagnose(question string, target resource.ID, body []byte) (any, error)
}

// Questions that a Diagnoser answers.
const (
	FlowVerify       = "ipFlowVerify"
	RuleDiagnostic   = "networkConfigurationDiagnostic"
	EffectiveGroups  = "effectiveNetworkSecurityGroups"
	networkWatchers  = "Microsoft.Network/networkWatchers"
	networkInterface = "Microsoft.Network/networkInterfaces"
)

func init() {
	for _, question := range []string{FlowVerify, RuleDiagnostic} {
		actions[keyName(networkWatchers, question)] = func(q *request, id resource.ID) error { return q.watcher(question, id) }
	}
	actions[keyName(networkInterface, EffectiveGroups)] = func(q *request, id resource.ID) error { return q.diagnose(EffectiveGroups, id, nil) }
}

// watcher answers a question whose body says what it is about. Whoever asks must be allowed to read that.
func (q *request) watcher(question string, id resource.ID) error {
	if q.Method != http.MethodPost {
		return notAllowed(q.Method)
	}
	if _, err := find(q.h.Snapshot(), id); err != nil {
		return err
	}
	body, err := q.body()
	if err != nil {
		return err
	}
	var about struct {
		TargetResourceID    string `json:"targetResourceId"`
		TargetNICResourceID string `json:"targetNicResourceId"`
	}
	if err := json.Unmarshal(body, &about); err != nil {
		return fault(400, "InvalidRequestFormat", "Cannot parse the request: %s", err)
	}
	target, err := q.subject(about.TargetResourceID, "targetResourceId")
	if err != nil {
		return err
	}
	if about.TargetNICResourceID != "" {
		if target, err = q.subject(about.TargetNICResourceID, "targetNicResourceId"); err != nil {
			return err
		}
	}
	return q.diagnose(question, target, body)
}

// subject is the resource that a question is about: one that there is, and that whoever asks may read.
func (q *request) subject(text, field string) (resource.ID, error) {
	id, err := resource.ParseID(text)
	if err != nil || !is(id.Type, vmType) && !is(id.Type, networkInterface) {
		return id, fault(400, "InvalidParameter", "%s: the id of a virtual machine or network interface is expected, not '%s'.", field, text)
	}
	if !q.h.Identity.Allows(q.who, id.Subscription) {
		return id, subscriptionNotFound(id.Subscription)
	}
	if err := q.may(actionType(id.Type)+"/read", id.String()); err != nil {
		return id, err
	}
	_, err = find(q.h.Snapshot(), id)
	return id, err
}

func (q *request) diagnose(question string, target resource.ID, body []byte) error {
	if q.Method != http.MethodPost {
		return notAllowed(q.Method)
	}
	if _, err := find(q.h.Snapshot(), target); err != nil {
		return err
	}
	if q.h.Questions == nil {
		return fault(http.StatusNotImplemented, "NotSupported", "%s is not answered here.", strings.TrimSpace(question))
	}
	out, err := q.h.Questions.Diagnose(question, target, body)
	if err != nil {
		return err
	}
	q.json(http.StatusOK, out)
	return nil
}
