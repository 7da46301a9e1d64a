/* SPDX-License-Identifier: GPL-2.0-or-later */
/* answer.h: a frame made over, in its place, into one that goes back to the station that sent it. */
#ifndef LB_ANSWER_H
#define LB_ANSWER_H

#include "icmp.h"
#include "ipv6.h"
#include "packet.h"

#define IP_HEADER 20
#define DONT_FRAGMENT be16(0x4000)
#define LONGEST_LINK_HEADER (ETH_HEADER + 2 * TAG)

/* What an answer needs of the packet that it answers. The addresses of IPv4 are one word each. */
struct asked {
	u64 client_mac;
	u64 own_mac;
	u32 tag_words[2]; /* as they stand behind the MACs, whether they are tags or not */
	u32 type_at;      /* bytes before the EtherType, which stands right before the IP header */
	__be16 type;
	bool is_ipv6;
	__be32 client[4];
	__be32 vip[4];
};

static __always_inline struct asked asked_by(const struct packet *pkt)
{
	const u32 *tag_words = (void *)pkt->eth + 2 * ETH_ALEN;
	struct asked asked = {
		.client_mac = mac_at(pkt->eth->h_source),
		.own_mac = mac_at(pkt->eth->h_dest),
		.tag_words = {tag_words[0], tag_words[1]},
		.type_at = 2 * ETH_ALEN + pkt->tags * TAG,
		.type = pkt->type,
		.is_ipv6 = pkt->is_ipv6,
	};

	if (pkt->is_ipv6) {
		const struct ipv6_header *ip = pkt->ip;

		__builtin_memcpy(asked.client, ip->source, sizeof(asked.client));
		__builtin_memcpy(asked.vip, ip->destination, sizeof(asked.vip));
	} else {
		const struct iphdr *ip = pkt->ip;

		asked.client[0] = ip->saddr;
		asked.vip[0] = ip->daddr;
	}
	return asked;
}

/* What the first `head` bytes of the IP packet are, of `size` bytes in all, is for the caller to write: makes the frame that long,
 * the bytes that are there staying at its end, and writes the link header. Returns where the IP header is to begin, or NULL:
 * the frame is beyond use. */
static __always_inline void *make_over(struct xdp_md *ctx, const struct asked *asked, u32 head, u32 size)
{
	u32 kept = asked->type_at + sizeof(__be16) + size - head;
	void *data, *type;

	if (bpf_xdp_adjust_tail(ctx, (int)kept - (int)bpf_xdp_get_buff_len(ctx)))
		return NULL;
	if (head && bpf_xdp_adjust_head(ctx, -(int)head))
		return NULL;
	data = (void *)(long)ctx->data;
	type = data + asked->type_at;
	if (data + LONGEST_LINK_HEADER > (void *)(long)ctx->data_end ||
	    type + sizeof(__be16) + size > (void *)(long)ctx->data_end)
		return NULL;
	set_mac(data, asked->client_mac);
	set_mac(data + ETH_ALEN, asked->own_mac);
	((u32 *)(data + 2 * ETH_ALEN))[0] = asked->tag_words[0];
	((u32 *)(data + 2 * ETH_ALEN))[1] = asked->tag_words[1];
	*(__be16 *)type = asked->type;
	return type + sizeof(__be16);
}

static __always_inline u16 folded(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* One's complement sum of a multiple of four bytes. bcc has the helper return an int, and a kernel before 6.13 sums to 32 bits: as a
 * negative number it would take a carry along. */
static __always_inline u64 sum_of(void *bytes, u32 size, u64 sum)
{
	return (u32)bpf_csum_diff(NULL, 0, bytes, size, 0) + sum;
}

/* Of the header that TCP and ICMPv6 sum with their own. */
static __always_inline u64 pseudo_sum(const struct asked *asked, u8 protocol, u16 size)
{
	u64 sum = (u64)be16(protocol) + be16(size);

#pragma unroll
	for (u32 i = 0; i < (asked->is_ipv6 ? 4 : 1); i++)
		sum += (u64)asked->client[i] + asked->vip[i];
	return sum;
}

static __always_inline void write_ipv4(struct iphdr *ip, const struct asked *asked, u8 protocol, u16 size)
{
	*(u16 *)ip = be16(0x4500);
	ip->tot_len = be16(IP_HEADER + size);
	ip->id = 0;
	ip->frag_off = DONT_FRAGMENT;
	ip->ttl = GENERATED_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = asked->vip[0];
	ip->daddr = asked->client[0];
	ip->check = folded(sum_of(ip, IP_HEADER, 0));
}

static __always_inline void write_ipv6(struct ipv6_header *ip, const struct asked *asked, u8 protocol, u16 size, u8 hops)
{
	ip->version_class_label = __builtin_bswap32(6U << 28);
	ip->payload_length = be16(size);
	ip->next_header = protocol;
	ip->hop_limit = hops;
	__builtin_memcpy(ip->source, asked->vip, sizeof(ip->source));
	__builtin_memcpy(ip->destination, asked->client, sizeof(ip->destination));
}

/* The IP header of an answer from the VIP to the client with `size` bytes behind it; returns where these begin. */
static __always_inline void *write_ip(void *ip, const struct asked *asked, u8 protocol, u16 size)
{
	if (asked->is_ipv6) {
		write_ipv6(ip, asked, protocol, size, GENERATED_TTL);
		return ip + IPV6_HEADER;
	}
	write_ipv4(ip, asked, protocol, size);
	return ip + IP_HEADER;
}

static __always_inline u32 ip_header_of(const struct asked *asked)
{
	return asked->is_ipv6 ? IPV6_HEADER : IP_HEADER;
}

#endif
