/* SPDX-License-Identifier: GPL-2.0-or-later */
/* packet.h: parsing of frames and of IPv4. Pure: no map is touched here.
 *
 * One contract for all parsers: they take the packet and where its header starts, check every bound against `end`, and
 * return a pointer to a header that may be read whole, or NULL (or false). Nothing is copied, nothing is altered. */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include "features.h"
#include "types.h"

#define IP_MORE_FRAGMENTS 0x2000
#define IP_FRAGMENT_OFFSET 0x1fff
#define ETH_HEADER 14
#define TAG 4
#define TAG_8021Q 0x8100
#define TAG_8021AD 0x88a8
#define VLAN_ID 0x0fff

struct packet {
	struct ethhdr *eth;
	void *ip; /* the IP or ARP header, behind the tags */
	void *end;
	lan_word lan;
	u32 tags;     /* how many there are */
	__be16 type;  /* EtherType behind the tags */
	bool is_ipv6; /* a constant of each program: one branch of each such question is compiled */

	/* what the IP headers say, once they are parsed */
	void *transport;
	u32 bytes;  /* of the datagram */
	u32 length; /* of what is behind the IP headers */
	u32 identification;
	u8 protocol;
	bool is_first_fragment; /* and there are others */
	bool is_later_fragment;
};

/* The longest Ethernet header that is read: two tags. */
struct tagged_header {
	u8 macs[2 * ETH_ALEN];
	__be16 type;
	__be16 tag;
	__be16 second_type;
	__be16 second_tag;
	__be16 third_type;
};

static __always_inline __be16 be16(u16 host)
{
	return __builtin_bswap16(host);
}

static __always_inline u16 from_be16(__be16 wire)
{
	return __builtin_bswap16(wire);
}

/* 1 or 0. Without a branch, for else the verifier would follow frames with 0, 1 and 2 tags apart to the end. */
static __always_inline u64 is_tag(__be16 type)
{
	u64 differs = (u64)(type ^ be16(TAG_8021Q)) * (type ^ be16(TAG_8021AD));

	return (differs - 1) >> 63;
}

static __always_inline void parse_tags(struct packet *pkt, const struct tagged_header *header)
{
	u64 first = is_tag(header->type);
	u64 second = first & is_tag(header->second_type);
	u64 outer = (from_be16(header->tag) & VLAN_ID) & -first;
	u64 inner = (from_be16(header->second_tag) & VLAN_ID) & -second;

	pkt->tags = first + second;
	pkt->lan |= (outer << (12 * second) | inner) << 32;
	pkt->type = (header->type & (first - 1)) | (header->second_type & (second - 1) & -first) |
		    (header->third_type & -second);
}

/* Whatever is shorter than its longest header is nothing of ours either. */
static __always_inline bool parse_frame(struct packet *pkt, const struct xdp_md *ctx)
{
	void *data = (void *)(long)*(volatile u32 *)&ctx->data;
	const struct tagged_header *header = data;

	pkt->eth = data;
	pkt->end = (void *)(long)*(volatile u32 *)&ctx->data_end;
	pkt->lan = ctx->ingress_ifindex;
	if ((void *)(header + 1) > pkt->end)
		return false;
	parse_tags(pkt, header);
	pkt->ip = data + ETH_HEADER + pkt->tags * TAG;
	return true;
}

/* The fixed part of an IPv4 header. Its claims about lengths are not yet to be believed. */
static __always_inline struct iphdr *parse_ipv4(const struct packet *pkt)
{
	struct iphdr *ip = pkt->ip;

	return (void *)(ip + 1) <= pkt->end ? ip : NULL;
}

/* RFC 791: version 4, a header of at least 20 bytes, a total length that covers it. Trailing Ethernet padding is no fault.
 * Whether the frame holds the total length is not looked at: in a multi-buffer frame `end` bounds the first buffer only. */
static __always_inline bool parse_datagram4(struct packet *pkt)
{
	const struct iphdr *ip = pkt->ip;
	u32 header = ip->ihl * 4;

	if (ip->version != 4 || ip->ihl < 5 || pkt->bytes < header)
		return false;
	pkt->transport = pkt->ip + header;
	pkt->length = pkt->bytes - header;
	pkt->protocol = ip->protocol;
	pkt->identification = ip->id;
	pkt->is_later_fragment = ip->frag_off & be16(IP_FRAGMENT_OFFSET);
	pkt->is_first_fragment = (ip->frag_off & be16(IP_MORE_FRAGMENTS | IP_FRAGMENT_OFFSET)) == be16(IP_MORE_FRAGMENTS);
	return true;
}

/* Behind the IP headers, `size` bytes of transport header. */
static __always_inline void *parse_transport(const struct packet *pkt, u32 size)
{
	if (pkt->length < size)
		return NULL;
	return pkt->transport + size <= pkt->end ? pkt->transport : NULL;
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

/* Sequence numbers that a segment takes up (RFC 9293 section 3.4): meaningless if its header is longer than the packet. */
static __always_inline u32 segment_length(const struct tcphdr *tcp, const struct packet *pkt)
{
	return pkt->length - tcp->doff * 4 + tcp->syn + tcp->fin;
}

#endif
