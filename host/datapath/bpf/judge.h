// judge: flow table first, rules when the flow is not known; the same at both ends of a packet's way.
#pragma once
#include "frag.h"
#include "route.h"

// After a loss of all state, and for as long as the operator has said: a segment of a connection that was established before is
// judged like a first packet.
INLINE int relearns(const struct pkt *p)
{
	u32 none = 0;
	struct config *c = bpf_map_lookup_elem(&host_config, &none);
	return c && p->proto == TCP && !p->error && doing(p) == ACK && bpf_jiffies64() < c->relearn;
}

// Asks the rules about a packet that would open a flow. It returns the reason to drop.
GLOBAL int judge_new(struct pkt *p, struct port *port, u32 dir)
{
	int r;
	if (!p || !port)
		return INTERNAL;
	if (p->cannot_open && !relearns(p))
		return p->cannot_open;
	if (dir == OUT && (r = limit(p, port, OF_FLOWS, 1))) // the sender's: nobody uses up another's
		return r;
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
	p->was_sport = p->sport;
	p->was_dport = p->dport;
	if (dir != opened)
		turn(p);
	if (is_echo(p, 0, 129)) // the request opened it
		p->sport = p->dport = p->family == 4 ? 8 : 128;
	r = acl(p, port, opened, 0);
	if (dir != opened)
		turn(p);
	p->sport = p->was_sport;
	p->dport = p->was_dport;
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

// Says whether the host that sent p in VXLAN carries p's source. A flow remembers it for its remote end, which is where its own
// packets go, too.
INLINE int sender_is(struct pkt *p, struct flow *f, be32 host)
{
	u64 dest = (u64)host << 32;

	if (f && f->fwd_epoch == p->fwd_epoch && *(volatile u64 *)&f->dest == dest)
		return 0;
	int r = p->located ? 0 : locate(p);
	if (r)
		return r;
	if (!(p->from.flags & AT_ENDPOINT) || p->from.flags & AT_LOCAL || p->from.host != host)
		return OVERLAY_SENDER;
	if (f && (p->from.flags & (AT_PREFIX | AT_LOCAL)) == AT_PREFIX) {
		f->peer_word = 0;
		f->dest = dest;
		f->fwd_epoch = p->fwd_epoch;
	}
	return 0;
}

// A fragment that came in VXLAN from host for the port in p->to; only its own sender's count.
GLOBAL int follow_in(struct pkt *p, be32 host)
{
	int r;
	if (!p)
		return INTERNAL;
	if ((r = sender_is(p, 0, host)))
		return r;
	p->slot = p->to.slot;
	p->index = p->to.port;
	u32 slot = p->slot;
	u64 *word = bpf_map_lookup_elem(&port_words, &slot);
	return word && PORT_UP(*word) ? follow(p, slot, PORT_KEY(*word), IN) : PORT_DOWN;
}

// The layers of the receiving port, walked up; host is the outer sender of what came in VXLAN, else 0. It leaves the port's
// device, MAC and word in p.
GLOBAL int receive(struct pkt *p, u32 slot, be32 host)
{
	int r;
	if (!p)
		return INTERNAL;
	p->dir = IN;
	p->made = p->settled = 0;
	u64 *at = bpf_map_lookup_elem(&port_words, &slot);
	u64 word = at ? *(volatile u64 *)at : 0;
	u32 record = slot * 2 + PORT_HALF(word);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	int up = slot && port && PORT_UP(word);
	struct flow *f = up ? current_flow(p, port, word, IN) : 0;
	if (host && (r = sender_is(p, f, host)))
		return r;
	p->slot = slot;
	p->index = port && slot ? port->index : p->to.port;
	if (!up)
		return PORT_DOWN;
	if (PORT_UNREADY(word))
		return PORT_NOT_READY;
	p->ifindex = port->ifindex;
	p->kind = port->kind;
	p->peer_word = word;
	copy(p->mac, port->mac, 6);
	if (f) {
		TRACE(p, STEP_HIT);
		if (!p->error && touch(f, p, IN, slot, port->idle) == NOT_NOW)
			return FLOW_STATE;
		p->settled = !(f->tcp & TCP_HALF_OPEN);
		if (!host && f->other != p->sender)
			f->other = p->sender;
		return 0;
	}
	TRACE(p, STEP_MISS);
	if ((r = judge_new(p, port, IN)))
		return r;
	return open_flow(p, port, word, IN, host ? 0 : p->sender);
}
