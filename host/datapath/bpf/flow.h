// flow: what a port has said yes to. One entry serves both directions of a conversation at one port; it is a cache of the
// rules' verdict and of the route, never the truth. The packet path makes entries and marks them dead, it never deletes: an
// element that is freed is reused at once, under the eyes of whoever still holds it. gc.h deletes.
#pragma once
#include "acl.h"

enum {
	TCP_HALF_OPEN = 1, // counted at its port until the opener has acknowledged the answer
	TCP_ANSWERED = 2,
	TCP_FIN_OPENER = 4,
	TCP_FIN_OTHER = 8,
	TCP_RESET = 16,
	TCP_REFUSED = 32, // no state: this segment is not one of this state
};
enum { IDLE_OPENING = 60, IDLE_CLOSED = 10, IDLE_ECHO = 60 }; // seconds
enum { GOES_ON = 0, MOVED, NOT_NOW };

INLINE struct flow_key4 *key4(struct pkt *p, u32 port, u32 dir)
{
	struct flow_key4 *k = &p->key4;
	zero(k, sizeof(*k));
	k->port = port;
	k->proto = p->proto;
	k->local = dir == OUT ? p->src.w[3] : p->dst.w[3];
	k->remote = dir == OUT ? p->dst.w[3] : p->src.w[3];
	k->lport = dir == OUT ? p->ksrc : p->kdst;
	k->rport = dir == OUT ? p->kdst : p->ksrc;
	return k;
}

INLINE struct flow_key6 *key6(struct pkt *p, u32 port, u32 dir)
{
	struct flow_key6 *k = &p->key6;
	zero(k, sizeof(*k));
	k->port = port;
	k->proto = p->proto;
	k->local = dir == OUT ? p->src : p->dst;
	k->remote = dir == OUT ? p->dst : p->src;
	k->lport = dir == OUT ? p->ksrc : p->kdst;
	k->rport = dir == OUT ? p->kdst : p->ksrc;
	return k;
}

INLINE struct flow *find_any(struct pkt *p, u32 port, u32 dir)
{
	if (p->family == 4)
		return LOOKUP(flows4, key4(p, port, dir));
	return LOOKUP(flows6, key6(p, port, dir));
}

INLINE void kill(struct flow *f) { __sync_val_compare_and_swap(&f->state, FLOW_LIVE, FLOW_DEAD); }

INLINE int closed_tcp(u32 tcp) { return tcp & TCP_RESET || (tcp & TCP_FIN_OPENER && tcp & TCP_FIN_OTHER); }

// Flags that say what a segment does; PSH, ECE and CWR do not.
INLINE u32 doing(const struct pkt *p) { return p->tcp_flags & (SYN | ACK | RST | FIN); }

// A SYN on a closed connection opens another one: it is judged like the first packet that it is.
INLINE int reopens(const struct flow *f, const struct pkt *p) { return p->proto == TCP && closed_tcp(f->tcp) && doing(p) == SYN; }

INLINE struct flow *find_flow(struct pkt *p, u32 port, u32 dir)
{
	struct flow *f = find_any(p, port, dir);
	if (!f || f->state != FLOW_LIVE)
		return 0;
	return reopens(f, p) ? 0 : f;
}

INLINE u32 first_idle(const struct pkt *p, u32 idle)
{
	if (p->proto == TCP)
		return p->tcp_flags & SYN ? IDLE_OPENING : idle;
	return p->proto == ICMP || p->proto == ICMP6 ? IDLE_ECHO : idle;
}

// The state of a connection after a segment; back: from the end that did not open it. goal/model/tcp.go is the same in Go.
INLINE u32 tcp_after(u32 was, u32 flags, int back)
{
	u32 fin = flags & FIN ? (back ? TCP_FIN_OTHER : TCP_FIN_OPENER) : 0;

	if (flags & RST)
		return (was | TCP_RESET) & ~TCP_HALF_OPEN;
	if (closed_tcp(was)) // stragglers
		return was;
	if (!(was & TCP_HALF_OPEN))
		return flags & SYN ? was : was | fin;
	if (back) {
		if (flags & SYN)
			return was | TCP_ANSWERED;
		return fin && !(was & TCP_ANSWERED) ? TCP_REFUSED : was | fin;
	}
	if (flags == SYN)
		return was;
	return was & TCP_ANSWERED ? (was | fin) & ~TCP_HALF_OPEN : TCP_REFUSED;
}

INLINE void share_add(u32 slot, u32 flows, u32 half_open)
{
	struct share *s = bpf_map_lookup_elem(&port_flows, &slot);
	if (!s)
		return;
	if (flows)
		__sync_fetch_and_add(&s->flows, flows);
	if (half_open)
		__sync_fetch_and_add(&s->half_open, half_open);
}

// Follows a TCP connection by its flags at the port in slot.
INLINE int track(struct flow *f, const struct pkt *p, u32 dir, u32 slot, u32 idle)
{
	for (int i = 0; i < 3; i++) { // the other end may be at it on another CPU
		u32 was = *(volatile u32 *)&f->tcp, now = tcp_after(was, doing(p), dir != f->opened);
		if (now == was)
			return GOES_ON;
		if (now == TCP_REFUSED)
			return NOT_NOW;
		if (__sync_val_compare_and_swap(&f->tcp, was, now) != was)
			continue;
		if ((was ^ now) & TCP_HALF_OPEN)
			share_add(slot, 0, -1);
		f->idle = closed_tcp(now) ? IDLE_CLOSED : now & TCP_HALF_OPEN ? IDLE_OPENING : idle;
		f->seen = bpf_jiffies64();
		return MOVED;
	}
	return GOES_ON;
}

// A packet of a known flow. It says whether the other half has to hear of it, or that it must not pass. What is closed is not
// kept alive.
INLINE int touch(struct flow *f, const struct pkt *p, u32 dir, u32 slot, u32 idle)
{
	u64 now = bpf_jiffies64(); // a load; a clock in nanoseconds is a call
	int moved = GOES_ON;

	if (p->proto == TCP) {
		moved = track(f, p, dir, slot, idle);
		if (moved || closed_tcp(f->tcp))
			return moved;
	}
	if (now - f->seen >= hz)
		f->seen = now;
	return moved;
}

INLINE long insert(struct pkt *p, u32 port, u32 dir, const struct flow *f)
{
	if (p->family == 4)
		return INSERT(flows4, key4(p, port, dir), f);
	return INSERT(flows6, key6(p, port, dir), f);
}

// Somebody else's entry for the same conversation: 1, made on another CPU just now; 2, closed or dead and not collected yet, and
// now p's.
INLINE int adopt(struct pkt *p, u64 word, u32 dir, const struct flow *fresh)
{
	struct flow *f = find_any(p, PORT_KEY(word), dir);
	if (!f)
		return 0;
	if (f->state == FLOW_LIVE && reopens(f, p))
		kill(f);
	if (f->state == FLOW_LIVE)
		return 1;
	if (__sync_val_compare_and_swap(&f->state, FLOW_DEAD, FLOW_LIVE) != FLOW_DEAD)
		return 0;
	f->seen = fresh->seen;
	f->dest = fresh->dest;
	f->fwd_epoch = 0;
	f->peer_word = 0;
	f->acl_epoch = fresh->acl_epoch;
	f->idle = fresh->idle;
	f->opened = dir;
	f->other = fresh->other;
	if (__sync_lock_test_and_set(&f->tcp, fresh->tcp) & TCP_HALF_OPEN)
		share_add((u32)(word >> 24) & 0xffff, 0, -1);
	p->made = 1;
	return 2;
}

// Makes p's entry at the port that word belongs to. It returns the reason why it cannot.
GLOBAL int open_flow(struct pkt *p, struct port *port, u64 word, u32 dir, u32 other)
{
	if (!p || !port)
		return INTERNAL;
	u32 slot = (u32)(word >> 24) & 0xffff;
	struct flow f = {.seen = bpf_jiffies64(), .acl_epoch = PORT_EPOCH(word), .state = FLOW_LIVE, .opened = dir, .other = other};
	f.idle = first_idle(p, port->idle);
	if (p->proto == TCP)
		f.tcp = p->tcp_flags & SYN ? TCP_HALF_OPEN : TCP_ANSWERED;
	u32 half = f.tcp & TCP_HALF_OPEN;
	struct share *used = bpf_map_lookup_elem(&port_flows, &slot);
	if (!used)
		return INTERNAL;
	p->made = 0;
	int r = INTERNAL;
	if (__sync_fetch_and_add(&used->flows, 1) >= port->quota) {
		r = FLOW_QUOTA;
		half = 0;
		goto failed;
	}
	if (half && __sync_fetch_and_add(&used->half_open, 1) >= port->half_open) {
		r = FLOW_HALF_OPEN;
		goto failed;
	}
	for (int i = 0; i < 2; i++) {
		long err = insert(p, PORT_KEY(word), dir, &f);
		if (!err) {
			p->made = 1;
			return 0;
		}
		if (err != -EEXIST) {
			r = err == -E2BIG ? FLOW_TABLE_FULL : INTERNAL;
			goto failed;
		}
		int known = adopt(p, word, dir, &f);
		if (known == 2)
			half = 0; // it takes the place of the dead one
		if (known) {
			r = 0;
			goto failed;
		}
	}
failed:
	__sync_fetch_and_add(&used->flows, -1);
	if (half)
		__sync_fetch_and_add(&used->half_open, -1);
	return r;
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
