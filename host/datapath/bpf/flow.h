// flow: what a port has said yes to. One entry serves both directions of a conversation at one port; it is a cache of the
// rules' verdict and of the route, never the truth. The packet path makes entries and marks them dead, it never deletes: an
// element that is freed is reused at once, under the eyes of whoever still holds it. gc.h deletes.
#pragma once
#include "acl.h"

enum { TCP_REPLIED = 1, TCP_FIN_OPENER = 2, TCP_FIN_OTHER = 4, TCP_RST = 8 };
enum { IDLE_OPENING = 60, IDLE_CLOSED = 10, IDLE_ECHO = 60 }; // seconds

INLINE void key4(struct flow_key4 *k, const struct pkt *p, u32 port, u32 dir)
{
	zero(k, sizeof(*k));
	k->port = port;
	k->proto = p->proto;
	k->local = dir == OUT ? p->src.w[3] : p->dst.w[3];
	k->remote = dir == OUT ? p->dst.w[3] : p->src.w[3];
	k->lport = dir == OUT ? p->ksrc : p->kdst;
	k->rport = dir == OUT ? p->kdst : p->ksrc;
}

INLINE void key6(struct flow_key6 *k, const struct pkt *p, u32 port, u32 dir)
{
	zero(k, sizeof(*k));
	k->port = port;
	k->proto = p->proto;
	k->local = dir == OUT ? p->src : p->dst;
	k->remote = dir == OUT ? p->dst : p->src;
	k->lport = dir == OUT ? p->ksrc : p->kdst;
	k->rport = dir == OUT ? p->kdst : p->ksrc;
}

INLINE struct flow *find_any(const struct pkt *p, u32 port, u32 dir)
{
	if (p->family == 4) {
		struct flow_key4 k;
		key4(&k, p, port, dir);
		return bpf_map_lookup_elem(&flows4, &k);
	}
	struct flow_key6 k;
	key6(&k, p, port, dir);
	return bpf_map_lookup_elem(&flows6, &k);
}

INLINE struct flow *find_flow(const struct pkt *p, u32 port, u32 dir)
{
	struct flow *f = find_any(p, port, dir);
	return f && f->state == FLOW_LIVE ? f : 0;
}

INLINE u32 first_idle(const struct pkt *p, u32 idle)
{
	return p->proto == TCP ? IDLE_OPENING : p->proto == ICMP || p->proto == ICMP6 ? IDLE_ECHO : idle;
}

// Follows a TCP connection by its flags.
INLINE void track(struct flow *f, const struct pkt *p, u32 dir, u32 idle)
{
	u32 was = f->tcp, now = was;

	if ((p->tcp_flags & (SYN | ACK | RST | FIN)) == SYN && (was & TCP_RST || (was & TCP_FIN_OPENER && was & TCP_FIN_OTHER)))
		now = 0; // the same ports again
	if (dir != f->opened)
		now |= TCP_REPLIED;
	if (p->tcp_flags & FIN)
		now |= dir == f->opened ? TCP_FIN_OPENER : TCP_FIN_OTHER;
	if (p->tcp_flags & RST)
		now |= TCP_RST;
	if (now == was)
		return;
	f->tcp = now;
	if (now & TCP_RST || (now & TCP_FIN_OPENER && now & TCP_FIN_OTHER))
		f->idle = IDLE_CLOSED;
	else
		f->idle = now & TCP_REPLIED ? idle : IDLE_OPENING;
}

// Says whether the clock of the entry moved.
INLINE int touch(struct flow *f, const struct pkt *p, u32 dir, u32 idle)
{
	u64 now = bpf_jiffies64(); // a load; a clock in nanoseconds is a call
	int moved = now - f->seen >= hz;

	if (moved)
		f->seen = now;
	if (p->proto == TCP)
		track(f, p, dir, idle);
	return moved;
}

INLINE void kill(struct flow *f) { __sync_val_compare_and_swap(&f->state, FLOW_LIVE, FLOW_DEAD); }

INLINE long insert(const struct pkt *p, u32 port, u32 dir, const struct flow *f)
{
	if (p->family == 4) {
		struct flow_key4 k;
		key4(&k, p, port, dir);
		return bpf_map_update_elem(&flows4, &k, f, NOEXIST);
	}
	struct flow_key6 k;
	key6(&k, p, port, dir);
	return bpf_map_update_elem(&flows6, &k, f, NOEXIST);
}

// Somebody else's entry for the same conversation: made on another CPU just now, or dead and not collected yet.
INLINE int adopt(const struct pkt *p, u64 word, u32 dir, const struct flow *fresh)
{
	struct flow *f = find_any(p, PORT_KEY(word), dir);
	if (!f)
		return 0;
	if (f->state == FLOW_LIVE)
		return 1;
	if (__sync_val_compare_and_swap(&f->state, FLOW_DEAD, FLOW_LIVE) != FLOW_DEAD)
		return 0;
	f->seen = fresh->seen;
	f->dest = fresh->dest;
	f->fwd_epoch = 0;
	f->peer_word = 0;
	f->acl_epoch = fresh->acl_epoch;
	f->tcp = 0;
	f->idle = fresh->idle;
	f->opened = dir;
	return 1;
}

// Makes p's entry at the port that word belongs to. It returns the reason why it cannot.
GLOBAL int open_flow(struct pkt *p, u64 word, u32 dir, u32 quota, u32 idle)
{
	if (!p)
		return INTERNAL;
	u32 slot = (u32)(word >> 24) & 0xffff;
	struct flow f = {.seen = bpf_jiffies64(), .acl_epoch = PORT_EPOCH(word), .state = FLOW_LIVE, .opened = dir};
	f.idle = first_idle(p, idle);
	u32 *used = bpf_map_lookup_elem(&port_flows, &slot);
	if (!used)
		return INTERNAL;
	if (__sync_fetch_and_add(used, 1) >= quota) {
		__sync_fetch_and_add(used, -1);
		return FLOW_QUOTA;
	}
	p->made = 0;
	for (int i = 0; i < 2; i++) {
		long err = insert(p, PORT_KEY(word), dir, &f);
		if (!err) {
			p->made = 1;
			return 0;
		}
		if (err != -EEXIST) {
			__sync_fetch_and_add(used, -1);
			return err == -E2BIG ? FLOW_TABLE_FULL : INTERNAL;
		}
		if (adopt(p, word, dir, &f)) {
			__sync_fetch_and_add(used, -1);
			return 0;
		}
	}
	__sync_fetch_and_add(used, -1);
	return INTERNAL;
}

INLINE void turn(struct pkt *p)
{
	union addr a = p->src;
	struct where w = p->from;
	u16 port = p->sport;
	p->src = p->dst;
	p->dst = a;
	p->from = p->to;
	p->to = w;
	p->sport = p->dport;
	p->dport = port;
}
