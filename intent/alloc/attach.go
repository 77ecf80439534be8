package alloc

import (
	"fmt"
	"strings"

	"ringfence/intent/resource"
)

// Attach gives a stored network interface to a, or with nil takes it from where it is. An interface of a machine, or one that is attached
// elsewhere, is refused; so is one whose tag names another host.
func (a *Allocator) Attach(d *Draft, to *resource.Attachment) error {
	if d.Doc.ID.Type != nicType {
		return refuse(400, "InvalidParameter", "nic", "%s is no network interface.", d.Doc.ID).Err()
	}
	if to != nil {
		if faults := attachable(d, to); faults != nil {
			return faults.Err()
		}
	}
	if err := a.Allocate(d); err != nil {
		return err
	}
	sys, claim := &d.Doc.System, "nic/"+d.Doc.Key()
	for i, c := range d.Claims {
		if c.Key == claim {
			d.Claims = append(d.Claims[:i], d.Claims[i+1:]...)
			break
		}
	}
	if sys.Attachment = to; to != nil {
		d.claim(claim, d.Doc.ID.String())
		d.Hosts = append(d.Hosts, to.Host)
	}
	return nil
}

func attachable(d *Draft, to *resource.Attachment) resource.Faults {
	id := d.Doc.ID.String()
	if holder, held := d.Base.Holder("nic/" + d.Doc.Key()); held && holder != d.Doc.Key() {
		return refuse(409, "NicInUse", "", "Network interface %s belongs to virtual machine %s: Ringfence attaches that itself.", id, name(d.Base, holder))
	}
	old := d.Base.Get(d.Doc.Key()).System.Attachment
	if old != nil && *old != *to {
		return refuse(409, "NicInUse", "", "Network interface %s is attached to %s: detach it there first.", id, old)
	}
	if host, asked := tag(d.Doc.Tags(), HostTag); asked && !strings.EqualFold(host, to.Host) {
		return refuse(409, "AttachmentRefused", "", "Network interface %s may be attached on host %s only, as its tag %s says.", id, host, HostTag)
	}
	return taken(d, to)
}

// taken refuses a place that another interface has.
func taken(d *Draft, to *resource.Attachment) (faults resource.Faults) {
	d.Base.Each(nicType, func(other *resource.Doc) {
		a := other.System.Attachment
		if a != nil && other.Key() != d.Doc.Key() && a.Host == to.Host && a.Kind == to.Kind && a.Device == to.Device && a.Namespace == to.Namespace {
			faults = refuse(409, "PlaceInUse", "", "%s", fmt.Sprintf("Network interface %s is attached to %s already.", other.ID, a))
		}
	})
	return faults
}
