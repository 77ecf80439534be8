package arm

import (
	"net/http"
	"net/netip"
	"strings"

	"ringfence/intent/resource"
)

// actions hang below resources without being resources: by type and word.
var actions = map[string]func(*request, resource.ID) error{
	keyName(deploymentType, "validate"):             (*request).validateDeployment,
	keyName(deploymentType, "operations"):           (*request).deploymentOperations,
	keyName(deploymentType, "operationStatuses"):    (*request).deploymentStatus,
	keyName(deploymentType, "exportTemplate"):       (*request).exportTemplate,
	keyName(vmType, "instanceView"):                 (*request).instanceView,
	keyName(vnetType, "checkIPAddressAvailability"): (*request).addressAvailability,
}

// powers are what a machine can be told to do. A sandbox runs as long as its document is there, so they change nothing, and say so.
var powers = []string{"start", "powerOff", "restart", "deallocate", "redeploy", "reapply"}

func init() {
	for _, word := range powers {
		actions[keyName(vmType, word)] = (*request).power
	}
}

// power answers POST of a power action: clients send them before they delete a machine.
func (q *request) power(id resource.ID) error {
	if q.Method != http.MethodPost {
		return notAllowed(q.Method)
	}
	if _, err := find(q.h.Snapshot(), id); err != nil {
		return err
	}
	q.w.Header().Set("Ringfence-No-Effect", "power state")
	q.empty(http.StatusOK)
	return nil
}

const (
	vmType   = "Microsoft.Compute/virtualMachines"
	vnetType = "Microsoft.Network/virtualNetworks"
)

func keyName(t, word string) string { return t + " " + strings.ToLower(word) }

// instanceView answers GET of what a virtual machine is doing.
func (q *request) instanceView(id resource.ID) error {
	return q.get(func() error {
		d, err := find(q.h.Snapshot(), id)
		if err != nil {
			return err
		}
		q.raw(http.StatusOK, resource.InstanceView(q.state(d)))
		return nil
	})
}

// addressAvailability answers GET …/CheckIPAddressAvailability: whether an address of a virtual network is free, and which are.
func (q *request) addressAvailability(id resource.ID) error {
	return q.get(func() error {
		s := q.h.Snapshot()
		d, err := find(s, id)
		if err != nil {
			return err
		}
		a, err := netip.ParseAddr(q.param("ipAddress"))
		if err != nil {
			return fault(400, "InvalidIpAddress", "The IP Address %s is invalid.", q.param("ipAddress"))
		}
		q.json(http.StatusOK, resource.Availability(d, s, a))
		return nil
	})
}
