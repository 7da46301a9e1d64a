// SPDX-License-Identifier: GPL-2.0-or-later
/* bench.c: what `make bench` times. The kernel's test-run does not reset the packet between repeats, so each program here
 * first puts the Ethernet header back as a client would have sent it, and then steps the client's address or port by an
 * amount that stands behind the packet (the last 8 bytes: address step, port step). The bare program does the same and
 * then swaps the MACs, so the difference is the balancer's. */
#include "../../ebpf/lb.c"

#define CLIENT_MAC 0x0100c9020002ULL /* 02:00:02:c9:00:01 as it stands in a frame */
#define OWN_MAC 0x0a0002020002ULL    /* 02:00:02:02:00:0a */
#define HEADERS (14 + 20 + 20)

static __always_inline bool as_sent_by_next_client(struct xdp_md *ctx)
{
	u8 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	u32 *address = (void *)(data + 26);
	u16 *port = (void *)(data + 34);

	if (data + HEADERS + 8 > (u8 *)end)
		return false;
	set_mac(data, OWN_MAC);
	set_mac(data + 6, CLIENT_MAC);
	*address += *(u32 *)(data + HEADERS);
	*port += (u16) * (u32 *)(data + HEADERS + 4);
	return true;
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
