/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watch.h: tells people of new flows and of drops, while somebody watches. */
#ifndef LB_WATCH_H
#define LB_WATCH_H

#include "budget.h"
#include "ipv6.h"
#include "maps.h"
#include "packet.h"
#include "rewrite.h"
#include "stats.h"

#define EVENTS_A_SECOND 1000
#define UDP_OR_ICMP_HEADER 8
#define TCP_DATA_OFFSET 12
#define NO_TRANSPORT 0xff /* no protocol: it is reserved */

/* What is known of a packet when it has been dealt with. */
struct outcome {
	u32 bytes;   /* of the datagram */
	u32 service;
	backend_ref backend;
	lan_word lan;
	u32 transport; /* where the layer-4 header stands in the frame; 0: it was not looked for */
	u8 protocol; /* or NO_TRANSPORT: a later fragment has no such header, and a malformed one is not believed */
	struct way way; /* by which it leaves, if it is sent on */
};

#define NEW_FLOWS (1U << LB_FIRST_ACK | 1U << LB_PICKED_UP | 1U << LB_UDP_NEW)
#define DROPS (~0U << LB_FIRST_DROP)

/* Asked of every packet, so it is one shift for those that nobody ever watches. */
static __always_inline bool is_watched(enum lb_reason reason)
{
	u32 first = 0;
	struct globals *globals;

	if (!((NEW_FLOWS | DROPS) >> reason & 1))
		return false;
	globals = lb_globals.lookup(&first);
	return globals && globals->watched & (reason < LB_FIRST_DROP ? LB_WATCH_FLOWS : LB_WATCH_DROPS);
}

/* How long the layer-4 header is. */
static __always_inline u32 transport_header(struct xdp_md *ctx, const struct outcome *outcome)
{
	u8 offset = 0;

	if (outcome->protocol == IPPROTO_UDP || outcome->protocol == IPPROTO_ICMP || outcome->protocol == IPPROTO_ICMPV6)
		return UDP_OR_ICMP_HEADER;
	if (outcome->protocol != IPPROTO_TCP)
		return 0;
	bpf_xdp_load_bytes(ctx, outcome->transport + TCP_DATA_OFFSET, &offset, sizeof(offset));
	return (offset >> 4) * 4;
}

/* What stands in front of the payload, and no more. */
static __always_inline void tell(struct xdp_md *ctx, enum lb_reason reason, const struct outcome *outcome)
{
	u32 first = 0, frame = bpf_xdp_get_buff_len(ctx);
	struct event *event = lb_event_drafts.lookup(&first);
	u32 captured = outcome->transport ? outcome->transport + transport_header(ctx, outcome) : ETH_HEADER;

	if (captured > frame)
		captured = frame;
	if (!event || !take_token(DIRECTOR, LB_EVENTS, EVENTS_A_SECOND))
		return;
	event->captured = captured < LB_EVENT_HEADERS ? captured : LB_EVENT_HEADERS;
	captured = ((*(volatile u32 *)&event->captured - 1) & (LB_EVENT_HEADERS - 1)) + 1; /* so the verifier sees its bounds */
	if (bpf_xdp_load_bytes(ctx, 0, event->headers, captured))
		return;
	event->time = bpf_ktime_get_ns();
	event->lan = outcome->lan;
	event->backend = outcome->backend;
	event->reason = reason;
	event->service = outcome->service;
	event->bytes = frame;
	lb_events.ringbuf_output(event, sizeof(*event), 0);
}

#endif
