// frag: a fragment is judged as its first one is. That tells what the packet carries and holds its whole transport header, or it is
// dropped; once it has passed, its datagram is remembered, and the later ones take from it what they do not tell. They may come in any
// order behind it, but not twice, and what overlaps ends the datagram: which of two bytes a receiver would take, nobody judges.
#pragma once
#include "limit.h"

// Says whether d is of what p is a fragment of.
INLINE int is_of(const struct datagram *d, const struct pkt *p, u32 port, u64 now)
{
	return d->id == p->id && d->port == port && d->family == p->family && now - d->made < FRAGMENT_NS &&
	       same_addr(&d->src, &p->src) && same_addr(&d->dst, &p->dst) && (p->family == 6 || d->proto == p->proto);
}

// 1 when a < b, else 0, without a branch: over so many ranges, branches are more than the verifier follows.
INLINE u64 less(u64 a, u64 b)
{
	u64 d = a - b;
	barrier_var(d);
	return d >> 63;
}

INLINE u64 choose(u64 yes, u64 a, u64 b)
{
	barrier_var(yes);
	return b + (a - b) * yes;
}

// Takes the fragment into what has come of its datagram. It returns the reason to drop.
INLINE int claim(struct datagram *d, struct pkt *p)
{
	u64 first = p->first, behind = p->behind, last = p->last, total = d->total;
	u64 covered = 0, overlaps = 0, left = RANGES, right = RANGES, room = RANGES;

	if (total)
		overlaps = last ? behind != total : behind > total;
#pragma nounroll
	for (u64 i = 0; i < RANGES; i++) {
		u64 from = d->got[i].first, to = d->got[i].behind, some = less(from, to);
		overlaps |= last & less(behind, to);
		covered |= some & ~less(first, from) & ~less(to, behind);
		overlaps |= (less(first, to) & less(from, behind) & some & (less(first, from) | less(to, behind)));
		left = choose(some & ~(less(to, first) | less(first, to)), i, left);
		right = choose(some & ~(less(from, behind) | less(behind, from)), i, right);
		room = choose(~some & 1, i, room);
	}
	if (overlaps)
		d->refused = 1;
	if (overlaps || covered || d->refused)
		return FLOW_OVERLAP;
	if (last)
		d->total = behind;
	if (right < RANGES) {
		behind = d->got[right].behind;
		d->got[right].first = d->got[right].behind = 0;
		room = right;
	}
	if (left < RANGES) {
		d->got[left].behind = behind;
		if (!d->got[left].first && behind == d->total)
			d->family = 0; // all has come
		return 0;
	}
	if (room >= RANGES)
		return FLOW_FRAGMENTS;
	d->got[room].first = first;
	d->got[room].behind = behind;
	return 0;
}

// Gives a later fragment what its first one has told. It returns the reason to drop.
GLOBAL int follow(struct pkt *p, u32 slot, u32 port, u32 dir)
{
	u32 at = slot * 2 + (dir & 1);
	struct datagrams *s = bpf_map_lookup_elem(&fragments, &at);
	u64 now = p ? limit_clock(p) : 0;
	int r;

	if (!p || !s)
		return INTERNAL;
	p->found = DATAGRAMS;
	r = p->part == PART_FIRST ? 0 : FLOW_NO_FIRST;
	bpf_spin_lock(&s->lock);
#pragma nounroll
	for (u32 i = 0; i < DATAGRAMS; i++) {
		if (is_of(&s->datagrams[i], p, port, now)) {
			p->found = i;
			break;
		}
	}
	u32 found = *(volatile u32 *)&p->found; // out of memory, so that what follows is verified once
	if (found < DATAGRAMS) {
		struct datagram *d = &s->datagrams[found];
		r = claim(d, p);
		p->proto = d->proto;
		p->icmp_type = d->icmp_type;
		p->tcp_flags = d->tcp_flags;
		p->cannot_open = d->cannot_open;
		p->sport = d->sport;
		p->dport = d->dport;
		p->ksrc = d->ksrc;
		p->kdst = d->kdst;
		p->part = PART_FOLLOWS;
	}
	bpf_spin_unlock(&s->lock);
	return r;
}

// Remembers the datagram of a first fragment that has passed, in the place of the oldest.
GLOBAL int remember(struct pkt *p, u32 slot, u32 port, u32 dir)
{
	u32 at = slot * 2 + (dir & 1);
	struct datagrams *s = bpf_map_lookup_elem(&fragments, &at);
	u64 now = p ? limit_clock(p) : 0;

	if (!p || !s)
		return INTERNAL;
	bpf_spin_lock(&s->lock);
	u32 i = s->next & (DATAGRAMS - 1);
	s->next = i + 1;
	struct datagram *d = &s->datagrams[i];
	zero(d, sizeof(*d));
	d->src = p->src;
	d->dst = p->dst;
	d->made = now;
	d->id = p->id;
	d->port = port;
	d->family = p->family;
	d->proto = p->proto;
	d->icmp_type = p->icmp_type;
	d->tcp_flags = p->tcp_flags;
	d->cannot_open = p->cannot_open;
	d->sport = p->sport;
	d->dport = p->dport;
	d->ksrc = p->ksrc;
	d->kdst = p->kdst;
	d->got[0].behind = p->behind;
	bpf_spin_unlock(&s->lock);
	return 0;
}
