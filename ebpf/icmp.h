/* SPDX-License-Identifier: GPL-2.0-or-later */
/* icmp.h: answers ping to a VIP (RFC 792). Pure. */
#ifndef LB_ICMP_H
#define LB_ICMP_H

#include "packet.h"

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_PORT_UNREACHABLE 3 /* a code of ICMP_UNREACHABLE */
#define ICMP_ECHO_REQUEST 8
#define GENERATED_TTL 64

/* <linux/icmp.h> draws in the C library's sockets, which a BPF program has no use for. */
struct icmp_header {
	u8 type;
	u8 code;
	__be16 checksum;
	__be32 rest;
};

/* The first eight bytes of a TCP or UDP header, which every error quotes (RFC 792). */
struct quoted_ports {
	__be16 source;
	__be16 dest;
	__be32 rest;
};

static __always_inline bool is_icmp_error(u8 type)
{
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

/* The flow that an error is about, from the packet that it quotes: one that a backend sent from the VIP to the client, so
 * source and destination stand the other way round. Returns the quoted protocol, or 0. */
static __always_inline u8 parse_quoted_flow(const struct packet *pkt, const struct iphdr *ip,
					    const struct icmp_header *icmp, struct flow_key4 *key)
{
	const struct iphdr *quoted = (void *)(icmp + 1);
	const struct quoted_ports *ports;

	if ((void *)(quoted + 1) > pkt->end || quoted->version != 4 || quoted->ihl < 5 || quoted->saddr != ip->daddr)
		return 0;
	if (quoted->frag_off & be16(0x1fff)) /* no ports in a later fragment */
		return 0;
	ports = (void *)quoted + quoted->ihl * 4;
	if ((void *)(ports + 1) > pkt->end)
		return 0;
	*key = (struct flow_key4){quoted->daddr, quoted->saddr, ports->dest, ports->source};
	return quoted->protocol;
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'), in one's complement, so that it is right for every value. */
static __always_inline __be16 updated_checksum(__be16 checksum, __be16 before, __be16 after)
{
	u32 sum = (u16)~checksum + (u16)~before + after;

	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* The TTL and the protocol share a 16-bit word of the IP header. */
static __always_inline void set_ttl(struct iphdr *ip, u8 ttl)
{
	__be16 before = be16((u16)ip->ttl << 8 | ip->protocol);
	__be16 after = be16((u16)ttl << 8 | ip->protocol);

	ip->ttl = ttl;
	ip->check = updated_checksum(ip->check, before, after);
}

/* Swapping source and destination leaves the IP checksum as it is. The frame goes back to the station that sent it, which
 * answers for the way back as a router would. */
static __always_inline void write_echo_reply(const struct packet *pkt, struct iphdr *ip, struct icmp_header *icmp)
{
	__be32 vip = ip->daddr;
	u64 own_mac = mac_at(pkt->eth->h_dest);

	icmp->type = ICMP_ECHO_REPLY;
	icmp->checksum = updated_checksum(icmp->checksum, be16(ICMP_ECHO_REQUEST << 8), be16(ICMP_ECHO_REPLY << 8));
	ip->daddr = ip->saddr;
	ip->saddr = vip;
	set_ttl(ip, GENERATED_TTL);
	__builtin_memcpy(pkt->eth->h_dest, pkt->eth->h_source, ETH_ALEN);
	set_mac(pkt->eth->h_source, own_mac);
}

#endif
