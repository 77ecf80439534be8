// limit: what a port may make its host do beside carrying known flows, by token buckets that all CPUs share. A bucket is one word,
// the time until which it is spoken for, moved by compare-and-swap: no lock, and exact. No packet of a known flow comes here.
#pragma once
#include "count.h"

enum { LIMIT_TRIES = 16 };

INLINE u64 limit_clock(const struct pkt *p) { return testing ? p->now : bpf_ktime_get_coarse_ns(); }

// Takes n packets out of one of a port's buckets. It returns the reason to drop them. Who loses the swap on every try is in a
// flood of its own making: then the packet is over the limit, too.
INLINE int limit(const struct pkt *p, const struct port *port, u32 kind, u32 n)
{
	u64 gap = port->limits[kind].gap, room = gap * port->limits[kind].burst;
	u32 slot = p->slot;

	if (!gap)
		return 0;
	struct buckets *b = bpf_map_lookup_elem(&port_buckets, &slot);
	if (!b)
		return INTERNAL;
	u64 *at = &b->until[kind], now = limit_clock(p);
	for (int i = 0; i < LIMIT_TRIES; i++) {
		u64 old = *(volatile u64 *)at;
		u64 until = (old > now ? old : now) + gap * n;
		if (until - now > room)
			break;
		if (__sync_val_compare_and_swap(at, old, until) == old)
			return 0;
	}
	return LIMIT_ARP + kind;
}
