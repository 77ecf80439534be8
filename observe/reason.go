// Package observe says what happened: why a packet was dropped, flow records, counters, status.
//
// This file is the one list of drop reasons; it has one owner. The C header of the data plane is generated from it.
package observe

//go:generate go run ./gen ../host/datapath/bpf/reasons.h

// Reason is why a packet was dropped. The number is what the kernel counts, the name is what people see; neither is ever reused.
type Reason uint16

// Info describes a reason.
type Info struct {
	Reason Reason
	Name   string // layer, underscore, what was wrong
	Layer  string // guard, limit, acl, flow, route, overlay, port, kernel
	Text   string // one sentence for people
}

// The reasons, by layer in the order a packet from a VM meets them; what came later is at the end.
const (
	None Reason = iota
	PortUnknown
	PortDown
	GuardVLAN
	GuardEtherType
	GuardMAC
	GuardARP
	GuardND
	GuardRA
	GuardDHCP
	GuardMalformed
	GuardOptions
	GuardFragment
	GuardSource
	GuardMulticast
	GuardProtocol
	GuardICMPType
	GuardReservedPort
	ServiceAbsent
	FlowNoSYN
	FlowNoEcho
	FlowTableFull
	FlowQuota
	ACLRule
	ACLDefault
	ACLPlatform
	ACLStale
	RouteSelf
	RouteNone
	RouteNoEndpoint
	OverlayVNI
	OverlaySender
	OverlayDestination
	OverlayMTU
	UplinkClosed
	Internal
	FlowNoError
	LimitARP
	LimitND
	LimitDHCP
	LimitDNS
	LimitService
	LimitFlows
	GuardTCPFlags
	FlowState
	FlowHalfOpen
	FlowNoFirst
	FlowOverlap
	FlowFragments
	GuardHost
	PortNotReady
	KernelReceive
	KernelTransmit
	reasonCount
)

var infos = [reasonCount]Info{
	None:               {None, "none", "", "not dropped"},
	PortUnknown:        {PortUnknown, "port_unknown", "port", "the device is no port of this host"},
	PortDown:           {PortDown, "port_down", "port", "the port has not its whole policy yet, or its device is gone"},
	GuardVLAN:          {GuardVLAN, "guard_vlan", "guard", "a VLAN tag from a VM"},
	GuardEtherType:     {GuardEtherType, "guard_ethertype", "guard", "neither IPv4, IPv6 nor ARP"},
	GuardMAC:           {GuardMAC, "guard_mac", "guard", "the source MAC is not the NIC's"},
	GuardARP:           {GuardARP, "guard_arp", "guard", "ARP that is no request for another address from the NIC's own"},
	GuardND:            {GuardND, "guard_nd", "guard", "neighbour discovery that is no solicitation from the NIC's own address"},
	GuardRA:            {GuardRA, "guard_ra", "guard", "a router advertisement or redirect from a VM"},
	GuardDHCP:          {GuardDHCP, "guard_dhcp", "guard", "a DHCP server's answer from a VM, or DHCP in a wrong form"},
	GuardMalformed:     {GuardMalformed, "guard_malformed", "guard", "a header is truncated or contradicts the frame"},
	GuardOptions:       {GuardOptions, "guard_options", "guard", "a source route, or IPv6 extension headers that are too many or out of place"},
	GuardFragment:      {GuardFragment, "guard_fragment", "guard", "a fragment that can be none of a packet, or a first one without its whole header"},
	GuardSource:        {GuardSource, "guard_source", "guard", "the source address is not the NIC's"},
	GuardMulticast:     {GuardMulticast, "guard_multicast", "guard", "broadcast and multicast stay at the VM"},
	GuardProtocol:      {GuardProtocol, "guard_protocol", "guard", "an IP protocol that virtual networks do not carry"},
	GuardICMPType:      {GuardICMPType, "guard_icmp_type", "guard", "an ICMP message other than echo and errors"},
	GuardReservedPort:  {GuardReservedPort, "guard_reserved_port", "guard", "UDP source port 65330 is reserved for the host"},
	ServiceAbsent:      {ServiceAbsent, "service_absent", "guard", "a platform address on which this host serves nothing"},
	FlowNoSYN:          {FlowNoSYN, "flow_no_syn", "flow", "a TCP segment of no known flow that does not open one"},
	FlowNoEcho:         {FlowNoEcho, "flow_no_echo", "flow", "an echo reply without its request"},
	FlowTableFull:      {FlowTableFull, "flow_table_full", "flow", "the flow table is full; established flows live"},
	FlowQuota:          {FlowQuota, "flow_quota", "flow", "the port has used its share of the flow table"},
	ACLRule:            {ACLRule, "acl_rule", "acl", "a security rule denies it"},
	ACLDefault:         {ACLDefault, "acl_default", "acl", "a default security rule denies it"},
	ACLPlatform:        {ACLPlatform, "acl_platform", "acl", "a rule that names the platform's tag denies it"},
	ACLStale:           {ACLStale, "acl_stale", "acl", "the rule group does not know this address class yet"},
	RouteSelf:          {RouteSelf, "route_self", "route", "addressed to the sender itself"},
	RouteNone:          {RouteNone, "route_none", "route", "no route: outside the virtual network"},
	RouteNoEndpoint:    {RouteNoEndpoint, "route_no_endpoint", "route", "an address of the virtual network that no NIC has"},
	OverlayVNI:         {OverlayVNI, "overlay_vni", "overlay", "a VNI that has no virtual network on this host"},
	OverlaySender:      {OverlaySender, "overlay_sender", "overlay", "the outer sender does not carry the inner source"},
	OverlayDestination: {OverlayDestination, "overlay_destination", "overlay", "the inner destination is no port of this host"},
	OverlayMTU:         {OverlayMTU, "overlay_mtu", "overlay", "too large for the underlay"},
	UplinkClosed:       {UplinkClosed, "uplink_closed", "port", "nothing is open towards the Internet"},
	Internal:           {Internal, "internal", "port", "a fault of the data plane itself"},
	FlowNoError:        {FlowNoError, "flow_no_error", "flow", "an ICMP error about a packet of no known flow"},
	LimitARP:           {LimitARP, "limit_arp", "limit", "ARP requests beyond the port's rate"},
	LimitND:            {LimitND, "limit_nd", "limit", "neighbour solicitations beyond the port's rate"},
	LimitDHCP:          {LimitDHCP, "limit_dhcp", "limit", "DHCP and router solicitations beyond the port's rate"},
	LimitDNS:           {LimitDNS, "limit_dns", "limit", "packets for the DNS service beyond the port's rate"},
	LimitService:       {LimitService, "limit_service", "limit", "packets for metadata and the wire server beyond the port's rate"},
	LimitFlows:         {LimitFlows, "limit_flows", "limit", "new flows beyond the port's rate; established flows live"},
	GuardTCPFlags:      {GuardTCPFlags, "guard_tcp_flags", "guard", "a combination of TCP flags that no segment has"},
	FlowState:          {FlowState, "flow_state", "flow", "a TCP segment that the state of its connection does not allow"},
	FlowHalfOpen:       {FlowHalfOpen, "flow_half_open", "flow", "the port has used its share of connections that are not established"},
	FlowNoFirst:        {FlowNoFirst, "flow_no_first", "flow", "a later fragment of no packet whose first one has passed"},
	FlowOverlap:        {FlowOverlap, "flow_overlap", "flow", "a fragment of a packet whose fragments overlap, or one that has come already"},
	FlowFragments:      {FlowFragments, "flow_fragments", "flow", "a fragmented packet with too many gaps"},
	GuardHost:          {GuardHost, "guard_host", "guard", "what the host itself sends to a VM: nobody has judged it"},
	PortNotReady:       {PortNotReady, "port_not_ready", "port", "the port's device is there, but down at one of its ends"},
	KernelReceive:      {KernelReceive, "kernel_receive", "kernel", "lost in the kernel before it was judged: its queue was full or the device down"},
	KernelTransmit:     {KernelTransmit, "kernel_transmit", "kernel", "lost in the kernel after it was let through: the device had no room for it"},
}

// Reasons lists every reason but None, by number.
func Reasons() []Info { return append([]Info(nil), infos[1:]...) }

// Info returns the description; an unknown number gives Internal's with its own number kept.
func (r Reason) Info() Info {
	if r < reasonCount {
		return infos[r]
	}
	i := infos[Internal]
	i.Reason = r
	return i
}

func (r Reason) String() string { return r.Info().Name }
