/* SPDX-License-Identifier: GPL-2.0-or-later */
/* refuse.h: answers where nobody else will, for a port without service or a dead backend: a TCP reset (RFC 9293 section
 * 3.5.2), or ICMP port unreachable (RFC 1122 section 3.2.2.1, RFC 4443 section 3.1). */
#ifndef LB_REFUSE_H
#define LB_REFUSE_H

#include "answer.h"

#define TCP_HEADER 20
#define ICMP_HEADER 8
#define QUOTED_TRANSPORT 8
#define TCP_SEGMENT_FLAGS_RST be16(0x5004)     /* header of 20 bytes, RST */
#define TCP_SEGMENT_FLAGS_RST_ACK be16(0x5014) /* header of 20 bytes, RST and ACK */

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

/* The reset that answers a segment: as its acknowledgement says, or acknowledging all of it. */
static __always_inline struct reset_header reset_of(const struct tcphdr *tcp, const struct packet *pkt)
{
	struct reset_header reset = {.source = tcp->dest, .dest = tcp->source};

	if (tcp->ack) {
		reset.seq = tcp->ack_seq;
		reset.flags = TCP_SEGMENT_FLAGS_RST;
	} else {
		reset.ack = __builtin_bswap32(__builtin_bswap32(tcp->seq) + segment_length(tcp, pkt));
		reset.flags = TCP_SEGMENT_FLAGS_RST_ACK;
	}
	return reset;
}

static __always_inline bool answer_with_reset(struct xdp_md *ctx, const struct packet *pkt)
{
	const struct tcphdr *tcp = parse_transport(pkt, sizeof(*tcp));
	struct asked asked = asked_by(pkt);
	struct reset_header reset, *written;
	void *ip;

	if (!tcp || tcp->rst || tcp->doff < 5 || pkt->length < tcp->doff * 4)
		return false;
	reset = reset_of(tcp, pkt);
	ip = make_over(ctx, &asked, 0, ip_header_of(&asked) + TCP_HEADER);
	if (!ip)
		return false;
	written = write_ip(ip, &asked, IPPROTO_TCP, TCP_HEADER);
	*written = reset;
	written->checksum = folded(sum_of(written, TCP_HEADER, pseudo_sum(&asked, IPPROTO_TCP, TCP_HEADER)));
	return true;
}

static __always_inline void write_unreachable(struct icmp_header *icmp, const struct asked *asked, u32 size)
{
	icmp->type = asked->is_ipv6 ? ICMPV6_UNREACHABLE : ICMP_UNREACHABLE;
	icmp->code = asked->is_ipv6 ? ICMPV6_PORT_UNREACHABLE : ICMP_PORT_UNREACHABLE;
	icmp->checksum = 0;
	icmp->rest = 0;
	icmp->checksum = folded(sum_of(icmp, size, asked->is_ipv6 ? pseudo_sum(asked, IPPROTO_ICMPV6, size) : 0));
}

/* Room for the headers of the answer in front, and nothing behind what is quoted. Only a packet without IP options, or
 * extension headers. */
static __always_inline bool answer_with_unreachable(struct xdp_md *ctx, const struct packet *pkt)
{
	struct asked asked = asked_by(pkt);
	u32 quoted = ip_header_of(&asked) + QUOTED_TRANSPORT, size = ICMP_HEADER + quoted;
	void *ip;

	if (pkt->bytes - pkt->length != ip_header_of(&asked) || !parse_transport(pkt, QUOTED_TRANSPORT))
		return false;
	ip = make_over(ctx, &asked, ip_header_of(&asked) + ICMP_HEADER, ip_header_of(&asked) + size);
	if (!ip)
		return false;
	write_unreachable(write_ip(ip, &asked, asked.is_ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, size), &asked, size);
	return true;
}

/* No error goes to an address that does not mean a single host: RFC 1122 section 3.2.2 (0/8, 127/8, 224/3), RFC 4443 section
 * 2.4 (::, ::1, ff00::/8). */
static __always_inline bool is_single_host(const struct packet *pkt)
{
	const struct ipv6_header *ip6 = pkt->ip;
	const struct iphdr *ip4 = pkt->ip;
	const __be32 *source = ip6->source;
	u8 first = pkt->is_ipv6 ? 0 : ip4->saddr; /* in the order of the wire */

	if (!pkt->is_ipv6)
		return first && first != 127 && first < 224;
	return !is_multicast6(source) && (source[0] | source[1] | source[2] | (source[3] & ~__builtin_bswap32(1)));
}

/* False: nothing is answered, and the frame is as it was or beyond use; it is to be dropped. */
static __always_inline bool refuse(struct xdp_md *ctx, const struct packet *pkt)
{
	if (!is_single_host(pkt))
		return false;
	if (pkt->protocol == IPPROTO_TCP)
		return answer_with_reset(ctx, pkt);
	return pkt->protocol == IPPROTO_UDP && answer_with_unreachable(ctx, pkt);
}

#endif
