// chain: what stands between an IP header and what the packet carries (IPv4 options, IPv6 extension headers, a fragment's place), and
// the packets that ICMP errors quote. A packet is judged by what it carries, however far behind that is; what would route it by another
// way than its destination says is refused. Here reading ends: nothing behind this file looks at bytes of headers.
#pragma once
#include "packet.h"

#define HEADERS 96 // bytes that are looked at: Ethernet, IPv6, a solicitation or a TCP header

enum { CHAIN_HEADERS = 6, CHAIN_BYTES = 256, OPTION_BYTES = 40 };
enum { LOOSE_ROUTE = 131, STRICT_ROUTE = 137 };

struct options { // of IPv4, n bytes of them; i have been looked at
	u8 o[64];
	u32 i, n, fault;
};

static long check_option(u32 nth, struct options *s)
{
	u32 i = s->i & 63, n = s->n;
	u8 type = s->o[i], len = s->o[(i + 1) & 63];

	if (i >= n || !type)
		return 1;
	if (type == 1)
		len = 1;
	else if (len < 2 || i + len > n)
		s->fault = GUARD_MALFORMED;
	else if (type == LOOSE_ROUTE || type == STRICT_ROUTE)
		s->fault = GUARD_OPTIONS;
	s->i = i + len;
	return s->fault != 0;
}

// A fragment of len bytes at offset. One that is the whole packet is none.
INLINE int read_part(struct pkt *p, u32 offset, u32 len, u32 more)
{
	if (!len || (more && len & 7) || offset + len > 65535)
		return GUARD_FRAGMENT;
	if (!offset && !more)
		return 0;
	p->part = offset ? PART_LATER : PART_FIRST;
	p->first = offset;
	p->behind = offset + len;
	p->last = !more;
	return 0;
}

// The header at p->at. A first fragment has to hold it whole, and an error comes in one piece.
GLOBAL int read_far_l4(struct __sk_buff *skb, struct pkt *p)
{
	u8 l4[24] __attribute__((aligned(8)));

	if (!p)
		return INTERNAL;
	u32 rest = p->rest, n = rest < sizeof(l4) ? rest : sizeof(l4);
	zero(l4, sizeof(l4));
	barrier_var(n);
	if (n > 0 && n <= sizeof(l4) && bpf_skb_load_bytes(skb, p->at, l4, n))
		return INTERNAL;
	int first = p->part == PART_FIRST, fault = read_l4(l4, l4 + sizeof(l4), rest, p, first);
	return first && (fault || p->error) ? GUARD_FRAGMENT : fault;
}

// Reads on behind an IPv4 header with options, or of a fragment.
GLOBAL int read_options(struct __sk_buff *skb, struct pkt *p)
{
	u8 ip[20] __attribute__((aligned(8)));
	struct options s;

	if (!p || bpf_skb_load_bytes(skb, 14, ip, sizeof(ip)))
		return INTERNAL;
	u32 header = (ip[0] & 15) * 4, total = swap16(*(u16 *)(ip + 2)), place = swap16(*(u16 *)(ip + 6)), n = header - 20;
	barrier_var(n);
	if (n > 0 && n <= OPTION_BYTES) {
		zero(&s, sizeof(s));
		if (bpf_skb_load_bytes(skb, 14 + 20, s.o, n))
			return INTERNAL;
		s.n = n;
		bpf_loop(OPTION_BYTES, check_option, &s, 0);
		if (s.fault)
			return s.fault;
	}
	p->options = n;
	p->head = header;
	p->id = swap16(*(u16 *)(ip + 4));
	p->at = 14 + header;
	p->rest = total - header;
	return place & 0x3fff ? read_part(p, (place & 0x1fff) * 8, p->rest, place & 0x2000) : 0;
}

// Walks the extension headers of an IPv6 packet.
GLOBAL int read_extensions(struct __sk_buff *skb, struct pkt *p)
{
	u8 h[8] __attribute__((aligned(8)));
	u16 payload;
	u32 at = 14 + 40, pieces = 0;

	if (!p || bpf_skb_load_bytes(skb, 14 + 4, &payload, 2))
		return INTERNAL;
	u32 end = at + swap16(payload), next = p->proto;
#pragma nounroll
	for (int k = 0; k < CHAIN_HEADERS && is_extension(next); k++) {
		if (end < at + 8)
			return GUARD_MALFORMED;
		if (bpf_skb_load_bytes(skb, at, h, sizeof(h)))
			return INTERNAL;
		u32 len = next == FRAGMENT ? 8 : (h[1] + 1) * 8;
		if (at + len > end)
			return GUARD_MALFORMED;
		if (at + len > 14 + 40 + CHAIN_BYTES || (next == HOP_BY_HOP && k) || (next == ROUTING && (!h[2] || h[3])) ||
		    (next == FRAGMENT && pieces++))
			return GUARD_OPTIONS;
		p->options = at + len - (14 + 40);
		at += len;
		if (next == FRAGMENT) {
			u32 place = swap16(*(u16 *)(h + 2));
			int fault = read_part(p, place & 0xfff8, end - at, place & 1);
			p->id = swap32(*(be32 *)(h + 4));
			p->proto = h[0];
			if (fault || p->part == PART_LATER)
				return fault;
		}
		next = h[0];
	}
	if (is_extension(next))
		return GUARD_OPTIONS;
	p->proto = next;
	p->head = at - 14;
	p->at = at;
	p->rest = end - at;
	return 0;
}

// What of the quoted packet names its conversation; l4 is what is left of it.
INLINE void read_quoted(const u8 *l4, u32 proto, struct pkt *p)
{
	struct quote *q = &p->quote;
	u8 type = l4[0], request = p->family == 4 ? 8 : 128, reply = p->family == 4 ? 0 : 129;

	q->proto = proto;
	if (proto == TCP || proto == UDP) {
		q->sport = q->ksrc = swap16(*(u16 *)(l4 + 2));
		q->dport = q->kdst = swap16(*(u16 *)l4);
	} else if (proto == (p->family == 4 ? ICMP : ICMP6) && (type == request || type == reply)) {
		u16 id = swap16(*(u16 *)(l4 + 4));
		q->icmp_type = type == request ? reply : request;
		q->sport = q->dport = q->icmp_type;
		q->ksrc = type == request ? 0 : id;
		q->kdst = type == request ? id : 0;
	} else if (proto != ESP && proto != AH) {
		q->proto = 0;
	}
}

// Reads the IPv4 packet that an ICMP error at at quotes.
GLOBAL int read_quote4(struct __sk_buff *skb, struct pkt *p, u32 at)
{
	u8 ip[20] __attribute__((aligned(8))), l4[8] __attribute__((aligned(8)));

	if (!p || bpf_skb_load_bytes(skb, at, ip, sizeof(ip)))
		return INTERNAL;
	u32 header = (ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || header < 20 || header + 8 > p->quoted || *(u16 *)(ip + 6) & swap16(0x1fff))
		return GUARD_MALFORMED;
	if (bpf_skb_load_bytes(skb, at + header, l4, sizeof(l4)))
		return INTERNAL;
	read_quoted(l4, ip[9], p);
	if (*(be32 *)(ip + 12) != p->dst.w[3] || *(be32 *)(ip + 16) != p->src.w[3])
		p->quote.proto = 0;
	return 0;
}

// The same for IPv6.
GLOBAL int read_quote6(struct __sk_buff *skb, struct pkt *p, u32 at)
{
	u8 ip[40] __attribute__((aligned(8))), h[8] __attribute__((aligned(8)));
	u32 behind = 40;

	if (!p || bpf_skb_load_bytes(skb, at, ip, sizeof(ip)))
		return INTERNAL;
	if (ip[0] >> 4 != 6)
		return GUARD_MALFORMED;
	u32 next = ip[6];
#pragma nounroll
	for (int k = 0; k <= CHAIN_HEADERS; k++) {
		if (behind + 8 > p->quoted)
			return GUARD_MALFORMED;
		if (bpf_skb_load_bytes(skb, at + behind, h, sizeof(h)))
			return INTERNAL;
		if (!is_extension(next) || k == CHAIN_HEADERS)
			break;
		if (next == FRAGMENT && *(u16 *)(h + 2) & swap16(0xfff8))
			return GUARD_MALFORMED;
		behind += next == FRAGMENT ? 8 : (h[1] + 1) * 8;
		next = h[0];
	}
	read_quoted(h, next, p);
	union addr from, to;
	copy(&from, ip + 8, 16);
	copy(&to, ip + 24, 16);
	if (!same_addr(&from, &p->dst) || !same_addr(&to, &p->src))
		p->quote.proto = 0;
	return 0;
}

// Reads the packet that an ICMP error quotes: its IP header and eight bytes behind that and its options. It returns the fault.
INLINE int read_quote(struct __sk_buff *skb, struct pkt *p)
{
	zero(&p->quote, sizeof(p->quote));
	return p->family == 4 ? read_quote4(skb, p, 14 + 20 + p->options + 8) : read_quote6(skb, p, 14 + 40 + p->options + 8);
}

INLINE int read_far(struct __sk_buff *skb, struct pkt *p)
{
	int fault = p->family == 4 ? read_options(skb, p) : read_extensions(skb, p);
	return fault || p->part == PART_LATER ? fault : read_far_l4(skb, p);
}

// How many bytes have to be linear. A TCP segment that the kernel carries has its headers there and nothing else: to pull more would
// copy its head, for it shares that with the sender's retransmission queue, and leave its pages unaligned.
INLINE u32 header_bytes(struct __sk_buff *skb)
{
	u8 *data = (u8 *)(u64)skb->data, *end = (u8 *)(u64)skb->data_end;

	if (data + 14 + 20 + 20 <= end && *(u16 *)(data + 12) == swap16(ETH_IP4) && data[14] == 0x45 && data[14 + 9] == TCP)
		return 14 + 20 + 20;
	if (data + 14 + 40 + 20 <= end && *(u16 *)(data + 12) == swap16(ETH_IP6) && data[14 + 6] == TCP)
		return 14 + 40 + 20;
	return HEADERS;
}

// Makes the headers linear, fills p and sets its fault.
GLOBAL int read_packet(struct __sk_buff *skb, struct pkt *p)
{
	u32 want = header_bytes(skb);

	if (!p)
		return 0;
	if (want > skb->len)
		want = skb->len;
	if ((u64)skb->data_end - (u64)skb->data < want)
		bpf_skb_pull_data(skb, want);
	u8 *data = (u8 *)(u64)skb->data, *end = (u8 *)(u64)skb->data_end;
	p->fault = GUARD_ETHERTYPE;
	if (data + 14 > end)
		return 0;
	p->ether = swap16(*(u16 *)(data + 12));
	if (p->ether == ETH_IP4)
		p->fault = read_ip4(data + 14, end, skb->len - 14, p);
	else if (p->ether == ETH_IP6)
		p->fault = read_ip6(data + 14, end, skb->len - 14, p);
	if (p->fault == FAR)
		p->fault = read_far(skb, p);
	if (p->error && !p->fault)
		p->fault = read_quote(skb, p);
	return 0;
}

