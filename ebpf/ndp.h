/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ndp.h: neighbour discovery about the VIPs (RFC 4861), as arp.h for IPv4. */
#ifndef LB_NDP_H
#define LB_NDP_H

#include "answer.h"
#include "claim.h"

#define NEIGHBOUR_SOLICITATION 135
#define NEIGHBOUR_ADVERTISEMENT 136
#define NDP_HOP_LIMIT 255 /* it was not forwarded */
#define NDP_MESSAGE 24
#define SOLICITED __builtin_bswap32(1U << 30)
#define OVERRIDE __builtin_bswap32(1U << 29)
#define TARGET_LINK_ADDRESS 2

struct ndp_message {
	struct icmp_header icmp; /* of an advertisement, the rest are its flags */
	__be32 target[4];
};

struct link_address_option {
	u8 type;
	u8 length; /* in units of 8 bytes */
	u8 mac[ETH_ALEN];
} __attribute__((packed));

struct advertisement {
	struct ndp_message message;
	struct link_address_option option;
} __attribute__((packed));

/* Whether it was not forwarded, and may be about neighbours. */
static __always_inline bool may_be_discovery(const struct packet *pkt)
{
	struct ipv6_header *ip = parse_ipv6(pkt);

	return ip && ip->next_header == IPPROTO_ICMPV6 && ip->hop_limit == NDP_HOP_LIMIT;
}

/* A message that RFC 4861 sections 7.1.1 and 7.1.2 let pass, as far as we look; those with extension headers do not come from
 * any stack. */
static __always_inline struct ndp_message *parse_ndp(const struct packet *pkt)
{
	const struct ipv6_header *ip = pkt->ip;
	struct ndp_message *message = (void *)(ip + 1);

	if (!may_be_discovery(pkt) || (*(u8 *)ip) >> 4 != 6 || from_be16(ip->payload_length) < NDP_MESSAGE)
		return NULL;
	if ((void *)(message + 1) > pkt->end || message->icmp.code)
		return NULL;
	return message;
}

static __always_inline struct vip *vip_here6(const struct packet *pkt, const __be32 *address)
{
	struct vip *vip = may_be_vip6(address) ? lb_vips6.lookup((struct address6 *)address) : NULL;

	return vip && vip->lan == pkt->lan ? vip : NULL;
}

/* Who asks from no address yet wants to know whether it is taken: all are told (RFC 4861 section 7.2.4). */
static __always_inline void address_to_all(struct asked *asked)
{
	asked->client[0] = __builtin_bswap32(0xff020000);
	asked->client[3] = __builtin_bswap32(1);
	asked->client_mac = 0x010000003333ULL; /* 33:33:00:00:00:01 */
}

static __always_inline void write_advertisement(struct advertisement *advertisement, const struct asked *asked, __be32 flags)
{
	u16 size = sizeof(*advertisement);

	advertisement->message.icmp.type = NEIGHBOUR_ADVERTISEMENT;
	advertisement->message.icmp.code = 0;
	advertisement->message.icmp.checksum = 0;
	advertisement->message.icmp.rest = flags;
	__builtin_memcpy(advertisement->message.target, asked->vip, sizeof(asked->vip));
	advertisement->option.type = TARGET_LINK_ADDRESS;
	advertisement->option.length = 1;
	set_mac(advertisement->option.mac, asked->own_mac);
	advertisement->message.icmp.checksum =
		folded(sum_of(advertisement, size, pseudo_sum(asked, IPPROTO_ICMPV6, size)));
}

static __always_inline bool advertise(struct xdp_md *ctx, const struct packet *pkt, const __be32 *target, u64 own_mac)
{
	u32 size = IPV6_HEADER + sizeof(struct advertisement);
	struct asked asked = asked_by(pkt);
	bool is_probe = is_unspecified6(asked.client);
	struct ipv6_header *ip;

	__builtin_memcpy(asked.vip, target, sizeof(asked.vip));
	asked.own_mac = own_mac;
	if (is_probe)
		address_to_all(&asked);
	ip = make_over(ctx, &asked, size, size);
	if (!ip)
		return false;
	write_ipv6(ip, &asked, IPPROTO_ICMPV6, sizeof(struct advertisement), NDP_HOP_LIMIT);
	write_advertisement((void *)(ip + 1), &asked, is_probe ? OVERRIDE : SOLICITED | OVERRIDE);
	return true;
}

static __always_inline enum lb_reason answer_solicitation(struct xdp_md *ctx, const struct packet *pkt,
							   const struct ndp_message *message, u64 own_mac)
{
	u64 to = mac_at(pkt->eth->h_dest);

	if (to != own_mac && !(to & 1))
		return LB_NOT_VIP;
	if (mac_at(pkt->eth->h_source) == own_mac)
		return LB_LOOP_OWN;
	return advertise(ctx, pkt, message->target, own_mac) ? LB_NEIGHBOUR_REPLY : LB_MALFORMED;
}

/* Solicitations for a VIP are answered, and advertisements of one by others are noted. The rest is the kernel's. */
static __always_inline enum lb_reason discover(struct xdp_md *ctx, const struct packet *pkt)
{
	struct ndp_message *message = parse_ndp(pkt);
	struct interface *own;
	struct vip *vip;
	u32 row;

	if (!message)
		return LB_NOT_VIP;
	own = interface_on(pkt->lan, &row);
	vip = own ? vip_here6(pkt, message->target) : NULL;
	if (!vip)
		return LB_NOT_VIP;
	if (message->icmp.type == NEIGHBOUR_SOLICITATION)
		return answer_solicitation(ctx, pkt, message, own->mac);
	if (message->icmp.type == NEIGHBOUR_ADVERTISEMENT && mac_at(pkt->eth->h_source) != own->mac)
		return note_claim(vip, mac_at(pkt->eth->h_source));
	return LB_NOT_VIP;
}

#endif
