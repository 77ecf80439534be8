package resource

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// HostTag is the tag of a virtual machine that names the host it is to run on.
const HostTag = "ringfence-host"

// virtualMachine is a sandbox on a host with one or more network interfaces.
var virtualMachine = &Type{
	Name:    "Microsoft.Compute/virtualMachines",
	Words:   []string{"vm"},
	Help:    "a machine on a host, with network interfaces",
	Located: true,
	Style:   Compute,
	naming: &naming{regexp.MustCompile(`^[A-Za-z0-9]$|^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}[A-Za-z0-9_]$`), "InvalidParameter",
		"The virtual machine name %q is invalid: up to 64 letters, digits, '-', '.' and '_', beginning with a letter or digit and not ending in '-' or '.'."},
}

func init() {
	t := virtualMachine
	t.check = checkVM
	t.typed = typedVM
	t.refs = func(n *node) []Ref {
		out := refsAt(n.get("properties", "networkProfile", "networkInterfaces"), "properties.networkProfile.networkInterfaces", networkInterface.Name)
		out = append(out, refAt(n.get("properties", "availabilitySet"), "properties.availabilitySet", availabilitySet.Name)...)
		return append(out, diskRefs(n)...)
	}
	t.complete, t.keeps, t.brings, t.takes = nameDisks, keepDisks, bringDisks, takeWithMachine
	free := func(names ...string) []*Field { // words of the compute API that say nothing about the network
		var fs []*Field
		for _, n := range names {
			fs = append(fs, thing(n).none())
		}
		return fs
	}
	properties := []*Field{
		str("vmId").shown(func(r *render) []byte { return textOrNothing(r.doc.System.VMID) }),
	}
	properties = append(properties, free("hardwareProfile")...)
	properties = append(properties, storageProfile(),
		object("osProfile", "OSProfile", append([]*Field{
			str("computerName"), str("adminUsername").none(), str("adminPassword").secret(), str("customData").secret(),
		}, free("linuxConfiguration", "windowsConfiguration", "secrets", "allowExtensionOperations", "requireGuestProvisionSignal")...)...),
		object("networkProfile", "NetworkProfile",
			list("networkInterfaces", object("", "NetworkInterfaceReference",
				str("id").required(),
				object("properties", "NetworkInterfaceReferenceProperties", flag("primary"),
					enum("deleteOption", "DeleteOptions", "Detach", "Delete")),
			)),
			str("networkApiVersion").none(),
			list("networkInterfaceConfigurations", &Field{Kind: Any}).refused(),
		),
	)
	properties = append(properties, free("securityProfile", "additionalCapabilities", "diagnosticsProfile",
		"virtualMachineScaleSet", "proximityPlacementGroup", "priority", "evictionPolicy", "billingProfile", "host", "hostGroup",
		"licenseType", "extensionsTimeBudget", "platformFaultDomain", "scheduledEventsProfile", "scheduledEventsPolicy",
		"capacityReservation", "applicationProfile", "resilientVMCreationPolicy")...)
	properties = append(properties,
		ref("availabilitySet", availabilitySet.Name).none(),
		userData(), showState(),
		thing("instanceView").shown(showInstance),
		str("timeCreated").shown(func(r *render) []byte { return textOrNothing(r.doc.System.Created) }).since("2021-11-01"),
	)
	t.Schema = object("", "VirtualMachine",
		showName(), showID(), showType(), locationField(), tagsField(),
		thing("plan").none(), thing("identity").none(), thing("zones").none(), thing("placement").none(), thing("extendedLocation").refused(),
		object("properties", "VirtualMachineProperties", properties...).required(),
		thing("resources").readOnly(), str("managedBy").readOnly(),
		str("etag").shown(func(r *render) []byte { return appendString(nil, r.etag) }).since("2024-07-01"),
	)
}

// userData is kept and shown when it is asked for; a machine is not told it.
func userData() *Field {
	f := str("userData").none()
	f.show = func(r *render) []byte {
		if !strings.EqualFold(r.Expand, "userData") {
			return nil
		}
		return textOrNothing(r.body.get("properties", "userData").text())
	}
	return f
}

// showInstance: what the machine is doing, when asked for.
func showInstance(r *render) []byte {
	if !strings.EqualFold(r.Expand, "instanceView") {
		return nil
	}
	return InstanceView(r.State)
}

// InstanceView is a machine's state: provisioned and running, or on its way there.
func InstanceView(state string) []byte {
	power := `,{"code":"PowerState/running","level":"Info","displayStatus":"VM running"}`
	text := "Provisioning succeeded"
	if state != "Succeeded" {
		power, text = "", state
	}
	return fmt.Appendf(nil, `{"statuses":[{"code":"ProvisioningState/%s","level":"Info","displayStatus":"%s"}%s]}`, strings.ToLower(state), text, power)
}

// checkVM: at least one interface, one primary, none used by another machine, all in one virtual network.
func checkVM(c *check) {
	nics := c.body.get("properties", "networkProfile", "networkInterfaces").list()
	if len(nics) == 0 {
		c.bad("properties.networkProfile.networkInterfaces", "InvalidParameter", "Required parameter 'networkProfile.networkInterfaces' is missing (null): a virtual machine needs at least one network interface.")
		return
	}
	if name := c.body.get("properties", "osProfile", "computerName").text(); name != "" && !hostNameRule.MatchString(name) {
		c.bad("properties.osProfile.computerName", "InvalidParameter", "The computer name %q is invalid: up to 64 letters, digits and '-', beginning and ending with a letter or digit.", name)
	}
	c.disksAreFree()
	primaries := 0
	seen := map[string]bool{}
	home := ""
	for i, n := range nics {
		path := fmt.Sprintf("properties.networkProfile.networkInterfaces[%d]", i)
		if n.get("properties", "primary").isTrue() {
			primaries++
		}
		key := keyOf(n.get("id").text())
		if seen[key] {
			c.bad(path+".id", "InvalidParameter", "Network interface %s is named twice by virtual machine %s.", n.get("id").text(), c.doc.ID)
		}
		seen[key] = true
		c.nicIsFree(path+".id", key)
		nic := c.lk.Get(key)
		if nic == nil {
			continue
		}
		switch vnet := vnetOf(nic); {
		case home == "":
			home = vnet
		case vnet != home:
			c.bad(path+".id", "SubnetsNotInSameVnet", "Network interface %s is in virtual network %s, another interface of virtual machine %s is in %s. All network interfaces of a virtual machine must be in one virtual network.", nic.ID, vnet, c.doc.ID, home)
		}
	}
	if primaries > 1 || len(nics) > 1 && primaries == 0 {
		c.bad("properties.networkProfile.networkInterfaces", "VirtualMachineMustHaveOneNetworkInterfaceAsPrimary",
			"Virtual machine %s must have one network interface set as the primary.", c.doc.ID.Name())
	}
}

func (c *check) nicIsFree(path, key string) {
	for _, k := range c.lk.Referrers(key) {
		if d := c.lk.Get(k); d != nil && d.Type == virtualMachine && k != c.doc.Key() {
			c.bad(path, "NicInUse", "Network Interface %s is used by existing resource %s. In order to delete the network interface, it must be dissociated from the resource. To learn more, see aka.ms/deletenic.", key, d.ID)
		}
	}
}

// VM is the typed form of a virtual machine's document, nil for another type.
func (d *Doc) VM() *VM {
	if d.Type != virtualMachine {
		return nil
	}
	return parseVM(d)
}

func parseVM(d *Doc) *VM {
	v := *d.typed().(*VM)
	v.Host, v.Facts.VMID = d.System.Host, d.System.VMID
	return &v
}

func typedVM(d *Doc, root *node) any {
	p := root.get("properties")
	v := &VM{ID: d.ID.String(), HostName: strings.ToLower(p.get("osProfile", "computerName").text())}
	if v.HostName == "" {
		v.HostName = strings.ToLower(d.ID.Name())
	}
	for i, n := range p.get("networkProfile", "networkInterfaces").list() {
		v.NICs = append(v.NICs, refKey(n))
		if n.get("properties", "primary").isTrue() {
			v.Primary = i
		}
	}
	v.Facts = factsOf(root)
	return v
}

// factsOf reads what a VM is told about itself.
func factsOf(root *node) VMFacts {
	p := root.get("properties")
	linux, disk, image := p.get("osProfile", "linuxConfiguration"), p.get("storageProfile", "osDisk"), p.get("storageProfile", "imageReference")
	f := VMFacts{
		Location: ShortLocation(root.get("location").text()), Size: p.get("hardwareProfile", "vmSize").text(),
		OSType: disk.get("osType").text(), Priority: p.get("priority").text(),
		Image:     [4]string{image.get("publisher").text(), image.get("offer").text(), image.get("sku").text(), image.get("version").text()},
		AdminUser: p.get("osProfile", "adminUsername").text(), NoPassword: linux.get("disablePasswordAuthentication").isTrue(),
	}
	if zones := root.get("zones").texts(); len(zones) > 0 {
		f.Zone = zones[0]
	}
	if f.OSType == "" && linux != nil {
		f.OSType = "Linux"
	}
	if f.OSType == "" && p.get("osProfile", "windowsConfiguration") != nil {
		f.OSType = "Windows"
	}
	for _, k := range linux.get("ssh", "publicKeys").list() {
		f.Keys = append(f.Keys, [2]string{k.get("path").text(), k.get("keyData").text()})
	}
	if tags := root.get("tags"); tags != nil {
		for _, t := range tags.members {
			f.Tags = append(f.Tags, [2]string{t.name, t.value.text()})
		}
	}
	slices.SortStableFunc(f.Tags, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return f
}
