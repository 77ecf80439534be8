package alloc

import (
	"fmt"
	"strings"

	"ringfence/intent/resource"
	"ringfence/intent/store"
)

// HostTag is the tag of a virtual machine that names its host.
const HostTag = "ringfence-host"

// vm places a virtual machine and claims its network interfaces: an interface is in one machine at a time.
func (a *Allocator) vm(d *Draft) resource.Faults {
	host, faults := place(d)
	if faults != nil {
		return faults
	}
	sys := &d.Doc.System
	sys.Host = host
	if sys.VMID == "" {
		sys.VMID = a.guid()
	}
	claimed := map[string]bool{}
	for i, nic := range d.Doc.VM().NICs {
		claim := "nic/" + nic
		if holder, held := d.Base.Holder(claim); held && holder != d.Doc.Key() {
			by, _ := d.Base.Owner(claim)
			return refuse(400, "NicInUse", fmt.Sprintf("properties.networkProfile.networkInterfaces[%d].id", i),
				"Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.", name(d.Base, nic), by)
		}
		if !claimed[claim] {
			claimed[claim] = true
			d.claim(claim, d.Doc.ID.String())
		}
	}
	return nil
}

// name is the id behind a key, as its client wrote it where it is known.
func name(base *store.Snapshot, key string) string {
	if d := base.Get(key); d != nil {
		return d.ID.String()
	}
	return key
}

// place is the host that the tag names, else the one the machine is on, else the one with the fewest machines; of equals
// the first by name. Hosts that are not connected get new machines only when none is.
func place(d *Draft) (string, resource.Faults) {
	hosts := d.Base.Hosts()
	known := map[string]bool{}
	var names []string
	for _, h := range hosts {
		known[h.Name] = true
		names = append(names, h.Name)
	}
	if want, asked := tag(d.Doc.Tags(), HostTag); asked {
		if !known[want] {
			return "", refuse(400, "InvalidParameter", "tags."+HostTag,
				"The value '%s' of tag '%s' does not name a host. Known hosts: %s.", want, HostTag, list(names))
		}
		return want, nil
	}
	if old := d.Doc.System.Host; known[old] {
		return old, nil
	}
	if len(hosts) == 0 {
		return "", refuse(409, "AllocationFailed", "", "Allocation failed. No host has joined yet on which the virtual machine could be placed.")
	}
	host := leastLoaded(hosts, d)
	if host == "" {
		return "", refuse(409, "AllocationFailed", "", "Allocation failed. All hosts (%s) have as many virtual machines as they take.", list(names))
	}
	return host, nil
}

func leastLoaded(hosts []store.Host, d *Draft) string {
	load := map[string]int{}
	d.Base.Each(vmType, func(vm *resource.Doc) { load[vm.System.Host]++ })
	connected := false
	for _, h := range hosts {
		connected = connected || h.Connected
	}
	best := ""
	for _, h := range hosts {
		if h.Connected != connected || h.Capacity > 0 && load[h.Name] >= h.Capacity {
			continue
		}
		if best == "" || load[h.Name] < load[best] {
			best = h.Name
		}
	}
	return best
}

// tag finds a tag; names of tags are compared without case.
func tag(tags map[string]string, name string) (string, bool) {
	for k, v := range tags {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
