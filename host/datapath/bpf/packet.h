// What the layers know about one packet, and how it is read from the frame. Nothing behind this file looks at bytes.
#pragma once
#include "state.h"

enum { ETH_IP4 = 0x0800, ETH_ARP = 0x0806, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8, ETH_IP6 = 0x86dd };
enum { ICMP = 1, TCP = 6, UDP = 17, ESP = 50, AH = 51, ICMP6 = 58 };
enum { FIN = 1, SYN = 2, RST = 4, ACK = 16, URG = 32 };

struct where { // where an address is
	be32 host;
	u32 port;  // index
	u16 slot, class;
	u32 flags; // AT_*
};

struct quote { // of an ICMP error: the conversation of the packet that it is about, turned the way the error goes
	u16 sport, dport, ksrc, kdst;
	u8 proto, icmp_type; // proto 0: of no conversation that these two can have
};

struct pkt {
	union addr src, dst;
	u64 rule; // that decided
	u32 vni, vnet;
	u32 slot, index;  // the port at which the packet is
	u16 sport, dport; // as rules see them: of ICMP both are the type
	u16 ksrc, kdst;   // as the flow table sees them: of an echo request the identifier and 0, of a reply 0 and the identifier
	u16 ether;
	u16 head;    // bytes of the IP and transport headers
	u16 options; // of these, bytes of IPv4 options or IPv6 extension headers
	u8 family, proto, tcp_flags, icmp_type, hop, dir;
	u8 fault;       // reason for which it cannot be judged
	u8 cannot_open; // reason for which it cannot open a flow
	u8 has_target;
	u8 located; // from and to are filled
	u8 made;    // the receiver's flow was made by this packet
	u8 error;   // of an ICMP error: its type
	u8 settled; // the receiver's flow is there and no half-open connection
	u8 part;    // PART_*: of a fragment

	// Behind this nothing is read before it is written.
	union addr target; // of a neighbour solicitation
	u64 now;           // of a test run: its clock, in nanoseconds
	u64 peer_word;     // of the receiving port, with its device, that one's kind and MAC
	u32 sender;        // PORT_KEY of a sender on this host
	u32 ifindex;
	u8 mac[6];
	u8 kind; // KIND_*: of that device
	u32 fwd_epoch;
	struct where from, to;
	struct quote quote;
	u32 at, rest;   // behind options: where the transport header is, and how many bytes are left there
	u32 quoted;     // bytes of an error's quote
	u32 id;         // of a fragment: the datagram it is of, the bytes of that it carries, and whether they are the last
	u32 first, behind, last;
	u32 found; // frag.h's note
	u16 was_sport, was_dport; // judge.h's
	union {    // of the flow table, here and not on the stack: that is short
		struct flow_key4 key4;
		struct flow_key6 key6;
	};
};

#define FRESH __builtin_offsetof(struct pkt, target)

enum { PART_FIRST = 1, PART_LATER, PART_FOLLOWS }; // a later one follows its first once it knows what that carries

#define FAR 255 // instead of a fault: more stands between the IP header and what the packet carries; chain.h reads it

INLINE int same_addr(const union addr *a, const union addr *b) { return a->d[0] == b->d[0] && a->d[1] == b->d[1]; }

INLINE int is_echo(const struct pkt *p, u8 type4, u8 type6)
{
	return (p->proto == ICMP && p->icmp_type == type4) || (p->proto == ICMP6 && p->icmp_type == type6);
}

INLINE int is_error(const struct pkt *p)
{
	u8 t = p->icmp_type;
	return p->family == 4 ? t == 3 || t == 4 || t == 11 || t == 12 : t >= 1 && t <= 4;
}

// The header behind IP; rest is what the IP header promises, of a first fragment only the beginning. It returns the fault.
INLINE int read_l4(u8 *l4, u8 *end, u32 rest, struct pkt *p, int first)
{
	u32 need = p->proto == TCP ? 20 : 8;
	int icmp = p->proto == (p->family == 4 ? ICMP : ICMP6);

	if (p->proto != TCP && p->proto != UDP && !icmp)
		return 0;
	if (rest < need || l4 + 8 > end)
		return GUARD_MALFORMED;
	if (icmp) {
		p->icmp_type = l4[0];
		p->sport = p->dport = l4[0];
		u16 id = swap16(*(u16 *)(l4 + 4));
		if (is_echo(p, 8, 128))
			p->ksrc = id;
		if (is_echo(p, 0, 129)) {
			p->kdst = id;
			p->cannot_open = FLOW_NO_ECHO;
		}
		if (is_error(p)) {
			p->error = l4[0];
			p->cannot_open = FLOW_NO_ERROR;
			p->quoted = rest - 8;
			return rest < 8 + (p->family == 4 ? 20 : 40) + 8 ? GUARD_MALFORMED : 0;
		}
		if (p->proto == ICMP6 && p->icmp_type == 135 && rest >= 24 && l4 + 24 <= end) {
			copy(&p->target, l4 + 8, 16);
			p->has_target = 1;
		}
		return 0;
	}
	p->sport = p->ksrc = swap16(*(u16 *)l4);
	p->dport = p->kdst = swap16(*(u16 *)(l4 + 2));
	if (p->proto == UDP) {
		u32 len = swap16(*(u16 *)(l4 + 4));
		p->head += 8;
		return len < 8 || (len > rest && !first) ? GUARD_MALFORMED : 0;
	}
	if (l4 + 20 > end)
		return GUARD_MALFORMED;
	u32 header = (l4[12] >> 4) * 4;
	p->head += header;
	p->tcp_flags = l4[13];
	if ((p->tcp_flags & (SYN | ACK | RST | FIN)) != SYN)
		p->cannot_open = FLOW_NO_SYN;
	return header < 20 || header > rest ? GUARD_MALFORMED : 0;
}

INLINE int read_ip4(u8 *ip, u8 *end, u32 len, struct pkt *p)
{
	p->family = 4;
	p->head = 20;
	if (len < 20 || ip + 20 > end)
		return GUARD_MALFORMED;
	p->src.w[3] = *(be32 *)(ip + 12);
	p->dst.w[3] = *(be32 *)(ip + 16);
	p->proto = ip[9];
	p->hop = ip[8];
	u32 header = (ip[0] & 15) * 4, total = swap16(*(u16 *)(ip + 2));
	if (ip[0] >> 4 != 4 || header < 20 || total < header || total > len)
		return GUARD_MALFORMED;
	if (header > 20 || *(u16 *)(ip + 6) & swap16(0x3fff))
		return FAR;
	return read_l4(ip + 20, end, total - 20, p, 0);
}

enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, DESTINATION = 60 }; // IPv6 extension headers; AH is a protocol of its own

INLINE int is_extension(u32 next) { return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == DESTINATION; }

INLINE int read_ip6(u8 *ip, u8 *end, u32 len, struct pkt *p)
{
	p->family = 6;
	p->head = 40;
	if (len < 40 || ip + 40 > end)
		return GUARD_MALFORMED;
	copy(&p->src, ip + 8, 16);
	copy(&p->dst, ip + 24, 16);
	p->proto = ip[6];
	p->hop = ip[7];
	u32 payload = swap16(*(u16 *)(ip + 4));
	if (ip[0] >> 4 != 6 || payload > len - 40)
		return GUARD_MALFORMED;
	if (is_extension(p->proto))
		return FAR;
	return read_l4(ip + 40, end, payload, p, 0);
}

// From here on an error is judged as a packet of the conversation that it tells of.
INLINE void as_quoted(struct pkt *p)
{
	if (!p->error)
		return;
	p->proto = p->quote.proto;
	p->icmp_type = p->quote.icmp_type;
	p->sport = p->quote.sport;
	p->dport = p->quote.dport;
	p->ksrc = p->quote.ksrc;
	p->kdst = p->quote.kdst;
}

INLINE int is_vlan(struct __sk_buff *skb, const struct pkt *p)
{
	return skb->vlan_present || p->ether == ETH_VLAN || p->ether == ETH_QINQ;
}
