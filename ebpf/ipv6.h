/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ipv6.h: parsing of IPv6 (RFC 8200). The contract is that of packet.h. */
#ifndef LB_IPV6_H
#define LB_IPV6_H

#include "maps.h"
#include "packet.h"

#define IPV6_HEADER 40
#define MOST_EXTENSIONS 6
#define LONGEST_CHAIN (IPV6_HEADER + MOST_EXTENSIONS * 256 * 8)
#define IPPROTO_ICMPV6 58 /* <linux/in6.h> would draw in the C library */
#define IPV6_HOP_BY_HOP 0
#define IPV6_ROUTING 43
#define IPV6_FRAGMENT 44
#define IPV6_AUTHENTICATION 51
#define IPV6_DESTINATION_OPTIONS 60
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

struct ipv6_header {
	__be32 version_class_label;
	__be16 payload_length;
	u8 next_header;
	u8 hop_limit;
	__be32 source[4];
	__be32 destination[4];
};

/* The first eight bytes of any extension header. What follows the first two is a fragment header's. */
struct extension_header {
	u8 next_header;
	u8 length; /* in units of 8 bytes, the first 8 left out; of an authentication header of 4, the first 8 left out */
	__be16 fragment;
	__be32 identification;
};

/* The fixed header. Its claims about lengths are not yet to be believed. */
static __always_inline struct ipv6_header *parse_ipv6(const struct packet *pkt)
{
	struct ipv6_header *ip = pkt->ip;

	return (void *)(ip + 1) <= pkt->end ? ip : NULL;
}

static __always_inline bool is_multicast6(const __be32 *address)
{
	return (u8)address[0] == 0xff;
}

/* Halves at a time: a copy or a comparison by words would take twice as long. */
static __always_inline bool is_same6(const __be32 *a, const __be32 *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;

	return !((x[0] ^ y[0]) | (x[1] ^ y[1]));
}

static __always_inline void copy6(__be32 *to, const __be32 *from)
{
	((u64 *)to)[0] = ((const u64 *)from)[0];
	((u64 *)to)[1] = ((const u64 *)from)[1];
}

static __always_inline bool is_unspecified6(const __be32 *address)
{
	return !(address[0] | address[1] | address[2] | address[3]);
}

/* One after the other: the verifier loses itself where a set of bits is asked. */
static __always_inline bool is_extension(u8 header)
{

	return header == IPV6_HOP_BY_HOP || header == IPV6_ROUTING || header == IPV6_FRAGMENT ||
	       header == IPV6_AUTHENTICATION || header == IPV6_DESTINATION_OPTIONS;
}

static __always_inline u32 extension_length(u8 header, const struct extension_header *extension)
{
	if (header == IPV6_FRAGMENT)
		return sizeof(*extension);
	if (header == IPV6_AUTHENTICATION) /* RFC 4302 section 2.2 */
		return (extension->length + 2) * 4;
	return (extension->length + 1) * 8;
}

/* An offset of 0 and nothing to come is a whole packet nevertheless (RFC 6946). */
static __always_inline void note_fragment(struct chain *chain, const struct extension_header *extension)
{
	chain->identification = extension->identification;
	chain->is_later_fragment = !!(extension->fragment & be16(IPV6_FRAGMENT_OFFSET));
	chain->is_first_fragment = !chain->is_later_fragment && extension->fragment & be16(IPV6_MORE_FRAGMENTS);
}

/* What stands between an IPv6 header and the transport header. It is noted in a map, and read from there: so the verifier does
 * not follow each kind of chain apart to the end. NULL: longer than anybody needs, or cut off. */
static __always_inline const struct chain *walk(const struct ipv6_header *ip, const void *end)
{
	u32 first = 0, length = IPV6_HEADER;
	struct chain *chain = lb_chains.lookup(&first);
	u8 header = ip->next_header;

	if (!chain)
		return NULL;
	chain->is_first_fragment = chain->is_later_fragment = 0;
#pragma clang loop unroll(disable)
	for (u32 i = 0; i < MOST_EXTENSIONS && is_extension(header) && !chain->is_later_fragment; i++) {
		const struct extension_header *extension = (const void *)ip + length;

		if ((const void *)(extension + 1) > end)
			return NULL;
		if (header == IPV6_FRAGMENT)
			note_fragment(chain, extension);
		length += extension_length(header, extension);
		header = extension->next_header;
	}
	if (is_extension(header) && !chain->is_later_fragment)
		return NULL;
	chain->length = length;
	chain->protocol = header;
	return chain;
}

/* Version 6, and a payload that covers the extension headers. (A payload length of 0 would be a jumbogram, of which an Ethernet
 * frame has no room.) */
static __always_inline bool parse_datagram6(struct packet *pkt)
{
	const struct ipv6_header *ip = pkt->ip;
	const struct chain *chain;
	u32 length;

	if ((*(u8 *)ip) >> 4 != 6 || !ip->payload_length)
		return false;
	chain = walk(ip, pkt->end);
	if (!chain)
		return false;
	length = *(volatile u32 *)&chain->length;
	if (length > LONGEST_CHAIN || pkt->bytes < length)
		return false;
	pkt->transport = pkt->ip + length;
	pkt->length = pkt->bytes - length;
	pkt->protocol = *(volatile u8 *)&chain->protocol;
	pkt->identification = chain->identification;
	pkt->is_later_fragment = *(volatile u8 *)&chain->is_later_fragment;
	pkt->is_first_fragment = *(volatile u8 *)&chain->is_first_fragment;
	return true;
}

#endif
