package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"ringfence/goal"
	"ringfence/intent/resource"
)

// register gives a VM's host name the addresses of its primary NIC: the primary IPv4 one, the first IPv6 one. A name belongs to
// the first VM by id; members come in that order.
func (p *vnetPart) register(vm *resource.VM, port *goal.Port) {
	name := goal.Name{Host: port.Sandbox.HostName}
	for _, six := range []bool{false, true} {
		i := slices.IndexFunc(port.Addresses, func(a goal.Address) bool { return a.IP.Is6() == six })
		if i >= 0 {
			name.IPs = append(name.IPs, port.Addresses[i].IP)
		}
	}
	slices.SortFunc(name.IPs, netip.Addr.Compare)
	const effect = "the VM has no name in the internal DNS"
	id := cmp.Or(vm.ID, port.ID)
	switch {
	case !goal.Label(name.Host):
		p.problems = append(p.problems, Problem{id, "hostName", vm.HostName, effect + ": it must be 1 to 63 of a-z, 0-9 and -"})
	case p.named[name.Host]:
		p.problems = append(p.problems, Problem{id, "hostName", vm.HostName, effect + ": another VM of the VNet has it"})
	default:
		p.named[name.Host] = true
		p.names = append(p.names, name)
	}
}

// computeOf is what the metadata service tells the VM.
func computeOf(vm *resource.VM) goal.Compute {
	f := &vm.Facts
	c := goal.Compute{
		Location: f.Location, VMID: f.VMID, Size: f.Size, Zone: f.Zone, OSType: f.OSType, Priority: f.Priority,
		Image:     goal.Image{Publisher: f.Image[0], Offer: f.Image[1], SKU: f.Image[2], Version: f.Image[3]},
		AdminUser: f.AdminUser, NoPassword: f.NoPassword,
	}
	if id, err := resource.ParseID(vm.ID); err == nil {
		c.Name, c.Group, c.Subscription = id.Name(), id.Group, id.Subscription
	}
	for _, k := range f.Keys {
		c.Keys = append(c.Keys, goal.Key{Path: k[0], Data: k[1]})
	}
	for _, t := range f.Tags {
		c.Tags = append(c.Tags, goal.Tag{Name: t[0], Value: t[1]})
	}
	return c
}
