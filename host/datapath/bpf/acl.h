// acl: first match over the rules of a group, at a cost that does not depend on their number. Each field of the packet is
// searched for its interval, each interval names the vector of rules that it satisfies, and the first bit that all the vectors
// share is the rule that decides. One blob holds both directions of one group as one virtual network resolves its sets.
#pragma once
#include "limit.h"
#include "search.h"

enum { WORDS = 16, NO_VECTOR = 0xffff };
#define RULE_ALLOW (1ULL << 63)
#define RULE_DEFAULT (1ULL << 62)

struct acl_side {
	u64 none;             // hash of the group without a rule: when none of its rules matches
	u32 words;            // of a vector: 1 … 16
	u32 stride;           // bytes from one vector to the next
	u32 vectors, rules;   // offsets: vectors; u64 per rule: its name's hash and RULE_*
	u32 classes;          // how many address classes are known
	u32 src_class, dst_class; // offsets: u16 vector per class
	struct field src4, dst4, src6, dst6, sport, dport; // index: u16 vector per interval
	u16 proto[6];         // vectors: TCP, UDP, ICMP, ESP, AH, ICMPv6
	u16 no_sport, no_dport; // vectors for protocols without ports
	u16 dns, imds;        // vectors of the rules whose destination names a platform tag
};

struct acl_blob {
	u32 magic, unused;
	struct acl_side side[2]; // OUT, IN
};

enum { PLATFORM_NO = 0, PLATFORM_DNS, PLATFORM_IMDS };

static const u8 first_bit[64] = {
	0, 1, 2, 53, 3, 7, 54, 27, 4, 38, 41, 8, 34, 55, 48, 28, 62, 5, 39, 46, 44, 42, 22, 9, 24, 35, 59, 56, 49, 18, 29, 11,
	63, 52, 6, 26, 37, 40, 33, 47, 61, 45, 43, 21, 23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

INLINE u64 lowest(u64 m) { return first_bit[((m & -m) * 0x022fdd63cc95386dULL) >> 58]; }

INLINE u32 proto_class(u32 proto)
{
	switch (proto) {
	case TCP: return 0;
	case UDP: return 1;
	case ICMP: return 2;
	case ESP: return 3;
	case AH: return 4;
	}
	return 5; // ICMPv6: guard lets nothing else through
}

#define BLOB_CASE(n, name, bytes)                                        \
	case n:                                                          \
		inner = bpf_map_lookup_elem(&name, &slot);               \
		if (!inner || !(b.at = bpf_map_lookup_elem(inner, &none))) \
			return INTERNAL;                                 \
		b.size = bytes;                                          \
		break

// Puts the deciding rule into p->rule and returns 0 or the reason to drop. In platform mode only the rules that name the
// platform's tag are asked, and no match allows.
GLOBAL int ask_group(struct pkt *p, u32 group, u32 dir, u32 platform)
{
	if (!p)
		return INTERNAL;
	u64 *word = bpf_map_lookup_elem(&group_words, &group);
	if (!word)
		return INTERNAL;
	u32 slot = BLOB_SLOT(*word) & 0xffffff, none = 0;
	struct blob b;
	void *inner;
	switch (BLOB_CLASS(*word)) {
	BLOB_CASE(1, group_2k, 2 << 10);
	BLOB_CASE(2, group_8k, 8 << 10);
	BLOB_CASE(3, group_32k, 32 << 10);
	BLOB_CASE(4, group_128k, 128 << 10);
	BLOB_CASE(5, group_256k, 256 << 10);
	BLOB_CASE(6, group_1m, 1 << 20);
	BLOB_CASE(7, group_8m, 8 << 20);
	default:
		return INTERNAL;
	}
	struct acl_side *s = &((struct acl_blob *)b.at)->side[dir & 1];

	// Intervals of the four fields, searched side by side; then the vectors, of explicit prefixes by interval, of sets by class.
	u64 is = 0, id = 0, isp = 0, idp = 0, nsp = s->sport.half, ndp = s->dport.half, vs, vd;
	if (p->family == 4) {
		u32 src = swap32(p->src.w[3]), dst = swap32(p->dst.w[3]);
		u64 ns = s->src4.half, nd = s->dst4.half;
#pragma nounroll
		for (int i = 0; i < STEPS && (ns | nd | nsp | ndp); i++) {
			STEP(u32, &b, &s->src4, is, ns, src);
			STEP(u32, &b, &s->dst4, id, nd, dst);
			STEP(u16, &b, &s->sport, isp, nsp, p->sport);
			STEP(u16, &b, &s->dport, idp, ndp, p->dport);
			ns >>= 1, nd >>= 1, nsp >>= 1, ndp >>= 1;
		}
		vs = LOAD(u16, &b, s->src4.index + 2 * is);
		vd = LOAD(u16, &b, s->dst4.index + 2 * id);
	} else {
		u64 src_hi = swap64(p->src.d[0]), src_lo = swap64(p->src.d[1]), dst_hi = swap64(p->dst.d[0]), dst_lo = swap64(p->dst.d[1]);
		u64 ns = s->src6.half, nd = s->dst6.half;
#pragma nounroll
		for (int i = 0; i < STEPS && (ns | nd | nsp | ndp); i++) {
			STEP6(&b, &s->src6, is, ns, src_hi, src_lo);
			STEP6(&b, &s->dst6, id, nd, dst_hi, dst_lo);
			STEP(u16, &b, &s->sport, isp, nsp, p->sport);
			STEP(u16, &b, &s->dport, idp, ndp, p->dport);
			ns >>= 1, nd >>= 1, nsp >>= 1, ndp >>= 1;
		}
		vs = LOAD(u16, &b, s->src6.index + 2 * is);
		vd = LOAD(u16, &b, s->dst6.index + 2 * id);
	}
	p->rule = s->none;
	if (p->from.class >= s->classes || p->to.class >= s->classes)
		return ACL_STALE;
	u64 cs = LOAD(u16, &b, s->src_class + 2 * (u64)p->from.class);
	u64 cd = LOAD(u16, &b, s->dst_class + 2 * (u64)p->to.class);
	if (platform) // the tag has matched already
		vd = cd = platform == PLATFORM_DNS ? s->dns : s->imds;
	if (cs == NO_VECTOR || cd == NO_VECTOR)
		return ACL_STALE;
	u32 pc = proto_class(p->proto);
	u64 pr = s->proto[pc], ps = s->no_sport, pd = s->no_dport;
	if (pc != 3 && pc != 4) {
		ps = LOAD(u16, &b, s->sport.index + 2 * isp);
		pd = LOAD(u16, &b, s->dport.index + 2 * idp);
	}

	u64 base = s->vectors, stride = s->stride;
#define VECTOR(v) v = base + v * stride; if (v > b.size - 8 * WORDS) return INTERNAL
	VECTOR(vs); VECTOR(vd); VECTOR(cs); VECTOR(cd); VECTOR(ps); VECTOR(pd); VECTOR(pr);
	u32 words = s->words;
#define WORD(v, i) (*(u64 *)(b.at + v + 8 * i))
#define TRY(i)                                                                                                         \
	if (words <= i)                                                                                                \
		goto none_matches;                                                                                     \
	at = i;                                                                                                        \
	m = (WORD(vs, i) | WORD(cs, i)) & (WORD(vd, i) | WORD(cd, i)) & WORD(ps, i) & WORD(pd, i) & WORD(pr, i);         \
	if (m)                                                                                                         \
		goto found
	u64 m, at;
	TRY(0); TRY(1); TRY(2); TRY(3); TRY(4); TRY(5); TRY(6); TRY(7);
	TRY(8); TRY(9); TRY(10); TRY(11); TRY(12); TRY(13); TRY(14); TRY(15);
none_matches:
	return platform ? 0 : ACL_DEFAULT;
found:;
	u64 rule = LOAD(u64, &b, s->rules + 8 * (64 * at + lowest(m)));
	p->rule = rule & ~(RULE_ALLOW | RULE_DEFAULT);
	if (rule & RULE_ALLOW)
		return 0;
	if (platform)
		return ACL_PLATFORM;
	return rule & RULE_DEFAULT ? ACL_DEFAULT : ACL_RULE;
}

// Asks both levels of a port; the first that denies decides. Outbound the NIC's group and then the subnet's, inbound the
// other way round.
INLINE int acl(struct pkt *p, const struct port *port, u32 dir, u32 platform)
{
	u32 first = dir == OUT ? port->nic_group : port->subnet_group;
	u32 second = dir == OUT ? port->subnet_group : port->nic_group;
	int reason = 0;
	if (first && !(reason = ask_group(p, first, dir, platform)))
		TRACE(p, STEP_ALLOW);
	if (!reason && second && !(reason = ask_group(p, second, dir, platform)))
		TRACE(p, STEP_ALLOW);
	if (!reason)
		p->rule = 0;
	if (!first && !second && !platform)
		TRACE(p, STEP_ALLOW);
	return reason;
}
