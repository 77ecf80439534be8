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
