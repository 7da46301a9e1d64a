/* SPDX-License-Identifier: GPL-2.0-or-later */
/* packet.h: parsing. Pure: no map is touched here.
 *
 * One contract for all parsers: they take the packet and where its header starts, check every bound against `end`, and
 * return a pointer to a header that may be read whole, or NULL. Nothing is copied, nothing is altered. */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include "types.h"

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff

struct packet {
	struct ethhdr *eth;
	void *end;
	u32 ifindex;
};

static __always_inline __be16 be16(u16 host)
{
	return __builtin_bswap16(host);
}

static __always_inline u16 from_be16(__be16 wire)
{
	return __builtin_bswap16(wire);
}

static __always_inline struct ethhdr *parse_ethernet(struct packet *pkt, void *data)
{
	struct ethhdr *eth = data;

	return (void *)(eth + 1) <= pkt->end ? eth : NULL;
}

/* The fixed part of an IPv4 header. Its claims about lengths are not yet to be believed. */
static __always_inline struct iphdr *parse_ipv4(const struct packet *pkt)
{
	struct iphdr *ip = (void *)(pkt->eth + 1);

	return (void *)(ip + 1) <= pkt->end ? ip : NULL;
}

/* RFC 791: version 4, a header of at least 20 bytes, a total length that covers it. Trailing Ethernet padding is no fault.
 * Whether the frame holds the total length is not looked at: in a multi-buffer frame `end` bounds the first buffer only. */
static __always_inline bool is_sane_ipv4(const struct iphdr *ip)
{
	return ip->version == 4 && ip->ihl >= 5 && from_be16(ip->tot_len) >= ip->ihl * 4;
}

/* Behind the IPv4 options, `size` bytes of transport header. */
static __always_inline void *parse_transport(const struct packet *pkt, const struct iphdr *ip, u32 size)
{
	void *header = (void *)ip + ip->ihl * 4;

	if (from_be16(ip->tot_len) < ip->ihl * 4 + size)
		return NULL;
	return header + size <= pkt->end ? header : NULL;
}

static __always_inline u64 mac_at(const u8 *bytes)
{
	return (u64) * (u32 *)bytes | (u64) * (u16 *)(bytes + 4) << 32;
}

static __always_inline void set_mac(u8 *bytes, u64 mac)
{
	*(u32 *)bytes = (u32)mac;
	*(u16 *)(bytes + 4) = (u16)(mac >> 32);
}

static __always_inline bool is_later_fragment(const struct iphdr *ip)
{
	return ip->frag_off & be16(IP_FRAGMENT_OFFSET);
}

static __always_inline bool is_first_fragment(const struct iphdr *ip)
{
	return (ip->frag_off & be16(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET)) == be16(IP_MORE_FRAGMENTS);
}

/* Sequence numbers that a segment takes up (RFC 9293 section 3.4): meaningless if its header is longer than the packet. */
static __always_inline u32 segment_length(const struct tcphdr *tcp, const struct iphdr *ip)
{
	return from_be16(ip->tot_len) - ip->ihl * 4 - tcp->doff * 4 + tcp->syn + tcp->fin;
}

#endif
