// Every map of the data plane and the layout of what is in it. host/datapath/layout.go is the same in Go; a change here that
// moves a byte needs a new number there.
#pragma once
#include "headers/kernel.h"
#include "reasons.h"

enum { OUT = 0, IN = 1 }; // directions are the VM's

// An address of either family. An IPv4 address is in w[3], the rest is zero; the family is always kept beside it.
union addr {
	u8 b[16];
	be32 w[4];
	u64 d[2];
};

// What the whole host knows about itself.
struct config {
	be32 underlay;
	u32 overlay; // ifindex of the VXLAN device, 0: none
	u32 service; // ifindex of the host side of the service device, 0: none
	u32 frame;   // largest inner frame without its Ethernet header that fits the underlay
	u64 relearn; // tick until which connections of before a loss of state are taken up again
};

// A port's word publishes its record. It is what changes when a port changes; it is never equal for two ports.
// half:1 up:1 unready:1 unused:5 incarnation:16 slot:16 acl_epoch:24
#define PORT_HALF(w) ((w) & 1)
#define PORT_UP(w) ((w) >> 1 & 1)
#define PORT_UNREADY_BIT 4
#define PORT_UNREADY(w) ((w) >> 2 & 1) // its device is down at one of its ends
#define PORT_KEY(w) ((u32)((w) >> 8)) // incarnation and slot: names the port in the flow table
#define PORT_EPOCH(w) ((u32)((w) >> 40))

#define ADDRS 4

struct subnet4 {
	be32 net, mask;
};

// A token bucket: one packet every gap nanoseconds, burst at once; gap 0: no bound.
struct rate {
	u32 gap, burst;
};

enum limit_kind { OF_ARP = 0, OF_ND, OF_DHCP, OF_DNS, OF_SERVICE, OF_FLOWS, LIMIT_KINDS };

struct port {
	u32 index, vni, vnet, ifindex;
	u32 nic_group, subnet_group; // slots of group_words; 0: this level allows
	u32 quota, half_open;        // flow entries; those of TCP connections that are not established
	u32 idle;                    // seconds an established flow may be silent
	u8 mac[6];
	u8 has4, has6, more; // more: the port has addresses that are not below but in own_addrs
	u8 kind, unused[2];
	be32 ip4[ADDRS]; // the unused ones repeat the first
	struct subnet4 net4[ADDRS];
	union addr ip6[ADDRS];
	struct rate limits[LIMIT_KINDS];
};

enum { KIND_VETH = 0, KIND_TAP = 1 };

// What a port has taken out of its token buckets: the time until which each is spoken for.
struct buckets {
	u64 until[8]; // nanoseconds, by enum limit_kind
};

// class:8 slot:24 epoch:32: where a blob is, and for a virtual network the epoch of its forwarding state.
#define BLOB_CLASS(w) ((u32)(w) & 0xff)
#define BLOB_SLOT(w) ((u32)(w) >> 8)
#define FWD_EPOCH(w) ((u32)((w) >> 32))

struct endpoint_key {
	union addr ip;
	u32 vni, unused; // family in the top byte of vni
};

struct endpoint {
	union addr ip; // the key again: an element may be reused while it is read
	u32 vni;
	be32 host;
	u32 port;       // index
	u16 slot;       // of a port of this host, else 0
	u16 class;      // which sets the address is in
	u8 mac[6];
	u8 flags;
	u8 unused;
};

enum { AT_ENDPOINT = 1, AT_PREFIX = 2, AT_LOCAL = 4 };

struct flow_key4 {
	u32 port;
	be32 local, remote;
	u16 lport, rport;
	u8 proto, unused[3];
};

struct flow_key6 {
	union addr local, remote;
	u32 port;
	u16 lport, rport;
	u8 proto, unused[7];
};

enum { FLOW_LIVE = 1, FLOW_DEAD = 2, FLOW_GONE = 3 };

// How many flow entries a port has.
struct share {
	u32 flows, half_open;
};

struct flow {
	u64 seen;      // in ticks of the kernel; moves in steps of a second
	u64 dest;      // host:32 slot:32 as route found it; published by one store
	u64 peer_word; // of a receiver on this host that has this flow too
	u32 acl_epoch, fwd_epoch;
	u32 state; // FLOW_*: moved by compare-and-swap
	u32 tcp;   // TCP_*
	u32 other; // PORT_KEY of the port on this host that has the other half of the conversation, 0: none
	u16 idle;  // seconds
	u8 opened; // direction of the packet that opened it
	u8 unused;
};

enum { DATAGRAMS = 32, RANGES = 24 };
#define FRAGMENT_NS 30000000000ULL // from the first fragment to the last

struct range { // of bytes: the first, and the one behind the last
	u16 first, behind;
};

// What a first fragment has told of its datagram, and what of that has come.
struct datagram {
	union addr src, dst;
	u64 made; // in nanoseconds
	u32 id, port; // PORT_KEY
	u16 sport, dport, ksrc, kdst;
	u16 total; // bytes, once the last fragment has come
	u8 family; // 0: it is none
	u8 proto, icmp_type, tcp_flags, cannot_open;
	u8 refused; // fragments of it overlap
	struct range got[RANGES];
};

struct datagrams { // of a port in one direction: the newest take the places of the oldest
	struct bpf_spin_lock lock;
	u32 next;
	struct datagram datagrams[DATAGRAMS];
};

struct own_key {
	u32 port, family; // port is PORT_KEY
	union addr ip;
};

struct rule_key {
	u64 rule;
	u32 port; // index
	u32 dir;  // and the reason above bit 0
};

struct event {
	u64 time, rule;
	u32 port, len;
	union addr src, dst;
	u16 reason, ether, sport, dport;
	u8 dir, family, proto, tcp_flags;
	u8 smac[6], dmac[6];
};

// How many events of a reason a CPU has told in this second, and the packets that it could not tell of at all.
struct telling {
	u64 since, told, untold;
};

// Where a table lies and what it was made from, for an agent that starts anew.
struct slot {
	u32 slot, unused;
	u8 blob[16], rules[16]; // hashes: of the bytes, of the goal's group
};

struct group_key { // a group as one virtual network resolves it
	u8 group[16];  // hash of its id
	u32 vni;
};

struct class_key {
	u8 sets[16]; // hash of the sets' names
	u32 vni;
};

#define MAP(name, kind, k, v, n)       \
	struct {                       \
		__uint(type, kind);    \
		__type(key, k);        \
		__type(value, v);      \
		__uint(max_entries, n); \
	} name SEC(".maps")

// Numbers of entries that Options sets are replaced when the objects are loaded.
MAP(host_config, MAP_ARRAY, u32, struct config, 1);
MAP(host_meta, MAP_ARRAY, u32, u64[8], 1); // the agent's own: generation; and the pass
#define PASS 1 // in host_meta: the number that frames carry which the programs send on a device, for port_in
#define DEVICES 16384 // ifindexes below it are looked up in an array
MAP(device_slots, MAP_ARRAY, u32, u32, DEVICES); // ifindex → slot
MAP(device_ports, MAP_HASH, u32, u32, 1024);     // the same for larger ones
MAP(index_ports, MAP_HASH, u32, u32, 1024);  // port index → slot
MAP(port_words, MAP_ARRAY, u32, u64, 1024);
MAP(port_records, MAP_ARRAY, u32, struct port, 2048); // slot × 2 + half
MAP(port_flows, MAP_ARRAY, u32, struct share, 1024);
MAP(port_buckets, MAP_ARRAY, u32, struct buckets, 1024); // by slot
MAP(vnet_slots, MAP_HASH, u32, struct slot, 1024); // by VNI
MAP(vnet_words, MAP_ARRAY, u32, u64, 1024);
MAP(group_words, MAP_ARRAY, u32, u64, 1024);
MAP(group_slots, MAP_HASH, struct group_key, struct slot, 1024); // the agent's own
MAP(class_ids, MAP_HASH, struct class_key, u32, 65536);          // the agent's own
MAP(flows4, MAP_HASH, struct flow_key4, struct flow, 262144);
MAP(flows6, MAP_HASH, struct flow_key6, struct flow, 65536);
MAP(fragments, MAP_ARRAY, u32, struct datagrams, 2048); // slot × 2 + direction

#define COUNTERS 128 // per slot: direction × 64 + reason; beyond 56 the outcomes
MAP(counters, MAP_PERCPU_ARRAY, u32, u64, 1024 * COUNTERS);
MAP(tellings, MAP_PERCPU_ARRAY, u32, struct telling, 64); // by reason

struct {
	__uint(type, MAP_HASH);
	__uint(map_flags, NO_PREALLOC);
	__type(key, struct endpoint_key);
	__type(value, struct endpoint);
	__uint(max_entries, 1 << 20);
} endpoints SEC(".maps");

struct {
	__uint(type, MAP_HASH);
	__uint(map_flags, NO_PREALLOC);
	__type(key, struct own_key);
	__type(value, u32);
	__uint(max_entries, 1 << 16);
} own_addrs SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_HASH);
	__uint(map_flags, NO_PREALLOC);
	__type(key, struct rule_key);
	__type(value, u64);
	__uint(max_entries, 1 << 16);
} rule_drops SEC(".maps");

struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

#define BLOBS(name, size)                     \
	struct inner_##name {                 \
		__uint(type, MAP_ARRAY);      \
		__type(key, u32);             \
		__type(value, u8[size]);      \
		__uint(max_entries, 1);       \
	};                                    \
	struct {                              \
		__uint(type, MAP_ARRAY_OF_MAPS); \
		__type(key, u32);             \
		__type(value, u32);           \
		__uint(max_entries, 64);      \
		__array(values, struct inner_##name); \
	} name SEC(".maps")

// Rule groups and tables of address classes lie in maps of one value each, in a few sizes.
BLOBS(group_2k, 2 << 10);
BLOBS(group_8k, 8 << 10);
BLOBS(group_32k, 32 << 10);
BLOBS(group_128k, 128 << 10);
BLOBS(group_256k, 256 << 10);
BLOBS(group_1m, 1 << 20);
BLOBS(group_8m, 8 << 20);
BLOBS(vnet_2k, 2 << 10);
BLOBS(vnet_32k, 32 << 10);
BLOBS(vnet_512k, 512 << 10);
BLOBS(vnet_8m, 8 << 20);

const volatile u64 hz = 250;     // ticks in a second, set when the programs are loaded
const volatile u32 tracing = 0; // set when the programs are loaded to trace single packets: see trace.h
const volatile u32 testing = 0; // set when the programs are loaded for test runs: see test.h
