/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arp.h: answers ARP for the VIPs (RFC 826). The kernel does not own them, so nobody else would. */
#ifndef LB_ARP_H
#define LB_ARP_H

#include "maps.h"
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

static __always_inline bool is_request4(const struct arp4 *arp)
{
	return arp->hardware_type == be16(1) && arp->protocol_type == be16(ETH_P_IP) && arp->hardware_size == ETH_ALEN &&
	       arp->protocol_size == 4 && arp->operation == be16(ARP_REQUEST);
}

static __always_inline bool is_for_us(const struct packet *pkt, u64 own_mac)
{
	u64 to = mac_at(pkt->eth->h_dest);

	return to == own_mac || to == 0xffffffffffffULL;
}

static __always_inline void write_reply(const struct packet *pkt, struct arp4 *arp, u64 own_mac)
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

#endif
