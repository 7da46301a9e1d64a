// SPDX-License-Identifier: GPL-2.0-or-later
/* curves.c: what `make curves` times: connections of a number of clients to a number of services, one after the other. Which one is
 * next stands behind the frame, which the kernel's test-run does not reset between repeats. The bare program makes the same
 * frames and swaps the MACs. tests/bench/crowd.py holds the twin of struct crowd. */
#include "../../ebpf/lb.c"

#define CLIENT_MAC 0x0100c9020002ULL /* 02:00:02:c9:00:01 as it stands in a frame */
#define OWN_MAC 0x0a0002020002ULL    /* 02:00:02:02:00:0a */
#define FIRST_CLIENT 0x0b000000U     /* 11.0.0.0 */
#define PORT_BITS 14                 /* so many ports of each client, from 2^14 on */
#define FIRST_SERVICE 1024

/* Ethernet, IPv4 without options, TCP without options, and what is behind. */
struct crowd {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
	u32 next; /* which connection is next */
	u32 connections;
	u32 services;
} __attribute__((packed));

static __always_inline bool make_next(struct xdp_md *ctx)
{
	struct crowd *frame = (void *)(long)ctx->data;
	u32 number;

	if ((void *)(frame + 1) > (void *)(long)ctx->data_end)
		return false;
	number = frame->next;
	frame->next = number + 1 < frame->connections ? number + 1 : 0;
	set_mac(frame->eth.h_dest, OWN_MAC);
	set_mac(frame->eth.h_source, CLIENT_MAC);
	frame->ip.saddr = __builtin_bswap32(FIRST_CLIENT + (number >> PORT_BITS));
	frame->tcp.source = be16((1 << PORT_BITS) | (number & ((1 << PORT_BITS) - 1)));
	frame->tcp.dest = be16(FIRST_SERVICE + number % frame->services);
	return true;
}

int curves_bare(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	u64 to, from;

	if (!make_next(ctx) || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	to = mac_at(eth->h_dest);
	from = mac_at(eth->h_source);
	set_mac(eth->h_dest, from);
	set_mac(eth->h_source, to);
	return XDP_TX;
}

int curves_ingress(struct xdp_md *ctx)
{
	return make_next(ctx) ? ingress(ctx) : XDP_DROP;
}
