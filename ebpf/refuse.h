/* SPDX-License-Identifier: GPL-2.0-or-later */
/* refuse.h: answers where nobody else will, for a port without service or a dead backend: a TCP reset (RFC 9293 section
 * 3.5.2), or ICMP port unreachable (RFC 1122 section 3.2.2.1). The frame is made over in its place and goes back to the
 * station that sent it. */
#ifndef LB_REFUSE_H
#define LB_REFUSE_H

#include "icmp.h"
#include "packet.h"

#define ETH_HEADER 14
#define IP_HEADER 20
#define TCP_HEADER 20
#define ICMP_HEADER 8
#define QUOTED (IP_HEADER + 8)
#define TCP_SEGMENT_FLAGS_RST be16(0x5004)     /* header of 20 bytes, RST */
#define TCP_SEGMENT_FLAGS_RST_ACK be16(0x5014) /* header of 20 bytes, RST and ACK */
#define DONT_FRAGMENT be16(0x4000)

/* What an answer needs of the packet that it answers. */
struct asked {
	u64 client_mac;
	u64 own_mac;
	__be32 client;
	__be32 vip;
};

/* A TCP header as five words, for a reset has no other fields than these. */
struct reset_header {
	__be16 source;
	__be16 dest;
	__be32 seq;
	__be32 ack;
	__be16 flags;
	__be16 window;
	__be16 checksum;
	__be16 urgent;
};

/* One's complement sum of an even number of bytes. */
static __always_inline u32 sum_words(const void *bytes, u32 size, u32 sum)
{
	const u16 *word = bytes;

#pragma unroll
	for (u32 i = 0; i < QUOTED + ICMP_HEADER; i += 2)
		if (i < size)
			sum += *word++;
	return sum;
}

static __always_inline u16 folded(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static __always_inline struct asked asked_by(const struct packet *pkt, const struct iphdr *ip)
{
	struct asked asked = {mac_at(pkt->eth->h_source), mac_at(pkt->eth->h_dest), ip->saddr, ip->daddr};

	return asked;
}

/* Ethernet and IPv4 headers of an answer with `size` bytes behind them. */
static __always_inline void write_headers(struct ethhdr *eth, const struct asked *asked, u8 protocol, u16 size)
{
	struct iphdr *ip = (void *)(eth + 1);

	set_mac(eth->h_dest, asked->client_mac);
	set_mac(eth->h_source, asked->own_mac);
	eth->h_proto = be16(ETH_P_IP);
	*(u16 *)ip = be16(0x4500);
	ip->tot_len = be16(IP_HEADER + size);
	ip->id = 0;
	ip->frag_off = DONT_FRAGMENT;
	ip->ttl = GENERATED_TTL;
	ip->protocol = protocol;
	ip->check = 0;
	ip->saddr = asked->vip;
	ip->daddr = asked->client;
	ip->check = folded(sum_words(ip, IP_HEADER, 0));
}

/* The reset that answers a segment: as its acknowledgement says, or acknowledging all of it. */
static __always_inline struct reset_header reset_of(const struct tcphdr *tcp, const struct iphdr *ip)
{
	struct reset_header reset = {.source = tcp->dest, .dest = tcp->source};

	if (tcp->ack) {
		reset.seq = tcp->ack_seq;
		reset.flags = TCP_SEGMENT_FLAGS_RST;
	} else {
		reset.ack = __builtin_bswap32(__builtin_bswap32(tcp->seq) + segment_length(tcp, ip));
		reset.flags = TCP_SEGMENT_FLAGS_RST_ACK;
	}
	return reset;
}

static __always_inline bool answer_with_reset(struct xdp_md *ctx, const struct packet *pkt, const struct iphdr *ip)
{
	const struct tcphdr *tcp = parse_transport(pkt, ip, sizeof(*tcp));
	struct asked asked = asked_by(pkt, ip);
	struct reset_header reset, *written;
	struct ethhdr *eth;
	u32 pseudo;

	if (!tcp || tcp->rst || tcp->doff < 5 || from_be16(ip->tot_len) < ip->ihl * 4 + tcp->doff * 4)
		return false;
	reset = reset_of(tcp, ip);
	if (bpf_xdp_adjust_tail(ctx, ETH_HEADER + IP_HEADER + TCP_HEADER - (int)bpf_xdp_get_buff_len(ctx)))
		return false;
	eth = (void *)(long)ctx->data;
	written = (void *)eth + ETH_HEADER + IP_HEADER;
	if ((void *)(written + 1) > (void *)(long)ctx->data_end)
		return false;
	write_headers(eth, &asked, IPPROTO_TCP, TCP_HEADER);
	*written = reset;
	pseudo = (asked.client & 0xffff) + (asked.client >> 16) + (asked.vip & 0xffff) + (asked.vip >> 16);
	pseudo += be16(IPPROTO_TCP) + be16(TCP_HEADER);
	written->checksum = folded(sum_words(written, TCP_HEADER, pseudo));
	return true;
}

/* Room for the headers of the answer in front, and nothing behind what is quoted. Only a packet without IP options. */
static __always_inline bool answer_with_unreachable(struct xdp_md *ctx, const struct packet *pkt, const struct iphdr *ip)
{
	int surplus = (int)bpf_xdp_get_buff_len(ctx) - ETH_HEADER - QUOTED;
	struct asked asked = asked_by(pkt, ip);
	struct icmp_header *icmp;
	struct ethhdr *eth;

	if (ip->ihl != 5 || surplus < 0)
		return false;
	if (bpf_xdp_adjust_tail(ctx, -surplus) || bpf_xdp_adjust_head(ctx, -(IP_HEADER + ICMP_HEADER)))
		return false;
	eth = (void *)(long)ctx->data;
	icmp = (void *)eth + ETH_HEADER + IP_HEADER;
	if ((void *)(icmp + 1) + QUOTED > (void *)(long)ctx->data_end)
		return false;
	write_headers(eth, &asked, IPPROTO_ICMP, ICMP_HEADER + QUOTED);
	icmp->type = ICMP_UNREACHABLE;
	icmp->code = ICMP_PORT_UNREACHABLE;
	icmp->checksum = 0;
	icmp->rest = 0;
	icmp->checksum = folded(sum_words(icmp, ICMP_HEADER + QUOTED, 0));
	return true;
}

/* No error goes to an address that does not mean a single host (RFC 1122 section 3.2.2): 0/8, 127/8, 224/3. */
static __always_inline bool is_single_host(__be32 address)
{
	u8 first = address; /* in the order of the wire */

	return first && first != 127 && first < 224;
}

/* False: nothing is answered, and the frame is as it was or beyond use; it is to be dropped. */
static __always_inline bool refuse(struct xdp_md *ctx, const struct packet *pkt, const struct iphdr *ip)
{
	if (!is_single_host(ip->saddr))
		return false;
	if (ip->protocol == IPPROTO_TCP)
		return answer_with_reset(ctx, pkt, ip);
	return ip->protocol == IPPROTO_UDP && answer_with_unreachable(ctx, pkt, ip);
}

#endif
