// The collector of flow entries. User space walks the table and writes the keys of entries that look idle or orphaned into
// gc_keys; FLOW_MARK makes them dead when they still are, user space then lets every CPU finish what it is doing, FLOW_SWEEP
// deletes those that no packet has revived. GC_JUDGE asks the rules anew about flows of before a flush.
#pragma once
#include "judge.h"

enum { GC_BATCH = 1024, GC_MARK = 1, GC_SWEEP = 2, GC_FORCE = 4, GC_JUDGE = 8 };

MAP(gc_keys4, MAP_ARRAY, u32, struct flow_key4, GC_BATCH);
MAP(gc_keys6, MAP_ARRAY, u32, struct flow_key6, GC_BATCH);

struct gc {
	u32 todo, n; // GC_*, keys
	u32 done, family;
};

MAP(gc_packet, MAP_ARRAY, u32, struct pkt, 1);

// The packet that opened a flow, as far as rules see it.
INLINE struct pkt *opener(struct flow *f, u32 family, u32 proto, const union addr *local, const union addr *remote, u16 lport, u16 rport)
{
	u32 none = 0;
	struct pkt *p = bpf_map_lookup_elem(&gc_packet, &none);
	if (!p)
		return 0;
	zero(p, FRESH);
	p->family = family;
	p->proto = proto;
	p->src = *local;
	p->dst = *remote;
	p->sport = lport;
	p->dport = rport;
	if (proto == ICMP || proto == ICMP6)
		p->sport = p->dport = p->icmp_type = proto == ICMP ? 8 : 128;
	if (f->opened == IN)
		turn(p);
	return p;
}

// Asks the rules about a flow that was made before the last flush. It returns 1 when they deny it.
INLINE u32 denied(struct flow *f, struct pkt *p, u32 key)
{
	u32 slot = key >> 16;
	u64 *at = bpf_map_lookup_elem(&port_words, &slot);
	if (!p || !at)
		return 0;
	u64 word = *(volatile u64 *)at;
	u32 record = slot * 2 + PORT_HALF(word);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	if (!port || PORT_KEY(word) != key || f->acl_epoch == PORT_EPOCH(word))
		return 0;
	p->vni = port->vni;
	p->vnet = port->vnet;
	if (judge_again(p, port, f->opened, f->opened)) {
		kill(f);
		return 1;
	}
	f->acl_epoch = PORT_EPOCH(word);
	return 0;
}

// The other half of a local conversation.
INLINE struct flow *half4(const struct flow *f, const struct flow_key4 *k)
{
	struct flow_key4 o = {.port = f->other, .proto = k->proto, .local = k->remote, .remote = k->local, .lport = k->rport, .rport = k->lport};
	return o.port ? bpf_map_lookup_elem(&flows4, &o) : 0;
}

INLINE struct flow *half6(const struct flow *f, const struct flow_key6 *k)
{
	struct flow_key6 o = {.port = f->other, .proto = k->proto, .local = k->remote, .remote = k->local, .lport = k->rport, .rport = k->lport};
	return o.port ? bpf_map_lookup_elem(&flows6, &o) : 0;
}

// Says whether an entry has been silent for its time. What packets of a local conversation touch is their sender's half.
INLINE int silent(struct flow *f, struct flow *half)
{
	if (bpf_jiffies64() - f->seen < f->idle * hz)
		return 0;
	if (half && half->state == FLOW_LIVE && !closed_tcp(f->tcp) && !closed_tcp(half->tcp) && half->seen > f->seen)
		f->seen = half->seen;
	return bpf_jiffies64() - f->seen >= f->idle * hz;
}

// Marks or sweeps one entry. It returns 1 when it did.
INLINE u32 collect(void *map, void *key, struct flow *f, struct flow *half, u32 port, u32 todo)
{
	if (todo & GC_MARK) {
		if (!(todo & GC_FORCE) && !silent(f, half))
			return f->state == FLOW_DEAD;
		return __sync_val_compare_and_swap(&f->state, FLOW_LIVE, FLOW_DEAD) != FLOW_GONE;
	}
	if (__sync_val_compare_and_swap(&f->state, FLOW_DEAD, FLOW_GONE) != FLOW_DEAD)
		return 0;
	u32 tcp = f->tcp;
	bpf_map_delete_elem(map, key);
	u32 slot = port >> 16;
	u64 *word = bpf_map_lookup_elem(&port_words, &slot);
	if (word && PORT_KEY(*word) == port)
		share_add(slot, -1, tcp & TCP_HALF_OPEN ? -1 : 0);
	return 1;
}

static long collect_one4(u32 i, struct gc *gc)
{
	struct flow_key4 *k = bpf_map_lookup_elem(&gc_keys4, &i);
	if (!k)
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows4, k);
	union addr local = {.w = {0, 0, 0, k->local}}, remote = {.w = {0, 0, 0, k->remote}};
	if (f && gc->todo & GC_JUDGE)
		gc->done += denied(f, opener(f, 4, k->proto, &local, &remote, k->lport, k->rport), k->port);
	else if (f)
		gc->done += collect(&flows4, k, f, half4(f, k), k->port, gc->todo);
	return 0;
}

static long collect_one6(u32 i, struct gc *gc)
{
	struct flow_key6 *k = bpf_map_lookup_elem(&gc_keys6, &i);
	if (!k)
		return 0;
	struct flow *f = bpf_map_lookup_elem(&flows6, k);
	if (f && gc->todo & GC_JUDGE)
		gc->done += denied(f, opener(f, 6, k->proto, &k->local, &k->remote, k->lport, k->rport), k->port);
	else if (f)
		gc->done += collect(&flows6, k, f, half6(f, k), k->port, gc->todo);
	return 0;
}

SEC("syscall")
int collect_flows(struct gc *ctx)
{
	struct gc gc = {.todo = ctx->todo};
	u32 n = ctx->n < GC_BATCH ? ctx->n : GC_BATCH;

	if (ctx->family == 4)
		bpf_loop(n, collect_one4, &gc, 0);
	else
		bpf_loop(n, collect_one6, &gc, 0);
	ctx->done = gc.done;
	return 0;
}
