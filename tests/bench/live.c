// SPDX-License-Identifier: GPL-2.0-or-later
/* live.c: what is around the program when real frames are sent through it: a client that sends them, a bare forwarder to
 * compare with, and the end of the way, where they are counted. tests/bench/live.py holds the twin of struct traffic. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include "../../ebpf/packet.h"

struct traffic {
	u64 own_mac;    /* where to, six bytes as they stand in a frame */
	u64 client_mac; /* where from */
	u32 port;       /* the next frame's */
	u32 mask;       /* the bits of it that change from one frame to the next */
	u64 came_out;   /* frames at the end of the way */
};

BPF_ARRAY(live_traffic, struct traffic, 1);

static __always_inline struct traffic *traffic_of(void)
{
	u32 first = 0;

	return live_traffic.lookup(&first);
}

/* The next flow's frame, out of the interface that it is said to have come in by. Sums are not mended: nobody looks. */
int live_send(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct traffic *traffic = traffic_of();
	struct tcphdr *tcp;

	if (!traffic || (void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	tcp = (void *)(eth + 1) +
	      (eth->h_proto == be16(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	if ((void *)(tcp + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	set_mac(eth->h_dest, traffic->own_mac);
	set_mac(eth->h_source, traffic->client_mac);
	tcp->source = be16(traffic->port);
	traffic->port = (traffic->port & ~traffic->mask) | ((traffic->port + 1) & traffic->mask);
	return XDP_TX;
}

int live_bare(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	u64 to, from;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	to = mac_at(eth->h_dest);
	from = mac_at(eth->h_source);
	set_mac(eth->h_dest, from);
	set_mac(eth->h_source, to);
	return XDP_TX;
}

int live_count(struct xdp_md *ctx)
{
	struct traffic *traffic = traffic_of();

	if (traffic)
		__sync_fetch_and_add(&traffic->came_out, 1);
	return XDP_DROP;
}
