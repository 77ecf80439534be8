// The collector of flow entries. User space walks the table and writes the keys of entries that look idle or orphaned into
// gc_keys; FLOW_MARK makes them dead when they still are, user space then lets every CPU finish what it is doing, FLOW_SWEEP
// deletes those that no packet has revived.
#pragma once
#include "flow.h"

enum { GC_BATCH = 1024, GC_MARK = 1, GC_SWEEP = 2, GC_FORCE = 4 };

MAP(gc_keys4, MAP_ARRAY, u32, struct flow_key4, GC_BATCH);
MAP(gc_keys6, MAP_ARRAY, u32, struct flow_key6, GC_BATCH);

struct gc {
	u64 now;
	u32 todo, n; // GC_*, keys
	u32 done, unused;
};

// Marks or sweeps one entry. It returns 1 when it did.
INLINE u32 collect(void *map, void *key, u32 port, u32 todo, u64 now)
{
	struct flow *f = bpf_map_lookup_elem(map, key);
	if (!f)
		return 0;
	if (todo & GC_MARK) {
		if (!(todo & GC_FORCE) && (now < f->seen || now - f->seen < f->idle * SECOND))
			return f->state == FLOW_DEAD;
		return __sync_val_compare_and_swap(&f->state, FLOW_LIVE, FLOW_DEAD) != FLOW_GONE;
	}
	if (__sync_val_compare_and_swap(&f->state, FLOW_DEAD, FLOW_GONE) != FLOW_DEAD)
		return 0;
	bpf_map_delete_elem(map, key);
	u32 slot = port >> 16;
	u64 *word = bpf_map_lookup_elem(&port_words, &slot);
	u32 *used = bpf_map_lookup_elem(&port_flows, &slot);
	if (word && used && PORT_KEY(*word) == port && *used)
		__sync_fetch_and_add(used, -1);
	return 1;
}

static long collect_one4(u32 i, struct gc *gc)
{
	struct flow_key4 *k = bpf_map_lookup_elem(&gc_keys4, &i);
	if (k)
		gc->done += collect(&flows4, k, k->port, gc->todo, gc->now);
	return 0;
}

static long collect_one6(u32 i, struct gc *gc)
{
	struct flow_key6 *k = bpf_map_lookup_elem(&gc_keys6, &i);
	if (k)
		gc->done += collect(&flows6, k, k->port, gc->todo, gc->now);
	return 0;
}

SEC("syscall")
int collect4(struct gc *ctx)
{
	struct gc gc = {.now = ctx->now, .todo = ctx->todo};
	bpf_loop(ctx->n < GC_BATCH ? ctx->n : GC_BATCH, collect_one4, &gc, 0);
	ctx->done = gc.done;
	return 0;
}

SEC("syscall")
int collect6(struct gc *ctx)
{
	struct gc gc = {.now = ctx->now, .todo = ctx->todo};
	bpf_loop(ctx->n < GC_BATCH ? ctx->n : GC_BATCH, collect_one6, &gc, 0);
	ctx->done = gc.done;
	return 0;
}
