/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arp.h: ARP about the VIPs (RFC 826). The kernel does not own them, so nobody else would answer. */
#ifndef LB_ARP_H
#define LB_ARP_H

#include "claim.h"
#include "packet.h"

#define ARP_REQUEST 1
#define ARP_REPLY 2

/* ARP for IPv4 over Ethernet, as it stands on the wire: addresses are not aligned. */
struct arp4 {
	__be16 hardware_type;
	__be16 protocol_type;
	u8 hardware_size;
	u8 protocol_size;
	__be16 operation;
	u8 sender_mac[ETH_ALEN];
	__be32 sender_ip;
	u8 target_mac[ETH_ALEN];
	__be32 target_ip;
} __attribute__((packed));

static __always_inline struct arp4 *parse_arp(const struct packet *pkt)
{
	struct arp4 *arp = pkt->ip;

	if ((void *)(arp + 1) > pkt->end)
		return NULL;
	if (arp->hardware_type != be16(1) || arp->protocol_type != be16(ETH_P_IP) || arp->hardware_size != ETH_ALEN ||
	    arp->protocol_size != 4)
		return NULL;
	return arp;
}

static __always_inline bool is_for_us(const struct packet *pkt, u64 own_mac)
{
	u64 to = mac_at(pkt->eth->h_dest);

	return to == own_mac || to == 0xffffffffffffULL;
}

static __always_inline struct vip *vip_here4(const struct packet *pkt, __be32 address)
{
	struct vip *vip = may_be_vip4(address) ? lb_vips4.lookup(&address) : NULL;

	return vip && vip->lan == pkt->lan ? vip : NULL;
}

static __always_inline void write_arp_reply(const struct packet *pkt, struct arp4 *arp, u64 own_mac)
{
	__be32 vip = arp->target_ip;

	arp->operation = be16(ARP_REPLY);
	__builtin_memcpy(arp->target_mac, arp->sender_mac, ETH_ALEN);
	arp->target_ip = arp->sender_ip;
	set_mac(arp->sender_mac, own_mac);
	arp->sender_ip = vip;
	__builtin_memcpy(pkt->eth->h_dest, arp->target_mac, ETH_ALEN);
	set_mac(pkt->eth->h_source, own_mac);
}

static __always_inline enum lb_reason answer_arp(const struct packet *pkt)
{
	struct arp4 *arp = parse_arp(pkt);
	struct interface *own;
	struct vip *claimed;
	u32 row;

	if (!arp)
		return LB_NOT_VIP;
	own = interface_on(pkt->lan, &row);
	if (!own)
		return LB_NOT_VIP;
	claimed = vip_here4(pkt, arp->sender_ip);
	if (claimed && mac_at(arp->sender_mac) != own->mac)
		return note_claim(claimed, mac_at(arp->sender_mac));
	if (arp->operation != be16(ARP_REQUEST) || !is_for_us(pkt, own->mac) || !vip_here4(pkt, arp->target_ip))
		return LB_NOT_VIP;
	if (mac_at(pkt->eth->h_source) == own->mac)
		return LB_LOOP_OWN;
	write_arp_reply(pkt, arp, own->mac);
	return LB_ARP_REPLY;
}

#endif
