// The programs: one per place where frames enter the host. Each walks the layers and ends every frame with one verdict and
// one counter; none lets a frame into the host's own stack, but ARP on the uplink.
#include "chain.h"
#include "overlay.h"
#include "gc.h"

char _license[] SEC("license") = "Dual MIT/GPL";

// A receiver that had the flow when its word was what it is now still has it: both halves die together, and gc.h asks the one
// when the other seems idle. Then there is nothing to ask there, unless it has to hear of a new state. It is not remembered while its connection is half open.
INLINE int both_know(const struct flow *f, struct pkt *p, u32 slot)
{
	if (tracing || p->tcp_flags & (SYN | FIN | RST))
		return 0;
	u64 *at = bpf_map_lookup_elem(&port_words, &slot);
	if (!at)
		return 0;
	u64 word = *(volatile u64 *)at;
	u32 record = slot * 2 + PORT_HALF(word);
	struct port *to = bpf_map_lookup_elem(&port_records, &record);
	if (!to || !word || f->peer_word != word)
		return 0;
	p->dir = IN;
	p->slot = slot;
	p->index = to->index;
	p->ifindex = to->ifindex;
	p->kind = to->kind;
	p->peer_word = word;
	p->settled = 1;
	copy(p->mac, to->mac, 6);
	return 1;
}

// The packet at hand, one per CPU: programs on packets run with softirqs off and are not interrupted by each other. Every
// program set has its own map.
MAP(scratch, MAP_PERCPU_ARRAY, u32, struct pkt, 1);

INLINE struct pkt *fresh_packet(u32 dir)
{
	u32 none = 0;
	struct pkt *p = bpf_map_lookup_elem(&scratch, &none);
	if (p) {
		zero(p, FRESH);
		p->dir = dir;
		p->sender = 0;
	}
	return p;
}

// Gives what stands in the place of n packets back to who sent them.
INLINE int answered(struct __sk_buff *skb, struct pkt *p, struct port *port, u32 n)
{
	count_some(n, p->slot, OUT, ANSWERED);
	note(skb, p, ACT_ANSWER, 0, 0);
	if (skb->pkt_type != PACKET_HOST)
		bpf_skb_change_type(skb, PACKET_HOST);
	return hand(skb, port->ifindex, port->kind);
}

// The sender's flow and route, then the receiver's layers when it is on this host.
INLINE int forward(struct __sk_buff *skb, struct pkt *p, struct port *port, u64 word, u32 epoch)
{
	u32 slot = p->slot, index = p->index;
	p->sender = PORT_KEY(word);
	as_quoted(p);
	struct flow *f = current_flow(p, port, word, OUT);
	int r, moved = 0;
	u64 dest = 0;

	if (f) {
		TRACE(p, STEP_HIT);
		moved = p->error ? GOES_ON : touch(f, p, OUT, slot, port->idle);
		if (moved == NOT_NOW)
			return drop(skb, p, FLOW_STATE);
		if (f->fwd_epoch == epoch)
			dest = *(volatile u64 *)&f->dest;
	} else {
		TRACE(p, STEP_MISS);
		if ((r = judge_new(p, port, OUT)))
			return drop(skb, p, r);
	}

	if (!dest) {
		if (!p->located && (r = locate(p)))
			return drop(skb, p, r);
		if (!(p->to.flags & AT_PREFIX))
			return drop(skb, p, ROUTE_NONE);
		if (!(p->to.flags & AT_ENDPOINT))
			return drop(skb, p, ROUTE_NO_ENDPOINT);
		dest = p->to.flags & AT_LOCAL ? p->to.slot : (u64)p->to.host << 32;
		if (f && dest) {
			f->peer_word = 0;
			f->dest = dest;
			f->fwd_epoch = p->fwd_epoch;
		}
	}
	u32 host = dest >> 32, peer = dest;
	TRACE(p, host ? STEP_REMOTE : STEP_LOCAL);
	if (host) {
		u32 none = 0;
		struct config *c = bpf_map_lookup_elem(&host_config, &none);
		if (!c)
			return drop(skb, p, INTERNAL);
		u64 fragment = TUNNEL_DONT_FRAGMENT;
		if (wire_size(skb, p) > c->frame && may_fragment(skb, p)) {
			fragment = 0;
		} else if (wire_size(skb, p) > c->frame) {
			u32 n = packets(skb);
			if ((r = answer_too_big(skb, p, port, c->frame)))
				return drop(skb, p, r);
			return answered(skb, p, port, n);
		}
		if (!f && (r = open_flow(p, port, word, OUT, 0)))
			return drop(skb, p, r);
		if (p->part == PART_FIRST && (r = remember(p, slot, PORT_KEY(word), OUT)))
			return drop(skb, p, r);
		return encapsulate(skb, p, c, host, fragment);
	}

	if (!(f && !moved && both_know(f, p, peer)) && (r = receive(p, peer, 0)))
		return drop(skb, p, r);
	if (f) {
		if (p->settled && f->peer_word != p->peer_word)
			f->peer_word = p->peer_word;
		if (f->other != PORT_KEY(p->peer_word))
			f->other = PORT_KEY(p->peer_word);
	} else {
		u32 made = p->made;
		if ((r = open_flow(p, port, word, OUT, PORT_KEY(p->peer_word)))) {
			if (made && (f = find_flow(p, PORT_KEY(p->peer_word), IN)))
				kill(f);
			p->slot = slot;
			p->index = index;
			p->dir = OUT;
			return drop(skb, p, r);
		}
	}
	if (p->part == PART_FIRST && (r = remember(p, slot, PORT_KEY(word), OUT)))
		return drop(skb, p, r);
	count(skb, slot, OUT, LOCAL);
	count(skb, p->slot, IN, DELIVERED);
	note(skb, p, ACT_DELIVER, 0, 0);
	return deliver(skb, p, p->ifindex, p->kind, p->mac);
}

INLINE int source_mac_is(struct __sk_buff *skb, const struct port *port)
{
	u8 *data = (u8 *)(u64)skb->data;
	return data + 14 <= (u8 *)(u64)skb->data_end && same_mac(data + 6, port->mac);
}

// Frames that a VM sends: its own layers down, a local receiver's layers up.
SEC("tcx/ingress")
int port_out(struct __sk_buff *skb)
{
	struct pkt *p = fresh_packet(OUT);
	u32 ifindex = skb->ifindex;
	int r;

	if (!p)
		return TC_DROP;
	p->slot = port_of(ifindex);
	if (!p->slot)
		return drop(skb, p, PORT_UNKNOWN);
	count(skb, p->slot, OUT, SENT);
	u64 *at = bpf_map_lookup_elem(&port_words, &p->slot);
	if (!at)
		return drop(skb, p, PORT_UNKNOWN);
	u64 word = *(volatile u64 *)at;
	u32 record = p->slot * 2 + PORT_HALF(word);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	if (!port)
		return drop(skb, p, PORT_UNKNOWN);
	p->index = port->index;
	if (testing)
		p->now = skb->tstamp;
	if (!PORT_UP(word))
		return drop(skb, p, PORT_DOWN);
	if (PORT_UNREADY(word) && !tracing) { // this frame has come through it: the agent has not heard yet
		__sync_val_compare_and_swap(at, word, word & ~(u64)PORT_UNREADY_BIT);
		word &= ~(u64)PORT_UNREADY_BIT;
	}
	p->vni = port->vni;
	p->vnet = port->vnet;
	read_packet(skb, p);
	if (is_vlan(skb, p))
		return drop(skb, p, GUARD_VLAN);
	if (!source_mac_is(skb, port))
		return drop(skb, p, GUARD_MAC);
	if (p->ether == ETH_ARP) {
		if ((r = answer_arp(skb, p, port, PORT_KEY(word))))
			return drop(skb, p, r);
		return answered(skb, p, port, 1);
	}
	r = guard(p, port, PORT_KEY(word));
	if (r == TO_SERVICE) {
		if ((r = limit(p, port, OF_DHCP, 1)))
			return drop(skb, p, r);
		return to_service(skb, p);
	}
	if (r == ANSWER_ND) {
		if ((r = limit(p, port, OF_ND, 1)))
			return drop(skb, p, r);
		WATCH(skb, p, ACT_ASK, 0);
		if ((r = answer_nd(skb, p, port)))
			return drop(skb, p, r);
		return answered(skb, p, port, 1);
	}
	if (r)
		return drop(skb, p, r);
	TRACE(p, STEP_GUARD);
	u32 platform = platform_of(p);
	if (platform) {
		if (platform != PLATFORM_OTHER && (r = locate(p)))
			return drop(skb, p, r);
		if (platform != PLATFORM_OTHER && (r = acl(p, port, OUT, platform)))
			return drop(skb, p, r);
		if (!served(p, port))
			return drop(skb, p, SERVICE_ABSENT);
		if ((r = limit(p, port, platform == PLATFORM_DNS ? OF_DNS : OF_SERVICE, packets(skb))))
			return drop(skb, p, r);
		if (p->part == PART_FIRST && (r = remember(p, p->slot, PORT_KEY(word), OUT)))
			return drop(skb, p, r);
		return ask_service(skb, p);
	}
	u64 *vnet = bpf_map_lookup_elem(&vnet_words, &p->vnet);
	if (!vnet)
		return drop(skb, p, INTERNAL);
	return forward(skb, p, port, word, FWD_EPOCH(*(volatile u64 *)vnet));
}

// What a test run says came in VXLAN, or what did.
INLINE int outer(struct __sk_buff *skb, u32 *vni, be32 *host)
{
	struct bpf_tunnel_key k;

	if (testing) {
		*vni = skb->cb[0];
		*host = skb->cb[1];
		return 0;
	}
	if (bpf_skb_get_tunnel_key(skb, &k, sizeof(k), 0))
		return -1;
	*vni = k.tunnel_id;
	*host = swap32(k.remote_ipv4);
	return 0;
}

// Frames that other hosts send: only those whose outer sender carries the inner source, into the receiver's layers.
SEC("tcx/ingress")
int overlay_in(struct __sk_buff *skb)
{
	struct pkt *p = fresh_packet(IN);
	be32 host = 0;
	u32 vni = 0;
	int r;

	if (!p)
		return TC_DROP;
	if (outer(skb, &vni, &host))
		return drop(skb, p, OVERLAY_VNI);
	p->vni = vni;
	if (testing)
		p->now = skb->tstamp;
	struct slot *vnet = bpf_map_lookup_elem(&vnet_slots, &p->vni);
	if (!vnet)
		return drop(skb, p, OVERLAY_VNI);
	p->vnet = vnet->slot;
	read_packet(skb, p);
	if (is_vlan(skb, p))
		return drop(skb, p, GUARD_VLAN);
	if (p->fault)
		return drop(skb, p, p->fault);
	if (p->part != PART_LATER && (r = guard_carried(p)))
		return drop(skb, p, r);
	as_quoted(p);
	u64 *word = bpf_map_lookup_elem(&vnet_words, &p->vnet);
	if (!word)
		return drop(skb, p, INTERNAL);
	u64 w = *(volatile u64 *)word;
	p->fwd_epoch = FWD_EPOCH(w);
	if ((r = locate_one(p->vni, w, &p->dst, p->family, &p->to)))
		return drop(skb, p, r);
	if (!(p->to.flags & AT_LOCAL))
		return drop(skb, p, (r = sender_is(p, 0, host)) ? r : OVERLAY_DESTINATION);
	if (p->part && (r = follow_in(p, host)))
		return drop(skb, p, r);
	if ((r = receive(p, p->to.slot, host)))
		return drop(skb, p, r);
	if (p->part == PART_FIRST && (r = remember(p, p->slot, PORT_KEY(p->peer_word), IN)))
		return drop(skb, p, r);
	count(skb, p->slot, IN, DELIVERED);
	note(skb, p, ACT_DELIVER, 0, 0);
	return deliver(skb, p, p->ifindex, p->kind, p->mac);
}

// An answer of a service on a socket: the port is named by the alias to which it goes. It returns the reason to drop.
INLINE int from_socket(struct __sk_buff *skb, struct pkt *p)
{
	read_packet(skb, p);
	if (skb->vlan_present)
		return GUARD_VLAN;
	if (p->fault)
		return p->fault;
	if (p->family != 4 || (p->src.w[3] != WIRE_SERVER && p->src.w[3] != METADATA) || (p->proto != TCP && p->proto != UDP))
		return GUARD_SOURCE;
	u32 alias = swap32(p->dst.w[3]);
	if ((alias & ~ALIAS_BITS) != ALIASES)
		return PORT_UNKNOWN;
	p->index = alias & ALIAS_BITS;
	return 0;
}

// Frames that the host's services send: the port is named in the source address of the frame, or of sockets' packets by the
// alias to which they go.
SEC("tcx/ingress")
int service_in(struct __sk_buff *skb)
{
	struct pkt *p = fresh_packet(IN);
	u8 *data = (u8 *)(u64)skb->data;
	int r;

	if (!p)
		return TC_DROP;
	if (data + 14 > (u8 *)(u64)skb->data_end || data[6] != 0x02 || data[7] != 0x5f)
		return drop(skb, p, PORT_UNKNOWN);
	int socket = same_mac(data + 6, inside);
	p->index = (u32)swap16(*(u16 *)(data + 8)) << 16 | swap16(*(u16 *)(data + 10));
	if (socket && (r = from_socket(skb, p)))
		return drop(skb, p, r);
	u32 index = p->index;
	u32 *slot = bpf_map_lookup_elem(&index_ports, &index);
	if (!slot)
		return drop(skb, p, PORT_UNKNOWN);
	p->slot = *slot;
	u64 *at = bpf_map_lookup_elem(&port_words, slot);
	if (!at)
		return drop(skb, p, PORT_UNKNOWN);
	u64 word = *(volatile u64 *)at;
	u32 record = p->slot * 2 + PORT_HALF(word);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	if (!port || !PORT_UP(word))
		return drop(skb, p, PORT_DOWN);
	if (PORT_UNREADY(word))
		return drop(skb, p, PORT_NOT_READY);
	if (socket && (!port->has4 || readdress(skb, p, IP4_DST, p->dst.w[3], port->ip4[0])))
		return drop(skb, p, INTERNAL);
	count(skb, p->slot, IN, SERVED);
	note(skb, p, ACT_DELIVER, 0, 0);
	return deliver(skb, p, port->ifindex, port->kind, port->mac);
}

// Nothing is open towards the Internet. ARP passes, or nobody outside could see that.
SEC("tcx/ingress")
int uplink_in(struct __sk_buff *skb)
{
	struct pkt *p = fresh_packet(IN);

	if (!p)
		return TC_DROP;
	read_packet(skb, p);
	if (p->ether == ETH_ARP && !skb->vlan_present)
		return TC_PASS;
	return drop(skb, p, UPLINK_CLOSED);
}

// What the host itself sends on a port's device: its stack, a socket on the device. A VM gets only what the programs have judged; they
// hand it to the other end of a veth, which does not come by here, or send it on a tap with the pass, which no socket can write.
SEC("tcx/egress")
int port_in(struct __sk_buff *skb)
{
	u32 none = 0, ifindex = skb->ifindex;
	u64 *meta = bpf_map_lookup_elem(&host_meta, &none);

	if (meta && meta[PASS] && skb->cb[2] == (u32)meta[PASS] && skb->cb[3] == (u32)(meta[PASS] >> 32))
		return TC_PASS;
	struct pkt *p = fresh_packet(IN);
	if (!p)
		return TC_DROP;
	p->slot = port_of(ifindex);
	u32 slot = p->slot;
	u64 *word = bpf_map_lookup_elem(&port_words, &slot);
	u32 record = slot * 2 + (word ? PORT_HALF(*word) : 0);
	struct port *port = bpf_map_lookup_elem(&port_records, &record);
	p->index = slot && port ? port->index : 0;
	read_packet(skb, p);
	return drop(skb, p, GUARD_HOST);
}

// Stands behind every other program: should that one's link be lost, nothing passes.
SEC("tcx/ingress")
int closed(struct __sk_buff *skb)
{
	struct pkt *p = fresh_packet(OUT);
	u32 ifindex = skb->ifindex;

	if (!p)
		return TC_DROP;
	p->slot = port_of(ifindex);
	read_packet(skb, p);
	return drop(skb, p, PORT_DOWN);
}
