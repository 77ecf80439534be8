package imds

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"ringfence/goal"
)

// table is what one goal makes of the metadata: immutable.
type table struct {
	generation uint64
	ports      map[uint32]*machine
}

// machine is a VM as the service speaks of it.
type machine struct {
	id       string // ARM id, lower case
	resource string // ARM id
	host     string
	compute  goal.Compute
	nics     []goal.Port // the primary one first
}

func newTable(h *goal.Host) *table {
	t := &table{generation: h.Generation, ports: make(map[uint32]*machine, len(h.Ports))}
	byID := map[string]*machine{}
	for i := range h.Ports {
		p := &h.Ports[i]
		id := strings.ToLower(p.VM)
		if id == "" {
			id = strings.ToLower(p.ID) // a NIC of nobody's VM is a machine of its own
		}
		m := byID[id]
		if m == nil {
			m = &machine{id: id, resource: p.VM, host: p.Sandbox.HostName, compute: p.Compute}
			m.compute.Keys, m.compute.Tags = slices.Clone(p.Compute.Keys), slices.Clone(p.Compute.Tags)
			byID[id] = m
		}
		nic := goal.Port{MAC: p.MAC, Sandbox: p.Sandbox, Addresses: slices.Clone(p.Addresses)}
		m.nics = append(m.nics, nic)
		t.ports[p.Index] = m
	}
	for _, m := range byID {
		slices.SortStableFunc(m.nics, func(a, b goal.Port) int {
			return cmp.Or(cmp.Compare(len(a.Sandbox.Device), len(b.Sandbox.Device)), strings.Compare(a.Sandbox.Device, b.Sandbox.Device))
		})
	}
	return t
}

// index is the port behind a source address, when it is one of this host.
func (t *table) index(from netip.Addr) (uint32, bool) {
	index, ok := goal.PortOf(from)
	if !ok || t.ports[index] == nil {
		return 0, false
	}
	return index, true
}

func (t *table) asker(from netip.Addr) *machine {
	index, ok := t.index(from)
	if !ok {
		return nil
	}
	return t.ports[index]
}

// object, array and string are the only values: the service writes numbers and truths as text.
type object = map[string]any

// instance is the document of an API version.
func (m *machine) instance(version string) object {
	return object{"compute": m.computeAt(version), "network": m.network()}
}

func (m *machine) network() object {
	list := []any{}
	for _, nic := range m.nics {
		v4, v6, subnets := []any{}, []any{}, []any{}
		seen := map[netip.Prefix]bool{}
		for _, a := range nic.Addresses {
			if a.IP.Is6() {
				v6 = append(v6, object{"privateIpAddress": a.IP.String()})
				continue
			}
			v4 = append(v4, object{"privateIpAddress": a.IP.String(), "publicIpAddress": ""})
			if !seen[a.Subnet] {
				seen[a.Subnet] = true
				subnets = append(subnets, object{"address": a.Subnet.Addr().String(), "prefix": strconv.Itoa(a.Subnet.Bits())})
			}
		}
		list = append(list, object{
			"ipv4": object{"ipAddress": v4, "subnet": subnets}, "ipv6": object{"ipAddress": v6},
			"macAddress": strings.ToUpper(strings.ReplaceAll(nic.MAC.String(), ":", "")),
		})
	}
	return object{"interface": list}
}

// since says from which version on a field of compute is there; the others always were.
var since = map[string]string{
	"resourceGroupName": "2017-08-01", "subscriptionId": "2017-08-01", "tags": "2017-08-01", "placementGroupId": "2017-08-01",
	"vmScaleSetName": "2017-12-01", "zone": "2017-12-01", "plan": "2018-04-02", "publicKeys": "2018-04-02",
	"azEnvironment": "2018-10-01", "provider": "2018-10-01", "customData": "2019-02-01", "resourceId": "2019-03-11",
	"storageProfile": "2019-06-01", "tagsList": "2019-06-04", "isHostCompatibilityLayerVm": "2020-06-01", "securityProfile": "2020-06-01",
	"osProfile": "2020-07-15", "licenseType": "2020-09-01", "evictionPolicy": "2020-12-01", "priority": "2020-12-01",
	"userData": "2021-01-01", "extendedLocation": "2021-03-01", "virtualMachineScaleSet": "2021-03-01",
	"platformSubFaultDomain": "2021-10-01", "additionalCapabilities": "2021-11-01", "host": "2021-11-15", "hostGroup": "2021-11-15",
	"physicalZone": "2023-11-15",
}

func (m *machine) computeAt(version string) object {
	all := m.everything()
	for field, from := range since {
		if version < from {
			delete(all, field)
		}
	}
	if p, ok := all["osProfile"].(object); ok && version < "2020-10-01" {
		delete(p, "disablePasswordAuthentication")
	}
	return all
}

// everything has every field there is; what does not apply is empty and never absent.
func (m *machine) everything() object {
	c := &m.compute
	keys, tags, joined := []any{}, []any{}, []string{}
	for _, k := range c.Keys {
		keys = append(keys, object{"keyData": k.Data, "path": k.Path})
	}
	for _, t := range c.Tags {
		tags = append(tags, object{"name": t.Name, "value": t.Value})
		joined = append(joined, t.Name+":"+t.Value)
	}
	all := object{
		"location": c.Location, "name": c.Name, "offer": c.Image.Offer, "osType": c.OSType, "publisher": c.Image.Publisher,
		"sku": c.Image.SKU, "version": c.Image.Version, "vmId": c.VMID, "vmSize": c.Size, "zone": c.Zone,
		"platformFaultDomain": "0", "platformUpdateDomain": "0", "platformSubFaultDomain": "",
		"resourceGroupName": c.Group, "subscriptionId": c.Subscription, "resourceId": m.resource,
		"tags": strings.Join(joined, ";"), "tagsList": tags, "publicKeys": keys, "priority": c.Priority,
		"azEnvironment": "AzurePublicCloud", "provider": "Microsoft.Compute", "isHostCompatibilityLayerVm": "false",
		"osProfile":        object{"adminUsername": c.AdminUser, "computerName": m.host, "disablePasswordAuthentication": strconv.FormatBool(c.NoPassword)},
		"securityProfile":  object{"encryptionAtHost": "false", "secureBootEnabled": "false", "securityType": "", "virtualTpmEnabled": "false"},
		"storageProfile":   storage(c),
		"plan":             object{"name": "", "product": "", "publisher": ""},
		"extendedLocation": object{"name": "", "type": ""}, "virtualMachineScaleSet": object{"id": ""}, "host": object{"id": ""},
		"hostGroup": object{"id": ""}, "additionalCapabilities": object{"hibernationEnabled": "false"},
	}
	for _, empty := range []string{"placementGroupId", "vmScaleSetName", "customData", "licenseType", "evictionPolicy", "userData", "physicalZone"} {
		all[empty] = ""
	}
	return all
}

// storage names the image; there are no disks to speak of.
func storage(c *goal.Compute) object {
	return object{
		"dataDisks":      []any{},
		"imageReference": object{"id": "", "offer": c.Image.Offer, "publisher": c.Image.Publisher, "sku": c.Image.SKU, "version": c.Image.Version},
		"osDisk": object{
			"caching": "", "createOption": "", "diskSizeGB": "", "name": "", "osType": c.OSType, "writeAcceleratorEnabled": "false",
			"diffDiskSettings": object{"option": ""}, "encryptionSettings": object{"enabled": "false"}, "image": object{"uri": ""},
			"managedDisk": object{"id": "", "storageAccountType": ""}, "vhd": object{"uri": ""},
		},
		"resourceDisk": object{"size": "0"},
	}
}
