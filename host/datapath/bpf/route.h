// route: where an address of the virtual network is, and which sets it is in.
#pragma once
#include "flow.h"

struct vnet_blob {
	u32 magic, unused;
	struct field v4, v6; // index: u32 per interval: class:16 AT_*:16
};

#define TABLE_CASE(n, name, bytes)                                         \
	case n:                                                            \
		inner = bpf_map_lookup_elem(&name, &slot);                 \
		if (!inner || !(b.at = bpf_map_lookup_elem(inner, &none))) \
			return -1;                                         \
		b.size = bytes;                                            \
		break

// Class and flags of an address that no NIC has.
GLOBAL int classify(u64 word, union addr *a, u32 family)
{
	u32 slot = BLOB_SLOT(word) & 0xffffff, none = 0;
	struct blob b;
	void *inner;

	if (!a)
		return -1;
	switch (BLOB_CLASS(word)) {
	TABLE_CASE(1, vnet_2k, 2 << 10);
	TABLE_CASE(2, vnet_32k, 32 << 10);
	TABLE_CASE(3, vnet_512k, 512 << 10);
	TABLE_CASE(4, vnet_8m, 8 << 20);
	default:
		return -1;
	}
	struct vnet_blob *t = (void *)b.at;
	u64 base = 0, n;
	if (family == 4) {
		u32 key = swap32(a->w[3]);
		n = t->v4.half;
#pragma nounroll
		for (int i = 0; i < STEPS && n; i++) {
			STEP(u32, &b, &t->v4, base, n, key);
			n >>= 1;
		}
		return LOAD(u32, &b, t->v4.index + 4 * base) & 0x7fffffff;
	}
	u64 hi = swap64(a->d[0]), lo = swap64(a->d[1]);
	n = t->v6.half;
#pragma nounroll
	for (int i = 0; i < STEPS && n; i++) {
		STEP6(&b, &t->v6, base, n, hi, lo);
		n >>= 1;
	}
	return LOAD(u32, &b, t->v6.index + 4 * base) & 0x7fffffff;
}

INLINE int locate_one(u32 vni, u64 word, union addr *a, u32 family, struct where *w)
{
	struct endpoint_key k = {.vni = vni | family << 24, .ip = *a};
	struct endpoint *e = bpf_map_lookup_elem(&endpoints, &k);
	if (e) {
		w->host = e->host;
		w->port = e->port;
		w->slot = e->slot;
		w->class = e->class;
		w->flags = e->flags;
		asm volatile("" ::: "memory");
		if (e->vni == k.vni && same_addr(&e->ip, a))
			return 0;
	}
	int c = classify(word, a, family);
	if (c < 0)
		return INTERNAL;
	w->host = w->port = w->slot = 0;
	w->class = c;
	w->flags = (u32)c >> 16;
	return 0;
}

// Fills p->from and p->to. The epoch is read first: what is found is at least as new.
GLOBAL int locate(struct pkt *p)
{
	if (!p)
		return INTERNAL;
	u32 slot = p->vnet;
	u64 *word = bpf_map_lookup_elem(&vnet_words, &slot);
	if (!word)
		return INTERNAL;
	u64 w = *(volatile u64 *)word;
	p->fwd_epoch = FWD_EPOCH(w);
	p->located = 1;
	int r = locate_one(p->vni, w, &p->src, p->family, &p->from);
	if (!r)
		r = locate_one(p->vni, w, &p->dst, p->family, &p->to);
	return r;
}
