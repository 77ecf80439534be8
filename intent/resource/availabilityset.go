package resource

import "strings"

// availabilitySet is a name that virtual machines share. Hosts are chosen by the tag HostTag or by load, not by it.
var availabilitySet = &Type{
	Name:    "Microsoft.Compute/availabilitySets",
	Words:   []string{"vm", "availability-set"},
	Help:    "a name that virtual machines share; where they run does not follow from it",
	Located: true,
	Style:   Compute,
	Patient: true,
}

func init() {
	t := availabilitySet
	t.inUse = func(u *use) {
		if len(u.referrers(u.doc.Key())) > 0 {
			u.conflict("OperationNotAllowed", "Availability Set '%s' cannot be deleted. Before deleting an Availability Set please ensure that it does not contain any VM.", u.doc.ID.Name())
		}
	}
	t.Schema = object("", "AvailabilitySet",
		showName(), showID(), showType(), locationField(), tagsField(),
		object("properties", "AvailabilitySetProperties",
			num("platformUpdateDomainCount").none().or("5"), num("platformFaultDomainCount").none().or("2"),
			thing("virtualMachines").shown(func(r *render) []byte { return jsonArray(machinesOf(r)) }),
			thing("proximityPlacementGroup").none(), thing("scheduledEventsPolicy").none(),
			thing("statuses").readOnly(), thing("virtualMachineScaleSetMigrationInfo").readOnly(),
		).always(),
		object("sku", "Sku", str("name"), str("tier"), num("capacity")).none().or(`{"name":"Classic"}`),
	)
}

// machinesOf are references to the virtual machines that name the document.
func machinesOf(r *render) [][]byte {
	var out [][]byte
	for _, key := range r.lk.Referrers(r.doc.Key()) {
		if d := r.lk.Get(key); d != nil && d.Type == virtualMachine {
			out = append(out, reference(d.ID.String()))
		}
	}
	return out
}

// machineOf is the virtual machine that names the document with this key, nil for none.
func machineOf(lk Lookup, key string) *Doc {
	for _, k := range lk.Referrers(key) {
		if d := lk.Get(k); d != nil && d.Type == virtualMachine && !strings.EqualFold(k, key) {
			return d
		}
	}
	return nil
}
