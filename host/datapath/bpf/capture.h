// capture: every packet of a port that somebody looks at, as it came, with what became of it. A packet pays a load and a branch while
// nobody looks, a call while somebody does.
#pragma once
#include "packet.h"

enum { ACT_DROP = 1, ACT_DELIVER, ACT_ENCAP, ACT_SERVICE, ACT_ANSWER, ACT_ASK }; // ACT_ASK: what the fabric itself answers

struct watching {
	u32 slot; // of the port that is looked at, 0: none
	u32 snap; // bytes of each packet
};

struct watching watching SEC(".data.watching");

struct seen {
	u64 time, rule;
	u32 from, at; // slots of the sender on this host, and of the port where it was decided
	u32 len;      // of the whole frame
	u32 kept;     // bytes that follow
	u8 action, reason, dir, unused[5];
};

struct {
	__uint(type, MAP_PERF_EVENT_ARRAY);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 0);
} captured SEC(".maps");

// Tells user space of a packet; what finds no room there is counted there.
GLOBAL int watch(struct __sk_buff *skb, struct pkt *p, u32 action, u32 reason)
{
	if (!p)
		return 0;
	u32 from = p->sender >> 16, slot = watching.slot, snap = watching.snap;
	if (slot != p->slot && slot != from)
		return 0;
	u32 kept = skb->len < snap ? skb->len : snap;
	struct seen s = {.time = bpf_ktime_get_coarse_ns(), .rule = p->rule, .from = from, .at = p->slot, .len = skb->len, .kept = kept};
	s.action = action;
	s.reason = reason;
	s.dir = p->dir;
	bpf_perf_event_output(skb, &captured, THIS_CPU | (u64)kept << 32, &s, sizeof(s));
	return 0;
}

#define WATCH(skb, p, action, reason)                   \
	do {                                            \
		if (watching.slot)                      \
			watch(skb, p, action, reason);  \
	} while (0)
