// Generated from observe/reason.go by observe/gen. Do not edit.
#pragma once

enum reason {
	REASON_NONE = 0,
	PORT_UNKNOWN = 1, // the device is no port of this host
	PORT_DOWN = 2, // the port has not its whole policy yet, or its device is gone
	GUARD_VLAN = 3, // a VLAN tag from a VM
	GUARD_ETHERTYPE = 4, // neither IPv4, IPv6 nor ARP
	GUARD_MAC = 5, // the source MAC is not the NIC's
	GUARD_ARP = 6, // ARP that is no request for another address from the NIC's own
	GUARD_ND = 7, // neighbour discovery that is no solicitation from the NIC's own address
	GUARD_RA = 8, // a router advertisement or redirect from a VM
	GUARD_DHCP = 9, // a DHCP server's answer from a VM, or DHCP in a wrong form
	GUARD_MALFORMED = 10, // a header is truncated or contradicts the frame
	GUARD_OPTIONS = 11, // IPv4 options or IPv6 extension headers, not judged yet
	GUARD_FRAGMENT = 12, // a fragment, not judged yet
	GUARD_SOURCE = 13, // the source address is not the NIC's
	GUARD_MULTICAST = 14, // broadcast and multicast stay at the VM
	GUARD_PROTOCOL = 15, // an IP protocol that virtual networks do not carry
	GUARD_ICMP_TYPE = 16, // an ICMP message other than echo, not judged yet
	GUARD_RESERVED_PORT = 17, // UDP source port 65330 is reserved for the host
	SERVICE_ABSENT = 18, // a platform address on which this host serves nothing
	FLOW_NO_SYN = 19, // a TCP segment of no known flow that does not open one
	FLOW_NO_ECHO = 20, // an echo reply without its request
	FLOW_TABLE_FULL = 21, // the flow table is full; established flows live
	FLOW_QUOTA = 22, // the port has used its share of the flow table
	ACL_RULE = 23, // a security rule denies it
	ACL_DEFAULT = 24, // a default security rule denies it
	ACL_PLATFORM = 25, // a rule that names the platform's tag denies it
	ACL_STALE = 26, // the rule group does not know this address class yet
	ROUTE_SELF = 27, // addressed to the sender itself
	ROUTE_NONE = 28, // no route: outside the virtual network
	ROUTE_NO_ENDPOINT = 29, // an address of the virtual network that no NIC has
	OVERLAY_VNI = 30, // a VNI that has no virtual network on this host
	OVERLAY_SENDER = 31, // the outer sender does not carry the inner source
	OVERLAY_DESTINATION = 32, // the inner destination is no port of this host
	OVERLAY_MTU = 33, // too large for the underlay
	UPLINK_CLOSED = 34, // nothing is open towards the Internet
	INTERNAL = 35, // a fault of the data plane itself
	REASONS = 36,
};
