// The part of the kernel's BPF interface (include/uapi/linux/bpf.h, Linux 6.6) that the programs use. It is kept here so that
// the objects depend on nothing that is installed on the machine that builds them.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed long long s64;
typedef u16 be16;
typedef u32 be32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define GLOBAL __attribute__((noinline)) // verified once, by its argument types alone
#define __uint(name, val) int(*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]

enum { MAP_HASH = 1, MAP_ARRAY = 2, MAP_PERF_EVENT_ARRAY = 4, MAP_PERCPU_HASH = 5, MAP_PERCPU_ARRAY = 6, MAP_ARRAY_OF_MAPS = 12, MAP_RINGBUF = 27 };
enum { NO_PREALLOC = 1, ANY = 0, NOEXIST = 1 };
enum { TC_PASS = 0, TC_DROP = 2, TC_REDIRECT = 7 };
enum { PACKET_HOST = 0 };
#define THIS_CPU 0xffffffffULL
enum { ROOM_BEHIND_MAC = 1 };
enum { TUNNEL_ZERO_CSUM = 2, TUNNEL_DONT_FRAGMENT = 4 };
enum { CSUM_PSEUDO = 0x10, CSUM_ZERO_IS_NONE = 0x20 };
enum { EEXIST = 17, E2BIG = 7, ENOMEM = 12 };

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
	u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys;
	u64 tstamp;
	u32 wire_len, gso_segs;
	u64 sk;
	u32 gso_size;
	u8 tstamp_type;
	u64 hwtstamp;
};

struct bpf_tunnel_key {
	u32 tunnel_id, remote_ipv4, remote_ipv6_rest[3];
	u8 tunnel_tos, tunnel_ttl;
	u16 tunnel_ext;
	u32 tunnel_label, local_ipv4, local_ipv6_rest[3];
};

struct bpf_spin_lock {
	u32 val;
};

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*bpf_map_delete_elem)(void *map, const void *key) = (void *)3;
static long (*bpf_skb_store_bytes)(struct __sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags) = (void *)9;
static long (*bpf_l3_csum_replace)(struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 size) = (void *)10;
static long (*bpf_l4_csum_replace)(struct __sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags) = (void *)11;
static long (*bpf_skb_load_bytes)(const struct __sk_buff *skb, u32 offset, void *to, u32 len) = (void *)26;
static long (*bpf_skb_get_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags) = (void *)20;
static long (*bpf_skb_set_tunnel_key)(struct __sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags) = (void *)21;
static long (*bpf_redirect)(u32 ifindex, u64 flags) = (void *)23;
static s64 (*bpf_csum_diff)(be32 *from, u32 from_size, be32 *to, u32 to_size, u32 seed) = (void *)28;
static long (*bpf_perf_event_output)(void *ctx, void *map, u64 flags, void *data, u64 size) = (void *)25;
static long (*bpf_skb_change_type)(struct __sk_buff *skb, u32 type) = (void *)32;
static long (*bpf_skb_change_tail)(struct __sk_buff *skb, u32 len, u64 flags) = (void *)38;
static long (*bpf_skb_pull_data)(struct __sk_buff *skb, u32 len) = (void *)39;
static long (*bpf_skb_adjust_room)(struct __sk_buff *skb, int by, u32 mode, u64 flags) = (void *)50;
static long (*bpf_spin_lock)(struct bpf_spin_lock *lock) = (void *)93;
static long (*bpf_spin_unlock)(struct bpf_spin_lock *lock) = (void *)94;
static void *(*bpf_ringbuf_reserve)(void *ringbuf, u64 size, u64 flags) = (void *)131;
static void (*bpf_ringbuf_submit)(void *data, u64 flags) = (void *)132;
static long (*bpf_redirect_peer)(u32 ifindex, u64 flags) = (void *)155;
static long (*bpf_loop)(u32 n, void *fn, void *ctx, u64 flags) = (void *)181;
static u64 (*bpf_jiffies64)(void) = (void *)118;
static u64 (*bpf_ktime_get_coarse_ns)(void) = (void *)160;

// Looks up a key where the compiler might make one call of two with different maps. The verifier puts the code of a look-up in the place
// of a call when it knows the map; else it is an indirect call, which takes 18 ns where those are guarded against speculation.
#define LOOKUP(map, key)                                       \
	({                                                     \
		void *_v = bpf_map_lookup_elem(&(map), (key)); \
		asm volatile("# " #map);                       \
		_v;                                            \
	})
#define INSERT(map, key, value)                                                 \
	({                                                                      \
		long _err = bpf_map_update_elem(&(map), (key), (value), NOEXIST); \
		asm volatile("# " #map);                                        \
		_err;                                                           \
	})

#define barrier_var(v) asm volatile("" : "+r"(v))
#define swap16(x) __builtin_bswap16(x)
#define swap32(x) __builtin_bswap32(x)
#define swap64(x) __builtin_bswap64(x)
#define copy(to, from, n) __builtin_memcpy(to, from, n)
#define zero(to, n) __builtin_memset(to, 0, n)

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the programs are built for little-endian machines"
#endif
