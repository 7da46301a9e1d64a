// SPDX-License-Identifier: GPL-2.0-or-later
/* bench.c: what `make bench` times. The kernel's test-run does not reset the packet between repeats, so each program here
 * first puts the Ethernet header back as a client would have sent it, and then steps the client's address or port by an
 * amount that stands behind the packet (8 bytes behind TCP: address step, port step). The bare program does the same and
 * then swaps the MACs, so the difference is the balancer's. */
#include "../../ebpf/lb.c"

#define CLIENT_MAC 0x0100c9020002ULL /* 02:00:02:c9:00:01 as it stands in a frame */
#define OWN_MAC 0x0a0002020002ULL    /* 02:00:02:02:00:0a */
#define CLIENT4 26                   /* where the client's address ends in its last word, and its port stands */
#define PORT4 34
#define CLIENT6 34
#define PORT6 54
#define TCP_AND_STEPS 28

static __always_inline bool step(u8 *data, void *end, u32 client, u32 port)
{
	u8 *steps = data + port + 20;

	if (data + port + TCP_AND_STEPS > (u8 *)end)
		return false;
	*(u32 *)(data + client) += *(u32 *)steps;
	*(u16 *)(data + port) += (u16) * (u32 *)(steps + 4);
	return true;
}

static __always_inline bool as_sent_by_next_client(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;

	if (data + ETH_HEADER > (u8 *)end)
		return false;
	set_mac(data, OWN_MAC);
	set_mac(data + 6, CLIENT_MAC);
	if (((struct ethhdr *)data)->h_proto == be16(ETH_P_IPV6))
		return step(data, end, CLIENT6, PORT6);
	return step(data, end, CLIENT4, PORT4);
}

int bench_bare(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	u64 to, from;

	if (!as_sent_by_next_client(ctx) || data + 12 > (u8 *)(long)ctx->data_end)
		return XDP_DROP;
	to = mac_at(data);
	from = mac_at(data + 6);
	set_mac(data, from);
	set_mac(data + 6, to);
	return XDP_TX;
}

int bench_ingress(struct xdp_md *ctx)
{
	return as_sent_by_next_client(ctx) ? ingress(ctx) : XDP_DROP;
}
