// overlay: VXLAN towards other hosts, one VNI per virtual network; local delivery; the host's services.
#pragma once
#include "judge.h"
#include "guard.h"

// Hands the frame to the VM behind a port: addressed to it, from the gateway.
INLINE int deliver(struct __sk_buff *skb, struct pkt *p, u32 ifindex, const u8 *mac)
{
	u8 *data = (u8 *)(u64)skb->data;
	if (data + 14 > (u8 *)(u64)skb->data_end)
		return drop(skb, p, INTERNAL);
	copy(data, mac, 6);
	copy(data + 6, gateway, 6);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

// The largest packet that this frame is on the wire, without its Ethernet header.
INLINE u32 wire_size(struct __sk_buff *skb, const struct pkt *p)
{
	u32 gso = skb->gso_size;
	return gso ? gso + p->head : skb->len - 14;
}

INLINE int encapsulate(struct __sk_buff *skb, struct pkt *p, be32 host)
{
	u32 zero_key = 0;
	struct config *c = bpf_map_lookup_elem(&host_config, &zero_key);
	struct bpf_tunnel_key k;

	if (!c || (!c->overlay && !testing))
		return drop(skb, p, INTERNAL);
	if (wire_size(skb, p) > c->frame)
		return drop(skb, p, OVERLAY_MTU);
	zero(&k, sizeof(k));
	k.tunnel_id = p->vni;
	k.remote_ipv4 = swap32(host);
	k.local_ipv4 = swap32(c->underlay);
	k.tunnel_ttl = 64;
	if (bpf_skb_set_tunnel_key(skb, &k, sizeof(k), TUNNEL_ZERO_CSUM | TUNNEL_DONT_FRAGMENT))
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
	data[0] = 0x02;
	data[1] = 0x5f;
	*(u16 *)(data + 2) = swap16(p->index >> 16);
	*(u16 *)(data + 4) = swap16(p->index);
	count(skb, p->slot, OUT, SERVICE);
	note(skb, p, ACT_SERVICE, 0, 0);
	return bpf_redirect(c->service, 0);
}

#define ALIASES 0x64400000u // 100.64.0.0/10: an address for every port's index
#define ALIAS_BITS 0x003fffffu

static const u8 inside[6] = {0x02, 0x5f, 0xff, 0xff, 0xff, 0xff}; // of the service device, at the services' end

enum { IP4_SUM = 14 + 10, IP4_SRC = 14 + 12, IP4_DST = 14 + 16, TCP_SUM = 14 + 20 + 16, UDP_SUM = 14 + 20 + 6 };

// Replaces an address of a TCP or UDP packet without IP options, with its checksums.
INLINE int readdress(struct __sk_buff *skb, u32 proto, u32 at, be32 from, be32 to)
{
	u32 sum = proto == TCP ? TCP_SUM : UDP_SUM;
	u64 how = CSUM_PSEUDO | 4 | (proto == TCP ? 0 : CSUM_ZERO_IS_NONE);

	return bpf_l4_csum_replace(skb, sum, from, to, how) || bpf_l3_csum_replace(skb, IP4_SUM, from, to, 4) ||
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
	if (readdress(skb, p->proto, IP4_SRC, p->src.w[3], swap32(ALIASES | (p->index & ALIAS_BITS))) ||
	    bpf_skb_store_bytes(skb, 0, inside, 6, 0))
		return drop(skb, p, INTERNAL);
	count(skb, p->slot, OUT, SERVICE);
	note(skb, p, ACT_SERVICE, 0, 0);
	return bpf_redirect(c->service, 0);
}
