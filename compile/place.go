package compile

import (
	"maps"
	"slices"
	"strings"

	"ringfence/intent/resource"
)

// member is one NIC of a VM that is placed on a known host, with everything that its port is made of.
type member struct {
	vm          *resource.VM
	nic         *resource.NIC
	host        HostFact
	device      int  // number of its device in the sandbox: the primary NIC's is 0
	primary     bool // the VM's primary NIC
	subnet      *resource.Subnet
	nicGroup    string // Group.ID, "" when none
	subnetGroup string
	groupKeys   [2]string // keys of the same groups, NIC's and subnet's
}

// equal compares contents; pointers that are the same save the work.
func (m member) equal(o member) bool {
	return m.host == o.host && m.device == o.device && m.primary == o.primary &&
		m.nicGroup == o.nicGroup && m.subnetGroup == o.subnetGroup && m.groupKeys == o.groupKeys &&
		(m.vm == o.vm || equalVM(m.vm, o.vm)) &&
		(m.nic == o.nic || equalNIC(m.nic, o.nic)) &&
		(m.subnet == o.subnet || equalSubnet(m.subnet, o.subnet))
}

// place finds the NICs that are on the fabric: those of VMs with a known host. All others are not compiled.
func (c *compiler) place() {
	c.members = map[string][]member{}
	hosts := map[string]HostFact{}
	for _, h := range c.facts.Hosts {
		hosts[h.Name] = h
	}
	subnets := c.subnetIndex()
	taken := map[uint32]bool{}
	for _, key := range slices.Sorted(maps.Keys(c.view.VMs)) {
		vm := c.view.VMs[key]
		if vm.Host == "" {
			continue
		}
		host, ok := hosts[vm.Host]
		if !ok {
			c.problem(vm.ID, "host", vm.Host, "the VM is not on the network")
			continue
		}
		for i, k := range vm.NICs {
			m := member{vm: vm, nic: c.view.NICs[k], host: host, device: device(i, vm.Primary), primary: i == vm.Primary}
			c.placeNIC(m, k, key, subnets, taken)
		}
	}
	c.placeAttached(hosts, subnets, taken)
}

// placeAttached adds the NICs that something other than a VM has. Such a NIC stands for a machine of its own.
func (c *compiler) placeAttached(hosts map[string]HostFact, subnets map[string]subnetRef, taken map[uint32]bool) {
	for _, key := range slices.Sorted(maps.Keys(c.view.NICs)) {
		nic := c.view.NICs[key]
		if nic.Attachment == nil {
			continue
		}
		host, ok := hosts[nic.Attachment.Host]
		if !ok || nic.VM != "" {
			c.problem(nic.ID, "attachment", nic.Attachment.String(), "the NIC is not on the network there")
			continue
		}
		c.placeNIC(member{vm: standIn(nic), nic: nic, host: host, primary: true}, key, "", subnets, taken)
	}
}

// standIn is the machine that an attached NIC is, as far as anybody sees one: its name.
func standIn(nic *resource.NIC) *resource.VM {
	name := nic.Attachment.HostName
	if name == "" { // nobody asked for a name: it is told what it is, and found by nobody
		name = nic.ID[strings.LastIndexByte(nic.ID, '/')+1:]
	}
	return &resource.VM{HostName: name, Host: nic.Attachment.Host}
}

// placeNIC adds a NIC to the members of its VNet, or says why it is not on the network.
func (c *compiler) placeNIC(m member, nicKey, vmKey string, subnets map[string]subnetRef, taken map[uint32]bool) {
	const effect = "the NIC is not on the network"
	switch {
	case m.nic == nil:
		c.problem(m.vm.ID, "networkInterfaces", nicKey, effect)
		return
	case m.nic.VM != "" && m.nic.VM != vmKey:
		c.problem(m.vm.ID, "networkInterfaces", nicKey, effect+" through this VM: another one has it")
		return
	case m.nic.Port == 0 || taken[m.nic.Port]:
		c.problem(m.nic.ID, "port", "", effect+": it has no port number of its own")
		return
	case len(m.nic.IPConfigs) == 0:
		c.problem(m.nic.ID, "ipConfigurations", "", effect)
		return
	}
	at, ok := subnets[m.nic.IPConfigs[0].Subnet]
	if !ok {
		c.problem(m.nic.ID, "subnet", m.nic.IPConfigs[0].Subnet, effect)
		return
	}
	taken[m.nic.Port] = true
	m.subnet = at.subnet
	m.groupKeys = [2]string{m.nic.NSG, at.subnet.NSG}
	m.nicGroup, m.subnetGroup = c.groupID(m.nic.NSG), c.groupID(at.subnet.NSG)
	c.members[at.vnet] = append(c.members[at.vnet], m)
}

type subnetRef struct {
	vnet   string // key
	subnet *resource.Subnet
}

func (c *compiler) subnetIndex() map[string]subnetRef {
	index := map[string]subnetRef{}
	for key, n := range c.view.VNets {
		for i := range n.Subnets {
			index[strings.ToLower(n.Subnets[i].ID)] = subnetRef{key, &n.Subnets[i]}
		}
	}
	return index
}

// device numbers a VM's NICs: the primary one first, the others in document order.
func device(i, primary int) int {
	switch {
	case i == primary:
		return 0
	case i < primary:
		return i + 1
	}
	return i
}

// groupID is the canonical id of an NSG; a missing one keeps its key, under which a group that denies everything stands.
func (c *compiler) groupID(key string) string {
	if g := c.view.NSGs[key]; g != nil {
		return g.ID
	}
	return key
}
