// Counting: every packet ends in exactly one counter of the port at which it ended. Packets that the kernel carries as one are
// counted as what they are on the wire.
#pragma once
#include "packet.h"
#include "trace.h"
#include "capture.h"

enum outcome { SENT = 56, DELIVERED, LOCAL, ENCAP, SERVICE, ANSWERED, SERVED };

// The slot of the port that a device belongs to, 0 when it is none.
INLINE u32 port_of(u32 ifindex)
{
	u32 *slot = ifindex < DEVICES ? LOOKUP(device_slots, &ifindex) : LOOKUP(device_ports, &ifindex);
	return slot ? *slot : 0;
}

INLINE u32 packets(struct __sk_buff *skb)
{
	u32 n = skb->gso_segs;
	return n ? n : 1;
}

INLINE void count_some(u32 some, u32 slot, u32 dir, u32 what)
{
	u32 i = slot * COUNTERS + dir * 64 + what;
	u64 *n = bpf_map_lookup_elem(&counters, &i);
	if (n)
		*n += some;
}

INLINE void count(struct __sk_buff *skb, u32 slot, u32 dir, u32 what) { count_some(packets(skb), slot, dir, what); }

INLINE void count_rule(struct __sk_buff *skb, const struct pkt *p, u32 reason)
{
	struct rule_key k = {.rule = p->rule, .port = p->index, .dir = p->dir | reason << 1};
	u64 *n = bpf_map_lookup_elem(&rule_drops, &k), one = packets(skb);
	if (n)
		*n += one;
	else
		bpf_map_update_elem(&rule_drops, &k, &one, ANY);
}

#define EVENTS_PER_SECOND 200 // of one reason on one CPU

// Gives room for an event, or counts the packets that none will tell of.
INLINE struct event *may_tell(u32 reason, u64 now, u32 packets)
{
	struct telling *t = bpf_map_lookup_elem(&tellings, &reason);
	if (!t)
		return 0;
	if (now - t->since > 1000000000ULL) {
		t->since = now;
		t->told = 0;
	}
	struct event *e = t->told++ < EVENTS_PER_SECOND ? bpf_ringbuf_reserve(&events, sizeof(struct event), 0) : 0;
	if (!e)
		t->untold += packets;
	return e;
}

INLINE void tell(struct __sk_buff *skb, const struct pkt *p, u32 reason)
{
	u64 now = bpf_ktime_get_coarse_ns();
	struct event *e = may_tell(reason, now, packets(skb));
	if (!e)
		return;
	zero(e, sizeof(*e));
	e->time = now;
	e->rule = p->rule;
	e->port = p->index;
	e->len = skb->len;
	e->src = p->src;
	e->dst = p->dst;
	e->reason = reason;
	e->ether = p->ether;
	e->sport = p->sport;
	e->dport = p->dport;
	e->dir = p->dir;
	e->family = p->family;
	e->proto = p->proto;
	if (p->error) {
		e->proto = p->family == 4 ? ICMP : ICMP6;
		e->sport = e->dport = p->error;
	}
	e->tcp_flags = p->tcp_flags;
	u8 *data = (u8 *)(u64)skb->data, *end = (u8 *)(u64)skb->data_end;
	if (data + 14 <= end) {
		copy(e->dmac, data, 6);
		copy(e->smac, data + 6, 6);
	}
	bpf_ringbuf_submit(e, 0);
}

// Test runs read the verdict from the context that comes back: cb holds action and reason and direction, port, host, rule.
INLINE void note(struct __sk_buff *skb, struct pkt *p, u32 action, u32 reason, u32 host)
{
	WATCH(skb, p, action, reason);
	if (!testing)
		return;
	skb->cb[0] = action | reason << 8 | (u32)p->dir << 24;
	skb->cb[1] = p->index;
	skb->cb[2] = host;
	skb->cb[3] = p->rule;
	skb->cb[4] = p->rule >> 32;
	skb->mark = p->vni;
}

// The end of every packet that is not wanted.
GLOBAL int drop(struct __sk_buff *skb, struct pkt *p, u32 reason)
{
	if (!p)
		return TC_DROP;
	reason &= 63;
	count(skb, p->slot, p->dir & 1, reason);
	if (p->rule)
		count_rule(skb, p, reason);
	tell(skb, p, reason);
	note(skb, p, ACT_DROP, reason, 0);
	return TC_DROP;
}
