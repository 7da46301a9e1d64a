/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rewrite.h: the two MAC addresses, the only bytes of a forwarded packet that change; and the VLAN tags of one that changes to
 * another segment. */
#ifndef LB_REWRITE_H
#define LB_REWRITE_H

#include "interface.h"
#include "packet.h"
#include "stats.h"

#define MAC_MASK 0x0000ffffffffffffULL
#define MAC_PAIR 12

/* Where a packet goes that does not stay on its segment: `lan` is 0 of one that does. */
struct way {
	lan_word lan;
	u32 device; /* row of lb_devices */
	u32 vlan;   /* that it came by */
	u32 tags;   /* that it came with */
};

/* Two MAC addresses as they stand in a frame. */
struct mac_pair {
	u32 words[MAC_PAIR / 4];
};

/* Our MAC on a backend's segment; 0: we have no interface there. */
static __always_inline u64 own_mac_towards(const struct packet *pkt, lan_word lan, struct way *way)
{
	struct interface *own;

	if (lan == pkt->lan)
		return mac_at(pkt->eth->h_dest); /* it was addressed to us */
	if (!LB_LANS)
		return 0;
	own = interface_on(lan, &way->device);
	way->lan = lan;
	way->vlan = pkt->lan >> 32;
	way->tags = pkt->tags;
	return own ? own->mac : 0;
}

/* Addresses the frame to the backend, or returns the reason why it must not go there; else returns `reason`. A frame never
 * goes to a MAC that was not confirmed, nor back to the MAC it came from. User space takes the MAC away before it changes the
 * segment: a link that reads the same on both sides of the segment belongs to it, and to the server that was chosen. */
static __always_inline enum lb_reason send_to(const struct packet *pkt, struct backend *backend, backend_ref ref,
					      struct way *way, enum lb_reason reason)
{
	u64 link = *(volatile u64 *)&backend->link, mac = link & MAC_MASK;
	lan_word lan = *(volatile lan_word *)&backend->lan;
	u64 own_mac = own_mac_towards(pkt, lan, way);

	if (!mac || !own_mac || link >> 48 != ref >> 16 || *(volatile u64 *)&backend->link != link)
		return LB_UNRESOLVED;
	if (mac == mac_at(pkt->eth->h_source)) {
		count_looped(ref & 0xffff);
		return LB_LOOP_BACKEND;
	}
	set_mac(pkt->eth->h_source, own_mac);
	set_mac(pkt->eth->h_dest, mac);
	return reason;
}

static __always_inline u32 tags_of(u32 vlan)
{
	return !!vlan + (vlan > VLAN_ID);
}

/* As many tags as before, with other VLANs: priorities stay. */
static __always_inline void rename_vlans(struct tagged_header *header, u32 tags, u32 vlan)
{
	u32 outer = tags == 2 ? vlan >> 12 : vlan;

	header->tag = (header->tag & ~be16(VLAN_ID)) | be16(outer & VLAN_ID);
	if (tags == 2)
		header->second_tag = (header->second_tag & ~be16(VLAN_ID)) | be16(vlan & VLAN_ID);
}

/* The MACs, and behind them the tags; the EtherType that follows is in its place already. */
static __always_inline void write_tags(struct tagged_header *header, u32 tags, u32 vlan, __be16 priority)
{
	if (tags == 1) {
		header->type = be16(TAG_8021Q);
		header->tag = priority | be16(vlan & VLAN_ID);
	} else if (tags == 2) {
		header->type = be16(TAG_8021AD);
		header->tag = priority | be16(vlan >> 12 & VLAN_ID);
		header->second_type = be16(TAG_8021Q);
		header->second_tag = priority | be16(vlan & VLAN_ID);
	}
}

/* The frame's tags become those of another segment. False, which does not happen: there is no room in front of it. */
static __always_inline bool retag(struct xdp_md *ctx, const struct way *way)
{
	struct tagged_header *header = (void *)(long)ctx->data;
	u32 vlan = way->lan >> 32, tags = tags_of(vlan);
	struct mac_pair macs;
	__be16 priority;

	if (vlan == way->vlan) /* and be it by a priority tag: it stays */
		return true;
	if ((void *)(header + 1) > (void *)(long)ctx->data_end)
		return false;
	if (tags == way->tags) {
		if (tags)
			rename_vlans(header, tags, vlan);
		return true;
	}
	macs = *(struct mac_pair *)header;
	priority = way->tags ? header->tag & ~be16(VLAN_ID) : 0;
	if (bpf_xdp_adjust_head(ctx, TAG * ((int)way->tags - (int)tags)))
		return false;
	header = (void *)(long)ctx->data;
	if ((void *)(header + 1) > (void *)(long)ctx->data_end)
		return false;
	*(struct mac_pair *)header = macs;
	write_tags(header, tags, vlan, priority);
	return true;
}

/* The last step of a frame that is sent on. */
static __always_inline int send_by(struct xdp_md *ctx, const struct way *way)
{
	if (!LB_LANS || !way->lan)
		return XDP_TX;
	if (!retag(ctx, way))
		return XDP_ABORTED;
	if ((u32)way->lan == ctx->ingress_ifindex)
		return XDP_TX;
	return lb_devices.redirect_map(way->device, XDP_DROP);
}

#endif
