// judge: flow table first, rules when the flow is not known; the same at both ends of a packet's way.
#pragma once
#include "route.h"

// Asks the rules about a packet that would open a flow. It returns the reason to drop.
GLOBAL int judge_new(struct pkt *p, struct port *port, u32 dir)
{
	int r;
	if (!p || !port)
		return INTERNAL;
	if (p->cannot_open)
		return p->cannot_open;
	if (!p->located && (r = locate(p)))
		return r;
	return acl(p, port, dir, 0);
}

// Asks the rules anew about a known flow, as it was opened.
GLOBAL int judge_again(struct pkt *p, struct port *port, u32 dir, u32 opened)
{
	int r;
	if (!p || !port)
		return INTERNAL;
	if (!p->located && (r = locate(p)))
		return r;
	u16 sport = p->sport, dport = p->dport;
	int back = dir != opened;
	if (back)
		turn(p);
	if (is_echo(p, 0, 129)) // the request opened it
		p->sport = p->dport = p->family == 4 ? 8 : 128;
	r = acl(p, port, opened, 0);
	if (back)
		turn(p);
	p->sport = sport;
	p->dport = dport;
	p->rule = 0;
	return r;
}

// The flow that lets p pass at a port, or none; one from before the last flush is asked about first.
INLINE struct flow *current_flow(struct pkt *p, struct port *port, u64 word, u32 dir)
{
	struct flow *f = find_flow(p, PORT_KEY(word), dir);
	if (!f || f->acl_epoch == PORT_EPOCH(word))
		return f;
	if (judge_again(p, port, dir, f->opened)) {
		kill(f);
		return 0;
	}
	f->acl_epoch = PORT_EPOCH(word);
	return f;
}

// The layers of the receiving port, walked up. It leaves the port's device, MAC and word in p.
GLOBAL int receive(struct pkt *p, u32 slot)
{
	int r;
	if (!p)
		return INTERNAL;
	p->dir = IN;
	p->slot = slot;
	p->index = p->to.port;
	u64 *at = bpf_map_lookup_elem(&port_words, &slot);
	if (!slot || !at)
		return PORT_DOWN;
	u64 word = *(volatile u64 *)at;
	u32 record = slot * 2 + PORT_HALF(word);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	if (!port || !PORT_UP(word))
		return PORT_DOWN;
	p->index = port->index;
	p->ifindex = port->ifindex;
	p->peer_word = word;
	copy(p->mac, port->mac, 6);
	p->made = 0;
	struct flow *f = current_flow(p, port, word, IN);
	if (f) {
		touch(f, p, IN, port->idle);
		return 0;
	}
	if ((r = judge_new(p, port, IN)))
		return r;
	return open_flow(p, word, IN, port->quota, port->idle);
}
