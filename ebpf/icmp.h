/* SPDX-License-Identifier: GPL-2.0-or-later */
/* icmp.h: ping to a VIP, and whose packet an error is about (RFC 792, RFC 4443). */
#ifndef LB_ICMP_H
#define LB_ICMP_H

#include "ipv6.h"
#include "packet.h"
#include "choice.h"

#define ICMP_ECHO_REPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER_PROBLEM 12
#define ICMP_PORT_UNREACHABLE 3 /* a code of ICMP_UNREACHABLE */
#define ICMP_ECHO_REQUEST 8
#define ICMPV6_UNREACHABLE 1
#define ICMPV6_PARAMETER_PROBLEM 4 /* the last one of the errors that we know: 2 is packet too big, 3 time exceeded */
#define ICMPV6_PORT_UNREACHABLE 4  /* a code of ICMPV6_UNREACHABLE */
#define ICMPV6_ECHO_REQUEST 128
#define ICMPV6_ECHO_REPLY 129
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

static __always_inline bool is_icmp(const struct packet *pkt)
{
	return pkt->protocol == (pkt->is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
}

static __always_inline bool is_icmp_error(const struct packet *pkt, u8 type)
{
	if (pkt->is_ipv6)
		return type >= ICMPV6_UNREACHABLE && type <= ICMPV6_PARAMETER_PROBLEM;
	return type == ICMP_UNREACHABLE || type == ICMP_SOURCE_QUENCH || type == ICMP_TIME_EXCEEDED ||
	       type == ICMP_PARAMETER_PROBLEM;
}

static __always_inline bool is_echo_request(const struct packet *pkt, u8 type)
{
	return type == (pkt->is_ipv6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO_REQUEST);
}

/* The flow that an error is about, from the packet that it quotes: one that a backend sent from the VIP to the client, so
 * source and destination stand the other way round. Returns the quoted protocol, or 0. */
static __always_inline u8 parse_quoted_flow4(const struct packet *pkt, const struct icmp_header *icmp,
					     struct flow_key4 *key)
{
	const struct iphdr *ip = pkt->ip, *quoted = (void *)(icmp + 1);
	const struct quoted_ports *ports;

	if ((void *)(quoted + 1) > pkt->end || quoted->version != 4 || quoted->ihl < 5 || quoted->saddr != ip->daddr)
		return 0;
	if (quoted->frag_off & be16(IP_FRAGMENT_OFFSET)) /* no ports in a later fragment */
		return 0;
	ports = (void *)quoted + quoted->ihl * 4;
	if ((void *)(ports + 1) > pkt->end)
		return 0;
	*key = (struct flow_key4){quoted->daddr, quoted->saddr, ports->dest, ports->source};
	return quoted->protocol;
}

static __always_inline u8 parse_quoted_flow6(const struct packet *pkt, const struct icmp_header *icmp,
					     struct flow_key6 *key)
{
	const struct ipv6_header *ip = pkt->ip, *quoted = (void *)(icmp + 1);
	const struct quoted_ports *ports;
	const struct chain *chain;
	u32 length;

	if ((void *)(quoted + 1) > pkt->end || (*(u8 *)quoted) >> 4 != 6 || !is_same6(quoted->source, ip->destination))
		return 0;
	chain = walk(quoted, pkt->end);
	if (!chain || chain->is_later_fragment)
		return 0;
	length = *(volatile u32 *)&chain->length;
	if (length > LONGEST_CHAIN)
		return 0;
	ports = (void *)quoted + length;
	if ((void *)(ports + 1) > pkt->end)
		return 0;
	__builtin_memcpy(key->client, quoted->destination, sizeof(key->client));
	__builtin_memcpy(key->vip, quoted->source, sizeof(key->vip));
	key->client_port = ports->dest;
	key->vip_port = ports->source;
	key->pad = 0;
	return chain->protocol;
}

static __always_inline u8 parse_quoted_flow(const struct packet *pkt, const struct icmp_header *icmp, struct choice *c)
{
	return pkt->is_ipv6 ? parse_quoted_flow6(pkt, icmp, &c->key6) : parse_quoted_flow4(pkt, icmp, &c->key4);
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

static __always_inline void turn_addresses(const struct packet *pkt)
{
	if (pkt->is_ipv6) {
		struct ipv6_header *ip = pkt->ip;
		struct address6 vip = *(struct address6 *)ip->destination;

		*(struct address6 *)ip->destination = *(struct address6 *)ip->source;
		*(struct address6 *)ip->source = vip;
		ip->hop_limit = GENERATED_TTL;
	} else {
		struct iphdr *ip = pkt->ip;
		__be32 vip = ip->daddr;

		ip->daddr = ip->saddr;
		ip->saddr = vip;
		set_ttl(ip, GENERATED_TTL);
	}
}

/* Swapping source and destination leaves the checksums as they are. The frame goes back to the station that sent it, which
 * answers for the way back as a router would. */
static __always_inline void write_echo_reply(const struct packet *pkt, struct icmp_header *icmp)
{
	u8 reply = pkt->is_ipv6 ? ICMPV6_ECHO_REPLY : ICMP_ECHO_REPLY;
	u64 own_mac = mac_at(pkt->eth->h_dest);

	icmp->checksum = updated_checksum(icmp->checksum, be16((u16)icmp->type << 8), be16((u16)reply << 8));
	icmp->type = reply;
	turn_addresses(pkt);
	set_mac(pkt->eth->h_dest, mac_at(pkt->eth->h_source));
	set_mac(pkt->eth->h_source, own_mac);
}

#endif
