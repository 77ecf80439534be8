package alloc

import (
	"fmt"
	"slices"
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
	if host != sys.Host {
		d.Hosts = append(d.Hosts, host)
	}
	sys.Host = host
	if sys.VMID == "" {
		sys.VMID = a.guid()
	}
	return claimNICs(d)
}

// Move takes a stored machine to another host: the least loaded one that is connected and takes machines. Nothing else about it
// changes: names, addresses and MACs are its network interfaces' and stay. A host that its tag names counts only while that host
// takes machines.
func (a *Allocator) Move(d *Draft) error {
	d.Claims, d.Hosts = nil, nil
	from := d.Doc.System.Host
	hosts := slices.DeleteFunc(d.Base.Hosts(), func(h store.Host) bool { return h.Name == from || !h.Connected })
	to := leastLoaded(hosts, d)
	if to == "" {
		return refuse(409, "AllocationFailed", "", "Virtual machine %s stays on host %s, no other can take it: %s.", d.Doc.ID.Name(), from, whyNone(d.Base.Hosts(), from)).Err()
	}
	d.Doc.System.Host, d.Hosts = to, []string{from, to}
	return claimNICs(d).Err()
}

// whyNone says what every host but one has against another machine.
func whyNone(hosts []store.Host, but string) string {
	var why []string
	for _, h := range hosts {
		switch {
		case h.Name == but:
		case h.Mark.State != "":
			why = append(why, h.Name+" is "+h.Mark.State)
		case !h.Connected:
			why = append(why, h.Name+" is not connected")
		default:
			why = append(why, fmt.Sprintf("%s has as many virtual machines as it takes (%d)", h.Name, h.Capacity))
		}
	}
	if why == nil {
		return "there is no other host"
	}
	return strings.Join(why, ", ")
}

func claimNICs(d *Draft) resource.Faults {
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
// the first by name. Hosts that are not connected get new machines only when none is; hosts that are drained or have failed get
// none. A machine that was moved away from the host of its tag stays where it is until that host takes machines again.
func place(d *Draft) (string, resource.Faults) {
	hosts := d.Base.Hosts()
	known := map[string]store.Host{}
	var names []string
	for _, h := range hosts {
		known[h.Name] = h
		names = append(names, h.Name)
	}
	old := d.Doc.System.Host
	if _, still := known[old]; !still {
		old = ""
	}
	if want, asked := tag(d.Doc.Tags(), HostTag); asked {
		h, ok := known[want]
		switch {
		case !ok:
			return "", refuse(400, "InvalidParameter", "tags."+HostTag,
				"The value '%s' of tag '%s' does not name a host. Known hosts: %s.", want, HostTag, list(names))
		case h.Mark.State == "":
			return want, nil
		case old == "":
			return "", refuse(409, "AllocationFailed", "tags."+HostTag, "Allocation failed. Host %s takes no virtual machines: it is %s.", want, h.Mark.State)
		}
	}
	if old != "" {
		return old, nil
	}
	if len(hosts) == 0 {
		return "", refuse(409, "AllocationFailed", "", "Allocation failed. No host has joined yet on which the virtual machine could be placed.")
	}
	if host := leastLoaded(hosts, d); host != "" {
		return host, nil
	}
	if slices.ContainsFunc(hosts, func(h store.Host) bool { return h.Mark.State != "" }) {
		return "", refuse(409, "AllocationFailed", "", "Allocation failed. No host takes the virtual machine: %s.", whyNone(hosts, ""))
	}
	return "", refuse(409, "AllocationFailed", "", "Allocation failed. All hosts (%s) have as many virtual machines as they take.", list(names))
}

func leastLoaded(hosts []store.Host, d *Draft) string {
	load := map[string]int{}
	d.Base.Each(vmType, func(vm *resource.Doc) { load[vm.System.Host]++ })
	connected := false
	for _, h := range hosts {
		connected = connected || h.Connected && h.Mark.State == ""
	}
	best := ""
	for _, h := range hosts {
		if h.Mark.State != "" || h.Connected != connected || h.Capacity > 0 && load[h.Name] >= h.Capacity {
			continue
		}
		if best == "" || load[h.Name] < load[best] {
			best = h.Name
		}
	}
	return best
}

// Pinned is the host that a machine's tag names, "" when it has none.
func Pinned(d *resource.Doc) string {
	host, _ := tag(d.Tags(), HostTag)
	return host
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
