// Package goal is the waist of the house: the immutable goal state of one host.
//
// In: what compile derives from the documents and facts of one revision. Out: everything the host programs
// (host/*), what the executable specification judges (goal/model) and what the verifier asks about. A goal is
// so specific that a host makes no choices: addresses are resolved, groups are attached, order is fixed.
// Values are never changed after they were made; whoever needs another goal makes another one. std only.
package goal

import "net/netip"

// Host is everything one host enforces. Slices are sorted as their comments say, so that equal goals are equal bytes.
type Host struct {
	Name       string           // host name, as in the agent's certificate
	Generation uint64           // store revision this goal was compiled from; a host refuses a smaller one than it has
	Underlay   netip.Addr       // the host's own tunnel endpoint
	Ports      []Port           // the NICs of the VMs placed here, by Index
	VNets      []VNet           // the virtual networks that have a port here, by VNI
	Groups     []Group          // the rule groups that a port here refers to, by ID
	Zones      []Zone           // the private zones that a virtual network here resolves, by ID
	Forwarders []netip.AddrPort // DNS servers that are asked for names outside, in order; none: outside names are refused
}

// Port is one NIC of one VM. A port exists only with its whole policy.
type Port struct {
	Index       uint32       // fabric-wide dense number, 1…2²²-2; names the port in maps, counters and device names
	ID          string       // ARM id of the network interface
	VM          string       // ARM id of the virtual machine; "" for an attached NIC
	Sandbox     Sandbox      // where the other end of the port lives
	Attachment  Attachment   // where it lives when that is no sandbox of ours
	Primary     bool         // the VM's primary NIC: it alone gets a default gateway
	MAC         MAC          //
	VNI         uint32       // the VNet it is in
	Addresses   []Address    // primary IP configuration first; all in one subnet, at least one
	NICGroup    string       // Group.ID of the NIC's NSG; "" when there is none: this level allows
	SubnetGroup string       // Group.ID of the subnet's NSG; "" when there is none
	SubnetID    string       // ARM id of the subnet
	DNS         []netip.Addr // name servers told by DHCP, in order
	Domain      string       // DNS suffix told by DHCP
	MTU         uint16       // told by DHCP when it is not 1500
	Compute     Compute      // what the metadata service tells
	Limits      Limits       // of what it may ask the host for, and of new flows
}

// Sandbox names the network namespace that is the VM.
type Sandbox struct {
	Name     string // namespace name: unique on the host, at most 32 bytes of [a-z0-9-]
	HostName string // host name inside, in lower case
	Device   string // device inside: eth0, eth1 …
}

// Attachment is a device that something else made, or a namespace that something else owns. Its zero value means a sandbox.
type Attachment struct {
	Kind      Kind   // what the port's device is
	Device    string // KindTap: the device on the host; KindNetns: the name of the port's device inside
	Namespace string // KindNetns: absolute path of the namespace's file
	Configure bool   // KindNetns: addresses and routes are set from here, not asked for by DHCP
}

// Kind is what stands at the other end of a port.
type Kind string

// The kinds of ports.
const (
	KindSandbox Kind = ""      // a namespace of ours
	KindTap     Kind = "tap"   // a tap device: another program holds its other end
	KindNetns   Kind = "netns" // somebody else's namespace, in which our device is put
)

// MAC is an Ethernet address.
type MAC [6]byte

// Address is one IP configuration's private address with its subnet's prefix.
type Address struct {
	IP      netip.Addr
	Subnet  netip.Prefix // masked; the gateway is its first address
	Primary bool
}

// VNet is one virtual network as this host must know it.
type VNet struct {
	VNI         uint32         // 1…2²⁴-1
	ID          string         // ARM id
	Prefixes    []netip.Prefix // address space, sorted
	Sets        []Set          // address sets that the groups used in this VNet refer to, by Name
	Endpoints   []Endpoint     // every NIC address of the VNet whose VM is placed, by IP
	Domain      string         // DNS suffix of the VMs
	Names       []Name         // the VMs' host names, by Host
	Zones       []ZoneLink     // the private zones that its VMs resolve, by Zone
	IdleMinutes uint16         // flowTimeoutInMinutes; 0: the default
}

// Set is a named set of addresses: a service tag, an operator's prefix list or an application security group, resolved for
// one VNet. Names: "tag:VirtualNetwork", "tag:Storage", "asg:<ARM id>". A set may be empty; sets may overlap.
type Set struct {
	Name     string
	Prefixes []netip.Prefix // masked, sorted, merged where adjacent; single addresses are /32 and /128
}

// Names of sets that the data plane knows by itself: platform addresses that are exempt from rules unless a rule names them.
const (
	SetVirtualNetwork    = "tag:VirtualNetwork"
	SetInternet          = "tag:Internet"
	SetAzureLoadBalancer = "tag:AzureLoadBalancer"
	SetPlatformDNS       = "tag:AzurePlatformDNS"
	SetPlatformIMDS      = "tag:AzurePlatformIMDS"
)

// Endpoint says which host carries an address of the VNet.
type Endpoint struct {
	IP   netip.Addr
	Host netip.Addr // underlay address; equal to Host.Underlay for a port of this host
	Port uint32     // Port.Index of the NIC
	MAC  MAC
}

// Group is one NSG as rules: replaced whole, atomically. The same group is used by many ports, in any VNet; its
// sets are resolved by the VNet of the port that it is applied to.
type Group struct {
	ID    string // ARM id of the NSG
	Flush bool   // flushConnection: when the group changes, existing flows are judged anew
	In    []Rule // by priority, user rules first, the three default rules last; first match decides
	Out   []Rule
}

// Rule is one security rule: source AND source port AND destination AND destination port AND protocol.
type Rule struct {
	Name               string // as in Azure's effective rules: "securityRules/NAME", "defaultSecurityRules/NAME"
	Priority           uint16 // 100…4096; 65000, 65001, 65500 for the defaults
	Allow              bool
	Protocol           uint8 // IP protocol number; ProtocolAny for "*". ICMP stands for ICMP over IPv4 and over IPv6
	Src, Dst           Match
	SrcPorts, DstPorts []PortRange // sorted, merged; one full range means any, also for protocols without ports
	Revision           uint64      // of the store, that brought the rule as it is; nothing is decided by it
}

// ProtocolAny matches every IP protocol.
const ProtocolAny uint8 = 0

// Protocol numbers that rules and packets know (IANA).
const (
	ICMP   uint8 = 1
	TCP    uint8 = 6
	UDP    uint8 = 17
	ESP    uint8 = 50
	AH     uint8 = 51
	ICMPv6 uint8 = 58
)

// Match is one address side of a rule: Any, or the union of prefixes and sets.
type Match struct {
	Any      bool           // every address of both families
	Prefixes []netip.Prefix // masked, sorted. 0.0.0.0/0 is every IPv4 address only
	Sets     []string       // Set.Name, sorted
}

// PortRange is an inclusive range of ports. An ICMP message takes its type for both ports (undocumented on Azure, measured
// there); ESP and AH have no ports: only the full range matches them.
type PortRange struct{ Lo, Hi uint16 }

// AnyPort is the full range.
var AnyPort = PortRange{0, 65535}
