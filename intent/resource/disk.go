package resource

import (
	"fmt"
	"strings"
)

// disk is the record of a managed disk. Sandboxes share the file system of their host: nothing is kept on it.
var disk = &Type{
	Name:    "Microsoft.Compute/disks",
	Words:   []string{"disk"},
	Help:    "the record of a managed disk; nothing is kept on it",
	Located: true,
	Style:   Compute,
}

func init() {
	t := disk
	t.inUse = func(u *use) {
		if vm := machineOf(u.lk, u.doc.Key()); vm != nil {
			u.conflict("OperationNotAllowed", "Disk %s is attached to VM %s.", u.doc.ID.Name(), vm.ID)
		}
	}
	properties := []*Field{
		str("timeCreated").shown(func(r *render) []byte { return textOrNothing(r.doc.System.Created) }),
		str("uniqueId").shown(func(r *render) []byte { return textOrNothing(r.doc.System.GUID) }),
		str("diskState").shown(func(r *render) []byte {
			if machineOf(r.lk, r.doc.Key()) != nil {
				return []byte(`"Attached"`)
			}
			return []byte(`"Unattached"`)
		}),
		enum("osType", "OperatingSystemTypes", "Linux", "Windows").none(),
		thing("creationData").none(), num("diskSizeGB").none(),
		thing("encryption").none().or(`{"type":"EncryptionAtRestWithPlatformKey"}`),
		str("networkAccessPolicy").none().or(`"AllowAll"`), str("publicNetworkAccess").none().or(`"Enabled"`),
		showState(),
	}
	for _, name := range []string{"hyperVGeneration", "purchasePlan", "supportedCapabilities", "encryptionSettingsCollection", "diskIOPSReadWrite",
		"diskMBpsReadWrite", "diskIOPSReadOnly", "diskMBpsReadOnly", "maxShares", "diskAccessId", "tier", "burstingEnabled",
		"supportsHibernation", "securityProfile", "completionPercent", "dataAccessAuthMode", "optimizedForFrequentAttach", "availabilityPolicy"} {
		properties = append(properties, thing(name).none())
	}
	for _, name := range []string{"diskSizeBytes", "shareInfo", "propertyUpdatesInProgress", "burstingEnabledTime", "LastOwnershipUpdateTime"} {
		properties = append(properties, thing(name).readOnly())
	}
	t.Schema = object("", "Disk",
		showName(), showID(), showType(), locationField(), tagsField(),
		str("managedBy").shown(func(r *render) []byte {
			if vm := machineOf(r.lk, r.doc.Key()); vm != nil {
				return appendString(nil, vm.ID.String())
			}
			return nil
		}),
		thing("managedByExtended").readOnly(),
		object("sku", "DiskSku", str("name"), str("tier")).none().or(`{"name":"Standard_LRS","tier":"Standard"}`),
		thing("zones").none(), thing("extendedLocation").refused(),
		object("properties", "DiskProperties", properties...).required(),
	)
}

// storageProfile is the part of a virtual machine that names its disks. It changes nothing here, but the disks are there by their
// ids: clients read them after the machine and delete them after it.
func storageProfile() *Field {
	return object("storageProfile", "StorageProfile",
		thing("imageReference"),
		object("osDisk", "OSDisk", diskFields(str("osType"), thing("encryptionSettings"), thing("diffDiskSettings"))...),
		list("dataDisks", object("", "DataDisk", diskFields(num("lun"), flag("toBeDetached"), thing("detachOption"), thing("sourceResource"),
			thing("diskIOPSReadWrite"), thing("diskMBpsReadWrite"))...)),
		str("diskControllerType"), flag("alignRegionalDisksToVMZone"),
	).none()
}

func diskFields(more ...*Field) []*Field {
	return append(more, str("name"), thing("vhd"), thing("image"), str("caching"), flag("writeAcceleratorEnabled"),
		enum("createOption", "DiskCreateOptionTypes", "FromImage", "Empty", "Attach", "Copy", "Restore"), num("diskSizeGB"),
		object("managedDisk", "ManagedDiskParameters", str("id"), str("storageAccountType"), thing("diskEncryptionSet"), thing("securityProfile")),
		enum("deleteOption", "DiskDeleteOptionTypes", "Delete", "Detach"))
}

// disksOf are the places of a machine's managed disks: the operating system's first.
func disksOf(vm *node) (disks []*node, paths []string) {
	s := vm.get("properties", "storageProfile")
	if d := s.get("osDisk"); d != nil && d.get("vhd") == nil {
		disks, paths = append(disks, d), append(paths, "properties.storageProfile.osDisk")
	}
	for i, d := range s.get("dataDisks").list() {
		if d.get("vhd") == nil {
			disks, paths = append(disks, d), append(paths, fmt.Sprintf("properties.storageProfile.dataDisks[%d]", i))
		}
	}
	return disks, paths
}

func attached(d *node) bool { return strings.EqualFold(d.get("createOption").text(), "Attach") }

// nameDisks gives disks that come with the machine their names and ids where the client leaves them out.
func nameDisks(id ID, vm *node) {
	disks, _ := disksOf(vm)
	for i, d := range disks {
		managed := d.get("managedDisk")
		if managed == nil {
			managed = &node{kind: kindObject}
			d.set("managedDisk", managed)
		}
		name := d.get("name").text()
		if given, err := ParseID(managed.get("id").text()); err == nil && name == "" {
			name = given.Name()
			d.set("name", jsonString(name))
		}
		if attached(d) {
			continue
		}
		if name == "" {
			kind := "OsDisk_1"
			if d.get("lun") != nil {
				kind = fmt.Sprintf("disk%d", i+1)
			}
			name = fmt.Sprintf("%s_%s_%s", id.Name(), kind, strings.ReplaceAll(GUID(id.Key()+kind), "-", ""))
			d.set("name", jsonString(name))
		}
		if managed.get("id") == nil {
			managed.set("id", jsonString(ID{Subscription: id.Subscription, Group: id.Group, Type: disk.Name, Names: []string{name}}.String()))
		}
	}
}

// keepDisks takes over the name of the operating system's disk from the machine as it was: it has only one.
func keepDisks(old, vm *node) {
	was, now := old.get("properties", "storageProfile", "osDisk"), vm.get("properties", "storageProfile", "osDisk")
	if was == nil || now == nil || now.get("name") != nil || now.get("managedDisk", "id") != nil {
		return
	}
	if name := was.get("name"); name != nil {
		now.set("name", name)
	}
}

// diskRefs are the machine's references to its disks.
func diskRefs(vm *node) []Ref {
	var out []Ref
	disks, paths := disksOf(vm)
	for i, d := range disks {
		for _, r := range refAt(d.get("managedDisk"), paths[i]+".managedDisk", disk.Name) {
			r.Own = !attached(d)
			out = append(out, r)
		}
	}
	return out
}

// bringDisks makes the records of disks that come into being with the machine.
func bringDisks(vm *Doc, root *node) []*Doc {
	var out []*Doc
	disks, _ := disksOf(root)
	for _, d := range disks {
		id, err := ParseID(d.get("managedDisk", "id").text())
		if err != nil || id.Type != disk.Name || attached(d) || !sameGroup(id, vm.ID) {
			continue
		}
		out = append(out, tentative(id, diskBody(root, d)))
	}
	return out
}

// Sizes of disks whose machine names none, in GiB: those of Azure's usual images.
const (
	linuxDisk   = 30
	windowsDisk = 127
)

func diskBody(vm, d *node) *node {
	at := func(members ...member) *node { return &node{kind: kindObject, members: members} }
	properties := at()
	create := at(member{name: "createOption", value: jsonString(d.get("createOption").text())})
	if image := vm.get("properties", "storageProfile", "imageReference"); image != nil && d.get("lun") == nil {
		create.set("imageReference", image)
	}
	properties.set("creationData", create)
	size := int64(linuxDisk)
	if d.get("lun") == nil {
		os := "Linux"
		if vm.get("properties", "osProfile", "windowsConfiguration") != nil || strings.EqualFold(d.get("osType").text(), "Windows") {
			os, size = "Windows", windowsDisk
		}
		properties.set("osType", jsonString(os))
	}
	if given, ok := d.get("diskSizeGB").int(); ok {
		size = given
	}
	properties.set("diskSizeGB", &node{kind: kindNumber, raw: fmt.Append(nil, size)})
	out := at()
	out.set("location", jsonString(vm.get("location").text()))
	if sku := d.get("managedDisk", "storageAccountType"); sku != nil {
		out.set("sku", at(member{name: "name", value: sku}))
	}
	if zones := vm.get("zones"); zones != nil {
		out.set("zones", zones)
	}
	out.set("properties", properties)
	return out
}

// takeWithMachine: disks and interfaces whose deleteOption says Delete go with the machine.
func takeWithMachine(_ *Doc, vm *node) []string {
	var keys []string
	disks, _ := disksOf(vm)
	for _, d := range disks {
		if strings.EqualFold(d.get("deleteOption").text(), "Delete") {
			keys = append(keys, refKey(d.get("managedDisk")))
		}
	}
	for _, n := range vm.get("properties", "networkProfile", "networkInterfaces").list() {
		if strings.EqualFold(n.get("properties", "deleteOption").text(), "Delete") {
			keys = append(keys, refKey(n))
		}
	}
	return keys
}

func sameGroup(a, b ID) bool {
	return strings.EqualFold(a.Subscription, b.Subscription) && strings.EqualFold(a.Group, b.Group)
}

// disksAreFree checks that disks that come with the machine lie beside it, and that no other machine has one of its disks.
func (c *check) disksAreFree() {
	for _, r := range diskRefs(c.body) {
		if id, err := ParseID(r.ID); r.Own && (err != nil || id.Type != disk.Name || !sameGroup(id, c.doc.ID)) {
			c.bad(r.Field, "InvalidParameter", "Disk %s cannot come into being with virtual machine %s: it must be a disk in its resource group.", r.ID, c.doc.ID)
			continue
		}
		for _, k := range c.lk.Referrers(r.To) {
			if d := c.lk.Get(k); d != nil && d.Type == virtualMachine && k != c.doc.Key() {
				c.faults = append(c.faults, Fault{Status: 409, Code: "ConflictingUserInput", Target: r.Field, Message: fmt.Sprintf(
					"Disk %s cannot be attached as the disk is already owned by VM %s.", r.ID, d.ID)})
			}
		}
	}
}
