package resource

import "net/netip"

// View is the typed view of all documents of one revision: what compile reads. It is immutable and holds only resources that
// passed validation. Keys are lower-case ARM ids (Key of the id); IDs inside are canonical, with names as the client wrote them.
type View struct {
	Revision uint64
	VNets    map[string]*VNet
	NSGs     map[string]*NSG
	ASGs     map[string]*ASG
	NICs     map[string]*NIC
	VMs      map[string]*VM
	Zones    map[string]*PrivateZone
}

// PrivateZone is a private DNS zone.
type PrivateZone struct {
	ID      string
	Name    string       // in lower case, without a dot at its end
	Records []ZoneRecord // by kind, in document order
	Links   []ZoneLink   // in document order
}

// ZoneRecord is a record set that has records. Names are in lower case, those of targets absolute and without a dot at their end.
type ZoneRecord struct {
	Name string // relative: www, *.dev, @
	Kind string // A, AAAA, CNAME, MX, PTR, SOA, SRV, TXT
	TTL  uint32
	Data [][]string // of each record its parts, in the order of its text form
}

// ZoneLink lets a virtual network resolve a zone.
type ZoneLink struct {
	VNet      string // key
	Registers bool   // the network's machines are records of the zone
	Fallback  bool   // what the zone does not have is asked elsewhere
}

// VNet is a virtual network with its subnets.
type VNet struct {
	ID          string
	Location    string
	Prefixes    []netip.Prefix
	DNS         []netip.Addr // dhcpOptions.dnsServers
	IdleMinutes uint16       // flowTimeoutInMinutes, 0 when unset
	Subnets     []Subnet     // in document order
	VNI         uint32       // allocated
	Domain      string       // allocated: internal DNS suffix
}

// Subnet is one subnet.
type Subnet struct {
	ID       string
	Name     string
	Prefixes []netip.Prefix
	NSG      string // key of the NSG, "" when none
}

// NSG is a network security group with the user's rules; the six default rules are not stored.
type NSG struct {
	ID       string
	Flush    bool
	Rules    []SecurityRule
	Revision uint64 // that brought it, and its default rules
}

// SecurityRule is a rule as the client wrote it, parsed.
type SecurityRule struct {
	Name     string
	Priority uint16
	Inbound  bool
	Allow    bool
	Protocol string // lower case: tcp udp icmp esp ah *
	Src, Dst RuleSide
	Revision uint64 // that brought it as it is; 0: not stored yet
}

// RuleSide is one side of a rule. Exactly one of Prefixes (with * and tags as text) and ASGs is not empty.
type RuleSide struct {
	Prefixes []string // "*", a tag, an address or a prefix, as written
	ASGs     []string // keys
	Ports    []string // "*", "n", "a-b", as written
}

// ASG is an application security group.
type ASG struct{ ID string }

// NIC is a network interface.
type NIC struct {
	ID        string
	NSG       string       // key, "" when none
	DNS       []netip.Addr // dnsSettings.dnsServers
	IPConfigs []IPConfig   // primary first
	VM        string       // key of the VM that names it, "" when none: derived
	MAC       [6]byte      // allocated
	Port      uint32       // allocated: Port.Index

	Attachment *Attachment // nil unless something other than a VM has it
}

// IPConfig is one IP configuration with its address, given by the client or allocated.
type IPConfig struct {
	Name    string
	Primary bool
	Subnet  string // key of the subnet
	IP      netip.Addr
	ASGs    []string // keys
}

// VM is a virtual machine: a sandbox on a host.
type VM struct {
	ID       string
	HostName string   // osProfile.computerName, else the name, in lower case
	NICs     []string // keys, in document order; Primary is the first or the one marked
	Primary  int
	Host     string // allocated: host name
	Facts    VMFacts
}

// VMFacts is what a VM is told about itself beside its network; nothing that is enforced depends on it.
type VMFacts struct {
	Location   string // short form
	VMID       string // allocated
	Size       string
	Zone       string
	OSType     string // Linux, Windows or empty
	Priority   string
	Image      [4]string // publisher, offer, sku, version
	AdminUser  string
	NoPassword bool        // disablePasswordAuthentication
	Keys       [][2]string // path and data of public SSH keys, in document order
	Tags       [][2]string // by name
}
