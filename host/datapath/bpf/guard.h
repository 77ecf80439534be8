// guard: a VM sends what is its own, and only what virtual networks carry. ARP and neighbour solicitations end here, answered;
// DHCP and router solicitations go to the host's service.
#pragma once
#include "limit.h"

static const u8 gateway[6] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc};

#define WIRE_SERVER 0x10813fa8u  // 168.63.129.16, network order
#define METADATA 0xfea9fea9u     // 169.254.169.254
#define ROUTER6_HI 0x00000000000080feULL // fe80::1234:5678:9abc
#define ROUTER6_LO 0xbc9a785634120000ULL
#define ALL_DHCP6_HI 0x00000000000002ffULL // ff02::1:2
#define ALL_DHCP6_LO 0x0200010000000000ULL

enum { TO_SERVICE = 100, ANSWER_ND }; // guard's results beside reasons

INLINE int own_more(const struct port *port, u32 key, u32 family, const union addr *a)
{
	struct own_key k = {.port = key, .family = family, .ip = *a};
	return bpf_map_lookup_elem(&own_addrs, &k) != 0;
}

INLINE int own4(const struct port *port, u32 key, be32 a)
{
	if (!port->has4)
		return 0;
	if (a == port->ip4[0] || a == port->ip4[1] || a == port->ip4[2] || a == port->ip4[3])
		return 1;
	union addr u = {.w = {0, 0, 0, a}};
	return port->more && own_more(port, key, 4, &u);
}

INLINE int own6(const struct port *port, u32 key, const union addr *a)
{
	if (!port->has6)
		return 0;
	if (same_addr(a, &port->ip6[0]) || same_addr(a, &port->ip6[1]) || same_addr(a, &port->ip6[2]) || same_addr(a, &port->ip6[3]))
		return 1;
	return port->more && own_more(port, key, 6, a);
}

INLINE int own(const struct port *port, u32 key, const struct pkt *p, const union addr *a)
{
	return p->family == 4 ? own4(port, key, a->w[3]) : own6(port, key, a);
}

INLINE int link_local(const union addr *a) { return a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80; }

INLINE int in_subnets(const struct port *port, be32 a)
{
	for (int i = 0; i < ADDRS; i++)
		if ((a & port->net4[i].mask) == port->net4[i].net)
			return 1;
	return 0;
}

INLINE int subnet_broadcast(const struct port *port, be32 a)
{
	for (int i = 0; i < ADDRS; i++)
		if (a == (port->net4[i].net | ~port->net4[i].mask))
			return 1;
	return 0;
}

// A client whose address was changed asks from the old one: the service answers the port, not the address.
INLINE int guard_dhcp4(const struct pkt *p)
{
	be32 dst = p->dst.w[3];
	if (p->sport == 68 && p->dport == 67 && (dst == 0xffffffff || dst == WIRE_SERVER))
		return TO_SERVICE;
	if ((p->sport == 67 && p->dport == 68) || (p->dport == 67 && dst == 0xffffffff))
		return GUARD_DHCP;
	return 0;
}

INLINE int guard_dhcp6(const struct pkt *p)
{
	if (p->sport == 546 && p->dport == 547 && link_local(&p->src) && p->dst.d[0] == ALL_DHCP6_HI && p->dst.d[1] == ALL_DHCP6_LO)
		return TO_SERVICE;
	if ((p->sport == 547 && p->dport == 546) || (p->dport == 547 && p->dst.b[0] == 0xff))
		return GUARD_DHCP;
	return 0;
}

INLINE int guard_discovery(const struct pkt *p, const struct port *port, u32 key)
{
	switch (p->icmp_type) {
	case 133:
		return TO_SERVICE;
	case 134: case 137:
		return GUARD_RA;
	case 135: // from :: too: silence tells the VM that its address is free
		if (p->hop != 255 || !p->has_target || own6(port, key, &p->target) || !(own6(port, key, &p->src) || link_local(&p->src)))
			return GUARD_ND;
		return ANSWER_ND;
	case 136:
		return GUARD_ND;
	case 130: case 131: case 132: case 143:
		return GUARD_MULTICAST;
	}
	return 0;
}

INLINE int guard_multicast(const struct pkt *p, const struct port *port)
{
	if (p->family == 4) {
		be32 a = p->dst.w[3];
		return !a || (a & 0xff) >= 224 || subnet_broadcast(port, a);
	}
	return p->dst.b[0] == 0xff || !(p->dst.d[0] | p->dst.d[1]);
}

// Combinations of flags that TCP knows: SYN, SYN ACK, ACK, FIN ACK, RST and RST ACK; with URG SYN, ACK and FIN ACK.
INLINE int tcp_flags_known(u32 flags)
{
	const u32 known = 1 << SYN | 1 << (SYN | ACK) | 1 << ACK | 1 << (FIN | ACK) | 1 << RST | 1 << (RST | ACK) | 1 << (SYN | 8) |
			  1 << (ACK | 8) | 1 << (FIN | ACK | 8);
	return known >> ((flags & (FIN | SYN | RST | ACK)) | (flags & URG) >> 2) & 1;
}

// Protocols and messages that virtual networks carry.
INLINE int guard_carried(const struct pkt *p)
{
	switch (p->proto) {
	case TCP:
		return tcp_flags_known(p->tcp_flags) ? 0 : GUARD_TCP_FLAGS;
	case UDP: case ESP: case AH:
		return 0;
	case ICMP:
		if (p->family != 4)
			return GUARD_PROTOCOL;
		return is_echo(p, 8, 128) || is_echo(p, 0, 129) || p->error ? 0 : GUARD_ICMP_TYPE;
	case ICMP6:
		if (p->family != 6)
			return GUARD_PROTOCOL;
		return is_echo(p, 8, 128) || is_echo(p, 0, 129) || p->error ? 0 : GUARD_ICMP_TYPE;
	}
	return GUARD_PROTOCOL;
}

// Which platform service the packet asks, beside 0: none of them.
enum { PLATFORM_OTHER = 3 };

INLINE u32 platform_of(const struct pkt *p)
{
	if (p->family == 6)
		return p->dst.d[0] == ROUTER6_HI && p->dst.d[1] == ROUTER6_LO ? PLATFORM_OTHER : 0;
	if (p->dst.w[3] == METADATA)
		return 2;
	if (p->dst.w[3] == WIRE_SERVER)
		return p->dport == 53 && (p->proto == TCP || p->proto == UDP) ? 1 : PLATFORM_OTHER;
	return 0;
}

// What the host's services answer: names, metadata, the wire server's versions. They know a VM by its primary IPv4 address.
INLINE int served(const struct pkt *p, const struct port *port)
{
	if (p->family != 4 || !port->has4 || p->src.w[3] != port->ip4[0])
		return 0;
	if (p->dst.w[3] == METADATA)
		return p->proto == TCP && p->dport == 80;
	return p->dst.w[3] == WIRE_SERVER && ((p->dport == 53 && (p->proto == TCP || p->proto == UDP)) || (p->dport == 80 && p->proto == TCP));
}

// What ends at this host is whole and plain.
INLINE int plain(const struct pkt *p, int r)
{
	if (r < TO_SERVICE)
		return r;
	return p->part ? GUARD_FRAGMENT : p->options ? GUARD_OPTIONS : r;
}

// A fragment: what a later one does not tell, its first has told.
INLINE int guard_part(struct pkt *p, const struct port *port, u32 key)
{
	if (p->part == PART_LATER && !own(port, key, p, &p->src))
		return GUARD_SOURCE;
	if (p->part == PART_LATER && guard_multicast(p, port))
		return GUARD_MULTICAST;
	return follow(p, p->slot, key, OUT);
}

// Everything that concerns an IP packet and its port alone. key is PORT_KEY.
GLOBAL int guard(struct pkt *p, struct port *port, u32 key)
{
	int r;

	if (!p || !port)
		return INTERNAL;
	if (p->fault)
		return p->fault;
	if (p->part && (r = guard_part(p, port, key)))
		return r;
	if (p->proto == UDP && (r = p->family == 4 ? guard_dhcp4(p) : guard_dhcp6(p)))
		return plain(p, r);
	if (p->proto == ICMP6 && p->family == 6 && (r = guard_discovery(p, port, key)))
		return plain(p, r);
	if (!own(port, key, p, &p->src))
		return GUARD_SOURCE;
	if (guard_multicast(p, port))
		return GUARD_MULTICAST;
	if ((r = guard_carried(p)))
		return r;
	if (p->proto == UDP && p->sport == 65330)
		return GUARD_RESERVED_PORT;
	if (own(port, key, p, &p->dst))
		return ROUTE_SELF;
	return 0;
}

struct arp {
	u8 dmac[6], smac[6];
	be16 ether, hardware, protocol;
	u8 hlen, plen;
	be16 op;
	u8 sha[6], spa[4], tha[6], tpa[4];
} __attribute__((packed));

INLINE int same_mac(const u8 *a, const u8 *b)
{
	return !((*(u32 *)a ^ *(u32 *)b) | (u32)(*(u16 *)(a + 4) ^ *(u16 *)(b + 4)));
}

// Turns a request for any other address of the subnet into the gateway's reply; else it says why not.
GLOBAL int answer_arp(struct __sk_buff *skb, struct pkt *p, struct port *port, u32 key)
{
	struct arp *a = (void *)(u64)skb->data;
	be32 from, to;

	if (!p || !port)
		return INTERNAL;
	if ((void *)(a + 1) > (void *)(u64)skb->data_end)
		return GUARD_ARP;
	copy(&from, a->spa, 4);
	copy(&to, a->tpa, 4);
	p->family = 4;
	p->src.w[3] = from;
	p->dst.w[3] = to;
	if (a->hardware != swap16(1) || a->protocol != swap16(ETH_IP4) || a->hlen != 6 || a->plen != 4 || a->op != swap16(1))
		return GUARD_ARP;
	if (!same_mac(a->sha, port->mac) || (from && !own4(port, key, from)))
		return GUARD_ARP;
	if (own4(port, key, to) || !port->has4 || !in_subnets(port, to))
		return GUARD_ARP;
	int r = limit(p, port, OF_ARP, 1);
	if (r)
		return r;
	WATCH(skb, p, ACT_ASK, 0);
	copy(a->dmac, port->mac, 6);
	copy(a->smac, gateway, 6);
	a->op = swap16(2);
	copy(a->tha, port->mac, 6);
	copy(a->tpa, &from, 4);
	copy(a->sha, gateway, 6);
	copy(a->spa, &to, 4);
	return 0;
}

struct advert {
	u8 type, code;
	u16 sum;
	be32 flags;
	union addr target;
	u8 option, option_len, mac[6];
};

struct sum_input { // pseudo header and message
	union addr src, dst;
	be32 len, proto;
	struct advert na;
};

// Turns a solicitation into the gateway's advertisement.
GLOBAL int answer_nd(struct __sk_buff *skb, struct pkt *p, struct port *port)
{
	struct sum_input s = {.len = swap32(32), .proto = swap32(ICMP6)};

	if (!p || !port)
		return INTERNAL;
	int router = p->target.d[0] == ROUTER6_HI && p->target.d[1] == ROUTER6_LO;
	s.src = s.na.target = p->target;
	s.dst = p->src;
	s.na.type = 136;
	s.na.flags = swap32(router ? 0xe0000000 : 0x60000000);
	s.na.option = 2;
	s.na.option_len = 1;
	copy(s.na.mac, gateway, 6);
	u64 sum = bpf_csum_diff(0, 0, (be32 *)&s, sizeof(s), 0);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff);
	sum = (sum & 0xffff) + (sum >> 16);
	s.na.sum = ~sum;

	if (bpf_skb_change_tail(skb, 14 + 40 + sizeof(s.na), 0))
		return INTERNAL;
	u8 *data = (u8 *)(u64)skb->data;
	if (data + 14 + 40 + sizeof(s.na) > (u8 *)(u64)skb->data_end)
		return INTERNAL;
	copy(data, port->mac, 6);
	copy(data + 6, gateway, 6);
	*(be32 *)(data + 14) = swap32(0x60000000);
	*(u16 *)(data + 18) = swap16(sizeof(s.na));
	data[20] = ICMP6;
	data[21] = 255;
	copy(data + 22, &s.src, 16);
	copy(data + 38, &s.dst, 16);
	copy(data + 54, &s.na, sizeof(s.na));
	return 0;
}
