// overlay: VXLAN towards other hosts, one VNI per virtual network; local delivery; the host's services.
#pragma once
#include "judge.h"
#include "guard.h"

// Gives a frame to the other end of a port's device: of a veth the end in the VM's namespace takes it in here and now; a tap sends it
// to the program that reads there, and it needs the pass to get by port_in.
INLINE int hand(struct __sk_buff *skb, u32 ifindex, u32 kind)
{
	if (kind != KIND_TAP)
		return bpf_redirect_peer(ifindex, 0);
	u32 none = 0;
	u64 *meta = bpf_map_lookup_elem(&host_meta, &none);
	if (meta && !testing) { // a test run reads its verdict there
		skb->cb[2] = meta[PASS];
		skb->cb[3] = meta[PASS] >> 32;
	}
	return bpf_redirect(ifindex, 0);
}

// Hands the frame to the VM behind a port: addressed to it, from the gateway.
INLINE int deliver(struct __sk_buff *skb, struct pkt *p, u32 ifindex, u32 kind, const u8 *mac)
{
	u8 *data = (u8 *)(u64)skb->data;
	if (data + 14 > (u8 *)(u64)skb->data_end)
		return drop(skb, p, INTERNAL);
	copy(data, mac, 6);
	copy(data + 6, gateway, 6);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return hand(skb, ifindex, kind);
}

// The largest packet that this frame is on the wire, without its Ethernet header.
INLINE u32 wire_size(struct __sk_buff *skb, const struct pkt *p)
{
	u32 gso = skb->gso_size;
	return gso ? gso + p->head : skb->len - 14;
}

#define LARGEST (65535 - 50) // bytes of a packet in VXLAN

// What is too large for the tunnel and may be fragmented, is: outside, by the underlay, so that its receiver gets it as it was.
INLINE int may_fragment(struct __sk_buff *skb, const struct pkt *p)
{
	u8 *data = (u8 *)(u64)skb->data;
	return p->family == 4 && data + 34 <= (u8 *)(u64)skb->data_end && !(data[20] & 0x40) && wire_size(skb, p) <= LARGEST;
}

#define QUOTED 160 // bytes of a packet that its answer quotes; smaller ones fit every underlay

INLINE u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

// The header of an ICMP or ICMPv6 message that a packet is too big, before its quote.
struct too_big {
	u8 type, code;
	u16 sum;
	be32 mtu;
};

// Writes destination unreachable, fragmentation needed, from the gateway's address of the port's subnet.
GLOBAL int write_too_big4(struct __sk_buff *skb, struct pkt *p, struct port *port, u32 mtu)
{
	u8 *data = (u8 *)(u64)skb->data;
	if (!p || !port || data + 14 + 20 + 8 + QUOTED > (u8 *)(u64)skb->data_end)
		return INTERNAL;
	be32 *ip = (be32 *)(data + 14);
	struct too_big *m = (void *)(ip + 5);
	ip[0] = swap32(0x45000000 | (20 + 8 + QUOTED));
	ip[1] = swap32(0x00004000); // not to be fragmented
	ip[2] = swap32(64 << 24 | ICMP << 16);
	ip[3] = swap32(swap32(port->net4[0].net) + 1);
	ip[4] = p->src.w[3];
	m->type = 3;
	m->code = 4;
	m->sum = 0;
	m->mtu = swap32(mtu);
	*(u16 *)(data + 14 + 10) = fold(bpf_csum_diff(0, 0, ip, 20, 0));
	m->sum = fold(bpf_csum_diff(0, 0, (be32 *)m, 8 + QUOTED, 0));
	return 0;
}

// Writes packet too big, from the router's address.
GLOBAL int write_too_big6(struct __sk_buff *skb, struct pkt *p, u32 mtu)
{
	u8 *data = (u8 *)(u64)skb->data;
	if (!p || data + 14 + 40 + 8 + QUOTED > (u8 *)(u64)skb->data_end)
		return INTERNAL;
	be32 *ip = (be32 *)(data + 14);
	struct too_big *m = (void *)(ip + 10);
	u64 from[2] = {ROUTER6_HI, ROUTER6_LO};
	be32 rest[2] = {swap32(8 + QUOTED), swap32(ICMP6)}; // of the pseudo header
	ip[0] = swap32(0x60000000);
	ip[1] = swap32((8 + QUOTED) << 16 | ICMP6 << 8 | 64);
	copy(ip + 2, from, 16);
	copy(ip + 6, &p->src, 16);
	m->type = 2;
	m->code = 0;
	m->sum = 0;
	m->mtu = swap32(mtu);
	u64 sum = bpf_csum_diff(0, 0, rest, 8, 0);
	sum = bpf_csum_diff(0, 0, ip + 2, 32, sum);
	m->sum = fold(bpf_csum_diff(0, 0, (be32 *)m, 8 + QUOTED, sum));
	return 0;
}

// Turns a packet that does not fit the tunnel into the message that tells its sender how much does. It returns the reason to drop
// it instead: there is no error about an error or a later fragment.
GLOBAL int answer_too_big(struct __sk_buff *skb, struct pkt *p, struct port *port, u32 mtu)
{
	u8 *data = (u8 *)(u64)skb->data;
	if (!p || !port || data + 34 > (u8 *)(u64)skb->data_end)
		return INTERNAL;
	if (p->error || p->part == PART_FOLLOWS)
		return OVERLAY_MTU;
	WATCH(skb, p, ACT_ASK, 0);
	u32 ip = p->family == 4 ? 20 : 40;
	if (bpf_skb_change_tail(skb, 14 + QUOTED, 0) || bpf_skb_adjust_room(skb, ip + 8, ROOM_BEHIND_MAC, 0) ||
	    bpf_skb_pull_data(skb, 14 + ip + 8 + QUOTED))
		return INTERNAL;
	data = (u8 *)(u64)skb->data;
	if (data + 14 > (u8 *)(u64)skb->data_end)
		return INTERNAL;
	copy(data, port->mac, 6);
	copy(data + 6, gateway, 6);
	return p->family == 4 ? write_too_big4(skb, p, port, mtu) : write_too_big6(skb, p, mtu);
}

// fragment is 0 or TUNNEL_DONT_FRAGMENT.
GLOBAL int encapsulate(struct __sk_buff *skb, struct pkt *p, struct config *c, be32 host, u64 fragment)
{
	struct bpf_tunnel_key k;

	if (!p || !c)
		return TC_DROP;
	if (!c->overlay && !testing)
		return drop(skb, p, INTERNAL);
	zero(&k, sizeof(k));
	k.tunnel_id = p->vni;
	k.remote_ipv4 = swap32(host);
	k.local_ipv4 = swap32(c->underlay);
	k.tunnel_ttl = 64;
	if (bpf_skb_set_tunnel_key(skb, &k, sizeof(k), TUNNEL_ZERO_CSUM | fragment))
		return drop(skb, p, INTERNAL);
	count(skb, p->slot, OUT, ENCAP);
	note(skb, p, ACT_ENCAP, 0, host);
	return bpf_redirect(c->overlay, 0);
}

// Frames for the host's services carry the port in their destination address.
INLINE int to_service(struct __sk_buff *skb, struct pkt *p)
{
	u32 zero_key = 0;
	struct config *c = bpf_map_lookup_elem(&host_config, &zero_key);
	u8 *data = (u8 *)(u64)skb->data;

	if (!c || (!c->service && !testing))
		return drop(skb, p, SERVICE_ABSENT);
	if (data + 14 > (u8 *)(u64)skb->data_end)
		return drop(skb, p, INTERNAL);
	note(skb, p, ACT_SERVICE, 0, 0); // as it came
	data[0] = 0x02;
	data[1] = 0x5f;
	*(u16 *)(data + 2) = swap16(p->index >> 16);
	*(u16 *)(data + 4) = swap16(p->index);
	count(skb, p->slot, OUT, SERVICE);
	return bpf_redirect(c->service, 0);
}

#define ALIASES 0x64400000u // 100.64.0.0/10: an address for every port's index
#define ALIAS_BITS 0x003fffffu

static const u8 inside[6] = {0x02, 0x5f, 0xff, 0xff, 0xff, 0xff}; // of the service device, at the services' end

enum { IP4_SUM = 14 + 10, IP4_SRC = 14 + 12, IP4_DST = 14 + 16, TCP_SUM = 14 + 20 + 16, UDP_SUM = 14 + 20 + 6 };

// Replaces an address of an IPv4 packet of TCP or UDP, with its checksums; a later fragment has none of these but its IP header's.
INLINE int readdress(struct __sk_buff *skb, const struct pkt *p, u32 at, be32 from, be32 to)
{
	u32 sum = (p->proto == TCP ? TCP_SUM : UDP_SUM) + p->options;
	u64 how = CSUM_PSEUDO | 4 | (p->proto == TCP ? 0 : CSUM_ZERO_IS_NONE);

	return (p->part < PART_LATER && bpf_l4_csum_replace(skb, sum, from, to, how)) || bpf_l3_csum_replace(skb, IP4_SUM, from, to, 4) ||
	       bpf_skb_store_bytes(skb, at, &to, 4, 0);
}

// Asks a service: plain sockets there serve every VM, though many have one address, for each has its alias.
GLOBAL int ask_service(struct __sk_buff *skb, struct pkt *p)
{
	u32 zero_key = 0;
	struct config *c = bpf_map_lookup_elem(&host_config, &zero_key);

	if (!p)
		return TC_DROP;
	if (!c || (!c->service && !testing))
		return drop(skb, p, SERVICE_ABSENT);
	note(skb, p, ACT_SERVICE, 0, 0); // as it came
	if (readdress(skb, p, IP4_SRC, p->src.w[3], swap32(ALIASES | (p->index & ALIAS_BITS))) ||
	    bpf_skb_store_bytes(skb, 0, inside, 6, 0))
		return drop(skb, p, INTERNAL);
	count(skb, p->slot, OUT, SERVICE);
	return bpf_redirect(c->service, 0);
}
